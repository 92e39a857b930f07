"""The gradient-matching engine: many trials in one pass, no gradient materialised without need.

A matching loss compares, per trial t and per trainable tensor l, the gradient ``g_tl`` of dummy
images with the gradient ``G_tl`` that leaked. Every loss in use is a function of three numbers,
``<g_tl, G_tl>``, ``||g_tl||^2`` and ``||G_tl||^2``, and those can be had from a layer's inputs and
back-propagated signals alone. See ``matcher`` for the algebra's entry point, ``layers`` for the
algebra itself, ``objectives`` for the losses and ``trace`` for how a Keras model is read.
"""

from gradleak.gradients.matcher import Matcher, build_matcher
from gradleak.gradients.objectives import LOSSES, Products, objective

__all__ = ["LOSSES", "Matcher", "Products", "build_matcher", "objective"]
