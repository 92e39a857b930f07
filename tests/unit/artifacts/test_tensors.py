"""The natural order of tensor names."""

from gradleak.artifacts.tensors import natural_order


def test_natural_order_puts_arr_2_before_arr_10():
    keys = ["arr_10", "arr_2", "arr_1", "b", "a10b2", "a10b1", "2", "x²"]
    assert sorted(keys, key=natural_order) == ["2", "a10b1", "a10b2", "arr_1", "arr_2", "arr_10", "b", "x²"]
