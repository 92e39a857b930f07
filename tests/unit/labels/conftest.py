"""Fixtures of the label tests."""

import pytest

from gradleak.labels.simulated import auto, correction, posterior, shadow


@pytest.fixture
def few_shadow_clients(monkeypatch):
    monkeypatch.setattr(shadow, "CLIENTS", 60)
    monkeypatch.setattr(auto, "TRIED", 10)
    for trees in (posterior.TREES, correction.TREES):
        monkeypatch.setitem(trees, "max_iter", 40)
