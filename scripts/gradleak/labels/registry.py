"""Label recovery: how many images of each class were behind an update.

A method is one module with ``estimate(evidence) -> Estimate`` and one entry in METHODS that declares what it can do.
``recover`` is the way in: it refuses what a method cannot do, and settles an unknown N.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from gradleak.labels import members, unknown_scale
from gradleak.labels.evidence import Estimate, Evidence, NotApplicable
from gradleak.labels.methods import (
    aux_mean,
    aux_prior,
    ebi,
    gradinversion,
    idlg,
    ilrg,
    llbg,
    llg,
    plra,
    rank1,
    rlg,
    rlu,
    uniform,
    wang,
    zlg,
)
from gradleak.labels.simulated import auto, fixed_point, linear, posterior
from gradleak.strict import StrictModel


@dataclass(frozen=True)
class Method:
    """One way to recover labels, and what it can do.

    counts: tells how many, not just which. duplicates: a class may repeat. multi_step: reads an update of several
    local steps (if only by the starting model). bias: needs the gradient of a bias. unknown_n: its class shares do not
    depend on N, so N can be found from them. public: needs public data, or (``dummy``) noise images through the model.
    settings: needs the published settings. ours: no published method.
    """

    estimate: Callable[[Evidence], Estimate]
    counts: bool = True
    duplicates: bool = True
    multi_step: bool = True
    bias: bool = True
    unknown_n: bool = False
    public: bool = False
    dummy: bool = False
    settings: bool = False
    ours: bool = False


def _choose(evidence: Evidence) -> Estimate:
    """``auto``: with public data the best of the registry by simulation, without it what needs none."""
    if evidence.public is None:
        name = "rank1_weighted"
        return replace(recover(name, evidence), chosen=(name,) * evidence.draws)
    candidates = {
        name: method.estimate
        for name, method in METHODS.items()
        if method.counts and name not in ("auto", "posterior", "linear") and not refusal(name, evidence)
    }
    return auto.estimate(evidence, candidates)


METHODS = {
    "idlg": Method(idlg.estimate, counts=False, bias=False),
    "gradinversion": Method(gradinversion.estimate, duplicates=False, multi_step=False, bias=False),
    "llg": Method(llg.estimate, bias=False),
    "llg_star": Method(llg.estimate_star, bias=False, dummy=True),
    "llg_plus": Method(llg.estimate_plus, bias=False, public=True),
    "ebi": Method(ebi.estimate),
    "llbg": Method(llbg.estimate),
    "zlg": Method(zlg.estimate, multi_step=False, bias=False, dummy=True),
    "dimitrov": Method(zlg.estimate_dimitrov, bias=False, public=True, settings=True),
    "rlg": Method(rlg.estimate, counts=False, duplicates=False, multi_step=False, bias=False),
    "ilrg": Method(ilrg.estimate, unknown_n=True),
    "rlu": Method(rlu.estimate, public=True, settings=True, unknown_n=True),
    "plra": Method(plra.estimate, multi_step=False, public=True, unknown_n=True),
    "wang": Method(wang.estimate, bias=False, public=True, unknown_n=True),
    "soft_label": Method(wang.estimate_soft, public=True, settings=True, unknown_n=True),
    "aux_mean": Method(aux_mean.estimate, public=True, unknown_n=True),
    "uniform": Method(uniform.estimate, bias=False),
    "aux_prior": Method(aux_prior.estimate, bias=False, public=True),
    "rank1": Method(rank1.estimate, unknown_n=True, ours=True),
    "rank1_weighted": Method(rank1.estimate_weighted, unknown_n=True, ours=True),
    "linear": Method(linear.estimate, public=True, settings=True, ours=True),
    "fixed_point": Method(fixed_point.estimate, public=True, settings=True, ours=True),
    "posterior": Method(posterior.estimate, public=True, settings=True, ours=True),
    "auto": Method(_choose, settings=True, ours=True),
}


WITH_INTERVALS = ("posterior", "auto")


def refusal(name: str, evidence: Evidence) -> str:
    """Why the method cannot read this update, or ''."""
    method = METHODS[name]
    if method.bias and (evidence.bias is None or evidence.grad_bias is None):
        return f"the last layer has no bias, and {name} reads its gradient"
    if method.public and (evidence.public is None or not len(evidence.public.features)):
        return f"{name} needs public data"
    if method.dummy and (evidence.public is None or evidence.public.dummy is None):
        return f"{name} needs noise images through the model"
    if method.settings and evidence.client is None:
        return f"{name} needs the published settings of the client"
    if not method.multi_step and evidence.steps > 1:
        return f"{name} reads the gradient of one step; this update is of {evidence.steps} local steps"
    if evidence.samples is None and not method.unknown_n:
        return f"{name} needs the number of images, which is unknown"
    if method.ours and method.public and evidence.steps > 1 and evidence.public.rounds is None:
        return f"{name} needs virtual clients of {evidence.steps} local steps, which were not simulated"
    return ""


def recover(name: str, evidence: Evidence) -> Estimate:
    """The estimate of method ``name``. Raises NotApplicable with the reason where it cannot give one.

    An unknown N is found from the method's class shares; known members count as what they are.
    """
    reason = refusal(name, evidence)
    if reason:
        raise NotApplicable(reason)
    if evidence.samples is None:
        return unknown_scale.estimate(METHODS[name].estimate(replace(evidence, samples=1)).raw)
    estimate = METHODS[name].estimate
    if evidence.members is None:
        return estimate(evidence)
    most = evidence.members.counts.sum(axis=1).max()
    if most > evidence.samples:
        raise NotApplicable(f"{most} images are said to be members of an update of {evidence.samples}")
    return members.fused(estimate, evidence)


class Options(StrictModel):
    """A label-recovery cell."""

    attack: Literal["labels"] = "labels"
    method: Literal[*METHODS] = Field("rank1", description="Label-recovery method.")
    members: dict[str, Any] | None = Field(
        None,
        description="Options of a span cell on the same target ({}: its defaults), which then runs first. The images "
        "that it accepts count as what they are, and the method is asked for the rest.",
    )

    @property
    def needs_shadow_clients(self) -> bool:
        """Whether the method wants public data, noise images or virtual clients at the round's model."""
        method = METHODS[self.method]
        return method.public or method.dummy or self.method in ("auto", "llbg")
