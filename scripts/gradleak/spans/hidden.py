"""Members that no search of the whole span shows: the known ones are fitted together, and what they leave is searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gradleak.spans import acceptance, certificates
from gradleak.spans.joint import Joint, Known
from gradleak.spans.subspace import Subspace

if TYPE_CHECKING:
    from gradleak.spans.taking_apart import Found, LookedAt, Search

_ROUNDS = 4  # of a search of the rest
_PATIENCE = 2  # rounds after which nobody new came to light
_ROUGH = 0.01  # least error of a new image's pixels: it was found in a rest that has others' errors in it


def bring_to_light(
    search: Search, found: Found, whole: Subspace, rng: np.random.Generator, progress: Callable[..., None] | None = None
) -> None:
    """Adds to ``found`` the members that are hidden behind its own in ``whole``, and makes its own sharper.

    Where the fit makes nothing of an image, what is known of it stays as it was, and what is new is left out.
    """
    looked_at, options = found.known, search.options
    joint = Joint(search.fine, whole, found.samples)
    place = np.array(looked_at.members)  # of every fitted image among all that were looked at; −1: it is new
    fitted = joint.known(looked_at.images[place], looked_at.labels[place], looked_at.judged.residual[place])
    if not joint.possible(fitted):
        return
    idle = 0
    for number in range(options.joint_rounds):
        fitted = joint.refined(fitted, options.joint_steps, progress)
        if not joint.explained(joint.misfit(fitted)):  # else nothing can be said of anybody
            needed = joint.missed(fitted) > acceptance.MISSED
            fitted, place = fitted.chosen(needed), place[needed]
            if not joint.possible(fitted):
                return
        rest, noise = joint.rest(fitted), joint.noise(fitted)
        found.unexplained.append(float(np.linalg.norm(rest) ** 2 / np.linalg.norm(whole.matrix) ** 2))
        if progress:
            progress("%d of %d fit together, %d of them new", len(fitted), found.samples, int((place < 0).sum()))
        if len(fitted) == found.samples or idle == _PATIENCE or number == options.joint_rounds - 1:
            break
        others = search.searched(rest, noise, _ROUNDS, rng, progress)
        fresh, places = _unlike(others.known, fitted, looked_at, place, joint)
        room = found.samples - len(fitted)
        idle = 0 if len(fresh) else idle + 1
        fitted, place = fitted.with_(fresh.chosen(slice(room))), np.concatenate([place, places[:room]])
    _settle(search, found, joint, fitted, place, rng)


def _unlike(
    others: LookedAt, fitted: Known, looked_at: LookedAt, place: np.ndarray, joint: Joint
) -> tuple[Known, np.ndarray]:
    """The members of ``others`` whose feature is unlike those of ``fitted``; and where they show a member that the fit could make
    nothing of, its place in ``looked_at``, else −1."""
    members = np.array(others.members, int)
    if len(members):
        members = members[acceptance.unlike(others.judged.feature[members], joint.features(fitted))]
    fresh = joint.known(others.images[members], others.labels[members], others.judged.residual[members])
    fresh.error = np.maximum(fresh.error, _ROUGH)
    left_out = np.setdiff1d(looked_at.members, place)
    known_as = np.full(len(members), -1)
    for k, member in enumerate(members):
        alike = left_out[~acceptance.unlike(looked_at.judged.feature[left_out], others.judged.feature[[member]])]
        if len(alike):
            known_as[k] = alike[0]
            left_out = left_out[left_out != alike[0]]
    return fresh, known_as


def _settle(search: Search, found: Found, joint: Joint, fitted: Known, place: np.ndarray, rng: np.random.Generator) -> None:
    """Into ``found``: each fitted image with its certificates in what all others leave of the update."""
    looked_at, control = found.known, None
    for k, (member, span) in enumerate(zip(place, joint.each_alone(fitted), strict=True)):
        judged = certificates.certify(search.fine, span, fitted.images[[k]])
        judged = replace(judged, label=fitted.labels[[k]], answer=fitted.labels[[k]])
        if member < 0:
            control = control or search.least_of_control(span, rng)
            if not acceptance.hidden_members(judged, found.samples, control)[0]:
                continue
        index = looked_at.add(fitted.images[[k]], judged)
        if member < 0:
            looked_at.members.append(index)
        else:
            looked_at.stand_for(int(member), index)
