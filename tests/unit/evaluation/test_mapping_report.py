"""A mapping in the report: findings, how sure they are, contradictions; text from outside is escaped."""

import pytest

from gradleak.artifacts.leak import Leak
from gradleak.evaluation import mapping_report
from gradleak.federated.client import global_model, simulate
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.preflight import Update, prospects
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
    def run(leaks, **claims):
        x, y = to_float(digits["public"].x[:150]), digits["public"].y[:150]
        return settle_mapping(leaks, x, y, UserClaims(**claims)).report

    return run


def test_the_page_answers_every_question_in_words(leaks, settle):
    update = Update([], 100, 64, 8, "sgd", 1, 0.0, has_bias=True, is_trained=False)
    found = settle(leaks(optimizer="sgd")) | {"prospects": prospects(update)}
    page = mapping_report.section("mine", found)
    for question in mapping_report.QUESTIONS.values():
        assert question in page
    for answer in (
        "weights after − before",
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
        "prospects": [{"attack": evil, "expect": "good", "why": evil}],
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
