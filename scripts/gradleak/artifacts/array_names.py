"""Which array of a user's .npz is meant, by its name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from gradleak.errors import UserError


def array_called(
    keys: Collection[str], names: tuple[str, ...], path: str | Path, form: str, error: type[UserError]
) -> str:
    """The one of ``keys`` that is among ``names``, in any case and with any separators.

    names: in small letters without separators, the usual one first. form: what the file must hold. Raises
    ``error`` with the file and its keys where none or several fit.
    """
    found = [key for key in keys if "".join(c for c in key.lower() if c.isalnum()) in names]
    if len(found) == 1:
        return found[0]
    several = f"{' and '.join(found)} could both be" if found else "no array is called"
    shown = ", ".join(list(keys)[:10]) or "nothing"
    raise error(f"{path}: {several} {names[0]}; needs {form}. It has {shown}")
