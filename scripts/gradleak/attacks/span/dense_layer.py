"""A dense layer of a classifier: its inputs (features), its back-propagated δ, and its gradient M = (1/N) Σ
f_n δ_nᵀ."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from gradleak.attacks.span import thresholds
from gradleak.gradients.matcher import TENSORFLOW
from gradleak.gradients.trace import Step, trace
from gradleak.losses import PLAIN, Loss, signal


@dataclass(frozen=True, eq=False)
class DenseLayer:
    """A dense layer and the classifier around it. I inputs, O outputs, K classes; everything in one float
    type.

    steps: the whole classifier. place: number of the step that multiplies with the kernel [I, O]. kernel,
    bias: index of the layer's variables among the model's trainable ones; bias None where there is none.
    classes: K. loss: of the client.
    """

    name: str
    steps: tuple[Step, ...]
    place: int
    kernel: int
    bias: int | None
    classes: int = 0
    loss: Loss = PLAIN

    @property
    def weights(self) -> np.ndarray:
        """The kernel [I, O]."""
        return self.steps[self.place].stage.variables[0].numpy()

    @property
    def offset(self) -> np.ndarray:
        """The bias [O]; zeros where there is none."""
        if self.bias is None:
            return np.zeros(self.weights.shape[1])
        return self.steps[self.place + 1].stage.variables[0].numpy()

    @property
    def dtype(self) -> str:
        return self.steps[self.place].stage.variables[0].dtype

    def features(self, images: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Inputs of the layer [B, I] for images [B, H, W, C]; with a bias one more input, always one: [B, I +
        1]."""
        features = _run(self.steps, {0: images}, self.steps[self.place].inputs[0])
        if self.bias is None:
            return features
        return tf.concat([features, tf.ones([tf.shape(features)[0], 1], features.dtype)], axis=1)

    def is_nonlinear(self, images: np.ndarray) -> bool:
        """Whether features are a nonlinear function of the image. Else mixtures of members lie in their span.

        images: float [B, H, W, C], at least two different ones.
        """
        ends = self.features(images.astype(self.dtype)).numpy()
        middle = self.features(((images + np.roll(images, 1, axis=0)) / 2).astype(self.dtype)).numpy()
        gap = middle - (ends + np.roll(ends, 1, axis=0)) / 2
        return bool(np.square(gap).sum() > thresholds.NONLINEAR_SHARE * np.square(middle).sum())

    def feeds_relu(self, images: np.ndarray) -> bool:
        """Whether a ReLU follows: δ is zero for just the outputs below zero. images: float [B, H, W, C]."""
        features = self.features(images.astype(self.dtype)).numpy()
        below = features[:, : len(self.weights)] @ self.weights + self.offset < 0
        return bool((self.deltas(features).any(axis=1) == ~below).all())

    def deltas(self, features: np.ndarray) -> np.ndarray:
        """δ of every image under every label, [B, K, O]: the loss's gradient at the layer's output.

        ``features``: as ``features`` returns them. Of the cross-entropy
        δ(x, c) = Σ_j p_j ∂z_j/∂h − ∂z_c/∂h.
        """
        logits, slopes = self._slopes(features)
        if self.loss.is_plain:
            mean = tf.einsum("bk,bko->bo", tf.nn.softmax(logits), slopes)
            return (mean[:, None] - slopes).numpy()
        labels = np.eye(logits.shape[1], dtype=self.dtype)
        signals = signal(self.loss, logits.numpy()[:, None], labels)
        return np.einsum("bck,bko->bco", signals, slopes.numpy())

    def slopes(self, features: np.ndarray) -> np.ndarray:
        """∂z_k/∂h of every image, [B, K, O], of its K logits at the layer's output."""
        return self._slopes(features)[1].numpy()

    def predicted(self, features: np.ndarray) -> np.ndarray:
        """The class with the largest logit, int [B]."""
        product = tf.constant(features[:, : len(self.weights)] @ self.weights)
        return _run(self.steps, {self.place + 1: product}, len(self.steps)).numpy().argmax(axis=1)

    def _slopes(self, features: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits [B, K], and ``slopes``."""
        kernel = self.weights
        product = tf.constant(features[:, : len(kernel)] @ kernel)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(product)
            logits = _run(self.steps, {self.place + 1: product}, len(self.steps))
            each = tf.unstack(logits, axis=1)
        # Not batch_jacobian, which traces a graph for seconds.
        return logits, tf.stack([tape.gradient(one, product) for one in each], axis=1)

    def delta(self, features: tf.Tensor, labels: np.ndarray | tf.Tensor) -> tf.Tensor:
        """δ of every image under its label [B, O], differentiable. features [B, I], labels: int [B]."""
        kernel = self.steps[self.place].stage.variables[0]
        return self.delta_at(tf.matmul(features[:, : kernel.shape[0]], kernel), labels)

    def delta_at(self, product: np.ndarray | tf.Tensor, labels: np.ndarray | tf.Tensor) -> tf.Tensor:
        """δ [B, O] where features times kernel are ``product`` [B, O]; differentiable."""
        product = tf.convert_to_tensor(product)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(product)
            logits = _run(self.steps, {self.place + 1: product}, len(self.steps))
            chosen = tf.gather(logits, labels, axis=1, batch_dims=1)
            loss = tf.reduce_sum(tf.reduce_logsumexp(logits, axis=1) - chosen)
        if self.loss.is_plain:
            return tape.gradient(loss, product)
        rows = tf.one_hot(labels, logits.shape[1], dtype=logits.dtype)
        return tape.gradient(logits, product, signal(self.loss, logits, rows, TENSORFLOW))

    def delta_jacobian_at(self, product: np.ndarray | tf.Tensor, labels: np.ndarray | tf.Tensor) -> tf.Tensor:
        """∂δ/∂product [B, O, O]; arguments as of ``delta_at``."""
        product = tf.convert_to_tensor(product)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(product)
            delta = self.delta_at(product, labels)
        return tape.batch_jacobian(delta, product)

    def gradient(self, gradients: list[np.ndarray]) -> np.ndarray:
        """M of one update (L arrays): the kernel's gradient, the bias's as one more row; float64 [I (+ 1),
        O]."""
        rows = [gradients[self.kernel]]
        if self.bias is not None:
            rows.append(gradients[self.bias][None])
        return np.concatenate(rows).astype(np.float64)

    def noise(self, matrix: np.ndarray, rounding: float, noise: np.ndarray | None = None) -> float:
        """Spectral norm of what rounding, and noise on top of it, add to M [I, O]. rounding, noise: as in
        ``Problem``. A matrix of float64 numbers that no float32 has is as exact as float64."""
        kernel = self.weights
        deviation = np.hypot(
            rounding * np.sqrt(np.mean(kernel**2)), 0.0 if noise is None else noise[self.kernel]
        )
        added = deviation * sum(np.sqrt(kernel.shape))
        is_single = np.array_equal(matrix, matrix.astype(np.float32))
        precision = float(np.finfo(np.float32).eps)
        if not (is_single or rounding):
            precision = thresholds.DOUBLE_EPSILONS * float(np.finfo(np.float64).eps)
        return max(added, np.linalg.norm(matrix, 2) * precision)


def dense_layers(model: keras.Model, dtype: str = "float32", loss: Loss = PLAIN) -> list[DenseLayer]:
    """The dense layers that all of the classifier's data passes through, widest first, computing in
    ``dtype``. loss: of the client.

    Only there is the gradient Σ f δᵀ with one f and one δ an image. Raises gradients.trace.Untraceable.
    """
    copy = keras.models.clone_model(model, clone_function=lambda layer: _retyped(layer, dtype))
    copy.set_weights(model.get_weights())
    steps = trace(copy)
    position = {id(v): index for index, v in enumerate(copy.trainable_variables)}
    layers = []
    for place, step in enumerate(steps):
        variables = step.stage.variables
        bypassed = any(number <= place for later in steps[place + 1 :] for number in later.inputs)
        if len(variables) != 1 or len(variables[0].shape) != 2 or bypassed or step.stage.is_general:
            continue
        after = steps[place + 1].stage.variables if place + 1 < len(steps) else ()
        bias = position[id(after[0])] if len(after) == 1 and len(after[0].shape) == 1 else None
        kernel = position[id(variables[0])]
        layers.append(DenseLayer(step.stage.name, steps, place, kernel, bias, model.output_shape[-1], loss))
    return sorted(layers, key=lambda layer: -layer.weights.shape[1])


def features_of(layer: DenseLayer, images: np.ndarray) -> np.ndarray:
    """``layer.features`` in chunks: [B, H, W, C] → [B, I]."""
    chunk = thresholds.CHUNK
    parts = [images[first : first + chunk] for first in range(0, len(images), chunk)]
    return np.concatenate([layer.features(part.astype(layer.dtype)).numpy() for part in parts])


def feature_slopes(
    layer: DenseLayer, image: np.ndarray, feature: np.ndarray, pixels: np.ndarray, step: float
) -> np.ndarray:
    """∂f/∂x [P, I] of ``image`` [H, W, C], whose feature is ``feature`` [I], for ``pixels`` (int [P], of the
    flat image).

    By differences of size ``step`` that stay within [0, 1].
    """
    moved = np.repeat(image.reshape(1, -1), len(pixels), axis=0)
    steps = np.where(image.reshape(-1)[pixels] > 0.5, -step, step)
    moved[np.arange(len(pixels)), pixels] += steps
    return (features_of(layer, moved.reshape(-1, *image.shape)) - feature) / steps[:, None]


def _retyped(layer: keras.layers.Layer, dtype: str) -> keras.layers.Layer:
    return type(layer).from_config(layer.get_config() | {"dtype": dtype})


def _run(steps: tuple[Step, ...], values: dict[int, tf.Tensor], wanted: int) -> tf.Tensor:
    """Value number ``wanted`` of the classifier, from the values that are given (numbered as in ``Step``)."""
    values = dict(values)
    for number in range(max(values) + 1, wanted + 1):
        step = steps[number - 1]
        values[number] = step.stage.run(*(values[i] for i in step.inputs))
    return values[wanted]
