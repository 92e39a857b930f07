"""Update tensors ↔ model variables, sign, scale and rank: is the leak understood before anything is attacked?

Every finding carries its evidence. What cannot be settled raises MappingError with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.artifacts import ArtifactError, Leak, architecture

if TYPE_CHECKING:
    import keras

FLOAT_NOISE = 2.0**-25  # root mean square rounding error of a float32, relative to its size


class MappingError(Exception):
    """Why the update cannot be brought to the model, and what would settle it."""


@dataclass(frozen=True)
class Mapping:
    """A block of draws, understood.

    model: linear output (logits), the weights of the round loaded.
    gradients: pseudo-gradients in the order of model.trainable_variables, float32 [D, *shape], per-sample mean.
    layer: layer index of each variable [L], 0 = first. rounding: standard deviation of a gradient's rounding error in
    units of the root mean square of its variable (float32 weights were subtracted). report: findings with evidence, JSON types only.
    singular: singular values of every dense kernel's delta, name → float64 [D, K]; floor: name → float64 [D].
    """

    model: keras.Model
    gradients: list[np.ndarray]
    layer: np.ndarray
    samples: int
    public_softmax: np.ndarray
    rounding: float
    report: dict[str, Any]
    singular: dict[str, np.ndarray]
    floor: dict[str, np.ndarray]


def logits_model(model_json: str) -> tuple[keras.Model, str]:
    """The model with a linear head, and what was done for it."""
    import keras

    try:
        model = keras.models.model_from_json(architecture.read(model_json).json)
    except ArtifactError as error:
        raise MappingError(str(error)) from None
    except Exception as error:  # Keras raises many kinds for a foreign file; all mean the same to the user
        first_line, _, _ = str(error).partition("\n")
        raise MappingError(
            f"the model JSON cannot be built by Keras {keras.__version__}: {first_line}"
        ) from error
    if (
        not isinstance(model, keras.Model)
        or not isinstance(model.input_shape, tuple)
        or not isinstance(model.output_shape, tuple)
    ):
        raise MappingError("the model JSON is not a model of one input and one output")
    if len(model.input_shape) != 4 or None in model.input_shape[1:] or len(model.output_shape) != 2:
        raise MappingError(
            f"needs images in (None, H, W, C) and classes out (None, K); this model maps {model.input_shape} → {model.output_shape}"
        )
    last = model.layers[-1]
    softmax = keras.activations.softmax
    if isinstance(last, keras.layers.Softmax) or (
        isinstance(last, keras.layers.Activation) and last.activation is softmax
    ):
        return keras.Model(model.inputs[0], last.input, name=model.name), "a final softmax layer was taken off"
    if getattr(last, "activation", None) is softmax:

        def linear(layer: keras.layers.Layer) -> keras.layers.Layer:
            config = layer.get_config()
            if layer.name == last.name:
                config["activation"] = "linear"
            return type(layer).from_config(config)

        return keras.models.clone_model(
            model, clone_function=linear
        ), "the softmax of the last layer was made linear"
    activation = getattr(last, "activation", keras.activations.linear)
    if activation is not keras.activations.linear:
        raise MappingError(
            f"the last layer {last.name} ends in {getattr(activation, '__name__', activation)}; "
            "needs logits or a softmax, whose cross-entropy the gradient is of"
        )
    return model, "the last layer is linear already"


def assign_tensors(
    arrays: dict[str, np.ndarray], variables: list, everything: list, what: str
) -> tuple[list[np.ndarray], list[dict]]:
    """Arrays in the order of ``variables``: by name, else by order with equal shapes, else by unique shapes.

    ``everything`` is the model's full list of weights (with statistics and seeds): an archive may hold either.
    Returns the arrays and one row a variable: variable, shape, key, matched by.
    """
    keys = list(arrays)
    names = {key: key.removesuffix(":0").strip("/") for key in keys}
    by_name = {}
    for variable in everything:
        hits = [
            key for key in keys if names[key] == variable.path or variable.path.endswith("/" + names[key])
        ]
        if len(hits) == 1:
            by_name[id(variable)] = hits[0]
    named = [by_name.get(id(v)) for v in variables]
    shapes = {key: arrays[key].shape for key in keys}
    in_order = list(shapes.values())
    if None not in named and len(set(named)) == len(named):
        chosen, how = named, "name"
    elif in_order == [tuple(v.shape) for v in variables]:
        chosen, how = keys, "order"
    elif in_order == [tuple(v.shape) for v in everything]:
        by_place = {id(w): key for w, key in zip(everything, keys, strict=True)}
        chosen, how = [by_place[id(v)] for v in variables], "order in all weights"
    else:
        options = [[k for k in keys if shapes[k] == tuple(v.shape)] for v in variables]
        if not all(len(found) == 1 for found in options):
            index = next(i for i, found in enumerate(options) if len(found) != 1)
            found = options[index]
            raise MappingError(
                f"{what}: {len(found) or 'no'} tensor{'s' if found else ''} could be {variables[index].path} {tuple(variables[index].shape)}; the file has "
                + ", ".join(f"{k} {shapes[k]}" for k in keys)
            )
        chosen, how = [found[0] for found in options], "shape"
    for key, variable in zip(chosen, variables, strict=True):
        if shapes[key] != tuple(variable.shape):
            raise MappingError(
                f"{what}: {key} has shape {shapes[key]}, {variable.path} needs {tuple(variable.shape)}"
            )
    rows = [
        {"variable": v.path, "shape": list(v.shape), "key": k, "matched_by": how}
        for k, v in zip(chosen, variables, strict=True)
    ]
    return [arrays[key] for key in chosen], rows


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
    before = _load_weights(model, leaks[0].before)
    for index, leak in enumerate(leaks):
        if any(
            not np.array_equal(a, b)
            for a, b in zip(leak.before.values(), leaks[0].before.values(), strict=True)
        ):
            raise MappingError(f"draw {index} starts from other weights than draw 0")
    mapped = [assign_tensors(leak.delta, variables, model.weights, "delta") for leak in leaks]
    rows = mapped[0][1]
    deltas = [np.stack([arrays[i] for arrays, _ in mapped]) for i in range(len(variables))]

    softmax, features_positive = _public_statistics(model, public_x, public_y)
    meta = leaks[0].meta
    sign_found = find_sign(deltas, sign, features_positive, meta)
    factor = 1.0 if sign_found["value"] == "after_minus_before" else -1.0
    scale_found = find_scale(deltas, factor, softmax, scale, meta)
    known = samples or meta.get("samples") or meta.get("batch_size")
    if not isinstance(known, int) or isinstance(known, bool) or known < 1:
        raise MappingError("the number of images behind the update is not known: set `samples` on the target")
    gradients = [(-factor / scale_found["value"] * d).astype(np.float32) for d in deltas]
    weight = _positive(meta.get("client_weight")) or 1.0
    singular, floor, ranks = find_ranks(variables, deltas, before, weight)
    rounding = FLOAT_NOISE * weight / scale_found["value"]
    report = {
        "head": head,
        "files": leaks[0].manifest.get("files", []),
        "tensors": [
            row | {"norm": float(np.mean(np.linalg.norm(g.reshape(len(g), -1), axis=1)))}
            for row, g in zip(rows, gradients, strict=True)
        ],
        "sign": sign_found,
        "scale": scale_found,
        "samples": {"value": int(known), "evidence": "target settings" if samples else "metadata"},
        "ranks": ranks,
        "verdict": _verdict(ranks, int(known), meta),
        "meta": {
            key: value
            for key, value in meta.items()
            if isinstance(value, str | int | float | bool) or value is None
        },
    }
    return Mapping(
        model, gradients, _layer_index(model), int(known), softmax, rounding, report, singular, floor
    )


def _load_weights(model: keras.Model, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Give ``model`` the weights of the round, statistics too where the file holds them; returns the trainable ones."""
    variables = model.trainable_variables
    trained = {id(v) for v in variables}
    statistics = [w for w in model.weights if id(w) not in trained and "seed" not in w.path]
    before, _ = assign_tensors(arrays, variables, model.weights, "weights before")
    if statistics and len(arrays) >= len(variables) + len(statistics):
        values, _ = assign_tensors(arrays, statistics, model.weights, "weights before")
        for variable, value in zip(statistics, values, strict=True):
            variable.assign(value)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
        if not np.array_equal(variable.numpy(), value):
            raise MappingError(f"{variable.path} did not take the weights of the file")
    return before


