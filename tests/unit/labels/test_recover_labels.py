"""The scripts between files: mapped updates, and images that span inversion accepted, to class counts per
trial.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import extract_member_features
import recover_labels
from gradleak.attacks import inversion_files
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.files import read_json, read_npz, write_json, write_npz
from gradleak.mapping.files import MappedBlock, write_block
from gradleak.mapping.head import Head

SAMPLES, DRAWS = 6, 2


class Inputs(SimpleNamespace):
    def get(self, name, default=None):
        return getattr(self, name, default)


@pytest.fixture(scope="module")
def leak(tmp_path_factory, digits):
    """A folder with the mapping of two clients of one step, and their private images."""
    folder = tmp_path_factory.mktemp("leak")
    options = ClientOptions(
        dataset="digits-8x8", model="fcn3", batch_size=SAMPLES, learning_rate=1.0, pretrain_epochs=4
    )
    model = client.global_model(options, digits["pretraining"])
    made = client.simulate(options, model, digits["private"], list(range(DRAWS)))
    variables = len(model.trainable_variables)
    block = MappedBlock(
        model_json=model.to_json(),
        weights=model.get_weights(),
        gradients=[-np.stack([m.delta[i] for m in made]) for i in range(variables)],
        trainable=np.arange(variables),
        layer=np.arange(variables) // 2,
        samples=SAMPLES,
        public_softmax=np.full((10, 10), 0.1, np.float32),
        rounding=0.0,
        noise=np.zeros(variables),
        steps=1,
        draws=np.arange(DRAWS),
        head=Head(variables - 2, variables - 1, "last"),
        scale_confidence=0.9,
    )
    write_block(folder / "mapping.npz", block)
    write_json(
        folder / "mapping.json", {"metadata": {"read": {}, "unread": []}, "smoothing": {"value": None}}
    )
    return folder, [m.private for m in made]


def recovered(folder, seeds, method="rank1", members=None):
    place = folder / "-".join([method, *map(str, seeds)])
    job = SimpleNamespace(
        input=Inputs(
            mapping=[folder / "mapping.npz"], report=[folder / "mapping.json"], members=members or []
        ),
        output=SimpleNamespace(labels=place.with_suffix(".npz"), record=place.with_suffix(".json")),
        params=SimpleNamespace(
            spec={"method": method}, seeds=seeds, draws=[s % DRAWS for s in seeds], code=""
        ),
        wildcards=SimpleNamespace(cell="0" * 10, block="0000-0003"),
        threads=1,
    )
    recover_labels.main(job)
    return read_npz(job.output.labels)["counts"], read_json(job.output.record)["trials"]


def members_file(folder, private, accepted):
    """Of a block of four seeds: ``accepted[t]`` of the images of trial t, and as many images that were not
    accepted.
    """
    images = np.stack([private[t % DRAWS].x / np.float32(255) for t in range(4)])
    labels = np.stack([private[t % DRAWS].y for t in range(4)])
    found = np.arange(SAMPLES) < np.array(accepted)[:, None]
    inversion = inversion_files.InversionFile(
        images=np.repeat(images, 2, axis=1),
        labels=np.repeat(labels, 2, axis=1),
        seeds=np.arange(4),
        objective=np.zeros(4),
        accepted=np.concatenate([found, found & False], axis=1)[:, np.arange(12).reshape(2, 6).T.ravel()],
    )
    inversion_files.write(folder / "inversion.npz", inversion)
    job = SimpleNamespace(
        input=SimpleNamespace(gradients=folder / "mapping.npz", inversion=folder / "inversion.npz"),
        output=SimpleNamespace(members=folder / "members.npz"),
    )
    extract_member_features.main(job)
    return [folder / "members.npz"]


def test_seeds_on_one_draw_have_the_same_counts(leak):
    counts, trials = recovered(leak[0], [0, 1, 2, 3])
    np.testing.assert_array_equal(counts[:2], counts[2:])
    assert [t["status"] for t in trials] == ["ok"] * 4
    np.testing.assert_array_equal(recovered(leak[0], [1])[0][0], counts[1])


def test_accepted_images_keep_their_classes(leak):
    folder, private = leak
    truth = np.stack([np.bincount(private[t % DRAWS].y, minlength=10) for t in range(4)])
    counts, _ = recovered(folder, [0, 1, 2, 3], "uniform", members_file(folder, private, [6, 6, 0, 4]))
    np.testing.assert_array_equal(counts[:2], truth[:2])
    np.testing.assert_array_equal(counts[2], recovered(folder, [0], "uniform")[0][0])
    assert (counts[3] >= np.bincount(private[1].y[:4], minlength=10)).all()
    assert (counts.sum(axis=1) == SAMPLES).all()


def test_what_is_left_is_read_from_the_rest_of_the_update(leak):
    folder, private = leak
    truth = np.bincount(private[0].y, minlength=10)
    counts, _ = recovered(folder, [0, 1, 2, 3], "idlg", members_file(folder, private, [5, 0, 0, 0]))
    np.testing.assert_array_equal(counts[0], truth)  # of one image iDLG is sure


def test_no_certified_members_change_nothing(leak):
    folder, private = leak
    counts, _ = recovered(folder, [0, 1, 2, 3], "llg", members_file(folder, private, [0, 0, 0, 0]))
    np.testing.assert_array_equal(counts, recovered(folder, [0, 1, 2, 3], "llg")[0])


def test_more_accepted_than_there_are_makes_a_row_with_the_reason(leak):
    folder, private = leak
    members = members_file(folder, private, [6, 2, 0, 0])
    found = read_npz(members[0])
    write_npz(members[0], **(found | {"trial": np.where(found["trial"] == 1, 0, found["trial"])}))
    counts, trials = recovered(folder, [0, 1, 2, 3], "llg", members)
    assert [t["status"] for t in trials] == ["not applicable", "ok", "ok", "ok"]
    assert "accepted 8 images, and the update is of 6" in trials[0]["reason"]
    assert counts[0].sum() == 0
    assert (counts[1:].sum(axis=1) == SAMPLES).all()


def test_what_a_method_cannot_do_is_a_row_with_the_reason(leak):
    counts, trials = recovered(leak[0], [0, 1], "aux_mean")
    assert [t["status"] for t in trials] == ["not applicable"] * 2
    assert "public data" in trials[0]["reason"]
    assert counts.shape == (2, 10)
