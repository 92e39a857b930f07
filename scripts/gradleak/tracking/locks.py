"""One writer at a time, by what each tracking store offers: SQLite's folder a file lock, PostgreSQL an advisory lock.

Both belong to the process or its connection, so a killed sync leaves none behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path

SQLITE = "sqlite:///"


def is_database(uri: str) -> bool:
    """Whether ``uri`` names a database itself, and no server in front of one."""
    return uri.startswith((SQLITE, "postgresql"))


@contextlib.contextmanager
def alone(uri: str, name: str) -> Iterator[None]:
    """Hold the lock ``name`` of the store at ``uri``; waits for whoever holds it. A SQLite file has one lock for all."""
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(path.name + ".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
    elif uri.startswith("postgresql"):
        from sqlalchemy import NullPool, create_engine, text

        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        engine = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
            yield  # closing the connection releases it
    else:
        yield
