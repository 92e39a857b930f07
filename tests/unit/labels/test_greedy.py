"""The greedy extraction of LLG."""

import numpy as np

from gradleak.labels.methods.greedy import extract


def test_the_greedy_extraction_gives_out_each_label_by_its_impact():
    signal = np.array([[-0.3, -0.1, 0.05, 0.2]])
    np.testing.assert_array_equal(extract(signal, -0.1, 4).counts, [[3, 1, 0, 0]])
    np.testing.assert_array_equal(extract(signal, -0.1, 1).counts, [[1, 0, 0, 0]])
    # The offset of the third class makes it the lowest once the negative ones are served.
    offset = np.array([0, 0, 0.45, 0])
    np.testing.assert_array_equal(extract(signal, -0.1, 4, offset).counts, [[1, 1, 2, 0]])
