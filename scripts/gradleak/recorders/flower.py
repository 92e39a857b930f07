"""Record the updates of a Flower app, one folder a round and client. Needs numpy alone; copy it.

On the server, around a strategy of the message API (``flwr.serverapp.strategy``) or of the older API
(``flwr.server.strategy``):

    strategy = recording(FedAvg, "runs/mine")(fraction_train=1.0)

On a client, as a mod of the message API, which records what leaves the client:

    app = ClientApp(mods=[client_mod("runs/mine")])

Written are ``<out>/round-0001/client-<id>/`` with ``before.npz``, ``delta.npz`` (after − before, float32) and
``meta.json``. Put the model once at the top of ``<out>``: ``model.json`` of Keras, ``model.onnx`` of PyTorch.
The recorder sees what passes it: around a wrapper of differential privacy the raw updates, inside of it the
clipped ones; state that by ``point``. Replies that all hold the same numbers, as with secure aggregation, are
recorded once, as ``aggregate``.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

COUNTER = "num_batches_tracked"  # of PyTorch's BatchNorm: local steps, no weight
AGGREGATE = "aggregate"
POINTS = ("raw", "clipped", AGGREGATE)
STEPS, SIZE = "local_steps", "dataset_size"
# Numbers of a reply's metrics that are facts about the client's training → keys of meta.json. Flower's
# num-examples is the size of the client's data set, and not the number of examples behind the update.
METRICS = {
    "num-examples": SIZE,
    "samples": "samples",
    "batch_size": "batch_size",
    "local_steps": STEPS,
    "local_epochs": "local_epochs",
}
CONFIG = {
    "lr": "learning_rate",
    "learning_rate": "learning_rate",
    "learning-rate": "learning_rate",
    "momentum": "momentum",
    "optimizer": "optimizer",
    "loss": "loss",
    "label_smoothing": "label_smoothing",
    "label-smoothing": "label_smoothing",
    "weight_decay": "weight_decay",
    "weight-decay": "weight_decay",
    "nesterov": "nesterov",
    "local_steps": STEPS,
    "local-steps": STEPS,
    "local_epochs": "local_epochs",
    "local-epochs": "local_epochs",
    "batch_size": "batch_size",
    "batch-size": "batch_size",
}
CLIENTS_CLIP = "DifferentialPrivacyClientSide"  # in the names of wrappers whose clients clip

Arrays = dict[str, np.ndarray]


def recording(strategy: type, out: str | os.PathLike[str], meta: dict | None = None, point: str = "") -> type:
    """A subclass of ``strategy`` that records each reply before it is aggregated.

    meta: what is known about the clients, written to every meta.json, such as ``{"learning_rate": 0.1,
    "samples": 8}``. point: raw, clipped or aggregate; by default clipped for Flower's wrappers with clipping
    on the clients, else raw. Inside a wrapper with clipping on the server state ``point="clipped"``.

    Raises ValueError for another point, or for a class of neither API.
    """
    if point and point not in POINTS:
        raise ValueError(f"point is {point!r}; it is one of {', '.join(POINTS)}")
    if hasattr(strategy, "aggregate_train"):
        methods = _message_methods
    elif hasattr(strategy, "aggregate_fit"):
        methods = _legacy_methods
    else:
        raise ValueError(f"{strategy.__name__} has neither aggregate_train nor aggregate_fit")
    recorder = Recorder(Path(out), dict(meta or {}), point or _point_of(strategy))
    return type(f"Recording{strategy.__name__}", (strategy,), methods(strategy, recorder))


def _point_of(strategy: type) -> str:
    return "clipped" if CLIENTS_CLIP in strategy.__name__ else "raw"


def client_mod(
    out: str | os.PathLike[str], meta: dict | None = None, point: str = "raw"
) -> Callable[[Any, Any, Callable], Any]:
    """A mod of a ClientApp that records what it receives and what it returns. Arguments as of ``recording``.

    The order of mods decides what it sees: the first one sees what leaves the client.
    """
    recorder = Recorder(Path(out), dict(meta or {}), point)

    def mod(message: Any, context: Any, call_next: Callable) -> Any:
        reply = call_next(message, context)
        if not _failed(reply) and _has_arrays(message) and _has_arrays(reply):
            config = _settings(message.content)
            number = config.get("server-round") or _round_of(message)
            client = str(getattr(context, "node_id", "") or message.metadata.dst_node_id)
            recorder.write(
                int(number or 0),
                client,
                _arrays(message.content),
                _arrays(reply.content),
                _facts(config, reply),
            )
        return reply

    return mod


class Recorder:
    """Writes updates under ``out``. meta: written to each. point: of the recording."""

    def __init__(self, out: Path, meta: dict[str, Any], point: str):
        self.out, self.meta, self.point = out, meta, point

    def write(self, number: int, client: str, before: Arrays, after: Arrays, facts: dict[str, Any]) -> None:
        """One update. number: of the round. facts: further keys of meta.json."""
        aggregate = client == AGGREGATE
        folder = self.out / f"round-{number:04d}" / (AGGREGATE if aggregate else f"client-{_plain(client)}")
        meta = {
            "sign": "after_minus_before",
            "framework": "flower",
            "round": number,
            "node": client,
            "point": AGGREGATE if aggregate else self.point,
            **(self.meta | facts if aggregate else facts | self.meta),
        }
        write_update(folder, before, after, meta)

    def write_all(
        self, number: int, sent: dict[str, Arrays], replies: dict[str, tuple[Arrays, dict]]
    ) -> None:
        """The updates of a round. sent, replies: by client. One update if all replies are the same."""
        known = {client: reply for client, reply in replies.items() if client in sent}
        if len(known) > 1 and _all_equal([arrays for arrays, _ in known.values()]):
            client = next(iter(known))
            facts = {"clients": len(known)}
            if samples := self.meta.get("samples"):  # of each client
                facts["samples"] = len(known) * samples
            self.write(number, AGGREGATE, sent[client], known[client][0], facts)
            return
        for client, (after, facts) in known.items():
            self.write(number, client, sent[client], after, facts)


def write_update(folder: Path, before: Arrays, after: Arrays, meta: dict[str, Any]) -> None:
    """``before.npz``, ``delta.npz`` and ``meta.json`` in ``folder``, which appears whole or not at all.

    The delta is computed in float64. Counters of BatchNorm are left out; their difference is the number of
    local steps. Raises ValueError where the two sets of arrays do not match.
    """
    if list(before) != list(after) or any(before[key].shape != after[key].shape for key in before):
        raise ValueError(f"{folder}: the arrays that came back are not those that were sent")
    counters = [key for key in before if key.endswith(COUNTER)]
    weights = [key for key in before if key not in counters]
    delta = {key: after[key].astype(np.float64) - before[key].astype(np.float64) for key in weights}
    steps = {int(after[key] - before[key]) for key in counters}
    if len(steps) == 1 and min(steps) > 0:
        meta = {STEPS: steps.pop(), **meta}
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        np.savez(temporary / "before.npz", **{key: np.ascontiguousarray(before[key]) for key in weights})
        np.savez(temporary / "delta.npz", **{key: delta[key].astype(np.float32) for key in weights})
        text = json.dumps(meta, indent=1, default=_number)
        (temporary / "meta.json").write_text(text + "\n", encoding="utf-8")
        if folder.exists():  # of an earlier run
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _message_methods(strategy: type, recorder: Recorder) -> dict[str, Callable]:
    """``configure_train`` and ``aggregate_train`` of the message API."""
    sent: dict[str, Arrays] = {}
    told: dict[str, dict[str, Any]] = {}

    def configure_train(self: Any, server_round: int, arrays: Any, config: Any, grid: Any) -> Iterable[Any]:
        messages = list(strategy.configure_train(self, server_round, arrays, config, grid))
        sent.clear()
        for message in messages:
            node = str(message.metadata.dst_node_id)
            sent[node], told[node] = _arrays(message.content), _settings(message.content)
        return messages

    def aggregate_train(self: Any, server_round: int, replies: Iterable[Any]) -> Any:
        replies = list(replies)  # may be a generator
        good = {str(reply.metadata.src_node_id): reply for reply in replies if not _failed(reply)}
        found = {
            node: (_arrays(reply.content), _facts(told.get(node, {}), reply)) for node, reply in good.items()
        }
        recorder.write_all(server_round, sent, found)
        return strategy.aggregate_train(self, server_round, replies)

    return {"configure_train": configure_train, "aggregate_train": aggregate_train}


def _legacy_methods(strategy: type, recorder: Recorder) -> dict[str, Callable]:
    """``configure_fit`` and ``aggregate_fit`` of the older API. Its arrays have an order and no names."""
    sent: dict[str, Arrays] = {}
    told: dict[str, dict[str, Any]] = {}

    def configure_fit(self: Any, server_round: int, parameters: Any, client_manager: Any) -> Any:
        asked = strategy.configure_fit(self, server_round, parameters, client_manager)
        sent.clear()
        for proxy, instructions in asked:
            sent[str(proxy.cid)] = _numbered(instructions.parameters)
            told[str(proxy.cid)] = dict(instructions.config)
        return asked

    def aggregate_fit(self: Any, server_round: int, results: Any, failures: Any) -> Any:
        found = {}
        for proxy, result in results:
            client = str(proxy.cid)
            metrics = {"num-examples": result.num_examples, **(result.metrics or {})}
            found[client] = (_numbered(result.parameters), _named(told.get(client, {}), metrics))
        recorder.write_all(server_round, sent, found)
        return strategy.aggregate_fit(self, server_round, results, failures)

    return {"configure_fit": configure_fit, "aggregate_fit": aggregate_fit}


def _failed(message: Any) -> bool:
    return bool(message.has_error())


def _has_arrays(message: Any) -> bool:
    return message.has_content() and bool(message.content.array_records)


def _arrays(content: Any) -> Arrays:
    """The arrays of the one array record of a message, in its order."""
    records = list(content.array_records.values())
    if len(records) != 1:
        raise ValueError(f"a message has {len(records)} array records; the recorder reads messages with one")
    return {str(key): np.array(array.numpy()) for key, array in records[0].items()}


def _numbered(parameters: Any) -> Arrays:
    """The arrays of the older API by their place, ``000``, ``001``, …"""
    return {f"{place:03d}": _from_bytes(one) for place, one in enumerate(parameters.tensors)}


def _from_bytes(data: bytes) -> np.ndarray:
    """An array that Flower wrote by numpy.save. Nothing is unpickled."""
    return np.load(io.BytesIO(data), allow_pickle=False)


def _settings(content: Any) -> dict[str, Any]:
    """All configs of a message as one mapping."""
    return {key: value for record in content.config_records.values() for key, value in record.items()}


def _facts(config: dict[str, Any], reply: Any) -> dict[str, Any]:
    metrics = {k: v for record in reply.content.metric_records.values() for k, v in record.items()}
    return _named(config, metrics)


def _named(config: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Keys of meta.json from the names that a config and metrics have."""
    return {CONFIG[key]: value for key, value in config.items() if key in CONFIG} | {
        METRICS[key]: value for key, value in metrics.items() if key in METRICS
    }


def _round_of(message: Any) -> Any:
    group = str(getattr(message.metadata, "group_id", ""))
    return group if group.isdigit() else 0


def _all_equal(replies: list[Arrays]) -> bool:
    first = replies[0]
    return all(
        list(one) == list(first) and all(np.array_equal(one[key], first[key]) for key in first)
        for one in replies[1:]
    )


def _plain(name: str) -> str:
    """A name of a folder."""
    return re.sub(r"[^\w.-]", "_", name)


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not go into meta.json")
