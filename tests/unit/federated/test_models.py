"""The built-in classifiers, at the sizes of their sources and at other shapes."""

import numpy as np
import pytest

from gradleak.federated.models import MODELS, build

MNIST, CIFAR = (28, 28, 1), (32, 32, 3)
PARAMETERS = {  # model, shape → trainable parameters with ten classes
    ("cnn7", MNIST): 225_034,
    ("cnn7_dropout", MNIST): 34_826,
    ("mcmahan_cnn", MNIST): 1_663_370,  # as McMahan et al. 2017 print it
    ("mcmahan_2nn", MNIST): 199_210,  # the same
    ("lenet5", CIFAR): 62_006,
    ("vgg11", CIFAR): 9_225_610,
}


@pytest.mark.parametrize(("name", "shape"), PARAMETERS)
def test_a_model_has_the_size_of_its_source(name, shape):
    assert build(name, shape, 10, 0).count_params() == PARAMETERS[name, shape]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("shape", "classes"), [((24, 20, 3), 5), ((32, 32, 3), 100)])
def test_a_model_follows_the_shape_and_the_classes_of_the_data(name, shape, classes):
    model = build(name, shape, classes, 0)
    assert model.input_shape == (None, *shape)
    logits = model(np.zeros((2, *shape), np.float32)).numpy()
    assert logits.shape == (2, classes)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ["fcn3", "mcmahan_2nn"])
def test_a_dense_model_takes_a_vector(name):
    assert build(name, (1, 14, 1), 2, 0)(np.zeros((3, 1, 14, 1))).shape == (3, 2)


def test_the_seed_decides_the_starting_weights():
    one, again, other = (build("lenet5", CIFAR, 10, seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
