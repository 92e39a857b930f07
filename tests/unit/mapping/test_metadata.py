"""Metadata as people write them: names, types, nesting, contradictions, and the table of the docs."""

from pathlib import Path

import keras
import numpy as np
import pytest

from gradleak.artifacts.leak import Leak
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Contradiction
from gradleak.mapping.metadata import KEYS, NAMES, images, read
from gradleak.mapping.metadata_values import squeezed
from gradleak.mapping.samples import find_samples

TABLE = Path(__file__).parents[3] / "docs/reference/metadata.md"
ONE = {"learning_rate": 0.05, "samples": 8, "local_steps": 1}


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (ONE, ONE),
        ({"learning_rate": "0.05", "samples": " 8 ", "local_steps": "1"}, ONE),
        ({"learning_rate": 0.05, "samples": 8.0, "local_steps": "1.0"}, ONE),
        (
            {"learning_rate": np.float64(0.05), "samples": np.int64(8), "local_steps": np.float32(1)},
            ONE,
        ),
        ({"lr": 5e-2, "num_examples": 8, "steps": 1}, ONE),
        ({"Learning-Rate": 0.05, "numSamples": 8, "Num Steps": 1}, ONE),
        ({"eta": 0.05, "N": 8, "local_iterations": 1}, ONE),
        ({"client": {"lr": 0.05, "n": 8}, "config": {"local_steps": 1}}, ONE),
        ({"learning_rate": [0.05], "samples": [8], "local_steps": [[1]]}, ONE),
        ({"lr": 0.05, "learning_rate": 0.05000000074505806, "samples": 8, "local_steps": 1}, ONE),
        ({"samples": None, "num_examples": 8, "momentum": None, "lr": 0.05, "steps": 1}, ONE),
        ({"optimizer": "SGD"}, {"optimizer": "sgd"}),
        ({"optimizer": "torch.optim.SGD", "momentum": 0.9}, {"optimizer": "momentum", "momentum": 0.9}),
        ({"momentum": 0.9}, {"optimizer": "momentum", "momentum": 0.9}),
        ({"optimizer": "SGD", "momentum": "0"}, {"optimizer": "sgd", "momentum": 0.0}),
        (
            {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
            {"optimizer": "nesterov", "momentum": 0.9, "nesterov": True},
        ),
        ({"optimizer": "sgd_1"}, {"optimizer": "sgd"}),
        ({"optimizer": "SGD with momentum 0.9"}, {"optimizer": "sgdwithmomentum09"}),
        ({"optim": "AdamW(lr=0.1)", "wd": 0.01}, {"optimizer": "adamw", "weight_decay": 0.01}),
        ({"sign": "after - before"}, {"sign": "after_minus_before"}),
        ({"sign": "Old-New"}, {"sign": "before_minus_after"}),
        ({"server_round": 0}, {"round": 0}),
    ],
    ids=str,
)
def test_the_same_statement_in_other_words(meta, expected):
    found = read(meta)
    assert found.values == pytest.approx(expected)
    assert found.contradicts == ()
    assert {name: type(v) for name, v in found.values.items()} == {k: type(v) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("SGD", {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.0}),
        ("momentum", {"optimizer": "momentum", "learning_rate": 0.05, "momentum": 0.9}),
        ("Adam", {"optimizer": "adam", "learning_rate": 0.05}),
    ],
)
@pytest.mark.parametrize("form", ["get_config", "serialize", "nested"])
def test_an_optimizer_may_be_its_keras_config(optimizer, expected, form):
    made = {
        "SGD": lambda: keras.optimizers.SGD(0.05),
        "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
        "Adam": lambda: keras.optimizers.Adam(0.05),
    }[optimizer]()
    config = made.get_config() if form == "get_config" else keras.optimizers.serialize(made)
    meta = {"client": {"optimizer": config}} if form == "nested" else {"optimizer": config}
    values = read(meta).values
    assert {name: values[name] for name in expected} == pytest.approx(expected)


def test_an_optimizer_may_be_the_state_of_pytorch():
    groups = [{"lr": 0.1, "momentum": 0.9, "weight_decay": 0, "nesterov": False, "params": [0, 1]}]
    found = read({"optimizer": {"name": "SGD", "state": {0: {"step": 7}}, "param_groups": groups}})
    assert found.values == {
        "learning_rate": 0.1,
        "optimizer": "momentum",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 0.0,
    }
    assert found.unread == ("optimizer.state", "optimizer.param_groups.params")


@pytest.mark.parametrize(
    ("meta", "steps"),
    [
        ({"samples": 8, "batch_size": 4, "local_epochs": 5}, 10),
        ({"samples": 9, "batch_size": 4, "epochs": 2}, 6),
        ({"samples": 8, "batch_size": 32, "epochs": 1}, 1),
        ({"samples": 8, "batch_size": 4, "epochs": 5, "local_steps": 10}, 10),
        ({"samples": 9, "batch_size": 4, "epochs": 2, "local_steps": 4}, 4),  # the last batch is left out
        ({"samples": 8, "epochs": 5}, None),
        ({"batch_size": 8, "epochs": 1}, None),
        ({"samples": 8, "batch_size": 4}, None),  # more than one, if each image was used
        ({"samples": 8, "local_steps": "many"}, None),
        ({"samples": 8, "batch_size": 4, "epochs": "many"}, None),
        ({"samples": 8, "batch_size": 4, "epochs": 1.5}, None),
        ({"samples": 8, "local_steps": None}, None),
    ],
    ids=str,
)
def test_steps_follow_from_epochs_or_are_known_to_be_unknown(meta, steps):
    assert read(meta).values["local_steps"] == steps


