"""Keras layers as stages, with the gradients of their parameters per trial.

T trials of N images each are folded into one batch of B = T N. A stage is one thing that a layer does
to the batch: multiply by a kernel, add a bias, activate. What a trainable stage was given, ``entered``, and
``delta``, the gradient of each trial's loss at what it made of it, determine its parameters' gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from gradleak.gradients.products import Factored, Gradient
from gradleak.gradients.windows import FEW_CHANNELS, Windows, max_pool


@dataclass(frozen=True)
class Stage:
    """One operation on a folded batch."""

    name: str  # of the layer
    run: Callable[..., tf.Tensor]  # inputs [B, ...] -> output [B, ...]; a trainable stage has one input
    variables: tuple = ()  # what it trains
    # entered, delta, T -> the gradient of each variable
    gradients: Callable[[tf.Tensor, tf.Tensor, int], list[Gradient]] | None = None
    # (height, width) of the output -> of the input that it follows from, from the top left; None: all of it
    looks_at: Callable[[tuple[int, int]], tuple[int, int]] | None = None
    is_maximum: bool = False  # over some pixels, channel by channel
    commutes_with_maximum: bool = False  # in value and in derivatives
    is_general: bool = False  # its gradients are materialised one trial at a time
    # entered -> [T], how far the statistics of each trial are from those of the layer
    deviation: Callable[[tf.Tensor], tf.Tensor] | None = None


@dataclass(frozen=True)
class Coupling:
    """BatchNormalization in training mode.

    layers: names of those that normalise each trial by the statistics of its own images. images: of a trial.
    is_fixed: they normalise by their moving statistics all the same, and only the deviation is computed.
    """

    layers: tuple[str, ...]
    images: int
    is_fixed: bool = False


def stages_of(layer: keras.layers.Layer, coupling: Coupling | None = None) -> list[Stage]:
    """What a layer of Keras's own does, in order: at inference, unless it is one of ``coupling``."""
    if coupling and layer.name in coupling.layers and (stages := _batch_norm(layer, coupling)):
        own = {id(variable) for variable in layer.trainable_variables}
        return [
            stage
            if all(id(v) in own for v in stage.variables)
            else replace(stage, variables=(), gradients=None)
            for stage in stages
        ]
    if not layer.trainable_variables:
        return [_untrained(layer)]
    special = _SPECIAL.get(type(layer))
    stages = special(layer) if special else []
    trained = {id(variable) for stage in stages for variable in stage.variables}
    if trained == {id(variable) for variable in layer.trainable_variables}:
        return stages
    # Of another kind, or trained in an unusual way: an adapter, a frozen bias.
    return [Stage(layer.name, _inference(layer), *_general_gradients(layer), is_general=True)]


def _dense(layer: keras.layers.Layer) -> list[Stage]:
    def run(entered: tf.Tensor) -> tf.Tensor:
        return tf.tensordot(entered, layer.kernel.value, 1)

    def gradients(entered: tf.Tensor, delta: tf.Tensor, trials: int) -> list[Gradient]:
        return [Factored(_fold(entered, trials), _fold(delta, trials))]

    return [Stage(layer.name, run, (layer.kernel,), gradients), *_bias(layer), *_activation(layer)]


def _conv(layer: keras.layers.Layer) -> list[Stage]:
    if layer.groups > 1 or layer.data_format != "channels_last":
        return []

    def patches(entered: tf.Tensor) -> tf.Tensor:
        return _windows(layer, entered).patches(entered)

    def convolve(entered: tf.Tensor) -> tf.Tensor:
        kernel, padding = layer.kernel.value, layer.padding.upper()
        return tf.nn.convolution(entered, kernel, layer.strides, padding, dilations=layer.dilation_rate)

    def convolve_gradients(entered: tf.Tensor, delta: tf.Tensor, trials: int) -> list[Gradient]:
        return multiply_gradients(patches(entered), delta, trials)

    def multiply(patches: tf.Tensor) -> tf.Tensor:
        return tf.tensordot(patches, tf.reshape(layer.kernel.value, [-1, layer.filters]), 1)

    def multiply_gradients(patches: tf.Tensor, delta: tf.Tensor, trials: int) -> list[Gradient]:
        return [Factored(_fold(patches, trials), _fold(delta, trials))]

    variables, looks_at = (layer.kernel,), _windows_over(layer) if layer.padding == "valid" else None
    if layer.kernel.shape[2] > FEW_CHANNELS:
        stages = [Stage(layer.name, convolve, variables, convolve_gradients, looks_at)]
    else:  # TensorFlow's own derivatives are slow there, and the patches serve twice
        stages = [
            Stage(layer.name, patches, looks_at=looks_at),
            Stage(layer.name, multiply, variables, multiply_gradients, looks_at=_same),
        ]
    return [*stages, *_bias(layer), *_activation(layer)]


