"""The one error of the mapping."""


class MappingError(Exception):
    """Why the update cannot be brought to the model, and what would settle it."""