def test_steps_follow_from_the_samples_of_the_settings():
    meta = {"batch_size": 4, "epochs": 5}
    assert read(meta).local_steps is None
    assert read(meta, samples=8).local_steps == 10


@pytest.mark.parametrize(
    ("meta", "field", "stated", "found"),
    [
        ({"lr": 0.1, "learning_rate": 0.05}, "learning_rate", 0.1, 0.05),
        ({"samples": 8, "client": {"num_examples": 6}}, "samples", 8, 6),
        ({"client_0": {"n": 8}, "client_1": {"n": 6}}, "samples", 8, 6),
        ({"optimizer": {"name": "Adam", "learning_rate": 0.1}, "lr": 0.2}, "learning_rate", 0.1, 0.2),
        ({"samples": 8, "batch_size": 4, "epochs": 5, "steps": 2}, "local_steps", 2, 10),
        ({"epochs": 5, "steps": 2}, "local_steps", 2, 2),
    ],
    ids=str,
)
def test_two_statements_that_disagree_are_no_statement(meta, field, stated, found):
    read_ = read(meta)
    assert (field, Contradiction("metadata", stated, "metadata", found)) in read_.contradicts
    assert read_.values[field] is None


def test_more_samples_than_the_steps_can_use_are_a_contradiction():
    found = read({"samples": 100, "batch_size": 8, "local_steps": 1})
    assert found.contradicts == (("samples", Contradiction("metadata", 100, "metadata", 8)),)
    assert images(found.values) == (100, 0.3)


@pytest.mark.parametrize(
    ("meta", "unread"),
    [
        ({"labels": [0, 3, 5], "clip_norm": 1.0}, ["labels", "clip_norm"]),
        ({"learning_rate": [0.05, 0.04]}, ["learning_rate"]),
        ({"learning_rate": {"class_name": "ExponentialDecay", "config": {"lr": 0.1}}}, ["learning_rate"]),
        ({"server": {"lr": 1.0}, "server_lr": 1.0}, ["server", "server_lr"]),
        ({"lr_scheduler": {"step_size": 10, "lr": 0.1}}, ["lr_scheduler"]),
        ({"evaluation": {"num_examples": 1000}}, ["evaluation"]),
        ({"momentum": "heavy", "samples": True}, ["momentum", "samples"]),
        ({"client": {"shuffle": True, "seed": 3, "note": ""}}, ["client.shuffle", "client.seed"]),
    ],
    ids=str,
)
def test_what_is_not_read_is_listed_and_not_guessed(meta, unread):
    found = read(meta)
    assert list(found.unread) == unread
    assert all(value is None for value in found.values.values())


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"samples": 8, "batch_size": 4, "local_steps": 10}, (8, 0.9)),
        ({"batch_size": 8, "local_steps": 1}, (8, 0.9)),
        ({"batch_size": 8}, (8, 0.5)),
        ({"batch_size": 4, "local_steps": 10}, (None, 0.0)),
        ({"batch_size": 4, "local_epochs": 5}, (None, 0.0)),
        ({"batch_size": 4, "local_epochs": 1}, (None, 0.0)),
        ({"batch_size": 4, "samples": "many"}, (None, 0.9)),
        ({}, (None, 0.0)),
    ],
    ids=str,
)
def test_the_batch_size_is_the_number_of_images_of_one_step_only(meta, expected):
    assert images(read(meta).values) == expected


def test_an_unknown_number_of_images_names_what_is_stated_and_what_is_missing():
    with pytest.raises(MappingError, match=r"metadata: batch_size 4, local_steps 10; .* state `samples`"):
        find_samples(None, read({"bs": 4, "steps": 10}).values, None)


def test_simulated_clients_are_read_as_they_were(fedsgd):
    for leak in fedsgd[3]:
        found = read(leak.meta)
        assert found.values == leak.meta
        assert (found.unread, found.contradicts, found.unknown) == ((), (), ())


def test_the_mapping_shows_what_was_read_and_what_was_not(fedsgd, settle):
    leak = fedsgd[3][0]
    meta = {"lr": "0.05", "num_examples": 8.0, "steps": 1, "Batch": 8, "labels": [1, 2], "eta": 0.06}
    report = settle([Leak(leak.model_json, leak.before, leak.delta, meta)], scale=0.05).report
    assert report["metadata"] == {
        "read": {"samples": 8, "batch_size": 8, "local_steps": 1, "learning_rate": None},
        "unread": ["labels"],
    }
    assert "keys of the metadata that were not read: labels" in report["notes"]
    assert "learning_rate: the metadata say 0.05, and elsewhere 0.06" in report["contradictions"]


def test_every_name_means_one_field():
    names = [squeezed(one) for name, key in KEYS.items() for one in (name, *key.synonyms)]
    assert len(NAMES) == len(set(names))


def test_the_table_of_the_docs_has_every_key_with_its_synonyms_and_type():
    rows = [line.split("|")[1:4] for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    written = {name.strip(" `"): (synonyms.strip(), kind.strip()) for name, synonyms, kind in rows}
    assert written == {
        name: (", ".join(f"`{one}`" for one in key.synonyms), key.kind) for name, key in KEYS.items()
    }
