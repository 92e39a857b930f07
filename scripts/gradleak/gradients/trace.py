"""Reading a Keras model as a list of steps, so that its layers can be run with their insides in reach."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from gradleak.gradients.layers import Coupling, Stage, stages_of
from gradleak.gradients.windows import crop


class Untraceable(Exception):
    """The model holds something whose effect on a folded batch is unknown; the message says what."""


@dataclass(frozen=True)
class Step:
    """A stage in its place. Values are numbered: 0 is the model's input, i + 1 the output of step i."""

    stage: Stage
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Captured:
    """A trainable stage's part in one forward pass."""

    stage: Stage
    entered: tf.Tensor  # what it was given, [B, ...]
    left: tf.Tensor  # what it made of it, [B, ...]


# Keras layers that run code of the user's, which may do anything to a batch.
_OPAQUE = (keras.layers.Lambda, keras.layers.TFSMLayer, keras.layers.Wrapper, keras.layers.RNN)


def trace(model: keras.Model, coupling: Coupling | None = None) -> tuple[Step, ...]:
    """Steps of a Sequential or Functional model in the order of execution; raises ``Untraceable``.

    Nested Sequential and Functional models are read through. coupling: of the images of a trial; None: each
    image is evaluated for itself.
    """
    steps: list[Step] = []
    output = _trace_into(steps, model, 0, coupling)
    if output != len(steps):
        raise Untraceable("the model's output is not its last layer's")
    trained = Counter(id(variable) for step in steps for variable in step.stage.variables)
    if trained != Counter(id(variable) for variable in model.trainable_variables):
        raise Untraceable("a trainable variable is used more than once, or by no layer of the graph")
    _pool_early(steps)
    return _without_unseen(steps, model.inputs[0], coupling.images if coupling else 1)


def forward(steps: tuple[Step, ...], images: tf.Tensor) -> tuple[tf.Tensor, list[Captured]]:
    """Logits [B, K] of ``images`` [B, H, W, C], and every trainable stage's part, in the order of
    execution.
    """
    values: list[Any] = [images]
    captured = []
    for step in steps:
        entered = [values[i] for i in step.inputs]
        values.append(step.stage.run(*entered))
        if step.stage.variables:
            captured.append(Captured(step.stage, entered[0], values[-1]))
    return values[-1], captured


def deviations(steps: tuple[Step, ...], images: tf.Tensor) -> list[tf.Tensor]:
    """What each stage with a ``deviation`` makes of ``images`` [B, H, W, C], [T] each."""
    last = max((i + 1 for i, step in enumerate(steps) if step.stage.deviation), default=0)
    values: list[Any] = [images]
    found = []
    for step in steps[:last]:
        entered = [values[i] for i in step.inputs]
        values.append(step.stage.run(*entered))
        if step.stage.deviation:
            found.append(step.stage.deviation(entered[0]))
    return found


def _trace_into(steps: list[Step], model: keras.Model, entry: int, coupling: Coupling | None) -> int:
    """Append the steps of ``model``, whose input is value ``entry``; return its output's number."""
    if not _is_keras_own(model) or not getattr(model, "outputs", None):
        raise Untraceable(f"{model.name} is not a built Sequential or Functional model")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise Untraceable(f"{model.name} has more than one input or output")
    numbers = {id(model.inputs[0]): entry}

    def number_of(tensor: keras.KerasTensor) -> int:
        if id(tensor) not in numbers:
            history = tensor._keras_history
            node = history.operation._inbound_nodes[history.node_index]
            inputs = tuple(number_of(parent) for parent in node.input_tensors)
            layer, kwargs = history.operation, node.arguments.kwargs
            numbers[id(tensor)] = _trace_call(steps, layer, kwargs, inputs, coupling)
        return numbers[id(tensor)]

    return number_of(model.outputs[0])


