"""Update to model: which tensor is which variable, the sign, the scale, the optimiser and the rank of an update."""
