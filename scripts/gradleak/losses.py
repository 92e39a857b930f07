"""The losses of a classifier whose gradients are computed, by their usual names.

Both are means over the images of a batch. categorical_crossentropy: of the softmax of K logits. The labels
are classes, as integers or one-hot. binary_crossentropy: of K sigmoids, the mean over the K units, as Keras
and PyTorch compute it. The labels are multi-hot: an image has any number of the K labels.
"""

CATEGORICAL, BINARY = "categorical_crossentropy", "binary_crossentropy"
LOSSES = (CATEGORICAL, BINARY)
# Without case, separators and the ending "loss".
SYNONYMS = {
    "categoricalcrossentropy": CATEGORICAL,
    "sparsecategoricalcrossentropy": CATEGORICAL,
    "crossentropy": CATEGORICAL,
    "softmaxcrossentropy": CATEGORICAL,
    "nll": CATEGORICAL,
    "binarycrossentropy": BINARY,
    "bce": BINARY,
    "bcewithlogits": BINARY,
    "sigmoidcrossentropy": BINARY,
    "multilabelsoftmargin": BINARY,
}


def canonical(name: str) -> str:
    """The loss that ``name`` means, or ``name`` itself. ``nn.BCEWithLogitsLoss()`` is binary_crossentropy."""
    last = name.partition("(")[0].rpartition(".")[2].lower()
    return SYNONYMS.get("".join(one for one in last if one.isalnum()).removesuffix("loss"), name)