def _trace_call(
    steps: list[Step],
    layer: keras.layers.Layer,
    kwargs: dict,
    inputs: tuple[int, ...],
    coupling: Coupling | None,
) -> int:
    """Append one call (or the steps of a nested model); return the number of its output."""
    if isinstance(layer, keras.Model):
        return _trace_into(steps, layer, inputs[0], coupling)
    # Keras's own layers treat the images of a batch one by one at inference; nothing is known of others.
    if not isinstance(layer, keras.Layer) or not _is_keras_own(layer):
        raise Untraceable(f"{layer.name} is not a layer of Keras's own")
    if isinstance(layer, _OPAQUE) or kwargs.get("training"):
        raise Untraceable(f"{layer.name} may do anything to a batch")
    if layer.trainable_variables and len(inputs) != 1:
        raise Untraceable(f"{layer.name} is trainable and has several inputs")
    for stage in stages_of(layer, coupling):
        steps.append(Step(stage, inputs))
        inputs = (len(steps),)
    return len(steps)


def _pool_early(steps: list[Step]) -> None:
    """Move max pooling ahead of the biases and ReLUs before it: they then have fewer values to pass over."""
    uses = Counter(number for step in steps for number in step.inputs)
    for last in range(len(steps)):
        here = last
        while steps[here].stage.is_maximum:
            before = steps[here].inputs[0] - 1
            if before < 0 or uses[before + 1] > 1 or not steps[before].stage.commutes_with_maximum:
                break
            ahead, behind = steps[here].stage, steps[before].stage
            steps[before], steps[here] = (
                replace(steps[before], stage=ahead),
                replace(steps[here], stage=behind),
            )
            here = before


def _without_unseen(steps: list[Step], entry: keras.KerasTensor, images: int) -> tuple[Step, ...]:
    """The steps with a crop wherever later ones look at less than a value's whole height and width.

    Pooling by 2 drops the last row of 13, the convolution before it need not compute it, and so on back to
    the image: of 28 x 28 pixels cnn7 sees 26 x 26, and a sixth of its second convolution is for nothing.
    images: in a batch that the steps can be run on.
    """
    if None in entry.shape[1:]:
        return tuple(steps)
    sizes = _sizes(steps, entry, images)
    made = list(sizes)  # what is made of each value: as much as is looked at, if its step can make less

    def looked_at(number: int, source: int) -> tuple[int, int] | None:
        looks, output = steps[number].stage.looks_at, made[number + 1]
        return looks(output) if looks and output else sizes[source]

    for value in reversed(range(1, len(sizes) - 1)):
        seen = [looked_at(n, value) for n, step in enumerate(steps) if value in step.inputs]
        if steps[value - 1].stage.looks_at and sizes[value]:
            made[value] = tuple(max(extents) for extents in zip(*seen))
    cropped: list[Step] = []
    places = [0]  # of the old values among the new ones
    for number, step in enumerate(steps):
        inputs = []
        for source in step.inputs:
            size = looked_at(number, source)
            if size != made[source]:
                assert size is not None  # both are None where the value is not a map
                cropped.append(Step(_crop(*size), (places[source],)))
            inputs.append(len(cropped) if size != made[source] else places[source])
        cropped.append(Step(step.stage, tuple(inputs)))
        places.append(len(cropped))
    return tuple(cropped)


def _sizes(steps: list[Step], entry: keras.KerasTensor, images: int) -> list[tuple[int, int] | None]:
    """Height and width of every value, None for one that is not a map [B, H, W, C]."""
    shapes: list[tf.TensorShape] = []

    @tf.function(autograph=False)
    def run(images: tf.Tensor) -> None:
        values = [images]
        for step in steps:
            values.append(step.stage.run(*(values[i] for i in step.inputs)))
        shapes.extend(value.shape for value in values)

    # A model cloned in another float type keeps the type of its entry.
    dtype = next((v.dtype for step in steps for v in step.stage.variables), entry.dtype)
    run.get_concrete_function(tf.TensorSpec([images, *entry.shape[1:]], dtype))
    return [tuple(shape[1:3]) if len(shape) == 4 else None for shape in shapes]


def _crop(height: int, width: int) -> Stage:
    return Stage("crop", lambda maps: crop(maps, height, width))


def _is_keras_own(layer: keras.layers.Layer) -> bool:
    """Whether the class is one that ships with Keras: a subclass of one may have a call of its own."""
    return type(layer).__module__.startswith("keras.")
