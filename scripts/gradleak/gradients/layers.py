"""Per-trial parameter gradients of single layers, and the inner products that matching losses need.

T trials of N images each are folded into one batch of B = T N. For a layer with input ``a`` and the
gradient ``delta`` of each trial's loss at its pre-activation, the gradient of a dense kernel is a sum
of outer products over the trial's rows, ``g = sum_r a_r delta_r^T``, and a convolution's is the same
over image patches. Such a gradient is kept as its factors (``Factored``) and multiplied out only where
that is cheaper. The norm from factors is the "ghost norm" of differentially private training (Li et
al. 2022, arXiv:2110.05679; Bu et al. 2022, arXiv:2205.10683); here it serves inversion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class Factored(NamedTuple):
    """A gradient [T, I, O] as a sum of outer products, ``g_t = sum_r left[t, r] right[t, r]^T``."""

    left: tf.Tensor  # [T, R, I]
    right: tf.Tensor  # [T, R, O]

    def multiplied_out(self) -> tf.Tensor:
        return tf.matmul(self.left, self.right, transpose_a=True)

    def is_cheaper_as_factors(self) -> bool:
        """Whether R x R Gram matrices cost fewer operations than the I x O gradient.

        A gradient that is multiplied out therefore never exceeds R (I + O) numbers a trial, the size
        of its factors: memory follows activations, not parameters.
        """
        (rows, inputs), outputs = self.left.shape[1:], self.right.shape[2]
        return rows * (inputs + outputs) < inputs * outputs


Gradient = Factored | tf.Tensor  # of one variable; a tensor is [T, *variable.shape]


def as_tensor(gradient: Gradient, shape) -> tf.Tensor:
    """The gradient of a variable of ``shape`` in full, [T, *shape]."""
    if isinstance(gradient, Factored):
        gradient = gradient.multiplied_out()
    return tf.reshape(gradient, [gradient.shape[0], *shape])


def inner_and_norm2(gradient: Gradient, target) -> tuple[tf.Tensor, tf.Tensor]:
    """``<g, G>`` and ``||g||^2`` per trial, two float64 [T], for a target [T, *shape] or [1, *shape]."""
    if not isinstance(gradient, Factored):
        return _products_of_tensor(gradient, target)
    if not gradient.is_cheaper_as_factors():
        return _products_of_tensor(gradient.multiplied_out(), target)
    return _products_of_factors(gradient, target)


def _products_of_tensor(gradient: tf.Tensor, target):
    trials = gradient.shape[0]
    gradient = tf.cast(tf.reshape(gradient, [trials, -1]), tf.float64)
    target = tf.cast(tf.reshape(target, [target.shape[0], -1]), tf.float64)
    if target.shape[0] == 1:
        inner = tf.linalg.matvec(gradient, target[0])
    else:
        inner = tf.reduce_sum(gradient * target, axis=1)
    return inner, tf.reduce_sum(tf.square(gradient), axis=1)


def _products_of_factors(gradient: Factored, target):
    left, right = (tf.cast(factor, tf.float64) for factor in gradient)
    trials, rows, inputs = left.shape
    target = tf.cast(tf.reshape(target, [target.shape[0], inputs, right.shape[2]]), tf.float64)
    if target.shape[0] == 1:  # one matrix product over all trials' rows, not a batch of small ones
        pulled = tf.reshape(tf.matmul(tf.reshape(left, [-1, inputs]), target[0]), [trials, rows, -1])
    else:
        pulled = tf.matmul(left, target)
    inner = tf.reduce_sum(pulled * right, axis=[1, 2])
    gram = tf.matmul(left, left, transpose_b=True) * tf.matmul(right, right, transpose_b=True)
    return inner, tf.reduce_sum(gram, axis=[1, 2])


@dataclass(frozen=True)
class Rule:
    """How to run a trainable layer and get at its gradients."""

    # layer, a [B, ...] -> pre-activation [B, ...]
    linear: Callable[[keras.Layer, tf.Tensor], tf.Tensor]
    # layer, a [B, ...], delta [B, ...], T -> one gradient per variable in layer.trainable_variables
    gradients: Callable[[keras.Layer, tf.Tensor, tf.Tensor, int], list[Gradient]]
    # layer, pre-activation [B, ...] -> output [B, ...]
    activate: Callable[[keras.Layer, tf.Tensor], tf.Tensor]


def rule_for(layer: keras.Layer) -> Rule:
    """The rule for a trainable layer of Keras's own: its special one, or the general one."""
    special = _SPECIAL.get(type(layer))
    return special.rule if special and special.covers(layer) else GENERAL


def _fold(tensor, trials: int) -> tf.Tensor:
    """[T N, ..., F] -> [T, R, F] with R the rows (images times positions) of one trial."""
    return tf.reshape(tensor, [trials, -1, tensor.shape[-1]])


def _with_bias(layer, kernel_gradient: Gradient, delta, trials: int) -> list[Gradient]:
    bias = [tf.reduce_sum(_fold(delta, trials), axis=1)] if layer.use_bias else []
    return [kernel_gradient, *bias]


def _dense(layer, entered):
    output = tf.tensordot(entered, layer.kernel.value, 1)
    return output + layer.bias.value if layer.use_bias else output


def _dense_gradients(layer, entered, delta, trials):
    return _with_bias(layer, Factored(_fold(entered, trials), _fold(delta, trials)), delta, trials)


