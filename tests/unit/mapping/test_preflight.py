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


def test_smoothed_labels_are_not_what_labels_and_dlg_assume():
    update = Update([], 225_034, 784, 1, "sgd", 1, 0.0, has_bias=True, is_trained=True, smoothed=True)
    rows = {row["attack"]: row for row in prospects(update)}
    assert rows["labels"]["expect"] == "none"
    assert rows["dlg"]["expect"] == "poor"
    assert "smoothed its labels" in rows["dlg"]["why"]


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


def of_batch_norm(**changes):
    """{attack: (expect, why)} of an untrained model, 8 images and BatchNorm layers."""
    row = {"variable": "net/dense/kernel", "shape": [1600, 128], "ranks": [8], "full": 128}
    update = Update([row], 225_034, 784, 1, "sgd", 1, 0.0, has_bias=True, is_trained=False, **changes)
    return {one["attack"]: (one["expect"], one["why"]) for one in prospects(update)}


def test_an_unknown_mode_of_batch_norm_makes_every_prospect_poor():
    found = of_batch_norm(batch_norm="unknown")
    assert {expect for expect, _ in found.values()} == {"poor"}
    assert all("set `batch_norm` on the target" in why for _, why in found.values())


def test_training_mode_makes_prospects_poor_that_need_other_statistics():
    good = of_batch_norm()
    assert {expect for expect, _ in good.values()} == {"good"}
    assert of_batch_norm(batch_norm="inference") == good
    hidden = of_batch_norm(batch_norm="training")
    assert {expect for expect, _ in hidden.values()} == {"poor"}
    known = of_batch_norm(batch_norm="training", has_statistics=True)
    assert known["span"] == good["span"]
    assert known["labels"] == good["labels"]
    assert known["dlg"][0] == known["latent"][0] == "poor"


def test_a_dense_layer_before_a_batch_norm_in_training_mode_has_no_span_to_search():
    kernel = ("net/dense/kernel",)
    found = of_batch_norm(batch_norm="training", has_statistics=True, mixed=kernel)
    assert found["span"][0] == "none"


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
