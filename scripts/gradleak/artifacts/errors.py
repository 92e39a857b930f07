"""The one error of everything that reads a stranger's file."""

from gradleak.errors import Expected


class ArtifactError(Expected):
    """A file that cannot be used: which one, why, and what to do."""
