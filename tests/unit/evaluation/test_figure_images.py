"""Pictures of reconstructions: order, and cells that accepted nothing."""

from functools import partial

from studies import whole

from gradleak.evaluation.figures import images
from gradleak.evaluation.tables import shown_order
from gradleak.files import read_npz


def test_a_cell_that_accepted_nothing_says_so_in_the_picture(results):
    whole(results)
    cells = results.frames()["cells"]
    pairs = {
        b["cell"]: partial(read_npz, b["pairs"])
        for b in results.blocks
        if results.cells[b["cell"]]["attack"] != "labels"
    }
    first, *others = pairs
    nothing = {key: array[:, :0] if array.ndim > 1 else 0 * array for key, array in pairs[first]().items()}
    figure = images.reconstructions(cells, {first: lambda: nothing} | {c: pairs[c] for c in others})
    said = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert said.count("no image was certified") == 1
    assert not any(
        "accepted" in t.get_text() for a in images.reconstructions(cells, pairs).axes for t in a.texts
    )


def test_span_inversion_comes_first_and_controls_last(results):
    whole(results)
    results.cell("s", "span").block("s")
    cells = results.frames()["cells"].set_index("cell")
    ordered = shown_order(cells[cells["attack"] != "labels"])
    assert ordered[0] == "s"
    assert ordered[1] == "c"  # the smallest batch
    assert ordered.index("d") > max(ordered.index(cell) for cell in ("a", "b", "e"))
