"""Updates that were not simulated: a user's folder, written by a plain Keras script that knows nothing of this
project, and Google Drive when it cannot be reached."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.workflow

PLAIN_KERAS = """
import sys
import keras, numpy as np
from sklearn.datasets import load_digits

folder, truth = sys.argv[1:]
keras.utils.set_random_seed(3)
digits = load_digits()
x, y = (digits.images / 16).astype("float32")[..., None], digits.target
chosen = np.random.default_rng(0).choice(np.flatnonzero(y < 4), 2, replace=False)
model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(300, activation="relu"),
                          keras.layers.Dense(10, activation="softmax")])
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
before = model.get_weights()
model.train_on_batch(x[chosen], y[chosen])
open(f"{folder}/net.json", "w").write(model.to_json())
np.savez(f"{folder}/a.npz", *before)
np.savez(f"{folder}/b.npz", *[after - w for after, w in zip(model.get_weights(), before)])
np.savez(truth, x=(x[chosen] * 255).round().astype("uint8"), y=y[chosen])
"""


@pytest.fixture(scope="module")
def leak(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leak")
    (folder / "mine").mkdir()
    (folder / "client.py").write_text(PLAIN_KERAS)
    subprocess.run(
        [sys.executable, "client.py", "mine", "truth.npz"], cwd=folder, check=True, capture_output=True
    )
    return folder


SEARCH = {"starts": 32, "copies": 2, "rounds": 6}
SPAN = {"attack": "span", "target": "mine", **SEARCH}
HELD = {"attack": "dlg", "target": "mine", "steps": 20, "members": SEARCH}


def config(leak, *more, **target):
    return {
        "study": "own",
        "targets": {
            "mine": {
                "source": "local",
                "path": str(leak / "mine"),
                "dataset": "digits-8x8",
                "samples": 2,
                **target,
            }
        },
        "studies": {
            "own": {
                "seeds": 2,
                "cells": [
                    {"attack": "labels", "target": "mine", "method": "rank1"},
                    {"attack": "dlg", "target": "mine", "steps": 300},
                    *more,
                ],
            }
        },
    }


def test_with_truth(leak, fresh):
    fresh.configure(config(leak, SPAN, HELD, truth=str(leak / "truth.npz")))
    fresh.snakemake()
    trials = pd.read_csv(fresh.folder / "results/tables/trials.csv")
    assert set(trials["status"]) == {"ok"}
    assert (trials.loc[trials["attack"] == "labels", "irec"] == 1).all()
    assert trials.loc[trials["attack"] == "dlg", "psnr"].min() > 12, "far above noise on two 8×8 images"
    assert (trials.loc[trials["attack"] == "span", "certified"] == 2).all()
    assert (trials.loc[trials["attack"] == "span", "share_20db"] == 1).all()
    # DLG that is told of both has nothing left to search for.
    found = trials.loc[trials["attack"] == "span", "psnr"].tolist()
    dlg = trials[trials["attack"] == "dlg"].groupby("cell")["psnr"].apply(list)
    assert any(psnr == pytest.approx(found) for psnr in dlg)
    assert fresh.planned() == {}


def test_without_truth(leak, fresh):
    fresh.configure(config(leak, SPAN))
    fresh.snakemake()
    trials = pd.read_csv(fresh.folder / "results/tables/trials.csv")
    assert set(trials["status"]) == {"ok"}
    assert trials["psnr"].isna().all()
    certified = trials[trials["attack"] == "span"]
    assert (certified["certified"] == 2).all()
    assert certified["expected_psnr"].between(5, 100).all()  # what the update itself says of them
    assert trials.loc[trials["attack"] == "dlg", "objective"].notna().all()
    cell = trials.loc[trials["attack"] == "dlg", "cell"].iloc[0]
    (found,) = (fresh.folder / "results/inversions" / cell).glob("*.npz")
    with np.load(found) as arrays:
        assert arrays["images"].shape == (2, 2, 8, 8, 1)
        assert arrays["images"].dtype == np.float32
        assert 0 <= arrays["images"].min() <= arrays["images"].max() <= 1
        assert arrays["labels"].shape == arrays["accepted"].shape == (2, 2)
        assert arrays["accepted"].all()
        assert arrays["seeds"].tolist() == [0, 1]
        assert arrays["objective"].shape == (2,)
    assert not (fresh.folder / "results/truth").exists()


def test_a_broken_target_stops_alone_and_says_why(leak, fresh):
    broken = fresh.folder / "broken"
    broken.mkdir()
    for name in ("net.json", "a.npz"):
        (broken / name).write_bytes((leak / "mine" / name).read_bytes())
    (broken / "b.npz").write_text("<html>Google Drive - Quota exceeded</html>")
    mixed = config(leak)
    mixed["targets"]["bad"] = {**mixed["targets"]["mine"], "path": str(broken)}
    mixed["studies"]["own"]["cells"] = [
        {"attack": "labels", "target": "mine", "method": "rank1"},
        {"attack": "labels", "target": "bad", "method": "rank1"},
    ]
    fresh.configure(mixed)
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
