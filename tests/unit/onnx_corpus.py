"""Hostile and broken ONNX files, generated. The form is that of ``corpus``."""

import corpus
import numpy as np
import onnx_writer as w

KEYS = {
    "conv.weight": (2, 1, 3, 3),
    "conv.bias": (2,),
    "hidden.weight": (30, 72),
    "hidden.bias": (30,),
    "head.weight": (10, 30),
    "head.bias": (10,),
}
CONV = {
    "dilations": [1, 1],
    "group": 1,
    "kernel_shape": [3, 3],
    "pads": [0, 0, 0, 0],
    "strides": [1, 1],
}
GEMM = {"alpha": 1.0, "beta": 1.0, "transB": 1}
POOL = {"kernel_shape": [3, 3], "pads": [0, 0, 0, 0], "strides": [2, 2]}
IMAGE = w.value("x", [2, 1, 8, 8])
OUTPUT = w.value("y", [2, 10])


def in_torch(array):
    """A variable of ``corpus.good`` as PyTorch has it."""
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if array.shape == (72, 30):  # behind the flattened 6×6×2
        return array.reshape(6, 6, 2, 30).transpose(3, 2, 0, 1).reshape(30, 72)
    return array.T


def state_dicts():
    """(before, delta) of ``corpus.good`` by the keys of a state dict, in PyTorch's layout."""
    found = []
    for name in ("before.npz", "delta.npz"):
        with np.load(corpus.io.BytesIO(corpus.good()[name])) as file:
            arrays = [in_torch(file[key]) for key in file.files]
        found.append({key: np.ascontiguousarray(a) for key, a in zip(KEYS, arrays, strict=True)})
    return tuple(found)


def nodes(conv=None, middle=None, flat=None, hidden=None, head=None):
    """The nodes of the good net; each can be replaced, and ``middle`` by several."""
    return [
        conv or w.node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], **CONV),
        *(middle or [w.node("Relu", ["a"], ["b"])]),
        flat or w.node("Flatten", ["b"], ["c"], axis=1),
        hidden or w.node("Gemm", ["c", "hidden.weight", "hidden.bias"], ["d"], **GEMM),
        w.node("Relu", ["d"], ["e"]),
        head or w.node("Gemm", ["e", "head.weight", "head.bias"], ["y"], **GEMM),
    ]


def parameters(**changed):
    """Inputs of the good net's parameters. changed: key with ``_`` → shape."""
    return [w.value(key, changed.get(key.replace(".", "_"), shape)) for key, shape in KEYS.items()]


def onnx(own=None, inputs=None, outputs=None, initial=(), more=b""):
    inputs = [IMAGE, *parameters()] if inputs is None else inputs
    return w.model(
        w.graph(
            nodes() if own is None else own, inputs, [OUTPUT] if outputs is None else outputs, initial, more
        )
    )


def good():
    """A leak with an ONNX file that is understood."""
    before, delta = state_dicts()
    rest = {"before.npz": corpus.saved(**before), "delta.npz": corpus.saved(**delta)}
    return {"model.onnx": onnx(), **rest, "meta.npy": corpus.good()["meta.npy"]}


def extra(*own, **options):
    """The good net with nodes before it."""
    return onnx([*own, *nodes()], **options)


def constant(name, content):
    return w.node("Constant", [], [name], value=content)


def conv(**changed):
    return onnx(nodes(conv=w.node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], **CONV | changed)))


def middle(op, *inputs, **attributes):
    """The good net with another operator in place of the first ReLU."""
    return onnx(nodes(middle=[w.node(op, ["a", *inputs], ["b"], **attributes)]))


def sized(image=(2, 1, 8, 8), **changed):
    return onnx(inputs=[w.value("x", image), *parameters(**changed)])


