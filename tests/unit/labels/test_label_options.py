"""The options of a label-recovery cell."""

from gradleak.labels.options import LabelOptions
from gradleak.labels.registry import METHODS


def test_every_method_can_be_configured():
    for method in METHODS:
        assert LabelOptions(method=method).method == method
