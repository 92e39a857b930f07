"""The verdict, from small tables with what an audit may find or miss."""

import numpy as np
import pandas as pd
import pytest

from gradleak.evaluation import verdict_text
from gradleak.evaluation.tables import METRICS, TRIAL_COLUMNS
from gradleak.evaluation.verdict import (
    BATCH_NORM,
    CERTIFIED,
    CONFORMAL,
    ESTIMATE,
    INPUTS,
    INPUTS_DOUBTED,
    LABELS,
    NO_PUBLIC,
    NO_SPAN,
    NO_TRUTH,
    NOISE,
    NOTHING,
    OTHERS,
    SEEDS,
    SEVERAL_STEPS,
    UNDECIDED,
    UNFINISHED,
    UNMAPPED,
    UNPROVEN_SAMPLES,
    Update,
    verdict,
)

PROSPECTS = [
    {"attack": "labels", "expect": "good", "why": "l"},
    {"attack": "dlg", "expect": "poor", "why": "d"},
    {"attack": "latent", "expect": "poor", "why": "w"},
    {"attack": "span", "expect": "good", "why": "s"},
]


def update(draw=0, place=None, samples=4, steps=1, prospects=PROSPECTS):
    mapping = {
        "samples": {"value": samples, "confidence": 1.0},
        "metadata": {"read": {} if steps is None else {"local_steps": steps}},
        "noise": {"value": 0.0},
        "batch_norm": {"value": "none"},
    }
    return Update(draw, place or {}, mapping, prospects)


def trial(attack, cell, seed=0, **values):
    row = dict.fromkeys(TRIAL_COLUMNS, "") | dict.fromkeys(METRICS, np.nan)
    row |= {"attack": attack, "cell": cell, "seed": seed, "draw": 0, "control": "none", "status": "ok"}
    return row | {"seconds": 1.0, "objective": 0.1} | values


def classes(cell, counts, low=None, high=None, seed=0):
    bounds = [(np.nan, np.nan)] * len(counts) if low is None else list(zip(low, high))
    return [
        {"cell": cell, "seed": seed, "class": c, "recovered": n, "low": bounds[c][0], "high": bounds[c][1]}
        for c, n in enumerate(counts)
    ]


SPAN = trial("span", "s", certified=2, expected_psnr=41.0)
CONTROL = trial("span", "c", control="random_gradient", certified=0)
DLG = trial("dlg", "d")
RANK1 = trial("labels", "r", method="rank1")
NO_CLASSES = pd.DataFrame(columns=["cell", "seed", "class", "recovered", "low", "high"])


def decided(*rows, labels=(), updates=None, public=True):
    table = pd.DataFrame(list(labels)) if labels else NO_CLASSES
    return verdict("mine", pd.DataFrame(list(rows)), table, updates or [update()], public)


def test_certified_images_with_a_silent_control_are_recovered():
    found = decided(SPAN, CONTROL, DLG)
    assert found["verdict"] == INPUTS
    assert found["inputs_certified"] == 2
    assert "inputs_20db" not in found, "there is no truth"
    assert [one["attack"] for one in found["attacks"]] == ["span", "dlg"]
    assert [one["setting"] for one in found["controls"]] == ["random_gradient"]
    assert {NO_TRUTH, UNPROVEN_SAMPLES} <= set(found["limits"])
    assert {NO_SPAN, NO_PUBLIC, SEVERAL_STEPS, UNFINISHED}.isdisjoint(found["limits"])


def test_images_are_doubted_where_the_control_is_certified_or_the_truth_contradicts():
    assert decided(SPAN, CONTROL | {"certified": 1})["verdict"] == INPUTS_DOUBTED
    wrong = SPAN | {"psnr": 8.0, "share_20db": 0.0, "false_positives": 2}
    assert decided(wrong, CONTROL)["verdict"] == INPUTS_DOUBTED


def test_images_at_20_db_count_by_the_trial_that_the_objective_prefers():
    """A better trial that only the truth shows does not count."""
    worse = DLG | {"objective": 0.1, "psnr": 9.0, "share_20db": 0.25}
    better = DLG | {"seed": 1, "objective": 0.2, "psnr": 30.0, "share_20db": 1.0}
    found = decided(worse, better)
    assert (found["inputs_20db"], found["verdict"]) == (1, INPUTS)
    assert found["inputs_certified"] is None


def test_controls_do_not_count_as_leaks():
    control = DLG | {"cell": "k", "control": "random_gradient", "psnr": 30.0, "share_20db": 1.0}
    found = decided(DLG | {"psnr": 5.0, "share_20db": 0.0}, control)
    assert (found["inputs_20db"], found["verdict"]) == (0, NOTHING)


