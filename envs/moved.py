"""Correct the paths in .venv after the project was moved or copied. Run by `make setup`, with .venv's Python.

The programs of a virtual environment name its folder: after a move they are not found, in a copy they run the
original. .venv/.installed holds the folder that they name. The standard library is enough for this.
"""

import os
import re
import shlex
from pathlib import Path

STAMP = Path(".venv/.installed")
TRICK = re.compile(rb"#!/bin/sh\n'''exec' (?:\"[^\n]*\"|'[^\n]*') \"\$0\" \"\$@\"\n' '''\n")


def first_line(program: str) -> bytes:
    """The line that starts ``program``, a Python, on a script. Not every path can stand in ``#!``."""
    if len(program) < 120 and shlex.quote(program) == program:
        return f"#!{program}\n".encode()
    quoted = program.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    return f"#!/bin/sh\n'''exec' \"{quoted}\" \"$0\" \"$@\"\n' '''\n".encode()


def corrected(content: bytes, old: str, new: str) -> bytes:
    """A file of .venv/bin that belongs to the folder ``old``, for the folder ``new``."""
    start = TRICK.match(content) or re.match(rb"#![^\n]*\n", content)
    if start and b"python" in start.group() and old.encode() in start.group():
        name = re.search(rb"/\.venv/bin/([\w.]+)", start.group())
        if name:
            program = f"{new}/.venv/bin/{name.group(1).decode()}"
            return first_line(program) + content[start.end() :]
    return content.replace(f"{old}/.venv".encode(), f"{new}/.venv".encode())


def main() -> None:
    old, new = STAMP.read_text(encoding="utf-8").strip(), os.getcwd()
    if old == new or STAMP.parent.is_symlink():  # an environment of another folder stays as it is
        return
    if old:
        for path in Path(".venv/bin").iterdir():
            content = b"" if path.is_symlink() or not path.is_file() else path.read_bytes()
            if old.encode() in content and b"\0" not in content:
                path.write_bytes(corrected(content, old, new))
        print(f".venv was made in {old}; its programs now name this folder")
    STAMP.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
