"""A study on a table and a model of the user's own: records in, records out."""

import keras
import numpy as np
import pandas as pd
import pytest

from gradleak.datasets.description import read_description
from gradleak.datasets.table import decode
from gradleak.files import read_npz

pytestmark = pytest.mark.workflow

STUDY = {
    "study": "own",
    "tracking": {"enabled": False},
    "datasets": {"people": {"path": "people.csv", "label": "income"}},
    "targets": {
        "own": {
            "source": "simulate",
            "dataset": "people",
            "model": "net.json",
            "batch_size": 1,
            "draws": 2,
            "sign_in_metadata": True,
        }
    },
    "studies": {
        "own": {
            "seeds": 2,
            "cells": [{"attack": "dlg", "target": "own", "steps": 200}],
        }
    },
}


def people(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "age": rng.integers(17, 90, rows),
            "work": rng.choice(["private", "state", "self-employed", "none"], rows),
            "hours": rng.uniform(1, 80, rows).round(1),
            "income": rng.choice(["low", "high"], rows),
        }
    )


def test_records_of_an_own_table_behind_an_own_model_come_out(fresh):
    table = people()
    table.to_csv(fresh.folder / "people.csv", index=False)
    dense = keras.layers.Dense
    net = keras.Sequential([keras.Input((6,)), dense(64, "relu"), dense(2, "softmax")])
    (fresh.folder / "net.json").write_text(net.to_json())
    fresh.configure(STUDY)
    fresh.snakemake()
    known = read_description(fresh.folder / "results/data/people/dataset.json")
    assert known.class_names == ("high", "low")
    (truth,) = (fresh.folder / "results/truth").glob("*/*.npz")
    for index, record in enumerate(decode(read_npz(truth)["x"][:, 0], known.fields)):
        rows = table[(table["age"] == record["age"]) & (table["work"] == record["work"])]
        assert np.abs(rows["hours"] - record["hours"]).min() < 1e-4, index
    trials = pd.read_csv(fresh.folder / "results/tables/trials.csv")
    assert set(trials["status"]) == {"ok"}
    assert trials.groupby("attack")["field_accuracy"].mean()["dlg"] > trials["field_accuracy_chance"].mean()
    assert "<h2 id='records'>" in (fresh.folder / "results/report.html").read_text()
    assert not (fresh.folder / "results/figures/reconstructions.png").exists()
    assert fresh.planned() == {}
    table.iloc[:-3].to_csv(fresh.folder / "people.csv", index=False)
    assert "split_dataset" in fresh.planned()