@pytest.mark.parametrize(
    ("rows", "labels", "basis", "first"),
    [
        (
            [RANK1, trial("labels", "p", method="posterior")],
            classes("r", [4, 0]) + classes("p", [3, 1], [2, 0], [4, 2]),
            CONFORMAL,
            {"class": 0, "count": 3, "low": 2, "high": 4},
        ),
        (
            [RANK1, SPAN],
            classes("r", [4, 0]) + classes("s", [1, 1]),
            CERTIFIED,
            {"class": 0, "count": 1, "low": 1, "high": 3},
        ),
        ([RANK1], classes("r", [4, 0]), ESTIMATE, {"class": 0, "count": 4}),
    ],
)
def test_labels_come_from_the_best_basis(rows, labels, basis, first):
    found = decided(*rows, labels=labels)["labels"]
    assert (found["basis"], found["classes"][0]) == (basis, first)


def test_certain_labels_alone_are_a_leak_of_labels():
    posterior = trial("labels", "p", method="posterior")
    assert decided(posterior, labels=classes("p", [3, 1], [2, 0], [4, 2]))["verdict"] == LABELS
    assert decided(posterior, labels=classes("p", [3, 1], [0, 0], [4, 2]))["verdict"] == NOTHING


def test_a_guess_is_a_control_and_no_label():
    uniform = trial("labels", "u", method="uniform")
    found = decided(uniform, labels=classes("u", [2, 2]))
    assert found["labels"] is None
    assert [one["setting"] for one in found["controls"]] == ["uniform"]


def test_what_has_no_result_has_a_reason():
    failed = trial("span", "s", status="failed", reason="never started")
    inapplicable = RANK1 | {"status": "not applicable", "reason": "no bias"}
    none = [*PROSPECTS[:2], {"attack": "latent", "expect": "none", "why": "w"}, PROSPECTS[3]]
    found = decided(failed, inapplicable, updates=[update(prospects=none, steps=None)], public=False)
    assert found["verdict"] == UNDECIDED
    assert [(one["attack"], one["kind"], one["reason"]) for one in found["not_applicable"]] == [
        ("labels", "not applicable", "no bias"),
        ("dlg", "not tried", "d"),
        ("latent", "no prospect", "w"),
        ("span", "failed", "never started"),
    ]
    assert {NO_SPAN, NO_PUBLIC, SEVERAL_STEPS, UNFINISHED} <= set(found["limits"])


def test_an_attack_on_images_that_is_not_finished_leaves_the_verdict_open():
    failed = trial("span", "s", status="failed", reason="never started")
    assert decided(failed, RANK1)["verdict"] == UNDECIDED
    assert decided(failed | {"status": "not applicable"}, RANK1)["verdict"] == NOTHING


def test_a_recorded_run_is_a_sum_with_a_row_for_each_update():
    updates = [update(draw, {"round": draw + 1, "client": "a"}) for draw in (0, 1)]
    found = decided(SPAN, DLG | {"draw": 1}, updates=updates)
    assert (found["verdict"], found["samples"], found["inputs_certified"]) == (INPUTS, 8, 2)
    assert [one["verdict"] for one in found["updates"]] == [INPUTS, NOTHING]
    assert [one["round"] for one in found["attacks"]] == [1, 2]
    assert UNFINISHED not in found["limits"]
    assert UNFINISHED in decided(SPAN, DLG | {"draw": 2}, updates=updates)["limits"], "one is not mapped"
    html = verdict_text.section(found)
    assert html.index("Private images") < html.index("By round and client")
    assert html.count("<tr>") == 3


def test_every_kind_has_words():
    assert set(verdict_text.TITLES) == {INPUTS, INPUTS_DOUBTED, LABELS, NOTHING, UNDECIDED}
    limits = {NO_TRUTH, NO_PUBLIC, NO_SPAN, NOISE, BATCH_NORM, SEEDS, OTHERS, UNFINISHED, SEVERAL_STEPS}
    assert set(verdict_text.LIMITS) == limits | {UNPROVEN_SAMPLES}


def test_the_words_escape_what_comes_from_outside():
    evil = "<script>alert(1)</script>"
    found = decided(SPAN, trial("labels", "r", method="rank1", status="failed", reason=evil))
    assert "<script" not in verdict_text.section(found)
    assert verdict_text.section(None) == ""


def test_an_update_without_a_mapping_is_a_row_with_the_reason():
    done = [{**one, "draw": 1} for one in (SPAN, CONTROL)]
    lost = trial("span", "s", draw=0, status="failed", reason="no <model> fits")
    unmapped = [{"draw": 0, "place": {"round": 1, "client": "7"}}]
    updates = [update(1, {"round": 1, "client": "8"})]
    found = verdict("mine", pd.DataFrame([lost, *done]), NO_CLASSES, updates, True, unmapped)
    assert (found["verdict"], found["inputs_certified"]) == (INPUTS, 2)
    assert UNFINISHED in found["limits"]
    (row,) = (one for one in found["not_applicable"] if one["attack"] == "all")
    assert row == {"round": 1, "client": "7", "attack": "all", "kind": UNMAPPED, "reason": "no <model> fits"}
    assert "no &lt;model&gt; fits" in verdict_text.section(found)
