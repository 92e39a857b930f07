"""What many tests share: TensorFlow quiet, small configs, small data."""

import copy
import os

import numpy as np
import pytest
from once import once

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RAW = {
    "targets": {"demo": {"source": "simulate"}},
    "priors": {"vae": {}},
    "studies": {"demo": {"seeds": 4, "cells": [{"attack": "dlg", "target": "demo"}]}},
}


@pytest.fixture
def raw():
    """A whole small config, as YAML gives it; free to be changed."""
    return copy.deepcopy(RAW)


@pytest.fixture
def plan_of(tmp_path):
    """cells (and other parts of the study ``demo``) → its Plan."""
    from gradleak.workflow import config, study

    def make(*cells, targets=None, priors=None, **parts):
        raw = copy.deepcopy(RAW)
        raw["studies"]["demo"] |= {"cells": list(cells), **parts}
        raw["targets"] |= targets or {}
        raw["priors"] |= priors or {}
        return study.plan(config.load(raw, tmp_path))

    return make


@pytest.fixture(scope="session")
def digits():
    """The three pools of the 8×8 digits."""
    from gradleak.datasets import builtin
    from gradleak.datasets.pools import split

    return split("digits-8x8", builtin.load("digits-8x8"))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def results(tmp_path):
    """An empty set of results to fill, see results.py."""
    from results import Results

    return Results(tmp_path / "results")


@pytest.fixture(scope="session")
def schema(tmp_path_factory):
    """An empty tracking database: its tables take seconds to make, so they are made once and copied."""
    from gradleak.tracking import stores

    def make(folder):
        folder.mkdir()
        stores.create_schema(f"sqlite:///{folder}/empty.db")

    return (once(tmp_path_factory, "schema", make) / "empty.db").read_bytes()
