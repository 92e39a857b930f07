"""The choice among methods by simulation."""

from dataclasses import replace

from last_layers import COUNTS, leaked

from gradleak.labels.registry import METHODS, recover


def test_auto_names_the_chosen_method_and_needs_no_public_data(rng, few_shadow_clients):
    evidence = leaked(COUNTS["all"], rng, noise=0.1)
    estimate = recover("auto", evidence)
    assert set(estimate.chosen) <= set(METHODS)
    assert 0.5 < estimate.expected_irec[0] <= 1
    assert recover("auto", replace(evidence, public=None)).chosen == ("rank1_weighted",)
