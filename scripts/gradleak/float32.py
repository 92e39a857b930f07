"""The rounding of float32 numbers, the noise floor of a shared update."""

FLOAT32_ROUNDING = 2.0**-25  # root mean square rounding error, relative to the number's size
