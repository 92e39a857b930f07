"""Label figures: panels for each setting of the update, colours that stay a method's own."""

from results import label_scores
from studies import drawn

from gradleak.evaluation.figures import labels


def test_settings_of_the_update_are_panels_and_columns(results):
    for name, alpha in {"a": None, "b": 0.5}.items():
        results.cell(name, "labels", method="rank1", **{"target.alpha": alpha, "target.model_seed": alpha})
        results.block(name, scores=label_scores)
    titles = [axis.get_title() for axis in drawn("label_skill", results).axes]
    assert sorted(title for title in titles if title) == ["alpha 0.5", "alpha default"]
    (axis,) = drawn("label_table", results).axes
    assert sorted(tick.get_text() for tick in axis.get_xticklabels()) == [
        "N=4 alpha 0.5",
        "N=4 alpha default",
    ]


def test_a_method_has_the_same_place_whatever_else_was_scored(results):
    for method in ("uniform", "rank1", "idlg"):
        results.cell(method, "labels", method=method).block(method, scores=label_scores)
    assert labels._places(results.frames()["cells"]) == {"idlg": 0, "rank1": 1, "uniform": 2}
