"""An empty database and a small study with failures, images and labels."""

import pytest
from results import image_scores, label_scores


@pytest.fixture
def database(tmp_path, schema, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    path.write_bytes(schema)
    return path


@pytest.fixture
def demo(results):
    results.cell("aaa").cell("bbb", weighting="depth").cell("ccc", "labels", method="rank1")
    results.block("aaa", (0, 1), image_scores).block(
        "bbb", (0, 1), image_scores, {1: "diverged"}, "no finite objective"
    )
    return results.block("ccc", (0, 1), label_scores)


@pytest.fixture
def exhibited(demo):
    return demo.exhibit("figures/seeds.png", b"a picture").exhibit("tables/headline.csv", b"attack\n")
