"""One writer at a time: a file lock beside a SQLite database, an advisory lock in PostgreSQL.

Both end with the process or its connection, so a killed sync leaves none behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path

SQLITE = "sqlite:///"


def is_database(uri: str) -> bool:
    """Whether ``uri`` is that of a database, and not of a tracking server."""
    return uri.startswith((SQLITE, "postgresql"))


@contextlib.contextmanager
def alone(uri: str, name: str) -> Iterator[None]:
    """Hold the lock ``name`` of the store at ``uri``. Waits for it. SQLite has one lock for all names."""
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
