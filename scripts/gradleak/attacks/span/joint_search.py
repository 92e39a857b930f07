"""Members that no search of the whole span shows: the known ones are fitted together, and what they leave is searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gradleak.attacks.span import certificates, membership
from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.checkpoint import Fit, Kept
from gradleak.attacks.span.joint_fit import Joint, Known
from gradleak.attacks.span.subspace import Subspace, of_matrix

if TYPE_CHECKING:
    from gradleak.attacks.span.deflation import Found, LookedAt, Search

_ROUNDS = 4  # of a search of the rest
_PATIENCE = 5  # rounds in which no more were fitted together than ever before, or than since the rest has fewer directions
_TIGHTER = 2  # directions that the rest has fewer, where it shows nobody new
_LONGER = 3  # times a round's steps, that the fit is given then
_ROUGH = 0.01  # least error of a new image's pixels: it was found in a rest that has others' errors in it


def bring_to_light(
    search: Search,
    found: Found,
    whole: Subspace,
    rng: np.random.Generator,
    progress: Callable[..., None] | None = None,
    nobody: bool = False,
    kept: Kept | None = None,
    fit: Fit | None = None,
) -> None:
    """Adds to ``found`` the members that are hidden behind its own in ``whole``, and makes its own sharper.

    Where the fit makes nothing of an image, what is known of it stays as it was, and what is new is left out.
    nobody: the control. What the known ones leave after a first fit is replaced by a span like it that holds nobody, and
    ``found`` has then those members alone that come to light in it: false ones.
    kept: where the fit is saved before every round. fit: where it stood, if it is to go on.
    """
    looked_at, options = found.known, search.options
    joint = Joint(search.fine, whole, found.samples)
    if fit is None:
        place = np.array(looked_at.members)
        known = joint.known(
            looked_at.images[place], looked_at.labels[place], looked_at.judged.residual[place]
        )
        fit = Fit(known, place, most=len(place))
    if not joint.possible(fit.known):
        if nobody:
            looked_at.members = []
        return
    for number in range(fit.number, options.joint_rounds):
        fit.number = number
        if kept:
            kept.save(found, fit, rng)
        last = fit.idle == _PATIENCE or number == options.joint_rounds - 1
        joint.faint = 0 if last else fit.faint
        fit.known = _refined(joint, fit.known, options.joint_steps, progress)
        if nobody and not number:
            joint = _with_another_rest(search, joint, fit.known, rng)
        if fit.idle and not last:
            _tighten(joint, fit, options.joint_steps, progress)
        if not joint.explained(joint.misfit(fit.known), fit.known) and not last:
            needed = joint.needed(fit.known)
            if not needed.all():
                fit.known, fit.place = (
                    joint.refined(fit.known.chosen(needed), options.joint_steps, progress),
                    fit.place[needed],
                )
        fit.keep_if_best()
        rest, noise = joint.rest(fit.known), joint.noise(fit.known)
        found.unexplained.append(float(np.linalg.norm(rest) ** 2 / np.linalg.norm(whole.matrix) ** 2))
        if progress:
            progress(
                "%d of %d fit together, %d of them new",
                len(fit.known),
                found.samples,
                int((fit.place < 0).sum()),
            )
        if last or len(fit.known) == found.samples:
            break
        others = search.searched(rest, noise, _ROUNDS, rng, progress, samples=found.samples)
        fresh, places = _fresh(others.known, fit, looked_at, joint)
        room = found.samples - len(fit.known)
        fit.known, fit.place = (
            fit.known.with_(fresh.chosen(slice(room))),
            np.concatenate([fit.place, places[:room]]),
        )
        fit.idle = 0 if len(fit.known) > fit.most else fit.idle + 1
        fit.most = max(fit.most, len(fit.known))
    _settle(search, found, joint, fit, rng, nobody)


def _refined(joint: Joint, known: Known, steps: int, progress: Callable[..., None] | None = None) -> Known:
    """``known``, refined, and once more where labels then turn out to be others."""
    known = joint.refined(known, steps, progress)
    relabelled = joint.relabelled(known)
    changed = int((relabelled.labels != known.labels).sum())
    if progress and changed:
        progress("%d of %d fitted images are of another class", changed, len(known))
    return joint.refined(relabelled, steps, progress) if changed else known


def _tighten(joint: Joint, fit: Fit, steps: int, progress: Callable[..., None] | None) -> None:
    """Leaves the rest ever fewer directions, until the fit no longer explains the update.

    Of the members that are missing some are lost in the noise, or in others of much the same δ. Directions that are free for them
    nevertheless fill with errors of the fitted ones, behind which nobody comes to light.
    """
    while joint.explained(joint.misfit(fit.known), fit.known) and fit.faint + _TIGHTER <= joint.most_faint(
        fit.known
    ):
        fit.faint += _TIGHTER
        joint.faint, fit.most = fit.faint, 0  # who comes to light counts anew
        fit.known = joint.refined(fit.known, _LONGER * steps, progress)


def _with_another_rest(search: Search, joint: Joint, fitted: Known, rng: np.random.Generator) -> Joint:
    """The fit of an update in which ``fitted`` leave as many directions of the same strength, and nobody is behind them."""
    rest = joint.rest(fitted)
    null = search.without_members(of_matrix(rest @ joint.rows, joint.span.noise), rng).matrix @ joint.rows.T
    return Joint(joint.host, of_matrix(joint.matrix - rest + null, joint.span.noise), joint.samples)


def _fresh(others: LookedAt, fit: Fit, looked_at: LookedAt, joint: Joint) -> tuple[Known, np.ndarray]:
    """The members of ``pretraining`` that ``fit`` does not have; and where they show a member that was set free, its place in
    ``looked_at``, else −1.

    What looks like one that is fitted counts if it is known to the noise: what errors of the other one leave does not weigh N.
    """
    members = np.array(others.members, int)
    if len(members):
        sharp = np.isin(members, sorted(others.sharp))
        members = members[
            sharp | membership.unlike(others.judged.feature[members], joint.features(fit.known))
        ]
    fresh = joint.known(others.images[members], others.labels[members], others.judged.residual[members])
    fresh.error = np.maximum(fresh.error, _ROUGH)
    free = np.setdiff1d(looked_at.members, fit.place).tolist()
    known_as = np.full(len(members), -1)
    for k, member in enumerate(members):
        place = membership.likest(looked_at.judged.feature[free], others.judged.feature[member])
        if place is not None:
            known_as[k] = free.pop(place)
    return fresh, known_as


def _settle(
    search: Search, found: Found, joint: Joint, fit: Fit, rng: np.random.Generator, nobody: bool
) -> None:
    """Into ``found``: each fitted image that counts as a member, with its certificates in what all others leave of the update; the new ones alone for ``nobody``.

    Of the fit's last state and its largest the one that more images are certified of.
    """
    looked_at, states = found.known, [(fit.known, fit.place)]
    if len(fit.best) > len(fit.known):
        states.append((_refined(joint, fit.best, search.options.joint_steps), fit.best_place))
    judged = [_judged(search, joint, known, place, found.samples, rng) for known, place in states]
    chosen = max(range(len(states)), key=lambda state: sum(certified for _, certified in judged[state]))
    (fitted, place), verdicts = states[chosen], judged[chosen]
    if nobody:
        looked_at.members = []
    for k, (member, (certificate, certified), span) in enumerate(
        zip(place, verdicts, joint.each_alone(fitted), strict=True)
    ):
        if not certified or (nobody and member >= 0):
            continue
        index = looked_at.add(fitted.images[[k]], certificate)
        looked_at.fitted.add(index)
        search.expect_errors(looked_at, [index], span)
        if member < 0:
            looked_at.members.append(index)
        else:
            looked_at.stand_for(int(member), index)


def _judged(
    search: Search, joint: Joint, fitted: Known, place: np.ndarray, samples: int, rng: np.random.Generator
) -> list[tuple[Certificates, bool]]:
    """Of each image its certificates, and whether it counts as a member."""
    verdicts, control = [], None
    for k, (member, span) in enumerate(zip(place, joint.each_alone(fitted), strict=True)):
        found = certificates.certify(search.fine, span, fitted.images[[k]], fitted.labels[[k]])
        found = replace(found, answer=fitted.labels[[k]])
        control = control or search.control_minimum(span, rng)
        verdicts.append(
            (found, bool(membership.hidden_members(found, samples, control, near=member >= 0)[0]))
        )
    return verdicts
