"""Access to a tracking store: its tables, MLflow's client for it, and the function that writes runs to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from gradleak.tracking.locks import alone, is_database
from gradleak.tracking.write_runs import Change, write_by_client, write_by_sql


def create_schema(uri: str) -> None:
    """Make the tables of a new database, or migrate old ones."""
    from mlflow.store.db.utils import _initialize_tables, _upgrade_db, create_sqlalchemy_engine_with_retry
    from sqlalchemy import inspect

    with alone(uri, "gradleak/schema"):
        engine = create_sqlalchemy_engine_with_retry(uri)
        if inspect(engine).get_table_names():
            _upgrade_db(engine)
        else:
            _initialize_tables(engine)
        engine.dispose()


def client_of(uri: str) -> Any:
    """MLflow's client for the store at ``uri``."""
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    with alone(uri, "gradleak/schema"):  # the first use of an empty database makes its tables
        client.search_experiments(max_results=1)
    return client


@contextlib.contextmanager
def writer(uri: str, client: Any) -> Iterator[Callable[[Any, Change], str]]:
    """The function that writes the runs of a cell: straight into the tables where ``uri`` is a database."""
    if not is_database(uri):
        yield partial(write_by_client, client)
        return
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry

    engine = create_sqlalchemy_engine_with_retry(uri)
    try:
        yield partial(write_by_sql, engine, uri)
    finally:
        engine.dispose()
