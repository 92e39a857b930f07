"""The gradient-matching engine: many trials in one pass, no gradient materialised without need.

A matching loss compares, per trial t and per trainable tensor l, the gradient ``g_tl`` of dummy
images with the gradient ``G_tl`` that leaked. Every loss in use is a function of three numbers,
``<g_tl, G_tl>``, ``||g_tl||^2`` and ``||G_tl||^2``, and those follow from the layers' inputs and
back-propagated signals.

``trace`` reads a Keras model as steps, ``layers`` says what each does and what its parameters' gradients
are, ``windows`` holds the operations over image windows, ``products`` the algebra of inner products,
``matcher`` puts them together, ``objectives`` holds the losses and ``targets`` prepares what leaked.
"""

from gradleak.gradients.matcher import Matcher, build_matcher
from gradleak.gradients.objectives import LOSSES, Products, objective
from gradleak.gradients.targets import pack_targets, unpack_targets

__all__ = ["LOSSES", "Matcher", "Products", "build_matcher", "objective", "pack_targets", "unpack_targets"]
