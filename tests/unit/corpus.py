"""Hostile and broken inputs, generated.

name → (files that replace or join a good leak, the file in the error, the error's message). ``None`` in
place of bytes removes a file. A function makes the bytes when they are needed.
"""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib

import h5py
import numpy as np

SHAPES = ((3, 3, 1, 2), (2,), (72, 30), (30,), (30, 10), (10,))


def layer(kind, name, **config):
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": name, **config},
        "registered_name": None,
    }


def model(*layers, shape=(8, 8, 1), **more):
    layers = layers or (
        layer("Conv2D", "conv", filters=2, kernel_size=[3, 3], activation="relu"),
        layer("Flatten", "flatten"),
        layer("Dense", "hidden", units=30, activation="relu"),
        layer("Dense", "head", units=10),
    )
    first = layer("InputLayer", "image", batch_shape=[None, *shape], dtype="float32")
    config = {"name": "net", "layers": [first, *layers]}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None, **more}


def text(value):
    return json.dumps(value).encode()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def saved(*arrays, **named):
    stream = io.BytesIO()
    np.savez(stream, *arrays, **named)
    return stream.getvalue()


def zipped(*members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def header(descr="<f8", shape="(3,)", version=1, raw=None):
    body = (raw or f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}").encode() + b"\n"
    size = len(body).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + body


def pickled(content):
    """A .npy of a 0-d object array with ``content`` as its pickle."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue() + content


def good():
    """A leak that is understood: an untrained net, and the delta of a softmax's gradient."""
    rng = np.random.default_rng(5)
    before = [rng.normal(0, 0.3, s).astype("f4") if len(s) > 1 else np.zeros(s, "f4") for s in SHAPES]
    delta = [rng.normal(0, 0.01, s).astype("f4") for s in SHAPES]
    delta[-2:] = [d - d.mean(axis=-1, keepdims=True) for d in delta[-2:]]
    return {
        "model.json": text(model()),
        "before.npz": saved(*before),
        "delta.npz": saved(*delta),
        "meta.npy": npy(np.array({"learning_rate": 0.05}, dtype=object)),
    }


class Call:
    """What is pickled as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def calls(marker):
    """Pickles that would leave ``marker`` behind, or show otherwise that they ran."""
    import code
    import ctypes
    import functools
    import importlib
    import operator
    import shutil
    import subprocess
    import timeit
    import webbrowser

    from numpy.testing._private import utils

    command, script = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    return {
        "os.system": Call(os.system, command),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", str(marker)]),
        "os.popen": Call(os.popen, command),
        "eval": Call(eval, script),
        "exec": Call(exec, script),
        "compile": Call(compile, script, "x", "exec"),
        "__import__": Call(__import__, "os"),
        "open": Call(open, str(marker), "w"),
        "getattr": Call(getattr, 1.0, "hex"),
        "setattr": Call(setattr, np.dtype("f4"), "a", 1),
        "timeit": Call(timeit.timeit, script, "pass"),
        "numpy runstring": Call(utils.runstring, script, {}),
        "numpy load": Call(np.load, str(marker)),
        "numpy memmap": Call(np.memmap, str(marker), "u1", "w+", 0, (4,)),
        "importlib": Call(importlib.import_module, "antigravity"),
        "partial": Call(functools.partial, os.system, command),
        "methodcaller": Call(operator.methodcaller, "system", command),
        "ctypes": Call(ctypes.CDLL, "libc.so.6"),
        "rmtree": Call(shutil.rmtree, str(marker.parent)),
        "webbrowser": Call(webbrowser.open, f"file://{marker}"),
        "interpreter": Call(code.interact),
        "bytearray": Call(bytearray, 1 << 40),
    }


def laughs(levels=200):
    value = ["ha"]
    for _ in range(levels):
        value = [value, value]
    return {"joke": value}


def deep(levels):
    value = 1
    for _ in range(levels):
        value = (value,)
    return value


def too_much_by_setstate():
    """An empty array to which ``__setstate__`` then gives the shape of a terabyte."""
    state = (1, (1 << 38,), np.dtype("f4"), False, b"")
    return b"\x80\x04" + pickle.dumps(Reduced(state), 4)[2:]


class Reduced:
    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return np.array(1.0).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


def reconstruct_huge():
    return pickle.dumps(Call(np.array(1.0).__reduce__()[0], np.ndarray, (1 << 38,), b"d"))


def pickles(marker):
    found = {}
    for name, call in calls(marker).items():
        for way, content in (("", call), (" in a dict", {"samples": call})):
            found[f"meta: {name}{way}"] = (
                {"meta.npy": npy(np.array(content, dtype=object))},
                "meta.npy",
                "refuses",
            )
    system = Call(os.system, f"touch {marker}")
    for protocol in (0, 1, 2, 5):
        body = pickled(pickle.dumps({"a": [system]}, protocol))
        found[f"meta: protocol {protocol}"] = ({"meta.npy": body}, "meta.npy", "refuses")
    members = np.array([system, 1], dtype=object)
    others = {
        "meta: extension registry": (b"\x80\x02\x82\x01.", "read safely"),
        "meta: persistent id": (b"\x80\x02U\x01aQ.", "outside of the file"),
        "meta: attribute chain": (b"cnumpy\ndtype.__init__.__globals__\n.", "refuses|read safely"),
        "meta: dotted global": (
            pickle.PROTO + b"\x04\x8c\x05numpy\x8c\x10testing.runstri\x93.",
            "refuses|read safely",
        ),
        "meta: a terabyte by reconstruct": (reconstruct_huge(), "read safely"),
        "meta: a terabyte by state": (too_much_by_setstate(), "read safely"),
        "meta: cut off": (pickle.dumps({"a": list(range(1000))})[:-100], "read safely"),
        "meta: nothing in it": (b"", "read safely"),
        "meta: a list": (pickle.dumps([1, "a"]), "numbers|not a dict"),
        "meta: billion laughs": (pickle.dumps(laughs()), "more than .* values|nested deeper"),
        "meta: deep": (pickle.dumps({"a": deep(400)}), "nested deeper|read safely"),
        "meta: a stack of tuples": (
            b"\x80\x02" + b")" * 100_000 + b"\x85" * 100_000 + b".",
            "read safely|nested deeper|not a dict",
        ),
        "meta: no pickle": (b"garbage" * 100, "read safely"),
    }
    for name, (content, message) in others.items():
        found[name] = ({"meta.npy": pickled(content)}, "meta.npy", message)
    nested = {
        "delta: billion laughs": (laughs(), "holds more than .* things"),
        "delta: deep lists": (deep(60), "nested deeper"),
        "delta: empty lists": ([[] for _ in range(9000)], "holds more than .* things"),
        "delta: nothing but empty lists": ([[], {}, None], "holds no arrays"),
        "delta: words in a layer": ({"layer": {"kernel": np.ones((2, 2)), "bias": "b"}}, "not numbers"),
        "delta: a name twice": ({"a": {"b": np.ones(2)}, "a/b": np.ones(2)}, "two tensors have the name"),
        "delta: one payload in a layer": ({"layer": [np.ones(2), system]}, "refuses"),
    }
    for name, (content, message) in nested.items():
        held = np.empty((), dtype=object)
        held[()] = content
        found[name] = ({"delta.npz": saved(held)}, "delta.npz", message)
    found |= {
        "delta: object array": ({"delta.npz": saved(members)}, "delta.npz", "refuses"),
        "delta: one payload among arrays": (
            {"delta.npz": saved(np.ones(3), members)},
            "delta.npz",
            "refuses",
        ),
        "before: numpy gadget in a member": (
            {"before.npz": saved(np.array([calls(marker)["numpy runstring"]], dtype=object))},
            "before.npz",
            "refuses",
        ),
        "before: list of payloads in .npy": (
            {"before.npz": npy(np.array([system, system], dtype=object))},
            "before.npz",
            "refuses",
        ),
        "model: bare pickle": ({"model.json": pickle.dumps(system)}, "model.json", "bare pickle"),
        "delta: bare pickle": ({"delta.npz": pickle.dumps({"a": system}, 5)}, "delta.npz", "bare pickle"),
        "before: PyTorch checkpoint": (
            {"before.npz": zipped(("archive/data.pkl", pickle.dumps(system)), ("archive/data/0", bytes(8)))},
            "before.npz",
            "PyTorch checkpoint",
        ),
        "delta: gzip": (
            {"delta.npz": b"\x1f\x8b" + zlib.compress(pickle.dumps(system))},
            "delta.npz",
            "gzip",
        ),
    }
    return found


def bomb(size=1100 << 20):
    """A .npz whose one member unpacks to ``size`` zeros, one megabyte on disk. Written in pieces."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("arr_0.npy", "w", force_zip64=True) as member,
    ):
        member.write(header("<f4", f"({size // 4},)"))
        for _ in range(size >> 24):
            member.write(bytes(1 << 24))
    return stream.getvalue()


