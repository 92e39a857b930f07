"""A real simulation of NVFlare with PyTorch, recorded and audited."""

import json
import shutil

import pytest
from federations import audit, require, run, unlike_own, with_run, write_truth

pytestmark = pytest.mark.frameworks
require("nvflare", "torch")
SITES = ("site-1", "site-2")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("nvflare")
    run("nvflare_job.py", data, out)
    return out


def test_the_filter_gives_the_deltas_of_the_clients(simulated):
    assert unlike_own(simulated / "runs/mine", simulated / "own", SITES) == []
    meta = json.loads((simulated / "runs/mine/round-0002/client-site-1/meta.json").read_text())
    assert (meta["round"], meta["node"], meta["local_steps"]) == (2, "site-1", 1)


def test_an_audit_of_the_recorded_job_certifies_the_images(simulated, data, tmp_path):
    mine = with_run(tmp_path, simulated / "runs/mine")
    shutil.rmtree(mine / "round-0001")  # half of the updates, for the time
    write_truth(tmp_path / "runs/truth", data, SITES)
    said = audit(tmp_path, "--leak=runs/mine", "--minutes=4", "--truth=runs/truth", "--samples=2")
    assert "Verdict: inputs_recovered" in said
    found = json.loads((tmp_path / "results/tables/verdict.json").read_text())
    assert (found["inputs_certified"], found["inputs_20db"]) == (4, 4)
    assert [one["place"] for one in found["updates"]] == [{"round": 2, "client": site} for site in SITES]
    assert all(one.get("certified", 0) == 0 for one in found["controls"])
    for path in (tmp_path / "results/mapping").glob("*/*/mapping.json"):
        mapping = json.loads(path.read_text())
        assert mapping["optimizer"]["value"] == "sgd"
        assert [row["variable"].split("/")[-1] for row in mapping["tensors"]] == ["kernel", "bias"] * 2
