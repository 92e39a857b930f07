"""The figure of a mapping."""

import numpy as np
import pytest

from gradleak.evaluation.figures import mapping, style


@pytest.mark.parametrize("dense", [True, False])
def test_the_mapping_figure_draws_with_and_without_dense_layers(tmp_path, dense):
    found = {"tensors": [{"variable": "a/kernel", "norm": 1.0}, {"variable": "a/bias", "norm": 0.0}]}
    singular = {"a/kernel": np.array([[3.0, 1.0, 0.0], [2.0, 1.0, 1e-9]])} if dense else {}
    style.save(
        mapping.mapping(found, singular, {"a/kernel": np.array([1e-6, 1e-6])}), tmp_path / "mapping.png"
    )
    assert (tmp_path / "mapping.png").stat().st_size > 1000
