"""What the log says about layers without algebra."""

import logging

import pytest
from engine_models import (
    BLACK_BOX,
    PART_BY_PART,
    TRACED,
    built,
)

from gradleak.gradients.matcher import build_matcher


@pytest.mark.parametrize("name", PART_BY_PART)
def test_log_names_a_layer_without_algebra(name, caplog):
    with caplog.at_level(logging.INFO, "gradleak"):
        assert build_matcher(built(name)).steps is not None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("name", BLACK_BOX)
def test_log_says_why_a_model_falls_back_as_a_whole(name, caplog):
    with caplog.at_level(logging.INFO, "gradleak"):
        assert build_matcher(built(name)).steps is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("name", TRACED)
def test_log_is_silent_about_what_is_covered(name, caplog):
    with caplog.at_level(logging.INFO, "gradleak"):
        build_matcher(built(name))
    assert not caplog.records
