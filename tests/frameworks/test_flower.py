"""A real Flower app, recorded and audited."""

import json
import shutil

import numpy as np
import pytest
from federations import audit, require, run, unlike_own, with_run, write_truth

pytestmark = pytest.mark.frameworks
require("flwr", "torch")
CLIENTS = ("11", str(2**63 + 5))


@pytest.fixture(scope="module")
def message_run(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("message")
    run("flower_app.py", data, out, "message")
    return out


@pytest.mark.parametrize("recorder", ["mine", "mine-clients"])
def test_the_message_api_gives_the_deltas_of_the_clients(message_run, recorder):
    """The strategy on the server and the mod on the client, bit for bit."""
    assert unlike_own(message_run / "runs" / recorder, message_run / "own", CLIENTS) == []


def test_the_older_api_gives_the_deltas_of_the_clients(tmp_path, data):
    run("flower_app.py", data, tmp_path, "legacy")
    assert unlike_own(tmp_path / "runs/mine", tmp_path / "own", CLIENTS) == []


def test_around_clipping_updates_are_raw_and_inside_of_it_clipped(tmp_path, data):
    run("flower_app.py", data, tmp_path, "clipping")
    assert unlike_own(tmp_path / "runs/mine", tmp_path / "own", CLIENTS) == []
    for folder, point, is_clipped in (("mine", "raw", False), ("inside", "clipped", True)):
        place = tmp_path / "runs" / folder / "round-0001" / f"client-{CLIENTS[0]}"
        with np.load(place / "delta.npz") as delta:
            norm = np.sqrt(sum(np.square(delta[key], dtype=np.float64).sum() for key in delta.files))
        assert (norm < 0.0101) == is_clipped
        assert json.loads((place / "meta.json").read_text())["point"] == point


@pytest.mark.parametrize("mode", ["default", "exact"])
def test_secure_aggregation_is_one_update_a_round(tmp_path, data, mode):
    """SecAgg+ itself: each reply holds the same aggregate, and one is recorded. By default its quantisation
    hides more than half of so small an update.
    """
    run("secagg_app.py", data, tmp_path, mode)
    for number in (1, 2):
        (folder,) = (tmp_path / f"runs/mine/round-000{number}").iterdir()
        meta = json.loads((folder / "meta.json").read_text())
        known = (folder.name, meta["point"], meta["clients"], meta["samples"])
        assert known == ("aggregate", "aggregate", 3, 3)
        with (
            np.load(folder / "delta.npz") as delta,
            np.load(tmp_path / f"own/round-000{number}/client-mean.npz") as own,
        ):
            found, mean = (np.concatenate([one[key].ravel() for key in one.files]) for one in (delta, own))
        error = np.linalg.norm(found - mean) / np.linalg.norm(mean)
        assert error < 1e-3 if mode == "exact" else 0.1 < error < 1


def test_an_audit_of_the_recorded_run_certifies_the_images(message_run, data, tmp_path):
    mine = with_run(tmp_path, message_run / "runs/mine")
    shutil.rmtree(mine / "round-0001")  # half of the updates, for the time
    write_truth(tmp_path / "runs/truth", data, CLIENTS)
    said = audit(tmp_path, "--leak=runs/mine", "--minutes=4", "--truth=runs/truth")
    assert "Verdict: inputs_recovered" in said
    found = json.loads((tmp_path / "results/tables/verdict.json").read_text())
    assert (found["samples"], found["inputs_certified"], found["inputs_20db"]) == (4, 4, 4)
    assert [one["place"] for one in found["updates"]] == [{"round": 2, "client": c} for c in CLIENTS]
    assert all(one.get("certified", 0) == 0 for one in found["controls"])