def _depthwise(layer: keras.layers.Layer) -> list[Stage]:
    if layer.data_format != "channels_last":
        return []

    def run(entered: tf.Tensor) -> tf.Tensor:
        strides, padding = [1, *layer.strides, 1], layer.padding.upper()
        return tf.nn.depthwise_conv2d(
            entered, layer.kernel.value, strides, padding, dilations=layer.dilation_rate
        )

    def gradients(entered: tf.Tensor, delta: tf.Tensor, trials: int) -> list[Gradient]:
        height, width, channels, multiplier = layer.kernel.shape
        patches = _windows(layer, entered).patches(entered)
        patches = tf.reshape(patches, [trials, -1, height * width, channels])
        delta = tf.reshape(delta, [trials, -1, channels, multiplier])
        gradient = tf.einsum("trkc,trcm->tkcm", patches, delta)
        return [tf.reshape(gradient, [trials, *layer.kernel.shape])]

    return [Stage(layer.name, run, (layer.kernel,), gradients), *_bias(layer), *_activation(layer)]


def _batch_norm(layer: keras.layers.Layer, coupling: Coupling | None = None) -> list[Stage]:
    """At inference: fixed statistics, so that no image sees another. Else those of each trial's images."""
    if layer.axis not in (-1, layer.input_spec.ndim - 1):
        return []

    def moments(entered: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """[T, R, C] with the rows of each trial, their mean and their variance, [T, 1, C]."""
        assert coupling is not None  # else there are no trials
        rows = _fold(entered, entered.shape[0] // coupling.images)
        mean = tf.reduce_mean(rows, axis=1, keepdims=True)
        return rows, mean, tf.reduce_mean(tf.square(rows - mean), axis=1, keepdims=True)

    def normalise(entered: tf.Tensor) -> tf.Tensor:
        deviation = tf.sqrt(layer.moving_variance.value + layer.epsilon)
        return (entered - layer.moving_mean.value) / deviation

    def normalise_together(entered: tf.Tensor) -> tf.Tensor:
        rows, mean, variance = moments(entered)
        return tf.reshape((rows - mean) / tf.sqrt(variance + layer.epsilon), entered.shape)

    def deviation(entered: tf.Tensor) -> tf.Tensor:
        """Mean over the channels of the squared differences, in units of the layer's variance."""
        _, mean, variance = moments(entered)
        wanted = layer.moving_variance.value + layer.epsilon
        apart = tf.square(mean - layer.moving_mean.value) / wanted
        apart += tf.square((variance + layer.epsilon) / wanted - 1)
        return tf.reduce_mean(apart, axis=[1, 2])

    def scale(entered: tf.Tensor) -> tf.Tensor:
        return entered * layer.gamma.value

    def scale_gradients(entered: tf.Tensor, delta: tf.Tensor, trials: int) -> list[Gradient]:
        return [tf.reduce_sum(_fold(entered * delta, trials), axis=1)]

    if coupling is None:
        stages = [Stage(layer.name, normalise)]
    else:
        run = normalise if coupling.is_fixed else normalise_together
        stages = [Stage(layer.name, run, deviation=deviation)]
    if layer.scale:
        stages.append(Stage(layer.name, scale, (layer.gamma,), scale_gradients))
    return stages + (_shift(layer, layer.beta) if layer.center else [])


def _bias(layer: keras.layers.Layer) -> list[Stage]:
    return _shift(layer, layer.bias) if layer.use_bias else []


def _shift(layer: keras.layers.Layer, variable: keras.Variable) -> list[Stage]:
    def run(entered: tf.Tensor) -> tf.Tensor:
        return tf.nn.bias_add(entered, variable.value)

    def gradients(entered: tf.Tensor, delta: tf.Tensor, trials: int) -> list[Gradient]:
        return [tf.reduce_sum(_fold(delta, trials), axis=1)]

    return [Stage(layer.name, run, (variable,), gradients, looks_at=_same, commutes_with_maximum=True)]


def _activation(layer: keras.layers.Layer) -> list[Stage]:
    """ReLU commutes: where no pixel of a window is positive, nothing is passed on in either order."""
    if layer.activation is keras.activations.linear:
        return []
    is_relu = layer.activation is keras.activations.relu
    # Keras's own treat every pixel for itself.
    looks_at = _same if layer.activation.__module__.startswith("keras.") else None
    return [Stage(layer.name, layer.activation, looks_at=looks_at, commutes_with_maximum=is_relu)]


def _untrained(layer: keras.layers.Layer) -> Stage:
    kind = type(layer)
    if kind is keras.layers.Activation:
        return _activation(layer)[0]
    if kind is keras.layers.MaxPooling2D and _has_plain_windows(layer):
        size = layer.pool_size[0]
        return Stage(
            layer.name,
            lambda images: max_pool(images, size),
            looks_at=lambda seen: (seen[0] * size, seen[1] * size),
            is_maximum=True,
        )
    return Stage(layer.name, _inference(layer), is_maximum=kind is keras.layers.MaxPooling2D)


def _has_plain_windows(layer: keras.layers.Layer) -> bool:
    """Whether a pooling layer's windows are squares that neither overlap nor leave the image."""
    height, width = layer.pool_size
    plain = height == width and tuple(layer.strides) == (height, width)
    return plain and layer.padding == "valid" and layer.data_format == "channels_last"


def _inference(layer: keras.layers.Layer) -> Callable[..., tf.Tensor]:
    return lambda *inputs: layer(inputs if len(inputs) > 1 else inputs[0], training=False)


def _general_gradients(layer: keras.layers.Layer) -> tuple[tuple, Callable]:
    """Variables of any layer, and their gradients by autodiff, one trial after the other."""
    variables = tuple(layer.trainable_variables)
    values = [variable.value for variable in variables]

    def one_trial(entered_and_delta: list[tf.Tensor]) -> list[tf.Tensor]:
        entered, delta = entered_and_delta
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            output = layer(entered, training=False)
        return tape.gradient(output, values, delta, unconnected_gradients="zero")

    def gradients(entered: tf.Tensor, delta: tf.Tensor, trials: int) -> list[Gradient]:
        split = [tf.reshape(tensor, [trials, -1, *tensor.shape[1:]]) for tensor in (entered, delta)]
        signature = [tf.TensorSpec(value.shape, value.dtype) for value in values]
        return tf.map_fn(one_trial, split, fn_output_signature=signature)

    return variables, gradients


def _same(seen: tuple[int, int]) -> tuple[int, int]:
    return seen


def _windows_over(layer: keras.layers.Layer) -> Callable[[tuple[int, int]], tuple[int, int]]:
    """``Stage.looks_at`` of a convolution without padding."""

    def looks_at(seen: tuple[int, int]) -> tuple[int, int]:
        sizes = zip(seen, layer.kernel_size, layer.strides, layer.dilation_rate)
        height, width = (
            (count - 1) * stride + (kernel - 1) * dilation + 1 for count, kernel, stride, dilation in sizes
        )
        return height, width

    return looks_at


def _fold(tensor: tf.Tensor, trials: int) -> tf.Tensor:
    """[T N, ..., F] -> [T, R, F] with R the rows (images times positions) of one trial."""
    return tf.reshape(tensor, [trials, -1, tensor.shape[-1]])


def _windows(layer: keras.layers.Layer, entered: tf.Tensor) -> Windows:
    """Where the kernel of a convolution lands on its input."""
    image = tuple(entered.shape[1:3])
    return Windows(image, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)


_SPECIAL = {
    keras.layers.Dense: _dense,
    keras.layers.Conv2D: _conv,
    keras.layers.DepthwiseConv2D: _depthwise,
    keras.layers.BatchNormalization: _batch_norm,
}
