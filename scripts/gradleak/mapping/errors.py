"""The error of the mapping."""

from gradleak.errors import UserError


class MappingError(UserError):
    """Why the update cannot be mapped to the model, and what the user can set."""


class Unmatched(Exception):
    """Why tensors do not lead to one match. The file is added where it is caught."""
