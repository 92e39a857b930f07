"""The metadata of an update, in the ways people write them → one set of names, types and units.

Metadata are untrusted: they state, and the update decides where it can. A key is found under its synonyms in
any case, with any separators, and one level down (``{"client": {…}}``, an optimizer's Keras config). What
cannot be read is listed and not guessed. docs/reference/metadata.md has the table of ``KEYS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from gradleak import losses
from gradleak.mapping import metadata_values as typed
from gradleak.mapping.finding import Contradiction

DEPTH = 3  # nesting that is searched: client → optimizer → config
SAME = 1e-5  # relative difference below which two numbers are one: a float32 written in decimals
# Optimizers whose step is proportional to an average of gradients.
PROPORTIONAL = ("sgd", "momentum", "nesterov")
# Names of mappings that describe the client's round, by their beginning. The learning rate of a server, a
# schedule or an evaluation is another one, so what is in any other mapping is not read.
OF_THE_CLIENT = re.compile(
    "client|local|train|fit|config|param|hyper|setting|option|arg|kwarg|default|meta|update|fl|federat|data"
    "|round|experiment|run|info"
)
OFF = ("momentum", "nesterov", "weight_decay")  # null says that they are not used


@dataclass(frozen=True)
class Key:
    """read: the value in its type and unit, None if it has no meaning. kind: the type, for people."""

    read: Callable[[Any], Any]
    kind: str
    synonyms: tuple[str, ...] = ()


KEYS = {
    "samples": Key(
        typed.read_whole,
        "whole number",
        (
            *("num_samples", "n_samples", "number_of_samples", "num_images", "n_images", "number_of_images"),
            *("num_examples", "n_examples", "number_of_examples", "images", "examples", "n"),
            *("sample_count", "local_samples", "client_samples", "train_samples", "num_train_samples"),
            *("local_sample_number",),
        ),
    ),
    "batch_size": Key(
        typed.read_whole,
        "whole number",
        (
            *("bs", "b", "batch", "batchsize", "local_batch_size", "local_bs", "client_batch_size"),
            *("train_batch_size", "mini_batch_size", "minibatch"),
        ),
    ),
    "local_steps": Key(
        typed.read_whole,
        "whole number",
        (
            *("steps", "num_steps", "n_steps", "num_local_steps", "iterations", "num_iterations"),
            *("local_iterations", "iters", "local_iters", "local_updates", "number_of_steps", "tau"),
        ),
    ),
    "local_epochs": Key(
        typed.read_whole,
        "whole number",
        (
            *("epochs", "e", "num_epochs", "n_epochs", "num_local_epochs", "local_ep", "client_epochs"),
            *("epochs_per_round", "number_of_epochs"),
        ),
    ),
    "learning_rate": Key(
        typed.read_positive,
        "number above 0",
        ("lr", "eta", "local_lr", "client_lr", "local_learning_rate", "client_learning_rate"),
    ),
    "optimizer": Key(
        typed.read_optimizer,
        "name, or a Keras config",
        ("optimiser", "optim", "opt", "solver", "client_optimizer", "local_optimizer"),
    ),
    "momentum": Key(typed.read_share, "number from 0 to below 1", ("local_momentum", "client_momentum")),
    "nesterov": Key(typed.read_flag, "true or false", ("use_nesterov",)),
    "weight_decay": Key(typed.read_not_negative, "number from 0", ("wd", "weight_decay_rate")),
    "client_weight": Key(
        typed.read_positive, "number above 0", ("aggregation_weight", "averaging_weight", "fedavg_weight")
    ),
    "batch_norm": Key(
        typed.read_mode, " or ".join(f"`{one}`" for one in typed.MODES), ("bn_mode", "batch_norm_mode")
    ),
    "batch_norm_momentum": Key(typed.read_kept, "number above 0 and below 1", ("bn_momentum",)),
    "sign": Key(typed.read_sign, " or ".join(f"`{one}`" for one in typed.SIGNS), ("delta_sign", "direction")),
    "loss": Key(
        typed.read_loss,
        "name, perhaps with options in parentheses, or a Keras config",
        ("loss_function", "loss_fn", "criterion"),
    ),
    "label_smoothing": Key(typed.read_share, "number from 0 to below 1", ("smoothing",)),
    "class_weights": Key(
        typed.read_class_weights, "list of a number for each class", ("class_weight", "loss_weights")
    ),
    "loss_reduction": Key(
        typed.read_reduction, " or ".join(f"`{one}`" for one in losses.REDUCTIONS), ("reduction",)
    ),
    "round": Key(
        typed.read_round, "whole number from 0", ("server_round", "fl_round", "communication_round")
    ),
    "dataset": Key(typed.read_text, "name", ("data", "data_set", "dataset_name")),
    "alpha": Key(typed.read_positive, "number above 0", ("dirichlet_alpha",)),
    "framework": Key(typed.read_text, "name"),
    "node": Key(typed.read_text, "name"),
    "point": Key(typed.read_text, "`raw`, `clipped` or `aggregate`"),
    "clients": Key(typed.read_whole, "whole number"),
    "dataset_size": Key(typed.read_whole, "whole number", ("local_dataset_size",)),
}
NAMES = {typed.squeezed(one): name for name, key in KEYS.items() for one in (name, *key.synonyms)}


@dataclass(frozen=True)
class Metadata:
    """Statements about an update; None for what is not stated, or not so that it can be used.

    samples: images behind the update. batch_size: images in a local step. local_steps: in all, stated or
    from epochs × ⌈samples / batch_size⌉. optimizer: in lower case; ``momentum`` and ``nesterov`` for SGD with
    them. batch_norm: one of MODES. batch_norm_momentum: share of a moving statistic that a step keeps.
    sign: one of SIGNS. loss: text of a ``losses.Loss`` with the three options that follow, or the name of
    another. weight_decay: λ of the term λ w in the gradient. unknown: fields that are stated but not
    determined: no number, contradictory, or steps that epochs alone do not give. unread: keys that were not
    read, with their path. contradicts: (field, contradiction) between two statements.
    """

    samples: int | None = None
    batch_size: int | None = None
    local_steps: int | None = None
    local_epochs: int | None = None
    learning_rate: float | None = None
    optimizer: str | None = None
    momentum: float | None = None
    nesterov: bool | None = None
    weight_decay: float | None = None
    client_weight: float | None = None
    batch_norm: str | None = None
    batch_norm_momentum: float | None = None
    sign: str | None = None
    loss: str | None = None
    label_smoothing: float | None = None
    class_weights: tuple[float, ...] | None = None
    loss_reduction: str | None = None
    round: int | None = None
    dataset: str | None = None
    alpha: float | None = None
    framework: str | None = None
    node: str | None = None
    point: str | None = None
    clients: int | None = None
    dataset_size: int | None = None
    unknown: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    contradicts: tuple[tuple[str, Contradiction], ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """Field → value of all that is stated; None for a field that is stated but not determined."""
        stated = {one.name: getattr(self, one.name) for one in fields(self) if one.name in KEYS}
        return {name: v for name, v in stated.items() if v is not None or name in self.unknown}


def read(meta: Mapping[str, Any], samples: int | None = None) -> Metadata:
    """The statements in ``meta``. samples: images behind the update by a better source, for the steps."""
    found: dict[str, Any] = {}
    unknown: list[str] = []
    unread: list[str] = []
    empty: list[str] = []
    contradicts: list[tuple[str, Contradiction]] = []
    for path, name, raw in _entries(meta, "", 0):
        if raw is None:
            empty += [name] if name and name not in OFF else []
            continue
        value = None if name is None else KEYS[name].read(raw)
        if name is None or value is None:
            unread.append(path)
            unknown += [name] if name else []
        elif name in found and not _same(found[name], value):
            contradicts.append((name, Contradiction("metadata", found[name], "metadata", value)))
            unknown.append(name)
        else:
            found.setdefault(name, value)
    unknown += [name for name in empty if name not in found]
    found = {name: value for name, value in found.items() if name not in unknown}
    _name_momentum(found, unknown)
    _complete_loss(found, contradicts)
    _derive_steps(found, unknown, contradicts, samples)
    if "samples" in found and {"batch_size", "local_steps"} <= set(found):
        most = found["batch_size"] * found["local_steps"]
        if found["samples"] > most:
            contradicts.append(("samples", Contradiction("metadata", found["samples"], "metadata", most)))
    return Metadata(
        **found,
        unknown=tuple(dict.fromkeys(unknown)),
        unread=tuple(unread),
        contradicts=tuple(contradicts),
    )


def images(values: Mapping[str, Any]) -> tuple[int | None, float]:
    """(the number of images behind the update, or None, its confidence). values: of ``Metadata.values``.

    The batch size is that number for one local step. If neither steps nor epochs are stated, it may be. Over
    several steps it is not: the batches may be of other images, or of the same again.
    """
    samples, batch = typed.read_whole(values.get("samples")), typed.read_whole(values.get("batch_size"))
    steps = typed.read_whole(values.get("local_steps"))
    if "samples" in values:
        beyond = samples and batch and steps and samples > batch * steps
        return samples, 0.3 if beyond else 0.9
    if batch is None or (steps is None and {"local_steps", "local_epochs"} & set(values)):
        return None, 0.0
    return (batch, 0.9 if steps else 0.5) if steps in (None, 1) else (None, 0.0)


def _entries(meta: Mapping[str, Any], path: str, depth: int) -> Iterator[tuple[str, str | None, Any]]:
    """(path, field or None, value) of each key. An empty or false value of another key says nothing."""
    for key, value in meta.items():
        where, name = f"{path}{key}", NAMES.get(typed.squeezed(str(key)))
        value = _alone(value)
        if isinstance(value, Mapping) and depth < DEPTH and name == "optimizer":
            yield from _optimizer_entries(value, f"{where}.", depth + 1)
        elif isinstance(value, Mapping) and depth < DEPTH and OF_THE_CLIENT.match(typed.squeezed(str(key))):
            yield from _entries(value, f"{where}.", depth + 1)
        elif name or value not in (None, False, "", [], {}):
            yield where, name, value


def _optimizer_entries(
    config: Mapping[str, Any], path: str, depth: int
) -> Iterator[tuple[str, str | None, Any]]:
    """Of an optimizer: ``{"class_name": "SGD", "config": {…}}``, or ``{"name": "SGD", "lr": …}``."""
    called = next((key for key in ("class_name", "name", "type", "optimizer") if config.get(key)), None)
    if called:
        yield f"{path}{called}", "optimizer", config[called]
    names = ("class_name", "name", "type", "optimizer", "module", "registered_name")
    rest = {key: value for key, value in config.items() if key not in names}
    inner = _alone(rest.pop("config", None))
    yield from _entries(rest, path, depth)
    if isinstance(inner, Mapping):
        without = {key: value for key, value in inner.items() if called is None or key != "name"}
        yield from _optimizer_entries(without, f"{path}config.", depth + 1)


def _alone(value: Any) -> Any:
    """The element of a list of one, otherwise ``value``."""
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= SAME * max(abs(one), abs(other))
    return bool(one == other)


def _name_momentum(found: dict[str, Any], unknown: list[str]) -> None:
    """SGD with momentum above 0 is called after it."""
    name = found.get("optimizer", "sgd")
    if found.get("momentum") and name in PROPORTIONAL and "optimizer" not in unknown:
        found["optimizer"] = "nesterov" if found.get("nesterov") or name == "nesterov" else "momentum"


def _complete_loss(found: dict[str, Any], contradicts: list[tuple[str, Contradiction]]) -> None:
    """Put the options of the loss that are keys of their own into ``found["loss"]``.

    Without a name they are those of the cross-entropy. An option that the name already has stays as it is.
    """
    keys = {"label_smoothing": "smoothing", "class_weights": "weights", "loss_reduction": "reduction"}
    stated = {field: found[key] for key, field in keys.items() if key in found}
    named = losses.parse(found.get("loss", losses.CATEGORICAL))
    if not stated or named is None:
        return
    default = losses.Loss(named.name)
    for field, value in list(stated.items()):
        own = getattr(named, field)
        if own != getattr(default, field) and own != value:
            contradicts.append(("loss", Contradiction("metadata", found["loss"], "metadata", str(value))))
            del stated[field]
    text = losses.canonical(replace(named, **stated).text)
    if losses.parse(text) is not None:
        found["loss"] = text


def _derive_steps(
    found: dict[str, Any],
    unknown: list[str],
    contradicts: list[tuple[str, Contradiction]],
    samples: int | None,
) -> None:
    """Put the local steps that epochs imply into ``found``, or into ``unknown`` if they are several.

    The last batch of an epoch may be left out, so stated steps may be a little fewer.
    """
    number, batch = samples or found.get("samples"), found.get("batch_size")
    epochs, stated = found.get("local_epochs"), found.get("local_steps")
    if stated is None:
        if "local_steps" in unknown:
            return
        if epochs and number and batch:
            found["local_steps"] = epochs * -(-number // batch)
        elif "local_epochs" in unknown or epochs or (number and batch and number > batch):
            unknown.append("local_steps")
        return
    if not epochs:
        return
    least = epochs * max(1, number // batch) if number and batch else epochs
    most = epochs * -(-number // batch) if number and batch else stated
    if not least <= stated <= most:
        contradicts.append(("local_steps", Contradiction("metadata", stated, "metadata", most)))
        unknown.append("local_steps")
        del found["local_steps"]
