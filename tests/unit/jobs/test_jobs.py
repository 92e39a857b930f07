"""What every script stands in."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gradleak.jobs import job


def test_hidden_modules_are_missing_inside_and_only_there(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with job.hidden("colorsys", "json"):
        with pytest.raises(ImportError):
            importlib.import_module("colorsys")
        assert importlib.import_module("json") is json  # was there before
    importlib.import_module("colorsys")
    assert sys.modules["json"] is json


def test_tensorflow_comes_without_what_keras_imports_on_the_side():
    code = (
        "import sys; from gradleak.jobs import job; job.use_threads(1); assert 'keras' in sys.modules\n"
        "loaded = set(job.OPTIONAL) & set(sys.modules); assert not loaded, loaded\n"
        "import scipy.ndimage, sklearn.ensemble, pandas"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(job.__file__).parents[2])
