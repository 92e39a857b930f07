"""Prospects of the attacks, and the update that they are read from."""

from types import SimpleNamespace

import pytest

import assess_prospects
import validate_mapping
from gradleak.files import read_json, write_json
from gradleak.mapping.files import write_block
from gradleak.mapping.preflight import Update, prospects, update_of


def expected(
    rank=8, full=128, parameters=225_034, samples=8, optimizer="sgd", steps=1, noise=0.0, trained=False
):
    update = Update(
        ranks=[{"variable": "dense/kernel", "shape": [1600, full], "ranks": [rank], "full": full}],
        parameters=parameters,
        pixels=784,
        samples=samples,
        optimizer=optimizer,
        steps=steps,
        noise=noise,
        has_bias=True,
        is_trained=trained,
    )
    return {row["attack"]: row["expect"] for row in prospects(update)}


def test_prospects_follow_from_rank_size_and_optimiser():
    assert expected()["span"] == "good"
    assert expected(rank=128, samples=300)["span"] == "none"
    assert expected(rank=120)["span"] == "poor"
    assert expected(optimizer="adam") == {"labels": "poor", "dlg": "poor", "latent": "poor", "span": "none"}
    assert expected(samples=1)["dlg"] == "good"
    assert expected(samples=1, steps=10)["dlg"] == "poor"
    assert expected(samples=1000)["dlg"] == "none"
    assert expected(noise=1e-3)["span"] == "poor"
    assert expected(samples=8)["labels"] == "good"
    assert expected(samples=8, trained=True)["labels"] == "poor"
    without_dense = Update([], 100, 784, 1, "sgd", 1, 0.0, has_bias=False, is_trained=False)
    assert prospects(without_dense)[-1]["expect"] == "none"


def test_a_doubt_about_the_model_is_in_every_prospect():
    update = Update([], 10_000, 784, 1, "sgd", 1, 0.0, has_bias=True, is_trained=False, doubt="at chance")
    rows = {row["attack"]: row for row in prospects(update)}
    assert {name: row["expect"] for name, row in rows.items()} == {
        "labels": "poor",
        "dlg": "poor",
        "latent": "poor",
        "span": "none",
    }
    assert all("at chance; " in rows[name]["why"] for name in ("labels", "dlg", "latent"))


@pytest.fixture(scope="module")
def mapped(fedsgd, public):
    """(block, report) of two clients."""
    found = validate_mapping.settle(fedsgd[3], *public)
    return validate_mapping.block_of(found, [0, 1]), found.report


def test_the_update_is_read_from_the_files_of_the_mapping(mapped):
    block, report = mapped
    update = update_of(block, report)
    assert update.parameters == 64 * 300 + 300 + 300 * 300 + 300 + 300 * 10 + 10
    assert (update.pixels, update.samples, update.steps, update.noise) == (64, 8, 1, 0)
    assert update.optimizer == "sgd"
    assert update.has_bias
    assert not update.is_trained
    assert update.ranks == report["ranks"]


def test_the_script_writes_a_row_for_each_attack(mapped, tmp_path):
    write_block(tmp_path / "gradients.npz", mapped[0])
    write_json(tmp_path / "mapping.json", mapped[1])
    job = SimpleNamespace(
        input=SimpleNamespace(gradients=tmp_path / "gradients.npz", report=tmp_path / "mapping.json"),
        output=SimpleNamespace(prospects=tmp_path / "prospects.json"),
    )
    assess_prospects.main(job)
    rows = read_json(tmp_path / "prospects.json")
    assert [row["attack"] for row in rows] == ["labels", "dlg", "latent", "span"]
    assert {row["expect"] for row in rows} <= {"good", "poor", "none"}
