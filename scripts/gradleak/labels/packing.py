"""Public data and settings as plain arrays: the format of results/shadow_clients/*.npz."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from gradleak.labels.evidence import Client, Public, ShadowClients

_CLIENTS = "rounds_"  # prefix of the arrays of the shadow clients


def pack(public: Public, client: Client | None) -> dict[str, np.ndarray]:
    """Plain arrays for a file; what is None is left out."""
    given = {
        field.name: getattr(public, field.name)
        for field in fields(public)
        if field.init and field.name != "shadow_clients"
    }
    arrays = {key: value for key, value in given.items() if value is not None}
    if public.shadow_clients is not None:
        arrays |= {f"{_CLIENTS}{key}": value for key, value in vars(public.shadow_clients).items()}
    if client is not None:
        arrays |= {"steps": client.steps, "rate": client.rate, "optimizer": np.array(client.optimizer)}
    return arrays


def unpack(arrays: dict[str, np.ndarray]) -> tuple[Public, Client | None]:
    """Public data and settings from the arrays of ``pack``."""
    own = {key: value for key, value in arrays.items() if key in Public.__dataclass_fields__}
    shadow = {key.removeprefix(_CLIENTS): value for key, value in arrays.items() if key.startswith(_CLIENTS)}
    client = None
    if "steps" in arrays:
        client = Client(int(arrays["steps"]), float(arrays["rate"]), str(arrays["optimizer"]))
    return Public(**own, shadow_clients=ShadowClients(**shadow) if shadow else None), client


def of_draws(public: Public, index: np.ndarray) -> Public:
    """The same, with the arrays that have one entry for each draw cut down to the draws ``index``."""
    own = ("end_softmax", "end_feature_sum")
    return replace(
        public, **{key: getattr(public, key)[index] for key in own if getattr(public, key) is not None}
    )
