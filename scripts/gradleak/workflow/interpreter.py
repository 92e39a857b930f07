"""The path of Python, for Snakemake and for our own subprocesses."""

from __future__ import annotations

import shlex
import sys

PYTHON = sys.executable  # the path itself


def quote_for_snakemake() -> None:
    """Let Snakemake start jobs where the path of Python has a space or a quote in it.

    Snakemake (9.27) writes ``sys.executable`` into shell commands as it is. Its processes use it for nothing
    else, so here it is what a shell has to read. Jobs themselves see the path itself.
    """
    sys.executable = shlex.quote(PYTHON)