def _conv(layer, entered):
    output = tf.nn.convolution(
        entered,
        layer.kernel.value,
        strides=layer.strides,
        padding=layer.padding.upper(),
        dilations=layer.dilation_rate,
    )
    return output + layer.bias.value if layer.use_bias else output


def _conv_gradients(layer, entered, delta, trials):
    rows = _fold(_patches(layer, entered), trials)
    return _with_bias(layer, Factored(rows, _fold(delta, trials)), delta, trials)


def _depthwise(layer, entered):
    output = tf.nn.depthwise_conv2d(
        entered,
        layer.kernel.value,
        strides=[1, *layer.strides, 1],
        padding=layer.padding.upper(),
        dilations=layer.dilation_rate,
    )
    return output + layer.bias.value if layer.use_bias else output


def _depthwise_gradients(layer, entered, delta, trials):
    height, width, channels, multiplier = layer.kernel.shape
    patches = _fold(_patches(layer, entered), trials)
    patches = tf.reshape(patches, [trials, -1, height * width, channels])
    signals = tf.reshape(delta, [trials, -1, channels, multiplier])
    kernel = tf.einsum("trkc,trcm->tkcm", patches, signals)
    return _with_bias(layer, tf.reshape(kernel, [trials, *layer.kernel.shape]), delta, trials)


def _batchnorm(layer, entered):
    output = _normalised(layer, entered)
    output = output * layer.gamma.value if layer.scale else output
    return output + layer.beta.value if layer.center else output


def _batchnorm_gradients(layer, entered, delta, trials):
    scale = _fold(_normalised(layer, entered) * delta, trials)
    gradients = [tf.reduce_sum(scale, axis=1)] if layer.scale else []
    return gradients + ([tf.reduce_sum(_fold(delta, trials), axis=1)] if layer.center else [])


def _normalised(layer, entered):
    """BatchNormalization at inference, before gamma and beta: moving statistics, so no image sees another."""
    deviation = tf.sqrt(layer.moving_variance.value + layer.epsilon)
    return (entered - layer.moving_mean.value) / deviation


def _general_call(layer, entered):
    return layer(entered, training=False)


def _general_gradients(layer, entered, delta, trials):
    """Materialised, one trial after the other: for layers that no algebra above covers."""
    variables = [variable.value for variable in layer.trainable_variables]

    def one_trial(inputs):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            output = layer(inputs[0], training=False)
        return tape.gradient(output, variables, inputs[1], unconnected_gradients="zero")

    return tf.map_fn(
        one_trial,
        [tf.reshape(tensor, [trials, -1, *tensor.shape[1:]]) for tensor in (entered, delta)],
        fn_output_signature=[tf.TensorSpec(v.shape, v.dtype) for v in variables],
    )


def _patches(layer, entered) -> tf.Tensor:
    """What the kernel of a Conv2D or DepthwiseConv2D sees at every position, [B, H', W', kh kw C]."""
    extents = [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, layer.dilation_rate)]
    if layer.padding == "same":
        entered = tf.pad(
            entered, [(0, 0), *map(_same_padding, entered.shape[1:3], extents, layer.strides), (0, 0)]
        )
    spans = [
        (size - extent) // stride * stride + 1
        for size, extent, stride in zip(entered.shape[1:3], extents, layer.strides)
    ]
    (dy, dx), (sy, sx) = layer.dilation_rate, layer.strides
    return tf.concat(
        [
            entered[:, i * dy : i * dy + spans[0] : sy, j * dx : j * dx + spans[1] : sx]
            for i in range(layer.kernel_size[0])
            for j in range(layer.kernel_size[1])
        ],
        axis=-1,
    )


def _same_padding(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis under TensorFlow's "SAME": ceil(size / stride) outputs, odd one last."""
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def _own_activation(layer, preactivation):
    return layer.activation(preactivation)


def _no_activation(layer, preactivation):
    return preactivation


class _Special(NamedTuple):
    rule: Rule
    covers: Callable[[Any], bool]  # whether the layer, of the right type, is set up as the rule expects


def _trains_all_of(layer, *names: str) -> bool:
    """Whether the layer's trainable variables are just these attributes of it, in this order (no LoRA)."""
    wanted = [getattr(layer, name) for name in names if getattr(layer, name) is not None]
    return [id(v) for v in wanted] == [id(v) for v in layer.trainable_variables]


def _channels_last(layer) -> bool:
    return layer.data_format == "channels_last"


_SPECIAL = {
    keras.layers.Dense: _Special(
        Rule(_dense, _dense_gradients, _own_activation),
        lambda layer: _trains_all_of(layer, "kernel", "bias"),
    ),
    keras.layers.Conv2D: _Special(
        Rule(_conv, _conv_gradients, _own_activation),
        lambda layer: _trains_all_of(layer, "kernel", "bias") and _channels_last(layer) and layer.groups == 1,
    ),
    keras.layers.DepthwiseConv2D: _Special(
        Rule(_depthwise, _depthwise_gradients, _own_activation),
        lambda layer: _trains_all_of(layer, "kernel", "bias") and _channels_last(layer),
    ),
    keras.layers.BatchNormalization: _Special(
        Rule(_batchnorm, _batchnorm_gradients, _no_activation),
        lambda layer: (
            _trains_all_of(layer, "gamma", "beta") and layer.axis in (-1, layer.input_spec.ndim - 1)
        ),
    ),
}
GENERAL = Rule(_general_call, _general_gradients, _no_activation)
