"""From a classifier to the inner products between its dummy and its leaked gradients."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from gradleak.gradients.layers import Coupling
from gradleak.gradients.objectives import Products
from gradleak.gradients.products import Gradient, as_tensor, products
from gradleak.gradients.trace import Step, Untraceable, deviations, forward, trace
from gradleak.losses import BINARY, CATEGORICAL, MEAN, Ops, image_weights, loss_named, signal

log = logging.getLogger("gradleak")

TENSORFLOW = Ops(
    softmax=tf.nn.softmax,
    log_softmax=tf.nn.log_softmax,
    sigmoid=tf.nn.sigmoid,
    total=lambda tensor: tf.reduce_sum(tensor, axis=-1, keepdims=True),
)


@dataclass(frozen=True)
class Matcher:
    """Gradients of one classifier's parameters, for many trials at once.

    Everywhere: images x [T, N, H, W, C]; labels [T, N, K]; the loss of a trial is the mean over its N
    images of the loss from logits, or with class weights the weighted mean. loss: a text of
    ``losses.Loss``. Each row of labels is a probability vector, or of binary_crossentropy in [0, 1]. T and N
    are static.
    No trial's result depends on another's images. Twice differentiable in x and labels. A model that could
    not be traced is evaluated at inference, whatever the coupling.
    """

    model: keras.Model
    steps: tuple[Step, ...] | None  # None: the model could not be traced
    loss: str = CATEGORICAL

    @property
    def variables(self) -> list[keras.Variable]:
        """The L trainable variables, in the order of every list and every L axis here."""
        return self.model.trainable_variables

    def products(self, x: tf.Tensor, labels: tf.Tensor, targets: Sequence[Gradient]) -> Products:
        """Inner products of each trial's gradient with its target, [T, L].

        ``targets``: L tensors [T, *shape], or [1, *shape] where all trials share one, or such in factors,
        as ``unpack_targets`` gives them.
        """
        found = [products(g, target) for g, target in zip(self._gradients(x, labels), targets)]
        trials = x.shape[0]
        return Products(
            *(
                tf.stack([tf.broadcast_to(part, [trials]) for part in column], axis=1)
                for column in zip(*found)
            )
        )

    def gradients(self, x: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        """Each trial's gradient in full, L tensors [T, *shape]. Memory grows with T times parameters."""
        return [as_tensor(g, v.shape) for g, v in zip(self._gradients(x, labels), self.variables)]

    def statistics_distance(self, x: tf.Tensor) -> tf.Tensor:
        """How far the statistics of each trial's images are from the moving ones, [T].

        At each layer of the coupling the mean over channels of (μ − μ*)² / (v* + ε) + ((v − v*) / (v* + ε))²,
        then the mean over layers. Zero where there is no such layer. The sum of squared differences is the
        regulariser of Yin et al. 2021 (doi:10.48550/arXiv.2104.07586); here each is in units of the variance.
        """
        trials, images = x.shape[:2]
        found = deviations(self.steps or (), tf.reshape(x, [trials * images, *x.shape[2:]]))
        return tf.add_n(found) / len(found) if found else tf.zeros([trials], x.dtype)

    def _gradients(self, x: tf.Tensor, labels: tf.Tensor) -> list[Gradient]:
        if self.steps is None:
            return _map_trials(self.model, x, labels, self.loss)
        trials, images = x.shape[:2]
        folded = tf.reshape(x, [trials * images, *x.shape[2:]])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(folded)  # so that what follows is recorded; its own gradient is not asked for
            logits, captured = forward(self.steps, folded)
        signal = logit_signal(logits, tf.reshape(labels, logits.shape), images, self.loss)
        deltas = tape.gradient(logits, [part.left for part in captured], signal)
        found: dict[int, Gradient] = {}
        for part, delta in zip(captured, deltas):
            assert part.stage.gradients is not None  # every stage with variables has them
            gradients = part.stage.gradients(part.entered, delta, trials)
            found |= {id(v): g for v, g in zip(part.stage.variables, gradients)}
        return [found[id(variable)] for variable in self.variables]


def build_matcher(model: keras.Model, coupling: Coupling | None = None, loss: str = CATEGORICAL) -> Matcher:
    """The engine for a classifier (B, H, W, C) -> (B, K) logits; its last activation must be linear.

    coupling: BatchNormalization layers that normalise each trial by its own images; x must then have
    ``coupling.images`` images a trial. None: all layers are evaluated at inference. loss: as of ``Matcher``.
    A layer without algebra of its own falls back to a gradient that is materialised per trial, and a
    model that cannot be traced does so as a whole. Both are said once in the log.
    """
    try:
        steps = trace(model, coupling)
    except Untraceable as reason:
        log.warning("%s: per-trial gradients of the whole model are materialised: %s", model.name, reason)
        return Matcher(model, None, loss)
    for step in steps:
        if step.stage.is_general:
            log.warning("%s: per-trial gradients of layer %s are materialised", model.name, step.stage.name)
    return Matcher(model, steps, loss)


def logit_signal(logits: tf.Tensor, labels: tf.Tensor, images: int | tf.Tensor, loss: str) -> tf.Tensor:
    """Gradient of each trial's mean loss at the logits, of the cross-entropy ``(softmax(z) - y) / N``.
    logits, labels: [T N, K].

    Written out because TensorFlow's own cross-entropy loses the derivative of this very quantity in
    the labels when it is differentiated a second time (it returns zero), and joint label recovery
    lives on that derivative.
    """
    if loss == BINARY:
        return (tf.nn.sigmoid(logits) - labels) / (images * logits.shape[-1])
    if loss == CATEGORICAL:
        return (tf.nn.softmax(logits) - labels) / images
    one = loss_named(loss)
    found = signal(one, logits, labels, TENSORFLOW)
    if not one.weights or one.reduction != MEAN:
        return found / tf.cast(images, found.dtype)
    weights = tf.reshape(image_weights(one, labels, TENSORFLOW), [-1, images])
    total = tf.repeat(tf.reduce_sum(weights, axis=1), images)
    return found / tf.maximum(total, 1e-30)[:, None]


def _map_trials(model: keras.Model, x: tf.Tensor, labels: tf.Tensor, loss: str) -> list[tf.Tensor]:
    """Gradients [T, *shape] of a model that is a black box: one trial after the other, by plain autodiff."""
    variables = [variable.value for variable in model.trainable_variables]

    def one_trial(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        images, rows = inputs
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            logits = model(images, training=False)
        signal = logit_signal(logits, rows, images.shape[0], loss)
        return tape.gradient(logits, variables, signal, unconnected_gradients="zero")

    signature = [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]
    return tf.map_fn(one_trial, [x, labels], fn_output_signature=signature)