def wire():
    """Damage below the level of messages."""
    whole = onnx()
    half = whole[: len(whole) // 2]
    return {
        "cut off": (half, "cut off"),
        "no graph": (w.field(1, 8) + w.field(2, "pytorch") + w.opset(), "no graph"),
        "a number of eleven bytes": (whole + b"\x28" + b"\x80" * 10 + b"\x01", "more than 64 bits"),
        "a number of 70 bits": (whole + b"\x28" + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
        "a number without an end": (whole + b"\x28\x80", "cut off, or has more"),
        "field number 0": (whole + b"\x02\x00", "damaged, or no protocol buffer"),
        "a group": (whole + b"\x0b\x0c", "damaged, or no protocol buffer"),
        "a tag of 40 bits": (whole + w.varint(1 << 40), "damaged, or no protocol buffer"),
        "a length of 2 GB": (whole + w.varint(14 << 3 | 2) + w.varint(1 << 31), "cut off: a field of"),
        "a length of 2^63": (whole + w.varint(14 << 3 | 2) + w.varint(1 << 63), "cut off: a field of"),
        "an unknown field": (whole + w.field(99, 1), "number 99, which is not known"),
        "two graphs": (whole + w.field(7, w.graph(nodes(), [IMAGE], [OUTPUT])), "gives graph twice"),
        "two operators in a node": (
            extra(w.node("Relu", ["x"], ["z"], more=w.field(4, "Tanh"))),
            "op_type twice",
        ),
        "a graph that is a number": (
            w.field(1, 8) + w.field(2, "p") + w.field(7, 5) + w.opset(),
            "wire type",
        ),
        "a name that is a number": (extra(w.field(1, 3) + w.field(4, "Relu")), "another wire type"),
        "a version that is a text": (onnx() + w.field(8, w.field(2, "new")), "no whole number"),
        "a real number in 64 bits": (
            extra(
                w.node(
                    "Elu",
                    ["x"],
                    ["z"],
                    more=w.field(5, w.field(1, "alpha") + b"\x11" + b"\0" * 8 + w.field(20, 1)),
                )
            ),
            "no number of 32 bits",
        ),
        "packed numbers cut off": (
            extra(
                w.node(
                    "Flatten",
                    ["x"],
                    ["z"],
                    more=w.field(5, w.field(1, "perm") + w.field(8, b"\x01\x80") + w.field(20, 7)),
                )
            ),
            "cut off, or has more",
        ),
        "packed reals cut off": (
            extra(
                w.node(
                    "Flatten",
                    ["x"],
                    ["z"],
                    more=w.field(5, w.field(1, "perm") + w.field(7, b"\0" * 5) + w.field(20, 6)),
                )
            ),
            "cut off",
        ),
        "a bomb of packed dims": (
            lambda: onnx(initial=[w.field(1, b"\x01" * 3_000_000) + w.field(2, 1) + w.field(8, "bomb")]),
            "more than .* fields and numbers",
        ),
        "a bomb of packed attributes": (
            lambda: extra(
                w.node(
                    "Transpose",
                    ["x"],
                    ["z"],
                    more=w.field(5, w.field(1, "perm") + w.field(8, b"\0" * 3_000_000) + w.field(20, 7)),
                )
            ),
            "more than .* fields and numbers",
        ),
        "a bomb of empty nodes": (
            lambda: w.model(b"\x0a\x00" * 1_500_000),
            "more than .* fields and numbers",
        ),
        "five megabytes": (lambda: onnx() + w.field(14, b"\0" * (5 << 20)), "more than the limit"),
        "six thousand nodes": (
            lambda: extra(*[w.node("Relu", ["x"], [f"z{i}"]) for i in range(6000)]),
            "6006 nodes are more than",
        ),
        "six hundred layers": (
            lambda: extra(*[w.node("Relu", ["x"], [f"z{i}"]) for i in range(600)]),
            "more layers than the limit",
        ),
    }


def names():
    """Texts, and names that are given twice."""
    evil = w.value(b"\xff\xfe\x00", [2])
    return {
        "a node's name that is no UTF-8": (
            extra(w.node("Relu", ["x"], ["z"], more=w.field(3, b"\xc3("))),
            "no UTF-8",
        ),
        "an input's name that is no UTF-8": (onnx(inputs=[IMAGE, evil, *parameters()]), "no UTF-8"),
        "a name with a new line": (
            extra(w.node("Relu", ["x"], ["z\nreading /etc/passwd"])),
            "cannot be printed",
        ),
        "a name with a zero": (extra(w.node("Relu", ["x"], ["z\0"])), "cannot be printed"),
        "a name of a megabyte": (
            extra(w.node("Relu", ["x"], ["z" * (1 << 20)])),
            "more than the limit of 200",
        ),
        "two inputs of one name": (onnx(inputs=[IMAGE, *parameters(), *parameters()]), "two of its inputs"),
        "an input without a name": (onnx(inputs=[IMAGE, w.value("", [2]), *parameters()]), "has no name"),
        "two tensors of one name": (
            onnx(initial=[w.integers("i", 1), w.integers("i", 2)]),
            "two of its tensors",
        ),
        "a tensor and an input of two shapes": (
            onnx(initial=[w.tensor("conv.bias", [3], b"\0" * 12)]),
            "two shapes",
        ),
        "two nodes that write one name": (
            extra(w.node("Tanh", ["x"], ["a"])),
            "writes 'a', which something else",
        ),
        "a node that writes an input": (extra(w.node("Tanh", ["x"], ["conv.bias"])), "which something else"),
        "an attribute twice": (
            onnx(
                nodes(flat=w.node("Flatten", ["b"], ["c"], more=w.field(5, w.attribute("axis", 1)), axis=1))
            ),
            "'axis' twice",
        ),
    }


def graphs():
    """Connections."""
    head = ["e", "head.weight", "head.bias"]
    return {
        "a cycle": (extra(w.node("Relu", ["q"], ["p"]), w.node("Relu", ["p"], ["q"])), "a cycle, or"),
        "a node that reads itself": (extra(w.node("Relu", ["p"], ["p"])), "a cycle, or not in order"),
        "nodes in the wrong order": (onnx(nodes()[::-1]), "a cycle, or not in order"),
        "an output that nothing writes": (onnx(outputs=[w.value("z", [2, 10])]), "no node writes the output"),
        "the input as the output": (onnx(outputs=[IMAGE]), "no node writes the output"),
        "two outputs": (onnx(outputs=[OUTPUT, w.value("e", [2, 30])]), "2 outputs"),
        "no output": (onnx(outputs=[]), "0 outputs"),
        "no nodes": (onnx([]), "no nodes"),
        "no input": (onnx(inputs=[]), "no input"),
        "images as the output": (onnx(outputs=[w.value("b", [2, 2, 6, 6])]), "no vector of class scores"),
        "a constant as the output": (
            onnx([*nodes(), constant("z", w.integers("", 1))], outputs=[w.value("z", [1])]),
            "no vector of class scores",
        ),
        "a parameter in place of images": (extra(w.node("Relu", ["hidden.bias"], ["z"])), "not come from"),
        "images in place of a parameter": (
            onnx(nodes(head=w.node("Gemm", ["e", "d"], ["y"], **GEMM))),
            "only x Wᵀ",
        ),
        "a second output that is read": (
            onnx(nodes(middle=[w.node("Dropout", ["a"], ["b0", "mask"]), w.node("Relu", ["mask"], ["b"])])),
            "second output",
        ),
        "a node without an output": (extra(w.node("Relu", ["x"], [])), "no output"),
        "a node without an input": (extra(w.node("Relu", [], ["z"])), "not come from the images"),
        "weights that two layers share": (
            onnx([*nodes()[:-1], w.node("Gemm", head, ["y0"], **GEMM), w.node("Gemm", head, ["y"], **GEMM)]),
            "shared weights",
        ),
    }


def dims():
    """Sizes that lie, or that are too large."""
    many = tuple(w.value(f"big{i}", [1 << 13, 1 << 13]) for i in range(2))
    return {
        "a dim of 0": (sized(head_bias=(0,)), "which no tensor has"),
        "a negative dim": (sized(head_bias=(-10,)), "which no tensor has"),
        "a dim of 2^62": (sized(head_bias=(1 << 62,)), "which no tensor has"),
        "a free dim of a parameter": (sized(head_bias=("n",)), "which no tensor has"),
        "dims whose product has 64 bits": (
            sized(hidden_weight=(1 << 20, 1 << 20, 1 << 20)),
            "more than the limit",
        ),
        "parameters of 500 MB": (onnx(inputs=[IMAGE, *parameters(), *many]), "more than the limit"),
        "nine axes": (sized(head_bias=(1,) * 9), "9 axes"),
        "images of 2^20 × 2^20": (sized(image=(2, 1, 1 << 20, 1 << 20)), "more than the limit"),
        "images of no width": (sized(image=(2, 1, 8, 0)), "which no tensor has"),
        "images of free size": (sized(image=(2, 1, "h", "w")), "which no tensor has"),
        "images of five axes": (sized(image=(2, 1, 1, 8, 8)), "5 axes"),
        "no examples": (sized(image=(0, 1, 8, 8)), "0 examples"),
        "images that do not fit": (sized(image=(2, 1, 9, 9)), "does not fit an input"),
        "images of three channels": (sized(image=(2, 3, 8, 8)), "does not fit 3 channels"),
        "a kernel that does not fit": (conv(kernel_shape=[5, 5]), "kernel_shape is"),
        "a window larger than the image": (
            sized(image=(2, 1, 2, 2)),
            "does not fit images of",
        ),
        "padding of 2^40": (conv(pads=[1 << 40, 0, 0, 0]), "pads are"),
        "negative padding": (conv(pads=[-1, 0, 0, 0]), "pads are"),
        "three paddings": (conv(pads=[1, 1, 1]), "pads are"),
        "stride 0": (conv(strides=[0, 1]), "strides are"),
        "dilation 0": (conv(dilations=[0, 1]), "dilations are"),
        "strides and dilations": (conv(strides=[2, 2], dilations=[2, 2]), "at once"),
        "no groups": (conv(group=0), "with 0 groups"),
        "minus one group": (conv(group=-1), "with -1 groups"),
        "2^63 groups": (conv(group=(1 << 63) - 1), "groups does not fit"),
        "a constant that lies about its size": (
            extra(constant("k", w.tensor("", [4], b"\0" * 8))),
            "not as many numbers",
        ),
        "a tensor that lies about its size": (
            onnx(initial=[w.tensor("k", [4], b"\0" * 8)]),
            "not as many numbers",
        ),
        "a large constant": (
            extra(constant("k", w.tensor("", [1000], b"\0" * 4000))),
            "at most 256 are read",
        ),
        "a constant of NaN": (extra(constant("k", w.tensor("", [1], b"\xff" * 4))), "NaN or Inf"),
        "constants that grow": (
            lambda: extra(
                constant("k0", w.integers("", *range(128))),
                *[w.node("Concat", [f"k{i}"] * 2, [f"k{i + 1}"], axis=0) for i in range(40)],
            ),
            "more than the limit of 256",
        ),
    }


def parts():
    """What a file may hold, and what is never opened."""
    place = w.field(1, "location") + w.field(2, "../../../../etc/passwd")
    inner = w.graph(nodes(), [], [OUTPUT])
    by_graph = w.field(1, "then_branch") + w.field(20, 5) + w.field(6, inner)
    by_graphs = w.field(1, "body") + w.field(20, 10) + w.field(11, inner)
    sequence = w.field(1, "s") + w.field(2, w.field(4, w.field(1, w.field(1, w.field(1, 1)))))
    return {
        "data outside of the file": (
            onnx(initial=[w.tensor("k", [4], more=w.field(13, place) + w.field(14, 1))]),
            "outside of the file",
        ),
        "data outside of the file, without a place": (
            onnx(initial=[w.tensor("k", [4], more=w.field(14, 1))]),
            "outside of the file",
        ),
        "a constant outside of the file": (
            extra(constant("k", w.tensor("", [4], more=w.field(13, place)))),
            "outside of the file",
        ),
        "a graph in a node": (
            extra(w.node("If", ["x"], ["z"], more=w.field(5, by_graph))),
            "inside the graph",
        ),
        "graphs in a node": (
            extra(w.node("Loop", ["x"], ["z"], more=w.field(5, by_graphs))),
            "inside the graph",
        ),
        "a function": (onnx() + w.field(25, w.field(1, "f")), "functions"),
        "a graph of training": (onnx() + w.field(20, w.field(1, inner)), "graph of training"),
        "a sparse tensor": (onnx(more=w.field(15, b"")), "sparse tensors"),
        "a quantised tensor": (onnx(more=w.field(14, b"")), "quantised"),
        "text in a tensor": (
            onnx(initial=[w.tensor("k", [1], kind=8, more=w.field(6, "x"))]),
            "text, which is no number",
        ),
        "segments": (onnx(initial=[w.tensor("k", [1], more=w.field(3, b""))]), "segments"),
        "numbers of 64 bits": (
            onnx(initial=[w.tensor("k", [1], kind=11, more=w.field(10, b"\0" * 8))]),
            "64 bits",
        ),
        "float16": (onnx(initial=[w.tensor("k", [1], b"\0\0", kind=10)]), "data type 10"),
        "images in float16": (onnx(inputs=[w.value("x", [2, 1, 8, 8], 10), *parameters()]), "not float32"),
        "a sequence": (onnx(inputs=[IMAGE, sequence, *parameters()]), "no tensor, but another type"),
        "a reference to a function": (
            extra(w.node("Elu", ["x"], ["z"], more=w.field(5, w.attribute("alpha", 1.0, w.field(21, "a"))))),
            "reference to a function",
        ),
        "a list of tensors": (
            extra(
                w.node(
                    "Elu", ["x"], ["z"], more=w.field(5, w.field(1, "a") + w.field(10, b"") + w.field(20, 9))
                )
            ),
            "another kind",
        ),
        "an attribute of no type": (
            extra(w.node("Elu", ["x"], ["z"], more=w.field(5, w.field(1, "alpha") + w.field(2, 1.0)))),
            "is of type 0",
        ),
        "an operator of another domain": (
            extra(w.node("Relu", ["x"], ["z"], more=w.field(7, "com.evil"))),
            "of the domain 'com.evil'",
        ),
        "opset 11": (w.model(w.graph(nodes(), [IMAGE, *parameters()], [OUTPUT]), w.opset(11)), "opset 11"),
        "opset 99": (w.model(w.graph(nodes(), [IMAGE, *parameters()], [OUTPUT]), w.opset(99)), "opset 99"),
        "no opset": (w.model(w.graph(nodes(), [IMAGE, *parameters()], [OUTPUT]), b""), "does not say once"),
        "two opsets": (onnx() + w.opset(18), "does not say once"),
        "a scalar in place of images": (onnx(inputs=[w.value("x", []), *parameters()]), "0 axes"),
    }


def operators():
    """Operators and attributes that have no counterpart."""
    pool = [w.node("MaxPool", ["a"], ["b"], **POOL | {"pads": [1, 1, 1, 1]})]
    four, minus = constant("k", w.integers("", 4, 36)), constant("k", w.tensor("", [], b"\0\0\x80\xbf"))
    seven = constant("k", w.tensor("", [], b"\0\0\xe0\x40"))
    zero = constant("k", w.tensor("", [], b"\0\0\0\0"))
    after = {
        "a reshape across examples": (
            [four, w.node("Reshape", ["a", "k"], ["b"])],
            "does not keep the examples",
        ),
        "dropout of 7": ([seven, w.node("Dropout", ["a", "k"], ["b"])], "no number from 0 to 1"),
        "clipping from -1": ([minus, w.node("Clip", ["a", "k"], ["b"])], "only from 0"),
        "a division by 0": (
            [zero, w.node("Div", ["a", "k"], ["b0"]), w.node("Relu", ["b0"], ["b"])],
            "divides by 0",
        ),
        "padded max pooling without ReLU": (pool, "only behind ReLU"),
        "a sum that broadcasts": ([w.node("Add", ["a", "x"], ["b"])], "is not taken"),
    }
    return {
        "an unknown operator": (middle("Attention"), r"Attention.*no counterpart"),
        "a tempting operator": (middle("PythonOp"), "no counterpart"),
        "no operator": (middle(""), "no counterpart"),
        "a text as a constant": (extra(w.node("Constant", [], ["k"], value="1e9")), "is no number"),
        "an unknown attribute": (middle("Relu", alpha=1.0), "the attribute 'alpha' is not known"),
        "an attribute of another type": (middle("LeakyRelu", alpha=1), "of another type"),
        "an attribute of NaN": (middle("LeakyRelu", alpha=float("nan")), "NaN or Inf"),
        "an attribute of Inf": (middle("LeakyRelu", alpha=float("inf")), "NaN or Inf"),
        "ceil_mode": (middle("MaxPool", **POOL, ceil_mode=1), "ceil_mode"),
        "padded average pooling": (
            middle("AveragePool", **POOL | {"pads": [1] * 4}),
            "average pooling with padding",
        ),
        "auto_pad": (conv(auto_pad="SAME_UPPER"), "auto_pad"),
        "alpha 2": (
            onnx(
                nodes(head=w.node("Gemm", ["e", "head.weight", "head.bias"], ["y"], **GEMM | {"alpha": 2.0}))
            ),
            "only x Wᵀ",
        ),
        "a kernel that is not turned": (
            onnx(nodes(head=w.node("Gemm", ["e", "head.weight", "head.bias"], ["y"]))),
            "only x Wᵀ",
        ),
        "flattened examples": (onnx(nodes(flat=w.node("Flatten", ["b"], ["c"], axis=0))), "axis is 0"),
        "instances": (middle("InstanceNormalization", "conv.bias", "conv.bias"), "only nn.GroupNorm"),
        "erf by itself": (middle("Erf"), "only as a part of nn.GELU"),
        "GELU by an approximation": (middle("Gelu", approximate="tanh"), "approximation by tanh"),
        **{name: (onnx(nodes(middle=own)), message) for name, (own, message) in after.items()},
    }


def corpus_of_onnx():
    """name → (files, file in the error, message), as ``corpus.corpus``."""
    found = {
        name: ({"model.onnx": content}, "model.onnx", message)
        for group in (wire(), names(), graphs(), dims(), parts(), operators())
        for name, (content, message) in group.items()
    }
    before, delta = state_dicts()
    fused = {key: a for key, a in before.items() if key != "conv.bias"} | {
        "bn.running_mean": np.ones(2, "f4")
    }
    keras = corpus.good()
    found |= {
        "a key that the graph does not have": (
            {"before.npz": corpus.saved(**fused)},
            "before.npz",
            "no layer with the tensors bn.running_mean.*export_params=False",
        ),
        "a key that is missing": (
            {"delta.npz": corpus.saved(**{key: delta[key] for key in list(delta)[:-1]})},
            "delta.npz",
            "has no head.bias",
        ),
        "a tensor of another shape": (
            {"before.npz": corpus.saved(**before | {"head.weight": before["head.weight"].T})},
            "before.npz",
            "head.weight has the shape",
        ),
        "one key twice": (
            {"before.npz": corpus.saved(**before, **{"module.head.bias": before["head.bias"]})},
            "before.npz",
            "the same name",
        ),
        "tensors of Keras": ({"before.npz": keras["before.npz"]}, "before.npz", "has the shape"),
        "another ONNX file": ({"more.onnx": onnx()}, "more.onnx", "needs one model"),
        "an ONNX file and Keras JSON": ({"model.json": keras["model.json"]}, "model.json", "needs one model"),
        "a pickle after the version": ({"model.onnx": b"\x08\x08\x80\x04."}, "model.onnx", "not an .npz"),
    }
    return found
