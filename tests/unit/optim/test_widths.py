"""How many trials go through one pass."""

import pytest

from gradleak.optim import widths


@pytest.mark.parametrize(
    ("trials", "each", "width"),
    [(32, 1, 32), (32, 5e6, 16), (32, 2.5e7, 4), (7, 4e7, 2), (1, 1e9, 1), (5, 1e9, 1), (64, 4e6, 32)],
)
def test_passes_are_as_wide_as_the_caches_and_leave_no_rest(trials, each, width):
    assert widths.best_width(trials, lambda width: each * width) == width


@pytest.mark.parametrize("guess", [1.0, 0.05, 20.0])
@pytest.mark.parametrize(("trials", "each"), [(32, 5e6), (32, 2.5e7), (8, 1e8), (8, 1e6), (7, 4e7)])
def test_a_good_guess_of_the_width_saves_a_trace_and_a_bad_one_changes_nothing(trials, each, guess):
    traced = set()
    width = widths.best_width(trials, lambda width: traced.add(width) or each * width, each=guess * each)
    assert width == widths.best_width(trials, lambda width: each * width)
    assert guess != 1 or traced == {width}, "what was traced is what is run"
