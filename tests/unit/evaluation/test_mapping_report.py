"""A mapping in the report: findings, how sure they are, contradictions; all text from outside is escaped."""

import keras
import numpy as np
import pytest

from gradleak.artifacts.leak import Leak
from gradleak.evaluation import mapping_report
from gradleak.federated.client import global_model, simulate
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.mapping import suspicions
from gradleak.mapping.classifier import logits_model
from gradleak.mapping.preflight import preflight
from gradleak.mapping.settle import settle as settle_mapping


@pytest.fixture(scope="module")
def leaks(digits):
    """(model, leaks) of simulated clients under any options, with metadata to choose."""

    def make(draws=2, meta=None, change=lambda arrays: arrays, **options):
        options = ClientOptions(**{"dataset": "digits-8x8", "model": "fcn3", "batch_size": 8, **options})
        model = global_model(options, digits["pretraining"])
        before = {v.path: v.numpy() for v in model.trainable_variables}
        made = simulate(options, model, digits["private"], list(range(draws)))
        return [
            Leak(
                model.to_json(),
                before,
                dict(zip(before, change(d.delta), strict=True)),
                {**d.meta, **(meta or {})},
            )
            for d in made
        ]

    return make


@pytest.fixture
def settle(digits):
    def run(leaks, **told):
        x, y = to_float(digits["public"].x[:150]), digits["public"].y[:150]
        return settle_mapping(
            leaks, x, y, **{"samples": None, "sign": "auto", "scale": "auto", **told}
        ).report

    return run


def test_the_page_answers_every_question_in_words(leaks, settle):
    found = settle(leaks(optimizer="sgd"))
    page = mapping_report.section("mine", found)
    for question in mapping_report.QUESTIONS.values():
        assert question in page
    for answer in (
        "downhill: weights after − before",
        "SGD, with or without momentum",
        "untrained",
        "no sign of it",
    ):
        assert f"<b>{answer}</b>" in page
    assert "6 tensors were matched to the model by name" in page
    assert page.count("hopeless") + page.count("<b>good</b>") + page.count("<b>poor</b>") == 4
    assert "do not agree" not in page


def test_text_from_outside_is_escaped():
    evil = "<script>alert(1)</script>"
    found = {
        "sign": {"value": evil, "evidence": evil, "confidence": 0.5},
        "verdict": evil,
        "contradictions": [evil],
        "preflight": [{"attack": evil, "expect": "good", "why": evil}],
        "notes": [evil],
        "tensors": [{"variable": evil, "key": evil, "matched_by": evil, "norm": 1.0}],
        "files": [{"name": evil, "role": evil, "bytes": 1, "sha256": evil, "evidence": evil}],
    }
    assert "<script" not in mapping_report.section(evil, found)


@pytest.mark.parametrize(
    ("options", "meta", "message"),
    [
        ({}, {"optimizer": "adam"}, "optimizer: the metadata say adam, the update looks like sgd"),
        ({"optimizer": "adam", "learning_rate": 0.001}, {"optimizer": "sgd"}, "the update looks like adam"),
        ({}, {"sign": "before_minus_after"}, "sign: the metadata say before_minus_after"),
        ({}, {"learning_rate": 5.0}, "scale: the metadata give 5"),
        (
            {"alpha": None, "learning_rate": 1.0},
            {"samples": 2},
            "samples: 2 images were stated, the rank refutes it",
        ),
    ],
)
def test_metadata_that_contradict_the_update_are_recorded_and_shown(leaks, settle, options, meta, message):
    found = settle(leaks(meta=meta, **options))
    assert any(message in line for line in found["contradictions"]), found["contradictions"]
    assert message in mapping_report.section("mine", found)


# suspicions


def noisy(sigma):
    rng = np.random.default_rng(0)
    return lambda arrays: [(a + rng.normal(0, sigma, a.shape)).astype(np.float32) for a in arrays]


