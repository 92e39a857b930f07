"""The mode of BatchNormalization, and the statistics of the batch, on clients whose batch is known."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from batch_norm_clients import Round, net

from gradleak.images import to_float
from gradleak.mapping.classifier import Public
from gradleak.mapping.errors import MappingError
from gradleak.mapping.head import Head
from gradleak.mapping.sign import sign_evidence


@pytest.fixture(scope="module")
def trained_net(digits):
    model = net()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pool = digits["pretraining"]
    model.fit(to_float(pool.x), pool.y, epochs=2, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def training(trained_net, digits):
    return Round(trained_net, digits)


@pytest.fixture(scope="module")
def inference(trained_net, digits):
    return Round(trained_net, digits, "inference")


def test_moving_statistics_that_changed_prove_training_mode(settle, training):
    found = settle([training.leak()])
    finding = found.report["batch_norm"]
    assert (finding["value"], finding["confidence"]) == ("training", 0.99)
    assert found.coupled == ("bn",)
    assert found.has_statistics


def test_keras_statistics_of_the_batch_are_recovered_and_confirmed(settle, training):
    found = settle([training.leak()])
    statistics = found.report["batch_norm"]["statistics"]
    assert statistics["recovered"]
    assert statistics["confirmed"], "by the gradients"
    layer = found.model.get_layer("bn")
    np.testing.assert_allclose(layer.moving_mean.numpy(), training.batch[0], atol=1e-4)
    np.testing.assert_allclose(layer.moving_variance.numpy(), training.batch[1], rtol=1e-3, atol=1e-5)


def test_inference_is_found_where_the_statistics_did_not_move(settle, inference):
    finding = settle([inference.leak()]).report["batch_norm"]
    assert (finding["value"], finding["confidence"]) == ("inference", 0.95)


@pytest.mark.parametrize(("mode", "moved"), [("training", True), ("inference", False)])
def test_without_the_statistics_the_gradients_of_the_layer_before_show_the_mode(
    settle, training, inference, mode, moved
):
    done = {"training": training, "inference": inference}[mode]
    found = settle([done.leak(done.trained)])
    assert found.report["batch_norm"]["value"] == mode
    assert not found.has_statistics, "the update does not hold them"
    assert bool(found.coupled) is moved
    for name, value in done.before.items():
        np.testing.assert_array_equal(variable(found.model, name), value)


def variable(model, path):
    return next(v.numpy() for v in model.weights if v.path == path)


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_without_statistics_and_without_a_linear_layer_before_it_the_mode_is_unknown(settle, digits, mode):
    done = Round(net(act_first=True), digits, mode)
    finding = settle([done.leak(done.trained)]).report["batch_norm"]
    assert (finding["value"], finding["confidence"]) == ("unknown", 0.0)
    stated = settle([done.leak(done.trained, batch_norm="training")]).report["batch_norm"]
    assert (stated["value"], stated["confidence"]) == ("training", 0.5)
    claimed = settle([done.leak(done.trained)], batch_norm="inference").report["batch_norm"]
    assert (claimed["value"], claimed["confidence"]) == ("inference", 1.0)


def test_the_update_contradicts_a_wrong_statement(settle, training):
    report = settle([training.leak(batch_norm="inference")]).report
    assert report["batch_norm"]["value"] == "training"
    assert report["contradictions"] == [
        "batch_norm: the metadata say inference, the update looks like training"
    ]


def test_statistics_that_a_client_keeps_to_itself_are_no_proof_of_inference(settle, training):
    """FedBN: zeros in the place of the statistics, and gradients of training mode."""
    delta = {k: np.zeros_like(v) if "moving" in k else v for k, v in training.delta.items()}
    found = settle([training.leak(delta)])
    assert found.report["batch_norm"]["value"] == "training"
    assert not found.has_statistics


def test_rounded_averages_of_statistics_that_did_not_move_are_no_proof_of_training(settle, inference):
    delta = {k: np.spacing(inference.before[k]) if "moving" in k else v for k, v in inference.delta.items()}
    assert settle([inference.leak(delta)]).report["batch_norm"]["value"] == "inference"


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_values_of_statistics_are_not_taken_for_their_change(settle, training, inference, mode):
    done = {"training": training, "inference": inference}[mode]
    delta = {k: done.before[k] + v if "moving" in k else v for k, v in done.delta.items()}
    found = settle([done.leak(delta)])
    assert found.report["batch_norm"]["value"] == mode
    assert not found.has_statistics


def test_a_frozen_layer_of_keras_computes_as_at_inference(settle, digits):
    model = net(act_first=True)
    model.get_layer("bn").trainable = False
    done = Round(model, digits)
    assert settle([done.leak(done.trained)]).report["batch_norm"]["value"] == "inference"


def test_a_model_without_the_layer_has_none(settle, fedsgd):
    found = settle(fedsgd[3])
    finding = found.report["batch_norm"]
    assert (finding["value"], finding["confidence"], found.coupled) == ("none", 1.0, ())


# --- the statistics -----------------------------------------------------------------------------------------


def assert_batch(found, done, rtol=1e-3, atol=1e-4):
    layer = found.model.get_layer("bn")
    np.testing.assert_allclose(layer.moving_mean.numpy(), done.batch[0], atol=atol)
    np.testing.assert_allclose(layer.moving_variance.numpy(), done.batch[1], rtol=rtol, atol=1e-5)


@pytest.mark.parametrize(("factor", "sign"), [(0.125, 1), (1.0, -1), (3.0, -1)])
def test_direction_and_client_weight_are_taken_off(settle, training, factor, sign):
    delta = {k: np.float32(sign * factor) * v for k, v in training.delta.items()}
    found = settle([training.leak(delta, client_weight=factor)])
    assert found.has_statistics
    assert_batch(found, training)


def flattened(kernel):
    """A dense kernel behind maps of 6 × 6 × 6, as PyTorch flattens them."""
    return kernel.reshape(6, 6, 6, -1).transpose(3, 2, 0, 1).reshape(-1, 216)


def as_torch(done, momentum=0.1):
    """The state_dict of a client of PyTorch: its layout, names, momentum and unbiased variance."""
    model, values = done.model, len(done.x) * 36
    before, delta = {}, {}
    for layer in model.layers:
        names = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
        names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
        for v in layer.weights:
            key = f"{layer.name}.{names[v.name]}"
            b, d = done.before[v.path], done.delta[v.path]
            if v.name == "moving_mean":
                d = momentum * (done.batch[0] - b)
            if v.name == "moving_variance":
                d = momentum * (done.batch[1] * values / (values - 1) - b)
            if b.ndim == 4:
                b, d = (a.transpose(3, 2, 0, 1) for a in (b, d))
            elif b.ndim == 2:
                flat = layer.name == "hidden"
                turn = (
                    (lambda a: a.reshape(6, 6, 6, -1).transpose(3, 2, 0, 1).reshape(-1, 216))
                    if flat
                    else np.transpose
                )
                b, d = turn(b), turn(d)
            before[key], delta[key] = (np.ascontiguousarray(a, np.float32) for a in (b, d))
    before["bn.num_batches_tracked"], delta["bn.num_batches_tracked"] = np.array(7), np.array(1)
    return before, delta


def test_pytorchs_momentum_and_unbiased_variance(settle, digits):
    """A momentum of Keras would make a variance negative, so PyTorch's remains."""
    done = Round(net(), digits, images=2)  # 72 values: the two variances differ by 1.4 %
    before, delta = as_torch(done)
    found = settle([done.leak(delta, before)])
    assert "PyTorch" in found.report["tensors"][0]["matched_by"]
    assert found.has_statistics
    assert_batch(found, done)


