"""The error of all readers of data sets."""

from gradleak.errors import UserError


class DataError(UserError):
    """A data set that cannot be used. The message has the file, the row, key or column, and what to do."""
