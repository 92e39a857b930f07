"""The one error of everything that reads a stranger's file."""

from gradleak.errors import UserError


class ArtifactError(UserError):
    """A file that cannot be used: which one, why, and what to do."""
