"""The mapping of an update: norms and spectra."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from gradleak.evaluation.figures.style import COLOURS


def mapping(report: dict, singular: dict[str, np.ndarray], floor: dict[str, np.ndarray]) -> Figure:
    """Norm of each tensor's pseudo-gradient; singular values of the dense layers' updates.

    report: a mapping.json. singular: name → float [D, K], of D draws; floor: name → float [D], the rounding
    noise.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.1))
    tensors = report["tensors"]
    left.barh([t["variable"] for t in tensors], [t["norm"] for t in tensors], color=COLOURS[0])
    norms = [t["norm"] for t in tensors if t["norm"] > 0]
    decades = bool(norms) and max(norms) > 30 * min(norms)  # below that a logarithmic axis has hardly a label
    left.set(xscale="log" if decades else "linear", xlabel="norm of the pseudo-gradient, mean over draws")
    left.invert_yaxis()
    left.tick_params(labelsize=7)
    if decades:
        left.xaxis.set_minor_formatter(NullFormatter())  # decades are enough, and the rest would overlap
    for index, (name, values) in enumerate(singular.items()):
        colour = COLOURS[index % len(COLOURS)]
        positive = np.maximum(values, floor[name][:, None] * 1e-2)
        right.semilogy(np.arange(1, values.shape[1] + 1), positive.T, color=colour, lw=0.7, alpha=0.7)
        right.plot(
            [],
            [],
            color=colour,
            label=f"{name} (rank {np.median((values > floor[name][:, None]).sum(axis=1)):.0f})",
        )
        right.axhline(np.median(floor[name]), color=colour, ls=":", lw=1)
    right.set(xlabel="index", ylabel="singular value of the delta")
    if singular:
        right.legend(fontsize=7, title="dotted: noise floor", title_fontsize=7)
    figure.tight_layout()
    return figure
