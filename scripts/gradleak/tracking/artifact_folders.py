"""Where the pictures and figures of runs lie, and whether they are there.

MLflow stores absolute addresses. A folder that was moved or copied brings a database along whose addresses
are those of the original. ``move_here`` corrects them before anything is read or written. Several folders may
share a PostgreSQL: there a run gets its address from the folder that writes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gradleak.errors import UserError
from gradleak.tracking.locks import SQLITE, alone, is_database

PREFIX = "gradleak/"  # begins the name of every experiment
PICTURED = "mlflow.loggedImages"  # MLflow's tag of a run with pictures


def address_of(uri: str, experiment: str) -> str | None:
    """The address of an experiment's files; None where a tracking server decides.

    Beside a SQLite database, else with the results. MLflow's own choice would be ./mlruns.
    """
    if not is_database(uri):
        return None
    folder = Path(uri.removeprefix(SQLITE)).parent if uri.startswith(SQLITE) else Path("results/mlflow")
    return (folder.absolute() / "artifacts" / experiment.removeprefix(PREFIX)).as_uri()


def address_for_writing(uri: str, experiment: Any) -> str:
    """The address for new files: one that the user chose, such as an object store, else ``address_of``."""
    stored = str(experiment.artifact_location)
    return stored if local_folder(stored) is None else address_of(uri, experiment.name) or stored


def local_folder(address: str) -> Path | None:
    """The folder of an address on this machine; None for an object store or a tracking server."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(address)) if urlsplit(address).scheme in ("", "file") else None


def move_here(uri: str) -> list[str]:
    """Correct the addresses in a SQLite database that was moved or copied with its folder.

    Returns the names of the experiments whose addresses were wrong. Files are not touched.
    """
    if not uri.startswith(SQLITE) or not Path(uri.removeprefix(SQLITE)).exists():
        return []
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun
    from sqlalchemy import literal, select, update

    moved = []
    with alone(uri, "gradleak/schema"):
        engine = create_sqlalchemy_engine_with_retry(uri)
        with engine.begin() as connection:
            columns = (SqlExperiment.experiment_id, SqlExperiment.name, SqlExperiment.artifact_location)
            for number, name, stored in connection.execute(
                select(*columns).where(SqlExperiment.name.startswith(PREFIX, autoescape=True))
            ).all():
                here, folder = str(address_of(uri, name)), local_folder(stored)
                if folder is None or folder.resolve() == Path(str(local_folder(here))).resolve():
                    continue
                connection.execute(
                    update(SqlExperiment)
                    .where(SqlExperiment.experiment_id == number)
                    .values(artifact_location=here)
                )
                connection.execute(
                    update(SqlRun)
                    .where(SqlRun.experiment_id == number)
                    .values(artifact_uri=literal(f"{here}/") + SqlRun.run_uuid + literal("/artifacts"))
                )
                moved.append(name)
        engine.dispose()
    return moved


def are_there(client: Any, run: Any, files: Mapping[str, bytes]) -> bool:
    """Whether a run still has its picture, if it had one, and ``files`` (name below its folder → content)."""
    folder = local_folder(run.info.artifact_uri)
    pictured = run.data.tags.get(PICTURED) == "True"
    if folder is not None:
        return (not pictured or any(folder.glob("images/*.png"))) and all(
            _content(folder / name) == content for name, content in files.items()
        )
    names = {Path(name).parent.as_posix() for name in files} | ({"images"} if pictured else set())
    there = {file.path for name in names for file in client.list_artifacts(run.info.run_id, name)}
    return set(files) <= there and (not pictured or any(path.endswith(".png") for path in there))


@contextlib.contextmanager
def writing(address: str) -> Iterator[None]:
    """Store files at ``address`` inside. Raises UserError if the folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"pictures and figures for MLflow cannot be written to {address}: {error.strerror or error}; "
            "make the folder writable, or keep the database elsewhere with tracking: {uri: …}"
        ) from error


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
