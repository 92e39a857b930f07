"""Recorders, with stand-ins for the objects of the frameworks: no Flower and no NVFlare."""

import io
import json
from types import SimpleNamespace as Plain

import numpy as np
import pytest

from gradleak.mapping import metadata
from gradleak.recorders import flower, nvflare

RNG = np.random.default_rng(0)
BEFORE = {"w": RNG.normal(size=(3, 2)).astype(np.float32), "n.num_batches_tracked": np.array(4)}
META = {"learning_rate": 0.1, "samples": 2}


def after(seed):
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(3, 2)).astype(np.float32), "n.num_batches_tracked": np.array(5)}


def delta_of(arrays):
    return (arrays["w"].astype(np.float64) - BEFORE["w"]).astype(np.float32)


def content(arrays, config=None, metrics=None):
    """The records of a message."""
    return Plain(
        array_records={"arrays": {k: Plain(numpy=lambda a=a: a) for k, a in arrays.items()}},
        config_records={"config": config or {}},
        metric_records={"metrics": metrics or {}},
    )


def message(arrays, source=0, target=0, error=False, **records):
    return Plain(
        metadata=Plain(src_node_id=source, dst_node_id=target, group_id=""),
        content=None if error else content(arrays, **records),
        has_error=lambda: error,
        has_content=lambda: not error,
    )


class MessageStrategy:
    """Sends BEFORE to clients 1 to 3, and returns how many replies it has."""

    def configure_train(self, server_round, arrays, config, grid):
        return (message(BEFORE, target=node, config={"lr": 0.1}) for node in (1, 2, 3))

    def aggregate_train(self, server_round, replies):
        return len(list(replies))


class LegacyStrategy:
    def configure_fit(self, server_round, parameters, client_manager):
        return [(Plain(cid=str(c)), Plain(parameters=tensors(BEFORE), config={"lr": 0.1})) for c in (1, 2)]

    def aggregate_fit(self, server_round, results, failures):
        return len(results), {}


def tensors(arrays):
    found = []
    for array in arrays.values():
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    return Plain(tensors=found)


def written(folder):
    with np.load(folder / "before.npz") as before, np.load(folder / "delta.npz") as delta:
        meta = json.loads((folder / "meta.json").read_text())
        return dict(before), dict(delta), meta


def folders(out):
    return sorted(str(path.relative_to(out)) for path in out.glob("*/*"))


def test_replies_of_the_message_api_are_recorded_and_handed_on(tmp_path):
    strategy = flower.recording(MessageStrategy, tmp_path, META)()
    assert [one.metadata.dst_node_id for one in strategy.configure_train(1, None, {}, None)] == [1, 2, 3]
    replies = [
        message(after(1), source=1, metrics={"num-examples": 500}),
        message({}, source=2, error=True),
        message(after(3), source=3),
    ]
    assert strategy.aggregate_train(1, iter(replies)) == 3
    assert folders(tmp_path) == ["round-0001/client-1", "round-0001/client-3"]
    before, delta, meta = written(tmp_path / "round-0001/client-1")
    assert list(before) == list(delta) == ["w"], "counters are no weights"
    assert before["w"].tobytes() == BEFORE["w"].tobytes()
    assert delta["w"].tobytes() == delta_of(after(1)).tobytes()
    assert meta == {
        "sign": "after_minus_before",
        "framework": "flower",
        "round": 1,
        "node": "1",
        "point": "raw",
        "local_steps": 1,
        "learning_rate": 0.1,
        "dataset_size": 500,
        "samples": 2,
    }
    read = metadata.read(meta)
    assert (read.samples, read.local_steps, read.sign, read.round) == (2, 1, "after_minus_before", 1)
    assert read.unread == (), "the recorders write keys that the reader knows"


@pytest.mark.parametrize("strategy", [MessageStrategy, LegacyStrategy])
def test_equal_replies_are_one_aggregate(tmp_path, strategy):
    """As with secure aggregation, where each entry holds the sum of all clients."""
    recorded = flower.recording(strategy, tmp_path, META)()
    if strategy is MessageStrategy:
        recorded.configure_train(2, None, {}, None)
        recorded.aggregate_train(2, [message(after(1), source=node) for node in (1, 2, 3)])
    else:
        recorded.configure_fit(2, None, None)
        results = [
            (Plain(cid=c), Plain(parameters=tensors(after(1)), num_examples=9, metrics={})) for c in "12"
        ]
        recorded.aggregate_fit(2, results, [])
    assert folders(tmp_path) == ["round-0002/aggregate"]
    meta = written(tmp_path / "round-0002/aggregate")[2]
    clients = 3 if strategy is MessageStrategy else 2
    assert (meta["point"], meta["clients"], meta["samples"]) == ("aggregate", clients, 2 * clients)