def test_a_momentum_that_cannot_be_told_is_asked_for(settle, training):
    """0.01 in PyTorch is the default of Keras, and a delta of it is also possible under PyTorch's default."""
    before, delta = as_torch(training, momentum=0.01)
    found = settle([training.leak(delta, before)])
    assert not found.has_statistics
    assert "batch_norm_momentum" in found.report["batch_norm"]["statistics"]["why"]
    stated = settle([training.leak(delta, before, batch_norm_momentum=0.99)])
    assert_batch(stated, training)


def test_an_onnx_file_has_the_right_momentum(settle, training):
    """So nothing is asked for, and the gradients confirm the statistics by the right ε."""
    before, delta = as_torch(training, momentum=0.01)
    roles = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
    roles |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    known = {
        f"{layer.name}.{roles[v.name]}": f"{layer.name}/{v.name}"
        for layer in training.model.layers
        for v in layer.weights
    }
    found = settle([replace(training.leak(delta, before), manifest={"variables": known})])
    assert_batch(found, training)
    assert found.report["batch_norm"]["statistics"]["confirmed"]


def test_steps_are_taken_into_account(settle, trained_net, digits):
    """Of three steps on one batch; the first layer's inputs hardly change meanwhile."""
    done = Round(trained_net, digits, steps=3)
    found = settle([done.leak(local_steps=3)])
    assert found.has_statistics
    assert_batch(found, done, rtol=0.3, atol=0.05)


