"""Public data and settings as plain arrays, for the file between the rehearsal and the methods."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from gradleak.labels.evidence import Client, Public, Rounds


def pack(public: Public, client: Client | None) -> dict[str, np.ndarray]:
    """Plain arrays for a file; what is None is left out."""
    given = {
        field.name: getattr(public, field.name)
        for field in fields(public)
        if field.init and field.name != "rounds"
    }
    arrays = {key: value for key, value in given.items() if value is not None}
    if public.rounds is not None:
        arrays |= {f"rounds_{key}": value for key, value in vars(public.rounds).items()}
    if client is not None:
        arrays |= {"steps": client.steps, "rate": client.rate, "optimizer": np.array(client.optimizer)}
    return arrays


def unpack(arrays: dict[str, np.ndarray]) -> tuple[Public, Client | None]:
    """What ``pack`` wrote."""
    own = {key: value for key, value in arrays.items() if key in Public.__dataclass_fields__}
    rounds = {
        key.removeprefix("rounds_"): value for key, value in arrays.items() if key.startswith("rounds_")
    }
    client = None
    if "steps" in arrays:
        client = Client(int(arrays["steps"]), float(arrays["rate"]), str(arrays["optimizer"]))
    return Public(**own, rounds=Rounds(**rounds) if rounds else None), client


def of_draws(public: Public, index: np.ndarray) -> Public:
    """The same with what belongs to single draws cut down to the draws ``index``."""
    own = ("end_softmax", "end_feature_sum")
    return replace(
        public, **{key: getattr(public, key)[index] for key in own if getattr(public, key) is not None}
    )
