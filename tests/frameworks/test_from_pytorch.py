"""The page docs/how-to/from-pytorch.md: its lines, and the audit of what they write."""

import json
import re
import shlex

import numpy as np
import pytest
from federations import ROOT, audit, copied, require, run

pytestmark = pytest.mark.frameworks
require("torch", "onnx", "safetensors")


def test_an_audit_of_what_the_lines_write_certifies_the_images(data, tmp_path):
    copied(tmp_path)
    run("from_pytorch.py", data, tmp_path)
    with np.load(data) as arrays:
        x = (arrays["x_0"][0].reshape(-1, 8, 8, 1) * 255).round().astype("uint8")
        np.savez(tmp_path / "truth.npz", x=x, y=arrays["y_0"][0])
    page = (ROOT / "docs/how-to/from-pytorch.md").read_text(encoding="utf-8")
    asked = dict(word.split("=") for word in shlex.split(re.search(r"^make audit (.*)$", page, re.M)[1]))
    arguments = [f"--{key.lower()}={value}" for key, value in asked.items()]
    said = audit(tmp_path, *arguments, "--truth=truth.npz")
    assert "Verdict: inputs_recovered" in said
    found = json.loads((tmp_path / "results/tables/verdict.json").read_text())
    assert (found["samples"]["value"], found["inputs_certified"], found["inputs_20db"]) == (2, 2, 2)
    (mapping,) = (tmp_path / "results/mapping").rglob("mapping.json")
    report = json.loads(mapping.read_text())
    assert {row["key"]: row["variable"] for row in report["tensors"]}["3.weight"] == "3/kernel"
    assert {row["matched_by"] for row in report["tensors"]} == {"ONNX file, converted from PyTorch's layout"}
    assert any("LogSoftmax" in note for note in report["notes"])