def test_replies_of_the_older_api_are_recorded_in_order(tmp_path):
    strategy = flower.recording(LegacyStrategy, tmp_path)()
    strategy.configure_fit(1, None, None)
    results = [
        (Plain(cid=c), Plain(parameters=tensors(after(int(c))), num_examples=9, metrics={})) for c in "12"
    ]
    assert strategy.aggregate_fit(1, results, []) == (2, {})
    _, delta, meta = written(tmp_path / "round-0001/client-2")
    assert delta["000"].tobytes() == delta_of(after(2)).tobytes()
    assert (meta["dataset_size"], "samples" in meta) == (9, False)


def test_a_mod_records_what_leaves_the_client(tmp_path):
    mod = flower.client_mod(tmp_path, META)
    asked = message(BEFORE, target=7, config={"server-round": 4})
    reply = message(after(1), source=7)
    assert mod(asked, Plain(node_id=7), lambda *_: reply) is reply
    assert folders(tmp_path) == ["round-0004/client-7"]
    assert written(tmp_path / "round-0004/client-7")[1]["w"].tobytes() == delta_of(after(1)).tobytes()


def test_the_point_says_whether_clients_clipped(tmp_path):
    class DifferentialPrivacyClientSideFixedClipping(MessageStrategy):
        pass

    for strategy, point, expected in (
        (DifferentialPrivacyClientSideFixedClipping, "", "clipped"),
        (MessageStrategy, "clipped", "clipped"),
        (MessageStrategy, "", "raw"),
    ):
        recorded = flower.recording(strategy, tmp_path, point=point)()
        recorded.configure_train(1, None, {}, None)
        recorded.aggregate_train(1, [message(after(1), source=1)])
        assert written(tmp_path / "round-0001/client-1")[2]["point"] == expected
    with pytest.raises(ValueError, match="point is 'noisy'"):
        flower.recording(MessageStrategy, tmp_path, point="noisy")
    with pytest.raises(ValueError, match="neither aggregate_train nor aggregate_fit"):
        flower.recording(dict, tmp_path)


def test_arrays_that_do_not_match_leave_no_folder(tmp_path):
    for module, extra in ((flower, ()), (nvflare, (False,))):
        with pytest.raises(ValueError, match="not those that were sent"):
            module.write_update(tmp_path / "r" / "client-1", BEFORE, {"w": np.zeros(2)}, *extra, {})
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize("kind", ["WEIGHTS", "WEIGHT_DIFF"])
def test_the_filter_of_nvflare_records_both_kinds(tmp_path, kind):
    """Rounds count from 0 there, and from 1 in the folders."""
    sent = nvflare.Recorder(str(tmp_path), "before", META)
    returned = nvflare.Recorder(str(tmp_path), "result", META)
    sent.record(1, "site-1", BEFORE, "WEIGHTS", {})
    weights = after(1)
    result = weights if kind == "WEIGHTS" else {"w": delta_of(weights)}
    returned.record(1, "site-1", result, kind, {"NUM_STEPS_CURRENT_ROUND": 3})
    _, delta, meta = written(tmp_path / "round-0001/client-site-1")
    assert delta["w"].tobytes() == delta_of(weights).tobytes()
    assert (meta["local_steps"], meta["node"], meta["framework"]) == (3, "site-1", "nvflare")
    assert folders(tmp_path) == ["round-0001/client-site-1"]
    assert metadata.read(meta).unread == ()


def test_the_filter_hands_on_what_passes(tmp_path, monkeypatch, caplog):
    dxo = Plain(data=BEFORE, data_kind=Plain(value="METRICS"), meta={})
    monkeypatch.setattr(nvflare, "from_shareable", lambda shareable: dxo)
    shareable = Plain(get_header=lambda name: 0)
    context = Plain(get_peer_context=lambda: Plain(get_identity_name=lambda: "site-1"))
    assert nvflare.Recorder(str(tmp_path), "before").process(shareable, context) is shareable
    assert "METRICS are not weights" in caplog.text
    dxo.data_kind = Plain(value="WEIGHTS")
    nvflare.Recorder(str(tmp_path), "before").process(shareable, context)
    assert folders(tmp_path) == ["round-0001/.client-site-1.before.npz"]


def test_wrong_arguments_of_the_filter_are_refused():
    with pytest.raises(ValueError, match="absolute"):
        nvflare.Recorder("runs", "before")
    with pytest.raises(ValueError, match="side is one of"):
        nvflare.Recorder("/runs", "after")
