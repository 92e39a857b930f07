"""Notes of trials in words, in trials.csv and in the report."""

import pandas as pd
import pytest
from results import image_scores

from gradleak.attacks.span import note_kinds
from gradleak.evaluation import trial_notes
from gradleak.files import read_json, write_json

NUMBERS = {"weight": 22.2, "samples": 32, "factor": 1.44, "least": 30, "most": 40.0, "images": 7, "of": 8}
KINDS = {value for name, value in vars(note_kinds).items() if name.isupper()}


def test_every_kind_of_note_has_words():
    assert set(trial_notes.SENTENCES) == KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_words_name_numbers_and_what_is_not_known(kind):
    words = trial_notes.text([{"kind": kind} | NUMBERS])
    assert any(number in words for number in ("22.2", "32", "30", "7 "))
    assert "N" in words


def test_both_possibilities_are_said():
    """Half the loss of 8 images, with the rate stated as the scale: the scale is half the rate."""
    note = {"kind": note_kinds.SCALE_OR_SAMPLES, "weight": 16.0, "samples": 8, "factor": 0.5}
    words = trial_notes.text([note])
    assert "Either 16 images are behind the update, or the scale is 0.5 times the stated one" in words


def test_notes_reach_the_table_and_the_report(results):
    results.cell("s", attack="span").block("s", (0, 1), image_scores)
    path = results.folder / "s" / "0000-0001.json"
    record = read_json(path)
    record["trials"][1]["notes"] = [{"kind": note_kinds.LOSS_UNEXPECTED, "images": 7, "of": 8}]
    write_json(path, record)
    trials = results.frames()["trials"]
    assert trials["notes"].tolist() == ["", trial_notes.text(record["trials"][1]["notes"])]
    html = trial_notes.section(trials)
    assert "<b>1</b> × span <code>s</code>: Of 7 of 8 certified images" in html
    assert trial_notes.section(trials[:1]) == ""
    assert trial_notes.section(pd.DataFrame({"notes": [None]})) == ""
