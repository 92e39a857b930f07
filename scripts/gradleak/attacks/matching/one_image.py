"""``init: auto`` of DLG: an update of one image and one local step is matched once more, from two starts.

The first start is the result of the usual search. The second is the public image fitted to the input of the
first dense layer. A search from noise has many minima on networks of ReLUs, and the fit has few; but the
input of a narrow layer is the same for many images, which only the gradients of the other layers tell apart.
Both starts end with L-BFGS on the squared distance without a penalty, since one image can match its gradient
exactly. That distance chooses, without any truth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tensorflow as tf

from gradleak.attacks.matching import search
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.dummy_labels import soft_labels
from gradleak.attacks.matching.objective import matching_loss
from gradleak.attacks.matching.start_images import fitted_images
from gradleak.attacks.problem import Problem
from gradleak.errors import UserError
from gradleak.optim.minimise import LoopResult
from gradleak.optim.resources import Resources

# The single Adam step before L-BFGS hardly moves an image.
_AGAIN = {"loss": "l2_global", "steps": 1, "learning_rate": 1e-5, "polish_steps": 500, "plateau": 0}


def matched_again(
    result: LoopResult, problem: Problem, options: DlgOptions, resources: Resources
) -> LoopResult:
    """``result`` [T] with the images that match best, and their objective: ‖g − G‖² / ‖G‖².

    Nothing changes for updates of several images or local steps, for noisy ones, without public images, and
    for models without a dense layer that has a bias.
    """
    is_one = problem.samples == 1 == problem.dummies(options) and problem.is_one_step
    is_noisy = problem.noise is not None and bool(np.any(problem.noise))
    if not is_one or is_noisy or not len(problem.public) or problem.members:
        return result
    try:
        fitted = fitted_images(problem, options.model_copy(update={"starts": 1}), resources.limits)
    except UserError:  # no such layer
        return result
    pairs, again = problem.repeat(2), options.model_copy(update=_AGAIN)
    match = matching_loss(pairs, again)

    def distance(variables: dict, data: dict) -> tf.Tensor:
        return match(variables["images"], soft_labels(variables, data, problem.loss), data)

    start = {name: np.repeat(value, 2, axis=0) for name, value in result.best.items()}
    start["images"][1::2] = fitted
    box = {"images": (0.0, 1.0)} if options.box else None
    found = search.run(
        search.Search(distance, start, box=box), pairs, again, Resources(limits=resources.limits)
    )
    best = search.best_of_starts(found, 2)
    return replace(result, best=best.best, objective=best.objective, status=best.status)
