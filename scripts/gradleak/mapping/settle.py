"""Update tensors ↔ model variables, sign, scale, optimiser and rank: is the leak understood before anything is attacked?

Every finding carries a value, a confidence and its evidence. What cannot be settled raises MappingError with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.artifacts import architecture
from gradleak.artifacts.leak import Leak
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping import suspicions
from gradleak.mapping.assign import assign_tensors, match
from gradleak.mapping.classifier import Public, logits_model, look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.optimizer import find_optimizer
from gradleak.mapping.preflight import preflight
from gradleak.mapping.ranks import find_ranks, verdict, widest
from gradleak.mapping.scale import find_scale, positive
from gradleak.mapping.sign import find_sign, head_of

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Mapping:
    """A block of draws, understood.

    model: linear output (logits), the weights of the round loaded.
    gradients: pseudo-gradients in the order of model.trainable_variables, float32 [D, *shape], per-sample mean.
    layer: layer index of each variable [L], 0 = first. steps: of the client, None where the metadata do not tell. rounding: standard deviation of a gradient's rounding error in
    units of the root mean square of its variable (float32 weights were subtracted). noise: standard deviation of what else
    lies on each variable's gradient [L], by the findings on noise, number format and dropped entries. report: findings with evidence, JSON types only.
    singular: singular values of every dense kernel's delta, name → float64 [D, K]; floor: name → float64 [D].
    """

    model: keras.Model
    gradients: list[np.ndarray]
    layer: np.ndarray
    samples: int
    steps: int | None
    public_softmax: np.ndarray
    rounding: float
    noise: np.ndarray
    report: dict[str, Any]
    singular: dict[str, np.ndarray]
    floor: dict[str, np.ndarray]


def settle(
    leaks: list[Leak],
    public_x: np.ndarray,
    public_y: np.ndarray,
    samples: int | None,
    sign: str,
    scale: float | str,
) -> Mapping:
    """Understand a block of draws that share a model. public_x: float32 [P, H, W, C]; public_y: int [P].

    samples, sign and scale are the user's word, or None / "auto" / "auto".
    """
    model, head = logits_model(leaks[0].model_json)
    if tuple(model.input_shape[1:]) != public_x.shape[1:]:
        raise MappingError(
            f"the model takes images {model.input_shape[1:]}, the public data set has {public_x.shape[1:]}; choose another `dataset`"
        )
    variables = model.trainable_variables
    flat = _flattened(model, leaks[0].model_json)
    before, before_rows = _load_weights(model, leaks[0].before, flat)
    for index, leak in enumerate(leaks):
        if any(
            not np.array_equal(a, b)
            for a, b in zip(leak.before.values(), leaks[0].before.values(), strict=True)
        ):
            raise MappingError(f"draw {index} starts from other weights than draw 0")
    mapped = [assign_tensors(leak.delta, variables, model.weights, "delta", flat) for leak in leaks]
    rows = mapped[0][1]
    deltas = [np.stack([arrays[i] for arrays, _ in mapped]) for i in range(len(variables))]

    meta = leaks[0].meta
    public = look_at(model, public_x, public_y)
    weight = positive(meta.get("client_weight")) or 1.0
    precision = suspicions.find_precision(deltas)
    noise = suspicions.find_noise(deltas, before, weight)
    sparsity = suspicions.find_sparsity(deltas)
    optimizer = _of_all_draws(
        [
            find_optimizer([d[i] for d in deltas], before, weight, bool(noise["value"]))
            for i in range(len(leaks))
        ]
    )
    sign_found = find_sign(deltas, sign, public, meta, optimizer["value"] == "adam", noise["value"])
    factor = 1.0 if sign_found["value"] == "after_minus_before" else -1.0
    scale_found = find_scale(deltas, factor, public.softmax, scale, meta)
    singular, floor, ranks = find_ranks(
        variables, deltas, before, weight, noise["value"], precision["rounding"]
    )
    known = _samples(samples, meta, ranks)
    steps = meta.get("local_steps", 1)
    gradients = [(-factor / scale_found["value"] * d).astype(np.float32) for d in deltas]
    sentence = verdict(ranks, known, steps, optimizer["value"])
    report = {
        "head": head,
        "files": leaks[0].manifest.get("files", []),
        "notes": leaks[0].manifest.get("notes", []),
        "tensors": [
            row | {"norm": float(np.mean(np.linalg.norm(g.reshape(len(g), -1), axis=1)))}
            for row, g in zip(rows, gradients, strict=True)
        ],
        "weights_matched_by": before_rows[0]["matched_by"],
        "weights": _weights(public),
        "sign": sign_found,
        "scale": scale_found,
        "samples": {
            "value": known,
            "confidence": 1.0 if samples else 0.9,
            "evidence": f"{'target settings' if samples else 'metadata'}; {_at_least(ranks, optimizer['value'])}",
        },
        "optimizer": optimizer,
        "noise": noise,
        "precision": precision,
        "clipping": suspicions.find_clipping(deltas),
        "sparsity": sparsity,
        "ranks": ranks,
        "verdict": sentence,
        "contradictions": _contradictions(meta, sign_found, scale_found, optimizer, sentence, known, samples),
        "preflight": preflight(
            ranks,
            sum(int(np.prod(v.shape)) for v in variables),
            int(np.prod(public_x.shape[1:])),
            known,
            optimizer["value"],
            steps,
            noise["value"],
            head_of(deltas)[1] is not None,
            _trained(public),
        ),
        "meta": {
            key: value
            for key, value in meta.items()
            if isinstance(value, str | int | float | bool) or value is None
        },
    }
    rounding = FLOAT32_ROUNDING * weight / scale_found["value"]
    added = suspicions.standard_deviations(deltas, noise, precision, sparsity) / scale_found["value"]
    return Mapping(
        model,
        gradients,
        _layer_index(model),
        known,
        _count(meta.get("local_steps")),
        public.softmax,
        rounding,
        added,
        report,
        singular,
        floor,
    )


def _flattened(model: keras.Model, model_json: str) -> dict[int, tuple]:
    """id of a dense kernel behind a Flatten → (H, W, C) of what is flattened."""
    found = {}
    by_name = {v.name.replace("/", "."): v for v in architecture.read(model_json).variables if v.flat}
    for layer in model.layers:
        described = by_name.get(f"{layer.name}.kernel")
        if described:
            found[id(layer.kernel)] = described.flat
    return found


def _of_all_draws(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The draws' findings as one: what those that know agree on. All clients run the same protocol."""
    sure = [one for one in found if one["value"] != "unknown"]
    values = {one["value"] for one in sure}
    if len(values) != 1:
        disagree = "; draws disagree" if values else ""
        return {"value": "unknown", "confidence": 0.0, "evidence": found[0]["evidence"] + disagree}
    first = sure[0]
    share = f"{len(sure)} of {len(found)} draws say so; the first: " if len(found) > 1 else ""
    return first | {
        "evidence": share + first["evidence"],
        "confidence": first["confidence"] * len(sure) / len(found),
    }


