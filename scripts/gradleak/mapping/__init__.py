"""Update → model: its tensors, sign, scale, optimiser and rank, each with the evidence."""
