"""Errors that the user can act upon."""


class UserError(Exception):
    """What is wrong, where, and what to do: shown as it is, without a traceback."""
