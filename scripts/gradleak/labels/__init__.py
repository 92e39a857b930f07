"""Label recovery: how many images of each class were in the batch.

A method is one module with ``estimate(evidence, options) -> Estimate`` and one entry in METHODS.
"""

from typing import Literal

from pydantic import Field

from gradleak.labels import aux_mean, idlg, rank1, uniform
from gradleak.strict import Strict

METHODS = {
    "idlg": idlg.estimate,
    "rank1": rank1.estimate,
    "aux_mean": aux_mean.estimate,
    "uniform": uniform.estimate,
}


class Options(Strict):
    """A label-recovery cell."""

    attack: Literal["labels"] = "labels"
    method: Literal[*METHODS] = Field("rank1", description="Label-recovery method.")
