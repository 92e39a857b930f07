"""The kinds of notes of a trial. A note is a dictionary with its kind under ``kind``, and the numbers named
here. No TensorFlow: the report reads them, too.

weight: of members, in the scale that was used. samples: images as stated. factor: samples / weight, by which
the scale is off if ``samples`` is right.
"""

SCALE_CORRECTED = "scale_corrected"  # weight, samples, factor
SCALE_OR_SAMPLES = "scale_or_samples"  # weight, samples, factor; the weight is a whole number, and may be N
SAMPLES_REFUTED = "samples_refuted"  # samples, least: a lower bound on images × local steps
WEIGHTS_DIFFER = "weights_differ"  # least, most: of the weights
EXPLAINED_BY_FEWER = "explained_by_fewer"  # images: that explain the update; samples
LOSS_UNEXPECTED = "loss_unexpected"  # images: whose δ lies outside the row space; of: so many
Note = dict[str, str | float | int]