@pytest.mark.parametrize(
    "meta", [{"client_weight": 0.2}, {"batch_norm_momentum": 0.9}, {"batch_norm_momentum": 0.999}]
)
def test_statistics_that_the_gradients_refute_are_not_used(settle, digits, meta):
    done = Round(net(), digits)
    found = settle([done.leak(**meta)], samples=8)
    assert found.report["batch_norm"]["value"] == "training"
    assert not found.has_statistics


def test_weights_without_statistics_are_refused(settle, training):
    before = {k: v for k, v in training.before.items() if "moving" not in k}
    with pytest.raises(MappingError, match="the moving statistics of bn are not in the file"):
        settle([training.leak(before=before)])


def test_where_entries_were_dropped_zeros_prove_nothing_and_statistics_are_not_used(settle, digits):
    def dropped(delta):
        """The largest tenth of each tensor, and none of the statistics."""
        return {
            k: np.where(np.abs(v) >= np.quantile(np.abs(v), 0.9), v, 0) * np.float32("moving" not in k)
            for k, v in delta.items()
        }

    done = Round(net(act_first=True), digits)
    found = settle([done.leak(dropped(done.delta))], sign="after_minus_before")
    assert found.report["sparsity"]["value"] > 0.5
    assert found.report["batch_norm"]["value"] == "unknown"
    kept = dropped(done.delta) | {k: v for k, v in done.delta.items() if "moving" in k}
    found = settle([done.leak(kept)], sign="after_minus_before")
    assert found.coupled
    assert not found.has_statistics


def test_several_draws_have_statistics_of_their_own(settle, training):
    found = settle([training.leak(), training.leak()])
    assert found.coupled
    assert not found.has_statistics


def test_the_sign_is_not_read_from_probabilities_of_another_network(settle, public):
    """Features that are never zero: the plateau of Δb / p̄ needs the p̄ of the network that was trained."""
    rng = np.random.default_rng(0)
    softmax = np.full((10, 10), 0.1)
    features = rng.uniform(0.9, 1, (10, 5))
    seen = Public(softmax, features, True, False, 0.1, 0.1, Head(0, 1, "last"), "")
    bias = np.array([[-0.1] * 9 + [0.9]])
    kernel = bias[:, None, :] * np.ones((1, 5, 1))
    assert sign_evidence([kernel, bias], seen).value == "after_minus_before"
    assert sign_evidence([kernel, bias], replace(seen, is_known=False)).value is None
