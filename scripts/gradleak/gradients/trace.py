"""Reading a Keras model as a list of steps, so that its layers can be run with their insides in reach."""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from gradleak.gradients.layers import Rule, rule_for


class Untraceable(Exception):
    """The model holds something whose effect on a folded batch is unknown; the message says what."""


@dataclass(frozen=True)
class Step:
    """One layer call. Values are numbered: 0 is the model's input, i + 1 the output of step i."""

    layer: keras.Layer
    inputs: tuple[int, ...]
    rule: Rule | None  # how the layer's parameter gradients are had; None if it has nothing to train


@dataclass(frozen=True)
class Captured:
    """A trainable layer's part in one forward pass over B images."""

    step: Step
    entered: tf.Tensor  # what the layer was given, [B, ...]
    preactivation: tf.Tensor  # what its parameters made of it, before any activation, [B, ...]


# Keras layers that run code of the user's, which may do anything to a batch.
_OPAQUE = (keras.layers.Lambda, keras.layers.TFSMLayer, keras.layers.Wrapper, keras.layers.RNN)


def trace(model: keras.Model) -> tuple[Step, ...]:
    """Steps of a Sequential or Functional model in the order of execution; raises ``Untraceable``.

    Nested Sequential and Functional models are read through.
    """
    steps: list[Step] = []
    output = _trace_into(steps, model, entry=0)
    if output != len(steps):
        raise Untraceable("the model's output is not its last layer's")
    called = [id(step.layer) for step in steps if step.rule]
    if len(called) != len(set(called)):
        raise Untraceable("a trainable layer is called more than once")
    reached = {id(variable) for step in steps for variable in step.layer.trainable_variables}
    if reached != {id(variable) for variable in model.trainable_variables}:
        raise Untraceable("some trainable variables belong to no layer of the graph")
    return tuple(steps)


def forward(steps: tuple[Step, ...], images) -> tuple[tf.Tensor, list[Captured]]:
    """Logits [B, K] of ``images`` [B, H, W, C], and every trainable layer's part, in the order of execution."""
    values: list[Any] = [images]
    captured = []
    for step in steps:
        entered = [values[i] for i in step.inputs]
        if step.rule is None:
            values.append(step.layer(entered if len(entered) > 1 else entered[0], training=False))
            continue
        preactivation = step.rule.linear(step.layer, entered[0])
        captured.append(Captured(step, entered[0], preactivation))
        values.append(step.rule.activate(step.layer, preactivation))
    return values[-1], captured


def _trace_into(steps: list[Step], model: keras.Model, entry: int) -> int:
    """Append the steps of ``model``, whose input is value ``entry``; return its output's number."""
    if not _is_keras_own(model) or not getattr(model, "outputs", None):
        raise Untraceable(f"{model.name} is not a built Sequential or Functional model")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise Untraceable(f"{model.name} has more than one input or output")
    numbers = {id(model.inputs[0]): entry}

    def number_of(tensor) -> int:
        if id(tensor) not in numbers:
            history = tensor._keras_history
            node = history.operation._inbound_nodes[history.node_index]
            inputs = tuple(number_of(parent) for parent in node.input_tensors)
            numbers[id(tensor)] = _trace_call(steps, history.operation, node.arguments.kwargs, inputs)
        return numbers[id(tensor)]

    return number_of(model.outputs[0])


def _trace_call(steps: list[Step], layer, kwargs: dict, inputs: tuple[int, ...]) -> int:
    """Append one call (or the steps of a nested model); return the number of its output."""
    if isinstance(layer, keras.Model):
        return _trace_into(steps, layer, *inputs)
    # Keras's own layers treat the images of a batch one by one at inference; nothing is known of others.
    if not isinstance(layer, keras.Layer) or not _is_keras_own(layer):
        raise Untraceable(f"{layer.name} is not a layer of Keras's own")
    if isinstance(layer, _OPAQUE) or kwargs.get("training"):
        raise Untraceable(f"{layer.name} may do anything to a batch")
    rule = rule_for(layer) if layer.trainable_variables else None
    if rule and len(inputs) != 1:
        raise Untraceable(f"{layer.name} is trainable and has several inputs")
    steps.append(Step(layer, inputs, rule))
    return len(steps)


def _is_keras_own(layer) -> bool:
    """Whether the class is one that ships with Keras: a subclass of one may have a call of its own."""
    return type(layer).__module__.startswith("keras.")