def _layer_index(model: keras.Model) -> np.ndarray:
    owners = [layer for layer in model.layers if layer.trainable_variables]
    position = {id(v): index for index, layer in enumerate(owners) for v in layer.trainable_variables}
    return np.array([position[id(v)] for v in model.trainable_variables])


def _public_statistics(model: keras.Model, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, bool]:
    """Mean softmax of public images per true class (C, C); and whether the last layer's input is non-negative."""
    import keras

    tapped = keras.Model(model.inputs[0], [model.layers[-1].input, model.outputs[0]])
    features, logits = tapped.predict(x, batch_size=256, verbose=0)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax = shifted / shifted.sum(axis=1, keepdims=True)
    classes = logits.shape[1]
    overall = softmax.mean(axis=0)
    means = np.stack([softmax[y == c].mean(axis=0) if (y == c).any() else overall for c in range(classes)])
    return means, bool(np.min(features) >= 0)


def _head(deltas: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """The last kernel's delta [D, d, C] and the last bias's [D, C], if there is one behind it."""
    if deltas[-1].ndim == 2:
        return deltas[-2], deltas[-1]
    return deltas[-1], None


def find_sign(deltas: list[np.ndarray], told: str, features_positive: bool, meta: dict) -> dict[str, Any]:
    """Behind a ReLU the last kernel's column of an absent class has one sign: that of the gradient's p̄ ≥ 0.

    Each draw votes with its one-signed columns; after − before makes them negative.
    """
    kernel, _ = _head(deltas)
    positive, negative = (kernel > 0).any(axis=1), (kernel < 0).any(axis=1)
    votes = (negative & ~positive).sum(axis=1) - (positive & ~negative).sum(axis=1)
    total = int(np.sign(votes).sum())
    found = "after_minus_before" if total > 0 else "before_minus_after"
    evidence = f"one-signed columns of the last kernel: {int((votes > 0).sum())} of {len(votes)} draws say after − before, {int((votes < 0).sum())} the opposite"
    if not features_positive:
        total, evidence = 0, "the last layer's input can be negative, so its columns tell nothing"
    if told != "auto":
        note = "; the evidence disagrees" if total and found != told else ""
        return {"value": told, "confidence": 1.0, "evidence": f"target settings; {evidence}{note}"}
    if total:
        return {"value": found, "confidence": abs(total) / len(votes), "evidence": evidence}
    if meta.get("sign") in ("after_minus_before", "before_minus_after"):
        return {"value": meta["sign"], "confidence": 0.5, "evidence": f"metadata; {evidence}"}
    raise MappingError(
        f"the sign of the delta cannot be settled ({evidence}): set `sign` on the target to after_minus_before or before_minus_after"
    )


def find_scale(
    deltas: list[np.ndarray], factor: float, softmax: np.ndarray, told: float | str, meta: dict
) -> dict[str, Any]:
    """Delta per unit of gradient. The server knows learning rate × steps; the update itself gives a check.

    A class that is absent has the bias gradient p̄_c, so Σ |delta| / Σ p̄ over absent classes ≈ the scale.
    """
    kernel, bias = _head(deltas)
    ratios = []
    if bias is not None:
        for d in range(len(bias)):
            absent = ~((factor * kernel[d]) > 0).any(axis=0) & (factor * bias[d] < 0)
            present = ~absent
            if absent.any() and present.any():
                ratios.append(
                    float(np.abs(bias[d][absent]).sum() / softmax[present][:, absent].mean(axis=0).sum())
                )
    estimate = float(np.median(ratios)) if ratios else None
    # The public mean stands in for the batch's own p̄. On an untrained net they are alike; on a trained one p̄ of an
    # absent class is small and differs from batch to batch, so that no contradiction can be read off it.
    flat = softmax.max() < 0.5
    evidence = (
        f"bias deltas of absent classes suggest {estimate:.3g}{'' if flat else ' (rough: the model is trained)'}"
        if estimate
        else "no class is surely absent, so the update gives no estimate"
    )
    if told != "auto":
        return {"value": float(told), "estimate": estimate, "evidence": f"target settings; {evidence}"}
    value = _stated_scale(meta)
    if value is not None:
        agrees = estimate is None or not flat or 1 / 3 < estimate / value < 3
        return {
            "value": value,
            "estimate": estimate,
            "evidence": f"learning rate × steps of the metadata; {evidence}"
            + ("" if agrees else ": they contradict each other"),
        }
    if estimate:
        return {"value": estimate, "estimate": estimate, "evidence": evidence}
    return {
        "value": 1.0,
        "estimate": None,
        "evidence": f"unknown, taken as 1 (cosine losses do not care); {evidence}",
    }


def _stated_scale(meta: dict) -> float | None:
    """Learning rate × effective steps × client weight, where the (untrusted) metadata makes sense; else None."""
    rate, weight = _positive(meta.get("learning_rate")), _positive(meta.get("client_weight", 1.0))
    steps, momentum = _positive(meta.get("local_steps", 1)), meta.get("momentum") or 0.0
    if rate is None or weight is None or steps is None or meta.get("optimizer", "sgd") == "adam":
        return None
    if not isinstance(momentum, int | float) or not 0 <= momentum < 1:
        return None
    # Σ_k (1 − m^k) / (1 − m) for k = 1 … steps: what one unit of a constant gradient comes to.
    effective = (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)
    value = rate * effective * weight
    return value if np.isfinite(value) and value > 0 else None


def _positive(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value < 1e30 else None


def find_ranks(
    variables: list, deltas: list[np.ndarray], before: list[np.ndarray], factor: float = 1.0
) -> tuple[dict, dict, list[dict]]:
    """Numerical rank of every dense kernel's delta above the rounding noise of subtracting float32 weights.

    factor: what the delta was multiplied with after the subtraction, and the noise with it.
    """
    singular, floor, rows = {}, {}, []
    for variable, delta, weight in zip(variables, deltas, before, strict=True):
        if delta.ndim != 3:
            continue
        values = np.linalg.svd(delta.astype(np.float64), compute_uv=False)
        noise = (
            factor
            * FLOAT_NOISE
            * np.sqrt(np.mean(np.square(weight, dtype=float)))
            * sum(np.sqrt(weight.shape))
        )
        limit = np.maximum(3 * noise, values[:, 0] * np.finfo(np.float32).eps * np.sqrt(max(weight.shape)))
        ranks = (values > limit[:, None]).sum(axis=1)
        singular[variable.path], floor[variable.path] = values, limit
        rows.append(
            {
                "variable": variable.path,
                "shape": list(weight.shape),
                "ranks": ranks.tolist(),
                "full": int(min(weight.shape)),
            }
        )
    return singular, floor, rows


def _verdict(ranks: list[dict], samples: int, meta: dict) -> str:
    """What the rank says about the number of images, in one sentence."""
    widest = max(ranks, key=lambda row: row["full"], default=None)
    if widest is None:
        return "No dense layer: the rank says nothing about the number of images."
    rank, full = max(widest["ranks"]), widest["full"]
    if rank >= full:
        return f"{widest['variable']} has full rank {full}: at least that many images or directions are behind the update."
    steps = meta.get("local_steps", 1) if isinstance(meta.get("local_steps", 1), int) else 1
    text = f"{widest['variable']} has rank {rank} of {full}: at least {rank} images are behind the update"
    if rank > samples * steps:
        return f"{text}, more than the {samples} that were stated. The statement is refuted."
    return f"{text}, which fits the stated {samples}."
