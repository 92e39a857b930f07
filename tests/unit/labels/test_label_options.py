"""The options of a label-recovery cell."""

from gradleak.labels.options import LabelOptions
from gradleak.labels.registry import METHODS


def test_every_method_can_be_configured():
    for method in METHODS:
        assert LabelOptions(method=method).method == method


def test_without_public_images_only_methods_that_use_noise_need_a_simulation():
    needed = {name for name in METHODS if LabelOptions(method=name).needs_shadow_clients(has_public=False)}
    assert needed == {"llg_star", "zlg"}
    for name in ("llg_star", "llg_plus", "posterior", "auto"):
        assert LabelOptions(method=name).needs_shadow_clients(has_public=True)
    assert not LabelOptions(method="rank1").needs_shadow_clients(has_public=True)
