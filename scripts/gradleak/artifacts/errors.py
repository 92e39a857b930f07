"""The error of all readers of untrusted files."""

from gradleak.errors import UserError


class ArtifactError(UserError):
    """A file that cannot be used. The message has the file, the reason and what to do."""
