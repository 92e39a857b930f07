"""A point of the grid becomes a cell, or an error at its place."""

import pytest

from gradleak.workflow.config import ConfigError

DLG = {"attack": "dlg", "target": "demo"}


LABELS = {"attack": "labels", "target": "demo", "method": "posterior"}


def test_the_entry_overrides_the_base_and_axes_override_both(plan_of):
    plan = plan_of(DLG | {"steps": 7, "axes": {"tv": [0.5]}}, base={"steps": 3, "tv": 0.1, "loss": "l2"})
    options = next(iter(plan.cells.values())).options
    assert (options.steps, options.tv, options.loss) == (7, 0.5, "l2")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"start": 3}, r"cells\[0\].members.start: unknown key; did you mean 'starts'"),
        ({"starts": 0}, r"cells\[0\].members.starts: .* greater than or equal to 2"),
        ({"attack": "dlg"}, r"members.attack: .* leave it out"),
        ({"target.batch_size": 3}, r"members.target.batch_size: .* leave it out"),
        ("span", r"cells\[0\].members: "),
    ],
)
def test_members_that_cannot_be_found_are_errors_with_their_place(plan_of, asked, message):
    with pytest.raises(ConfigError, match=message):
        plan_of(LABELS | {"members": asked})


def test_an_error_in_a_setting_of_the_target_names_its_own_place(plan_of):
    """The attack has an option of the same name."""
    with pytest.raises(ConfigError, match=r"cells\[0\].target.optimizer: 'sdg' is not one of"):
        plan_of(DLG | {"target.optimizer": "sdg", "optimizer": "adam"})
