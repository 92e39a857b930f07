"""Updates from outside that cannot be used: a broken file in a user's folder, and Google Drive out of reach.

An audit that succeeds is in test_tutorials.py.
"""

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def leak(tmp_path_factory):
    """What a client of plain Keras saves."""
    folder = tmp_path_factory.mktemp("leak")
    keras.utils.set_random_seed(3)
    digits = load_digits()
    x, y = (digits.images / 16).astype("float32")[..., None], digits.target
    chosen = np.random.default_rng(0).choice(np.flatnonzero(y < 4), 2, replace=False)
    hidden, head = keras.layers.Dense(300, activation="relu"), keras.layers.Dense(10, activation="softmax")
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), hidden, head])
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.train_on_batch(x[chosen], y[chosen])
    (folder / "net.json").write_text(model.to_json())
    np.savez(folder / "a.npz", *before)
    np.savez(folder / "b.npz", *[after - w for after, w in zip(model.get_weights(), before)])
    return folder


def config(**folders) -> dict:
    """A study of one label cell for each target, name → folder."""
    local = {"source": "local", "dataset": "digits-8x8", "samples": 2}
    cells = [{"attack": "labels", "target": name, "method": "rank1"} for name in folders]
    return {
        "study": "own",
        "tracking": {"enabled": False},
        "targets": {name: {**local, "path": str(folder)} for name, folder in folders.items()},
        "studies": {"own": {"seeds": 2, "cells": cells}},
    }


def test_a_broken_target_stops_alone_and_says_why(leak, fresh):
    broken = fresh.folder / "broken"
    broken.mkdir()
    for name in ("net.json", "a.npz"):
        (broken / name).write_bytes((leak / name).read_bytes())
    (broken / "b.npz").write_text("<html>Google Drive - Quota exceeded</html>")
    fresh.configure(config(mine=leak, bad=broken))
    output = fresh.snakemake(ok=False)
    assert "b.npz: this is a web page" in output
    assert len(list((fresh.folder / "results/scores").glob("*/*.json"))) == 1, (
        "the good target is carried to its end"
    )
    trials = pd.read_csv(fresh.folder / "results/tables/trials.csv")
    assert trials.groupby(["target", "status"]).size().to_dict() == {
        ("mine", "ok"): 2,
        ("bad", "failed"): 2,
    }, "no table leaves out a target without a word"
    assert trials["reason"].str.contains("b.npz: this is a web page").sum() == 2


def test_an_unreachable_drive_says_what_to_do_and_leaves_nothing(fresh, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens on the discard port
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    output = fresh.snakemake(
        "--config", "study=notebook", "--until", "fetch_artifacts", config="config/config.yaml", ok=False
    )
    assert "Drive file 1PPcmIeURrWdVWuCaZNRTEZH_y-a7GW-S could not be fetched" in output
    assert "download the files in a browser into a folder" in output
    assert not list((fresh.folder / "results/targets").glob("*/*"))