def _samples(told: int | None, meta: dict, ranks: list[dict]) -> int:
    known = _count(told or meta.get("samples") or meta.get("batch_size"))
    if known is None:
        raise MappingError(
            "the number of images behind the update is not known "
            f"({_at_least(ranks, 'unknown')}): set `samples` on the target"
        )
    return known


def _count(stated: Any) -> int | None:
    """What (untrusted) metadata state as a number of things, if it can be one."""
    return (
        stated if isinstance(stated, int) and not isinstance(stated, bool) and 1 <= stated < 1 << 31 else None
    )


def _at_least(ranks: list[dict], optimizer: str) -> str:
    host = widest(ranks)
    if host is None or optimizer == "adam":
        return "the rank gives no lower bound"
    rank = max(host["ranks"])
    more = " or more" if rank >= host["full"] else ""
    return f"the rank of {host['variable']} says that images × steps are at least {rank}{more}"


def _trained(public: Public) -> bool:
    return public.accuracy > public.chance + 0.2


def _weights(public: Public) -> dict[str, Any]:
    """Whether the weights before the round are those of a trained model."""
    return {
        "value": "trained" if _trained(public) else "untrained",
        "confidence": 0.95,
        "evidence": f"with them the model is right on {public.accuracy:.0%} of public images; always saying the commonest class is on {public.chance:.0%}",
    }


def _contradictions(
    meta: dict, sign: dict, scale: dict, optimizer: dict, verdict: str, known: int, told: int | None
) -> list[str]:
    """Where the metadata (or the settings) say one thing and the update another. The update's word is in the findings."""
    found = []
    stated = meta.get("optimizer")
    family = {
        "sgd": "sgd",
        "momentum": "sgd",
        "nesterov": "sgd",
        "adam": "adam",
        "adamw": "adam",
        "rmsprop": "adam",
    }
    if (
        isinstance(stated, str)
        and optimizer["value"] != "unknown"
        and family.get(stated.lower(), optimizer["value"]) != optimizer["value"]
    ):
        found.append(f"optimizer: the metadata say {stated[:40]}, the update looks like {optimizer['value']}")
    if meta.get("sign") in ("after_minus_before", "before_minus_after") and sign["found"] not in (
        None,
        meta["sign"],
    ):
        found.append(f"sign: the metadata say {meta['sign']}, the update looks like {sign['found']}")
    if sign["found"] not in (None, sign["value"]):
        found.append(f"sign: {sign['value']} is used, the update looks like {sign['found']}")
    if "contradict each other" in scale["evidence"]:
        found.append(
            f"scale: the metadata give {scale['value']:.3g}, the update suggests {scale['estimate']:.3g}"
        )
    if "refuted" in verdict:
        found.append(f"samples: {known} images were stated, the rank refutes it")
    other = meta.get("samples") or meta.get("batch_size")
    if told and isinstance(other, int) and not isinstance(other, bool) and other != told:
        found.append(f"samples: the settings say {told}, the metadata {other}")
    return list(dict.fromkeys(found))


def _load_weights(
    model: keras.Model, arrays: dict[str, np.ndarray], flat: dict[int, tuple]
) -> tuple[list[np.ndarray], list[dict]]:
    """Give ``model`` the weights of the round, statistics too where the file holds them; returns the trainable ones."""
    variables = model.trainable_variables
    before, rows = assign_tensors(arrays, variables, model.weights, "weights before", flat)
    found = match(arrays, variables, model.weights, "weights before", flat)
    for variable in model.weights:
        value = found.arrays.get(id(variable))
        if value is None:
            continue
        if value.shape != tuple(variable.shape):
            raise MappingError(
                f"weights before: {found.keys[id(variable)]} has shape {value.shape}, {variable.path} needs {tuple(variable.shape)}"
            )
        variable.assign(value)
        if not np.array_equal(variable.numpy(), value):
            raise MappingError(f"{variable.path} did not take the weights of the file")
    return before, rows


def _layer_index(model: keras.Model) -> np.ndarray:
    owners = [layer for layer in model.layers if layer.trainable_variables]
    position = {id(v): index for index, layer in enumerate(owners) for v in layer.trainable_variables}
    return np.array([position[id(v)] for v in model.trainable_variables])
