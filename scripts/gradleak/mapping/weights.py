"""Whether the model was trained before the round."""

from __future__ import annotations

from gradleak.mapping.classifier import Public
from gradleak.mapping.finding import Finding

BETTER = 0.2  # accuracy above chance from which a model counts as trained


def find_weights(public: Public) -> Finding:
    """value: trained or untrained."""
    trained = public.accuracy > public.chance + BETTER
    return Finding(
        "trained" if trained else "untrained",
        0.95,
        f"the model is right on {public.accuracy:.0%} of public images; "
        f"the most frequent class has {public.chance:.0%}",
    )
