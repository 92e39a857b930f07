"""The address of the tracking store, and what of it may be written down.

A tracking URI can hold a password. Snakemake keeps the parameters of a job in its metadata, so a job gets the
masked URI as a parameter, and the real one from the config or the environment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

DEFAULT = "sqlite:///results/mlflow/mlflow.db"
VARIABLE = "MLFLOW_TRACKING_URI"
MASK = "***"
SECRET = ("password", "passwd", "token", "secret", "key")  # parts of names in a query


def chosen(config: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """``tracking.uri`` of the config, else the URI of the environment, else the local database."""
    return (config.get("tracking") or {}).get("uri") or environment.get(VARIABLE) or DEFAULT


def masked(uri: str) -> str:
    """``uri`` without passwords. A digest of the whole URI shows that it changed."""
    safe = without_passwords(uri, uri)
    return uri if safe == uri else f"{safe} ({hashlib.sha256(uri.encode()).hexdigest()[:8]})"


def without_passwords(text: str, uri: str) -> str:
    """``text``, such as an error message, with the passwords of ``uri`` masked."""
    parts = urlsplit(uri)
    account, at, _ = parts.netloc.rpartition("@")
    user, colon, password = account.partition(":")
    if colon:
        text = text.replace(f"{user}:{password}{at}", f"{user}:{MASK}{at}")
    for name, value in parse_qsl(parts.query):
        if any(word in name.lower() for word in SECRET):
            for written in (value, quote(value)):
                text = text.replace(f"{name}={written}", f"{name}={MASK}")
    return text
