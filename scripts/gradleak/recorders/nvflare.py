"""Record the updates of an NVFlare job, one folder a round and client. Needs numpy and NVFlare; copy it.

One filter, twice, on the server:

    recipe.add_server_output_filter(Recorder("runs/mine", "before"), tasks=["train"])
    recipe.add_server_input_filter(Recorder("runs/mine", "result"), tasks=["train"])

Written are ``<out>/round-0001/client-<name>/`` with ``before.npz``, ``delta.npz`` (after − before, float32)
and ``meta.json``. NVFlare counts rounds from 0; folders count from 1. ``out`` must be absolute, since jobs
run in folders of their own. Put the model once at the top of ``out``: ``model.json`` of Keras, ``model.onnx``
of PyTorch.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np

try:
    from nvflare.apis.dxo import from_shareable
    from nvflare.apis.filter import Filter
except ImportError:  # the tests and readers of this file may do without NVFlare
    Filter, from_shareable = object, None

COUNTER = "num_batches_tracked"  # of PyTorch's BatchNorm: local steps, no weight
STEPS_KEY = "NUM_STEPS_CURRENT_ROUND"
SIDES = ("before", "result")
KINDS = ("WEIGHTS", "WEIGHT_DIFF")
LOG = logging.getLogger(__name__)
POINTS = ("raw", "clipped", "aggregate")

Arrays = dict[str, np.ndarray]


class Recorder(Filter):
    """A filter that leaves what passes it as it is.

    side: before (what the server sends) or result (what a client returns). meta: what is known about the
    clients, written to every meta.json. point: raw, or clipped behind a privacy filter of the clients. Raises
    ValueError for other sides and points, and for a relative ``out``.
    """

    def __init__(self, out: str, side: str, meta: dict[str, Any] | None = None, point: str = "raw"):
        if side not in SIDES or point not in POINTS:
            raise ValueError(f"side is one of {', '.join(SIDES)}, and point one of {', '.join(POINTS)}")
        if not os.path.isabs(out):
            raise ValueError(f"out is {out!r}; give an absolute path, since jobs run in folders of their own")
        super().__init__()
        self.out, self.side, self.meta, self.point = out, side, meta, point

    def process(self, shareable: Any, fl_ctx: Any) -> Any:
        """Record ``shareable`` and return it."""
        client = fl_ctx.get_peer_context().get_identity_name()
        number = shareable.get_header("current_round")
        if number is not None:
            dxo = from_shareable(shareable)
            kind = str(getattr(dxo.data_kind, "value", dxo.data_kind))  # an enumeration in newer versions
            self.record(int(number) + 1, str(client), dxo.data, kind, dict(dxo.meta or {}))
        return shareable

    def record(self, number: int, client: str, data: dict, kind: str, stated: dict[str, Any]) -> None:
        """One side of an update. number: of the round, from 1. kind: WEIGHTS or WEIGHT_DIFF."""
        if kind not in KINDS:
            LOG.warning("round %d, %s: not recorded, since %s are not weights", number, client, kind)
            return
        name = re.sub(r"[^\w.-]", "_", client)
        folder = Path(self.out) / f"round-{number:04d}" / f"client-{name}"
        waiting = folder.with_name(f".{folder.name}.before.npz")
        arrays = {str(key): np.asarray(value) for key, value in data.items()}
        if self.side == "before":
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = waiting.with_name(f".{uuid.uuid4().hex}.npz")
            np.savez(temporary, **arrays)
            os.replace(temporary, waiting)
            return
        with np.load(waiting, allow_pickle=False) as archive:
            before = {key: archive[key] for key in archive.files}
        meta = {
            "sign": "after_minus_before",
            "framework": "nvflare",
            "round": number,
            "node": client,
            "point": self.point,
            **({"local_steps": int(stated[STEPS_KEY])} if stated.get(STEPS_KEY) else {}),
            **(self.meta or {}),
        }
        write_update(folder, before, arrays, kind == "WEIGHT_DIFF", meta)
        waiting.unlink()


def write_update(folder: Path, before: Arrays, result: Arrays, is_delta: bool, meta: dict[str, Any]) -> None:
    """``before.npz``, ``delta.npz`` and ``meta.json`` in ``folder``, which appears whole or not at all.

    result: the weights after, or the delta. Counters of BatchNorm are left out. Raises ValueError where the
    arrays do not match.
    """
    weights = [key for key in before if not key.endswith(COUNTER) and key in result]
    missing = [key for key in result if key not in before]
    if missing or not weights or any(before[key].shape != result[key].shape for key in weights):
        raise ValueError(f"{folder}: the arrays that came back are not those that were sent ({missing[:5]})")
    after = {key: np.asarray(result[key], dtype=np.float64) for key in weights}
    delta = after if is_delta else {key: after[key] - before[key].astype(np.float64) for key in weights}
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        np.savez(temporary / "before.npz", **{key: np.ascontiguousarray(before[key]) for key in weights})
        np.savez(temporary / "delta.npz", **{key: delta[key].astype(np.float32) for key in weights})
        text = json.dumps(meta, indent=1, default=lambda value: value.item())
        (temporary / "meta.json").write_text(text + "\n", encoding="utf-8")
        if folder.exists():  # of an earlier run
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
