"""The label-recovery methods, and the way to call them.

A method is a function ``estimate(evidence) -> Estimate`` in a module of ``methods/`` (published) or
``simulated/`` (learnt from shadow clients), and one entry in METHODS that declares what it needs. ``recover``
refuses an update that a method cannot read, finds an unknown N, and takes known members out of the update
first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gradleak.labels import members, unknown_samples
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


@dataclass(frozen=True)
class Method:
    """One way to recover labels, and what it needs.

    counts: gives the number of images of each class, and not only which classes are present.
    duplicates: a class may have several images.
    multi_step: accepts updates of several local steps, if only by treating them as a gradient at the starting
    model.
    bias: needs the gradient of the last layer's bias.
    unknown_n: its class shares do not depend on N, so N can be estimated from them.
    public: needs public images. optional_public: uses them where there are any.
    dummy: needs the features of noise images.
    settings: needs the published settings of the client.
    shadow_clients: learns from shadow clients, which updates of several local steps need simulated
    beforehand.
    intervals: gives conformal intervals.
    multi_label: reads models of one sigmoid a class, too, whose images have any number of labels. All methods
    read a softmax, and one sigmoid unit as the softmax of two classes.
    any_loss: learns from shadow clients that minimise the client's loss; the others read the cross-entropy's.
    reads_gradient: its formula contains the gradient p − y of hard labels; False for baselines.
    published: has been published; False: introduced here.
    """

    estimate: Callable[[Evidence], Estimate]
    counts: bool = True
    duplicates: bool = True
    multi_step: bool = True
    bias: bool = True
    unknown_n: bool = False
    public: bool = False
    optional_public: bool = False
    dummy: bool = False
    settings: bool = False
    shadow_clients: bool = False
    intervals: bool = False
    multi_label: bool = False
    any_loss: bool = False
    reads_gradient: bool = True
    published: bool = True

    @property
    def module(self) -> str:
        """The file of ``estimate``, relative to the package: ``labels/methods/llg.py``."""
        return self.estimate.__module__.removeprefix("gradleak.").replace(".", "/") + ".py"


def _candidates(evidence: Evidence) -> dict[str, Callable[[Evidence], Estimate]]:
    """The methods that ``auto`` compares: all that give counts, can read the update and learn nothing
    themselves.
    """
    return {
        name: method.estimate
        for name, method in METHODS.items()
        if method.counts and name not in ("auto", "posterior", "linear") and not refusal(name, evidence)
    }


METHODS = {
    "idlg": Method(idlg.estimate, counts=False, bias=False),
    "gradinversion": Method(gradinversion.estimate, duplicates=False, multi_step=False, bias=False),
    "llg": Method(llg.estimate, bias=False),
    "llg_star": Method(llg.estimate_star, bias=False, dummy=True),
    "llg_plus": Method(llg.estimate_plus, bias=False, public=True),
    "ebi": Method(ebi.estimate),
    "llbg": Method(llbg.estimate, optional_public=True),
    "zlg": Method(zlg.estimate, multi_step=False, bias=False, dummy=True),
    "dimitrov": Method(zlg.estimate_dimitrov, bias=False, public=True, settings=True),
    "rlg": Method(rlg.estimate, counts=False, duplicates=False, multi_step=False, bias=False),
    "ilrg": Method(ilrg.estimate, unknown_n=True),
    "rlu": Method(rlu.estimate, public=True, settings=True, unknown_n=True),
    "plra": Method(plra.estimate, multi_step=False, public=True, unknown_n=True),
    "wang": Method(wang.estimate, bias=False, public=True, unknown_n=True),
    "soft_label": Method(wang.estimate_soft, public=True, settings=True, unknown_n=True),
    "aux_mean": Method(aux_mean.estimate, public=True, unknown_n=True, multi_label=True),
    "uniform": Method(uniform.estimate, bias=False, multi_label=True, reads_gradient=False),
    "aux_prior": Method(aux_prior.estimate, bias=False, public=True, reads_gradient=False),
    "rank1": Method(rank1.estimate, unknown_n=True, multi_label=True, published=False),
    "rank1_weighted": Method(rank1.estimate_weighted, unknown_n=True, published=False),
    "linear": Method(
        linear.estimate, public=True, settings=True, shadow_clients=True, any_loss=True, published=False
    ),
    "fixed_point": Method(
        fixed_point.estimate, public=True, settings=True, shadow_clients=True, published=False
    ),
    "posterior": Method(
        posterior.estimate,
        public=True,
        settings=True,
        shadow_clients=True,
        intervals=True,
        any_loss=True,
        published=False,
    ),
    "auto": Method(
        auto.choosing_among(_candidates),
        settings=True,
        optional_public=True,
        intervals=True,
        any_loss=True,
        published=False,
    ),
}
WITH_INTERVALS = tuple(name for name, method in METHODS.items() if method.intervals)


def modules(name: str) -> tuple[str, ...]:
    """The files of a method's own code, relative to the package: where an edit changes what the method
    computes.

    ``auto`` chooses among the others, so its code is that of all methods. What these files import counts as
    well.
    """
    chosen = METHODS.values() if name == "auto" else (METHODS[name],)
    return tuple(sorted({method.module for method in chosen}))


ADAM = ("adam", 1)


def refusal(name: str, evidence: Evidence) -> str:
    """Why the method cannot read this update, or ''."""
    method = METHODS[name]
    if evidence.multi_label:
        reason = _multi_label_refusal(name, method, evidence)
        if reason:
            return reason
    if evidence.is_smoothed and method.reads_gradient:
        return f"{name} reads the gradient of hard labels, and the client smoothed its labels"
    if (
        not evidence.loss.is_plain
        and method.reads_gradient
        and not method.any_loss
        and not evidence.multi_label
    ):
        return f"{name} reads the cross-entropy of hard labels, and the client's loss is {evidence.loss.text}"
    if not evidence.loss.is_plain and evidence.client and (evidence.client.optimizer, evidence.steps) == ADAM:
        return f"one step of Adam has no scale, and {name} needs that of the loss {evidence.loss.text}"
    if evidence.loss.weights and evidence.members is not None:
        return f"{name} cannot subtract members from a mean with class weights, whose sum is not known"
    if method.bias and (evidence.bias is None or evidence.grad_bias is None):
        return f"the last layer has no bias, and {name} reads its gradient"
    if method.public and (evidence.public is None or not len(evidence.public.features)):
        return f"{name} needs public data"
    if method.dummy and (evidence.public is None or evidence.public.dummy is None):
        return f"{name} needs noise images through the model"
    if method.settings and evidence.client is None:
        return (
            f"{name} needs the published settings of the client: state `learning_rate` in the metadata, and "
            "`local_steps`, `optimizer` (sgd, momentum or adam) and `momentum` unless it is one step of SGD"
        )
    if not method.multi_step and not evidence.knows_steps:
        return (
            f"{name} reads the gradient of one step, and the number of local steps is not known: state "
            "`local_steps` in the metadata, or `local_epochs`, `samples` and `batch_size`"
        )
    if not method.multi_step and evidence.steps > 1:
        return f"{name} reads the gradient of one step; this update is of {evidence.steps} local steps"
    if evidence.samples is None and not method.unknown_n:
        return f"{name} needs the number of images, which is unknown"
    if method.shadow_clients and evidence.steps > 1 and evidence.public.shadow_clients is None:
        return f"{name} needs shadow clients of {evidence.steps} local steps, which were not simulated"
    return ""


def _multi_label_refusal(name: str, method: Method, evidence: Evidence) -> str:
    """The same, of a model of one sigmoid a class."""
    if not method.multi_label:
        return f"{name} reads the gradient of a softmax, and the model has one sigmoid a class"
    if evidence.samples is None:
        return f"{name} needs the number of images, which the counts of labels do not sum to"
    if evidence.members is not None:
        return f"{name} cannot use members, since with one sigmoid a class no attack certifies any"
    return ""


def recover(name: str, evidence: Evidence) -> Estimate:
    """The estimate of method ``name``. Raises NotApplicable with the reason where it cannot give one.

    An unknown N is estimated from the method's class shares. Known members keep their classes; the method
    estimates the other images.
    """
    reason = refusal(name, evidence)
    if reason:
        raise NotApplicable(reason)
    estimate = METHODS[name].estimate
    if evidence.samples is None:
        return unknown_samples.estimate(estimate(replace(evidence, samples=1)).raw)
    if evidence.members is None:
        return estimate(evidence)
    most = evidence.members.counts.sum(axis=1).max()
    if most > evidence.samples:
        raise NotApplicable(f"{most} images are said to be members of an update of {evidence.samples}")
    return members.fused(estimate, evidence)
