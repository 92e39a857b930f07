"""A real simulation of NVFlare with PyTorch, recorded."""

import json

import pytest
from federations import require, run, unlike_own

pytestmark = pytest.mark.frameworks
require("nvflare", "torch")
SITES = ("site-1", "site-2")


def test_the_filter_gives_the_deltas_of_the_clients(tmp_path, data):
    run("nvflare_job.py", data, tmp_path)
    assert unlike_own(tmp_path / "runs/mine", tmp_path / "own", SITES) == []
    meta = json.loads((tmp_path / "runs/mine/round-0002/client-site-1/meta.json").read_text())
    assert (meta["round"], meta["node"], meta["local_steps"]) == (2, "site-1", 1)