def test_noise_is_suspected_with_its_size_and_bounds_the_rank(leaks, settle):
    assert settle(leaks())["noise"]["value"] == 0
    found = settle(leaks(change=noisy(1e-4)), sign="after_minus_before")
    assert found["noise"]["value"] == pytest.approx(1e-4, rel=0.2)
    assert max(found["ranks"][1]["ranks"]) <= 8
    assert found["optimizer"]["value"] != "adam"


@pytest.mark.parametrize("sigma", [1e-3, 1e-1])
def test_noise_alone_never_passes_for_adam(leaks, settle, sigma):
    assert settle(leaks(change=noisy(sigma)), sign="after_minus_before")["optimizer"]["value"] == "unknown"


def test_adam_is_not_taken_for_noise(leaks, settle):
    found = settle(leaks(optimizer="adam", learning_rate=0.001, local_steps=4))
    assert found["noise"]["value"] == 0
    assert found["optimizer"]["value"] == "adam"


def test_clipping_sparsification_and_half_precision_are_suspected(leaks, settle):
    def clip(arrays):
        norm = np.sqrt(sum((a.astype(float) ** 2).sum() for a in arrays))
        return [(a * (0.5 / norm)).astype(np.float32) for a in arrays]

    def sparsify(arrays):
        return [np.where(np.abs(a) >= np.quantile(np.abs(a), 0.9), a, 0) if a.ndim > 1 else a for a in arrays]

    assert settle(leaks())["clipping"]["value"] == 0
    assert settle(leaks(change=clip))["clipping"]["value"] == pytest.approx(0.5, rel=1e-4)
    assert settle(leaks(1, change=clip))["clipping"]["value"] == pytest.approx(0.5, rel=1e-4)
    assert settle(leaks())["sparsity"]["value"] == 0
    assert settle(leaks(1, change=sparsify), sign="after_minus_before")["sparsity"]["value"] > 0.5
    half = settle(leaks(1, change=lambda arrays: [a.astype(np.float16).astype(np.float32) for a in arrays]))
    assert half["precision"]["value"] == "float16"
    assert max(half["ranks"][1]["ranks"]) <= 8


def test_a_zero_update_is_of_no_precision_and_no_noise():
    zeros = [np.zeros((1, 30, 10), np.float32)]
    assert suspicions.find_precision(zeros)["value"] == "float32"
    assert suspicions.find_noise(zeros, [np.ones((30, 10))], 1.0)["value"] == 0
    assert suspicions.find_clipping(zeros)["value"] == 0


# before any hours are spent


def prospects(
    rank=8, full=128, parameters=225_034, samples=8, optimizer="sgd", steps=1, noise=0.0, trained=False
):
    rows = preflight(
        [{"variable": "dense/kernel", "shape": [1600, full], "ranks": [rank], "full": full}],
        parameters,
        784,
        samples,
        optimizer,
        steps,
        noise,
        True,
        trained,
    )
    return {row["attack"]: row["expect"] for row in rows}


def test_prospects_follow_from_rank_size_and_optimiser():
    assert prospects()["span"] == "good"
    assert prospects(rank=128, samples=300)["span"] == "none"
    assert prospects(rank=120)["span"] == "poor"
    assert prospects(optimizer="adam") == {"labels": "poor", "dlg": "poor", "latent": "poor", "span": "none"}
    assert prospects(samples=1)["dlg"] == "good"
    assert prospects(samples=1, steps=10)["dlg"] == "poor"
    assert prospects(samples=1000)["dlg"] == "none"
    assert prospects(noise=1e-3)["span"] == "poor"
    assert prospects(samples=8)["labels"] == "good"
    assert prospects(samples=8, trained=True)["labels"] == "poor"
    assert preflight([], 100, 784, 1, "sgd", 1, 0.0, False, False)[-1]["expect"] == "none"


def test_models_of_keras_are_built_from_what_was_checked():
    """A regulariser is noted, and does not reach the model that is attacked."""
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, kernel_regularizer="l2")]
    )
    built, _ = logits_model(model.to_json())
    assert built.layers[-1].kernel_regularizer is None