def lying_bomb():
    """The same, smaller, but the directory claims that it unpacks to what the model needs."""
    content = header("<f4", "(2530,)") + bytes(200 << 20)
    raw = bytearray(zipped(("arr_0.npy", content), compression=zipfile.ZIP_DEFLATED))
    honest, lie = struct.pack("<I", len(content)), struct.pack("<I", len(header("<f4", "(2530,)")) + 4 * 2530)
    while (place := raw.find(honest)) >= 0:
        raw[place : place + 4] = lie
    return bytes(raw)


def flipped(raw, place=0.5, count=40):
    raw = bytearray(raw)
    start = int(len(raw) * place)
    raw[start : start + count] = bytes(255 - b for b in raw[start : start + count])
    return bytes(raw)


def encrypted():
    raw = bytearray(saved(np.ones(3)))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.find(mark) + offset] |= 1
    return bytes(raw)


def zips():
    arrays = [np.ones(s, "f4") for s in SHAPES]
    whole = saved(*arrays)
    several = zipped(
        *[(f"arr_{i}.npy", npy(a)) for i, a in enumerate(arrays)], compression=zipfile.ZIP_DEFLATED
    )
    cases = {
        "bomb": (bomb, "unpacks to"),
        "lying bomb": (lying_bomb, "damaged|lies"),
        "out of the archive": (zipped(("../../evil.npy", npy(np.ones(3)))), "points out of the archive"),
        "absolute": (zipped(("/etc/evil.npy", npy(np.ones(3)))), "points out of the archive"),
        "int8": (saved(*[np.ones(s, "i1") for s in SHAPES]), "dtype int8: it is quantised"),
        "uint8 in one tensor": (saved(*arrays[:-1], np.ones(10, "u1")), "arr_5 has dtype uint8"),
        "int64": (saved(*[np.ones(s, "i8") for s in SHAPES]), "dtype int64: it is quantised"),
        "a format of 8 bits": (zipped(("a.npy", header("<V1", "(3,)") + bytes(3))), "save it as float32"),
        "bfloat16 that lies": (zipped(("a.npy", header("<V2", "(300,)") + bytes(3))), "lies"),
        "nothing but counters": (saved(np.array(3), np.array([4])), "holds 0 numbers"),
        "backslashes": (zipped(("..\\evil.npy", npy(np.ones(3)))), "points out of the archive"),
        "drive letter": (zipped(("C:evil.npy", npy(np.ones(3)))), "points out of the archive"),
        "control characters": (zipped(("a\x1b[2Jb.npy", npy(np.ones(3)))), "a name that no tensor has"),
        "two of one name": (zipped(("a.npy", npy(np.ones(2))), ("a.npy", npy(np.zeros(2)))), "same name"),
        "two of one name but for the suffix": (zipped(("a.npy", npy(np.ones(2))), ("a", b"x")), "same name"),
        "5,000 members": (
            zipped(*[(f"{i}.npy", b"") for i in range(5000)]),
            "members are more than the limit",
        ),
        "encrypted": (encrypted(), "encrypted"),
        "lzma": (zipped(("a.npy", npy(np.ones(3))), compression=zipfile.ZIP_LZMA), "compressed in a way"),
        "empty archive": (zipped(), "holds no arrays"),
        "cut off": (whole[: len(whole) // 2], "damaged or cut off"),
        "last bytes missing": (whole[:-10], "damaged or cut off"),
        "bytes flipped": (flipped(several, 0.4), "damaged|cannot be read"),
        "directory flipped": (flipped(whole, 0.99, 20), "damaged|no arrays|cut off|no tensor has"),
        "a link in it": (zipped(("a.npy", b"/etc/passwd")), "header cannot be read"),
        "an archive in it": (zipped(("a.npy", whole)), "header cannot be read"),
        "files that are no arrays": (zipped(("model.json", b"{}"), ("notes.txt", b"hello")), "no arrays"),
        "huge shape": (zipped(("a.npy", header(shape="(1000000000000000,)"))), "lies"),
        "shape that overflows": (zipped(("a.npy", header(shape=f"({1 << 62}, 4)"))), "lies"),
        "negative shape": (zipped(("a.npy", header(shape="(-3,)") + bytes(24))), "lies|cannot be read"),
        "shape of many axes": (
            zipped(("a.npy", header("|u1", f"({'1, ' * 40})") + b"1")),
            "lies|cannot be read",
        ),
        "code in the header": (
            zipped(("a.npy", header(raw="__import__('os').system('true')"))),
            "cannot be read",
        ),
        "brackets in the header": (
            zipped(("a.npy", header(raw="(" * 3000 + ")" * 3000, version=2))),
            "cannot be read",
        ),
        "a header of megabytes": (
            zipped(("a.npy", header(raw=" " * 8_000_000, version=2)), compression=zipfile.ZIP_DEFLATED),
            "cannot be read|unpacks to",
        ),
        "unknown version": (zipped(("a.npy", b"\x93NUMPY\x09\x00")), "cannot be read"),
        "more promised than there": (zipped(("a.npy", header(shape="(100,)") + bytes(80))), "lies"),
        "less promised than there": (zipped(("a.npy", header(shape="(2,)") + bytes(80))), "lies"),
        "records": (saved(np.zeros(3, [("a", "f4"), ("b", "i4")])), "not numbers"),
        "words": (saved(np.array(["a", "b"])), "not numbers"),
        "complex": (saved(np.array([1j])), "not numbers"),
        "dates": (saved(np.array(["2020-01-01"], "M8[D]")), "not numbers"),
        "NaN": (saved(*[*arrays[:-1], np.full(10, np.nan)]), "NaN or Inf"),
        "Inf": (saved(*[np.full(arrays[0].shape, np.inf), *arrays[1:]]), "NaN or Inf"),
        "too large for float32": (saved(*[*arrays[:-1], np.full(10, 1e300)]), "too large for float32"),
        "another model's tensors": (saved(*[np.ones((5, 5)), np.ones(5)]), "belongs to another model"),
        "one tensor missing": (saved(*arrays[:-1]), "belongs to another model|not complete"),
        "one axis longer": (saved(*[*arrays[:-1], np.ones(11)]), "belongs to another model|not complete"),
    }
    return {
        f"delta: {name}": ({"delta.npz": content}, "delta.npz", message)
        for name, (content, message) in cases.items()
    }


QUOTA = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"
DENSE = {"units": 10}


def models():
    flat = layer("Flatten", "f")
    head = layer("Dense", "head", units=10)
    functional = model()
    functional |= {"class_name": "Functional", "module": "keras"}
    cyclic = json.loads(json.dumps(functional))
    tensor = lambda name: [[[name, 0, 0, {}]]]  # noqa: E731
    for one, feeds in zip(cyclic["config"]["layers"][1:], ("head", "conv", "flatten", "hidden"), strict=True):
        one["inbound_nodes"] = tensor(feeds)
    cyclic["config"] |= {"input_layers": [["image", 0, 0]], "output_layers": [["head", 0, 0]]}
    lamb = layer("Lambda", "evil", function=["4wEAAAAAAAAA", None, None], function_type="lambda", module="m")
    custom = {
        "module": "evil.package",
        "class_name": "Dense",
        "registered_name": "Evil>Dense",
        "config": DENSE | {"name": "d"},
    }
    function = {"module": "os", "class_name": "function", "config": "system", "registered_name": "function"}
    cases = {
        "Lambda": (model(lamb, flat, head), "is of class 'Lambda', which is not on the list"),
        "custom class": (model(flat, custom), "not on the list"),
        "class of another module": (model(flat, head, module="os"), "custom code is not run"),
        "a function for an activation": (
            model(flat, layer("Dense", "h", units=10, activation=function)),
            "'system' is not one of",
        ),
        "a path for an activation": (
            model(flat, layer("Dense", "h", units=10, activation="os.system")),
            "is not one of",
        ),
        "a layer that reads files": (
            model(layer("TextVectorization", "t", vocabulary="/etc/passwd"), flat, head),
            "reads tokens",
        ),
        "Dense of a trillion units": (
            model(flat, layer("Dense", "big", units=10**12), head),
            "whole number from 1 to",
        ),
        "Dense of many parameters": (
            model(flat, *[layer("Dense", f"d{i}", units=1_000_000) for i in range(3)]),
            "parameters are more than the limit|costs more|output of shape",
        ),
        "Conv2D of many parameters": (
            model(*[layer("Conv2D", f"c{i}", filters=100_000, kernel_size=8) for i in range(2)]),
            "parameters are more|costs more|output of shape",
        ),
        "endless upsampling": (
            model(*[layer("UpSampling2D", f"u{i}", size=1000) for i in range(5)], flat, head),
            "output of shape",
        ),
        "padding without end": (
            model(layer("ZeroPadding2D", "p", padding=1_000_000), flat, head),
            "output of shape",
        ),
        "much work for few parameters": (
            model(
                layer("Conv2D", "c", filters=64, kernel_size=64, padding="same"),
                layer("Conv2D", "d", filters=256, kernel_size=64, padding="same"),
                flat,
                head,
                shape=(224, 224, 1),
            ),
            "costs more",
        ),
        "a kernel larger than the image": (
            model(layer("Conv2D", "c", filters=2, kernel_size=30), flat, head),
            "nothing",
        ),
        "units of text": (model(flat, layer("Dense", "h", units="10")), "whole number"),
        "units of a fraction": (model(flat, layer("Dense", "h", units=10.5)), "whole number"),
        "negative units": (model(flat, layer("Dense", "h", units=-1)), "whole number"),
        "an option that Keras lacks": (
            model(flat, layer("Dense", "h", units=10, on_load="x")),
            "option 'on_load' of Dense is not known",
        ),
        "10,000 layers": (
            model(*[layer("ReLU", f"r{i}") for i in range(10_000)], flat, head),
            "layers are more than the limit",
        ),
        "a model in the model": (
            model(model() | {"name": "inner"} | {"config": model()["config"]}, flat, head),
            "model inside the model",
        ),
        "a cycle": (cyclic, "not connected to the input"),
        "no input shape": (
            {"class_name": "Sequential", "config": {"layers": [flat, head]}},
            "shape of its input is not given",
        ),
        "an input of any size": (model(flat, head, shape=(None, None, 1)), "is not fixed"),
        "two layers of one name": (model(flat, head, head), "same name"),
        "an odd name": (model(flat, layer("Dense", "a\x00b", units=10)), "missing or odd"),
        "no layers": ({"class_name": "Sequential", "config": {"name": "x", "layers": []}}, "no layers"),
        "no class at all": ({"class_name": "Nonsense", "config": {"layers": []}}, "custom code is not run"),
    }
    found = {name: (text(value), message) for name, (value, message) in cases.items()}
    whole = text(model())
    found |= {
        "deep JSON": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not valid JSON"),
        "JSON of 60 levels": (b'{"a":' * 60 + b"1" + b"}" * 60, "nested deeper"),
        "deep lists": (b"[" * 1_000_000, "not valid JSON"),
        "a number of a million digits": (
            b'{"class_name": "Sequential", "config": {"layers": ' + b"9" * 1_000_000 + b"}}",
            "not valid JSON",
        ),
        "NaN in JSON": (whole.replace(b'"units": 30', b'"units": NaN'), "not valid JSON"),
        "a key twice": (whole.replace(b'"units": 30', b'"units": 30, "units": 10'), "is there twice"),
        "half of the JSON": (whole[: len(whole) // 2], "not valid JSON"),
        "no UTF-8": (whole.replace(b"hidden", b"h\xff\xfeden"), "not valid JSON"),
        "a JSON list": (b"[1, 2, 3]", "neither a model nor metadata"),
        "6 MB of JSON": (b'{"a": "' + b"x" * (6 << 20) + b'"}', "more than the limit"),
        "a page in place of the model": (QUOTA, "web page"),
        "a page after a mark": (b"\xef\xbb\xbf\n  " + QUOTA, "web page"),
        "words": (b"import os", "not an .npz"),
        "empty": (b"", "is empty"),
    }
    return {
        f"model: {name}": ({"model.json": content}, "model.json", message)
        for name, (content, message) in found.items()
    }


def h5(fill):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def vast(file):
    file.create_dataset(
        "layers/conv/vars/0", shape=(1 << 40,), dtype="f4", chunks=(1 << 20,), compression="gzip"
    )


def external(file):
    group = file.create_group("layers/conv/vars")
    group.create_dataset("0", shape=(4,), dtype="u1", external=[("/etc/hostname", 0, 4)])


def virtual(file):
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "data", shape=(4,))
    file.create_group("layers").create_virtual_dataset("0", layout)


def soft(file):
    file["a"] = np.ones(3)
    file["b"] = h5py.SoftLink("/a")


def elsewhere(file):
    file["a"] = h5py.ExternalLink("/etc/passwd", "/")


def loop(file):
    group = file.create_group("layers")
    group["again"] = group


def keras2(config=None, twice=False):
    """HDF5 of Keras 2, with ``config`` as the attribute of the model."""

    def fill(file):
        group = file.create_group("model_weights" if config is not None else "conv")
        file.attrs["layer_names"] = [b"conv"]
        group["conv/kernel:0"] = np.ones(3)
        if twice:
            group["other/kernel:0"] = np.ones(3)
        if config is not None:
            file.attrs["model_config"] = config

    return h5(fill)


def keras_file(config, weights):
    return zipped(("metadata.json", b"{}"), ("config.json", config), ("model.weights.h5", weights))


def safe(head, body=b""):
    raw = head if isinstance(head, bytes) else text(head)
    return len(raw).to_bytes(8, "little") + raw + body


def others():
    whole = h5(lambda file: file.create_dataset("layers/conv2d/vars/0", data=np.ones(1000)))
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    lamb = layer("Lambda", "evil", function=["4wEA", None, None])
    dictionary = good()
    half = {name: {name: content[: len(content) // 2]} for name, content in dictionary.items()}
    cases = {
        "h5: of a terabyte": (h5(vast), "unpacks to"),
        "h5: external storage": (h5(external), "outside of the file"),
        "h5: virtual": (h5(virtual), "outside of the file"),
        "h5: soft link": (h5(soft), "a link out of its place"),
        "h5: external link": (h5(elsewhere), "a link out of its place"),
        "h5: a group in itself": (h5(loop), "more members or levels"),
        "h5: cut off": (whole[: len(whole) // 2], "damaged"),
        "h5: only the first bytes": (whole[:16], "damaged"),
        "h5: flipped": (flipped(whole, 0.05, 400), "damaged|holds no weights|holds 1 tensors|no weights for"),
        "h5: words": (h5(lambda f: f.create_dataset("a", data=[b"x"])), "not numbers"),
        "h5: another model": (whole, "holds no weights for layer"),
        "h5: of Keras 2, another model": (keras2(), "belongs to another model"),
        "h5: of Keras 2, two of a name": (keras2(twice=True), "two tensors are conv/kernel"),
        "h5: model of numbers": (keras2(3.0), "no text"),
        "h5: model of lists": (keras2([b"a", b"b"]), "no text"),
        "h5: model of words": (keras2("no JSON"), "not valid JSON"),
        "h5: Lambda": (keras2(json.dumps(model(lamb))), "not on the list"),
        "safetensors: int8": (safe({"a": tensor | {"dtype": "I8", "shape": [8]}}, b"a" * 8), "quantised"),
        "safetensors: float8": (
            safe({"a": tensor | {"dtype": "F8_E4M3", "shape": [8]}}, b"a" * 8),
            "float32|not float",
        ),
        "safetensors: header beyond the file": (safe(b"{" + b" " * 50)[:20], "not an .npz|damaged"),
        "safetensors: no JSON": (safe(b"{nonsense"), "damaged"),
        "safetensors: overlapping": (safe({"a": tensor, "b": tensor}, bytes(8)), "damaged"),
        "safetensors: beyond the end": (
            safe({"a": tensor | {"data_offsets": [0, 800], "shape": [200]}}, bytes(8)),
            "damaged",
        ),
        "safetensors: shape that lies": (safe({"a": tensor | {"shape": [1 << 40]}}, bytes(8)), "damaged"),
        "safetensors: deep": (safe(b'{"a":' * 5000 + b"1" + b"}" * 5000), "damaged"),
        "safetensors: NaN": (safe({"a": tensor}, struct.pack("<2f", 1, float("nan"))), "NaN"),
    }
    found = {
        name: ({"before.npz": content}, "before.npz", message) for name, (content, message) in cases.items()
    }
    found |= {
        f"half of {name}": (files, name, "damaged|not valid|read safely|cut off|lies")
        for name, files in half.items()
    }
    keras = {
        "keras: Lambda": (keras_file(text(model(lamb)), whole), "not on the list"),
        "keras: weights of a terabyte": (keras_file(text(model()), h5(vast)), "unpacks to"),
        "keras: weights are no HDF5": (keras_file(text(model()), b"nothing"), "damaged"),
        "keras: a way out on Windows": (
            zipped(("config.json", text(model())), ("model.weights.h5", whole), ("..\\..\\x.py", b"evil")),
            "points out of the archive",
        ),
        "keras: config out of the archive": (
            zipped(("config.json", text(model())), ("model.weights.h5", whole), ("../../x.py", b"evil")),
            "points out of the archive",
        ),
    }
    found |= {
        name: ({"model.json": c, "before.npz": None}, "model.json", m) for name, (c, m) in keras.items()
    }
    after = {"delta.npz": dictionary["before.npz"]}
    found |= {
        "a page in place of the delta": ({"delta.npz": QUOTA}, "delta.npz", "web page"),
        "a page in place of the metadata": ({"meta.npy": b"\n" + QUOTA}, "meta.npy", "web page"),
        "no delta": ({"delta.npz": None}, "delta.npz|before.npz", "needs one model"),
        "no model": ({"model.json": None}, "before.npz", "needs one model"),
        "one archive too many": ({"more.npz": dictionary["delta.npz"]}, "more.npz", "needs one model"),
        "two models": ({"more.json": dictionary["model.json"]}, "more.json", "needs one model"),
        "weights in place of the delta": (after, "delta.npz", "both look like weights"),
        "metadata: a plain array": ({"meta.npy": npy(np.arange(3))}, "meta.npy", "one plain array"),
        "metadata: no JSON in the string": (
            {"meta.npy": npy(np.array("no json"))},
            "meta.npy",
            "not valid JSON",
        ),
        "metadata: 20,000 values": (
            {"meta.npy": None, "meta.json": text({"a": list(range(20_000))})},
            "meta.json",
            "more than .* values",
        ),
        "metadata: half of an .npy header": ({"meta.npy": b"\x93NUMPY"}, "meta.npy", "cannot be read"),
    }
    return found


def corpus(marker):
    """All of them. marker: a path that a payload would create."""
    return {**pickles(marker), **zips(), **models(), **others()}
