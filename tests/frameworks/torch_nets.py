"""Nets as people write them in PyTorch, with small widths, and what PyTorch computes with them.

``python torch_nets.py FOLDER`` writes for each net ``<net>.onnx``, its structure alone, and ``<net>.npz``:
outputs and gradients by ``onnx_nets.reference_of``.
"""

import copy
import io
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import onnx_nets


def mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 5)
    )


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 10),
        nn.Tanh(),
        nn.Linear(10, 7),
    )


class MnistExample(nn.Module):
    """The one of pytorch/examples, for images of 16×16."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, 1)
        self.conv2 = nn.Conv2d(4, 6, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(216, 9)
        self.fc2 = nn.Linear(9, 6)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2))
        x = self.dropout2(F.relu(self.fc1(torch.flatten(x, 1))))
        return F.log_softmax(self.fc2(x), dim=1)


class Vgg(nn.Module):
    """VGG-11 with average pooling to 1×1 and two dense layers."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in (3, "M", 4, "M", 6, 6, "M", 8, 8, "M", 8, 8, "M"):
            if width == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Linear(8, 10), nn.ReLU(True), nn.Dropout(), nn.Linear(10, 6))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Block(nn.Module):
    def __init__(self, before, after, stride, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = norm(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = norm(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), norm(after))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's of basic blocks (7×7 stem, padded pooling), or that for images of 32×32."""

    def __init__(self, stem, blocks, widths, norm=nn.BatchNorm2d, classes=6):
        super().__init__()
        first = widths[0]
        self.conv1 = (
            nn.Conv2d(3, first, 7, 2, 3, bias=False) if stem else nn.Conv2d(3, first, 3, 1, 1, bias=False)
        )
        self.bn1 = norm(first)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem else nn.Identity()
        before = first
        for number, width in enumerate(widths, 1):
            own = []
            for place in range(blocks):
                own.append(Block(before, width, 2 if number > 1 and place == 0 else 1, norm))
                before = width
            setattr(self, f"layer{number}", nn.Sequential(*own))
        self.stages = len(widths)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for number in range(1, self.stages + 1):
            x = getattr(self, f"layer{number}")(x)
        x = self.avgpool(x)
        return self.fc(x.view(x.size(0), -1))


def depthwise():
    """Blocks of MobileNet, with equal shapes."""

    def block(before, after, stride):
        return nn.Sequential(
            nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False),
            nn.BatchNorm2d(before, eps=1e-3, momentum=0.01),
            nn.ReLU6(inplace=True),
            nn.Conv2d(before, after, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.SiLU(),
        )

    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1),
        nn.ReLU6(),
        block(6, 6, 1),
        block(6, 8, 2),
        block(8, 8, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


class Branches(nn.Module):
    """Depthwise kernels of two channels each, grouped normalisation, a dense layer without bias, two
    branches, and the dense kernel behind a flattened image of several channels.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=(1, 0), groups=2)
        self.left = nn.Conv2d(4, 3, 3, stride=(2, 1), dilation=1)
        self.right = nn.Conv2d(4, 2, (3, 3), stride=(2, 1))
        self.slope = nn.LeakyReLU(0.2)
        self.norm = nn.LayerNorm(10)
        self.hidden = nn.Linear(5 * 3 * 4, 10, bias=False)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        x = F.elu(self.stem(x))
        x = torch.cat([self.slope(self.left(x)), torch.tanh(self.right(x))], dim=1)
        x = x.reshape(x.shape[0], -1)
        return self.head(F.hardswish(self.norm(self.hidden(x))))


NETS = {
    "mlp": mlp,
    "lenet": lenet,
    "mnist_example": MnistExample,
    "vgg11": Vgg,
    "resnet18": lambda: ResNet(True, 2, (4, 4, 6, 8)),
    "resnet20_bn": lambda: ResNet(False, 3, (4, 6, 8)),
    "resnet20_gn": lambda: ResNet(False, 3, (4, 6, 8), lambda n: nn.GroupNorm(2, n)),
    "depthwise": depthwise,
    "branches": Branches,
}


class Standardised(nn.Module):
    """A net that standardises its images itself, with numbers that are not in the state dict."""

    def forward(self, x):
        mean, deviation = torch.tensor([0.4, 0.6]).view(2, 1, 1), torch.tensor([0.2, 0.3]).view(2, 1, 1)
        return (x - mean) / deviation


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3), keepdim=True)


def with_layer(*layers, first=()):
    """A small net around layers that keep four channels."""
    return nn.Sequential(*first, nn.Conv2d(2, 4, 3), *layers, nn.Flatten(), nn.LazyLinear(4))


# Operators that the nets do not have: name → (a net for images of 2×8×8, opset).
OPERATORS = {
    "gelu_by_erf": (lambda: with_layer(nn.GELU()), 17),
    "silu": (lambda: with_layer(nn.SiLU()), 17),
    "mish": (lambda: with_layer(nn.Mish()), 17),
    "hardswish": (lambda: with_layer(nn.Hardswish()), 17),
    "hardsigmoid": (lambda: with_layer(nn.Hardsigmoid()), 17),
    "selu": (lambda: with_layer(nn.SELU()), 17),
    "softplus": (lambda: with_layer(nn.Softplus()), 17),
    "softsign": (lambda: with_layer(nn.Softsign()), 17),
    "batch_norm_without_scale": (lambda: with_layer(nn.BatchNorm2d(4, affine=False)), 17),
    "elu": (lambda: with_layer(nn.ELU(0.5)), 17),
    "prelu": (lambda: with_layer(nn.PReLU(4)), 17),
    "prelu_of_one": (lambda: with_layer(nn.PReLU()), 17),
    "group_norm": (lambda: with_layer(nn.GroupNorm(4, 4), nn.ReLU()), 13),
    "group_norm_without_scale": (lambda: with_layer(nn.GroupNorm(2, 4, affine=False)), 17),
    "padded_pooling": (lambda: with_layer(nn.ReLU(), nn.MaxPool2d(3, 2, 1)), 17),
    "uneven_pooling": (lambda: with_layer(nn.MaxPool2d((3, 2), (1, 2)), nn.AvgPool2d((1, 2), 1)), 17),
    "padded_average": (lambda: with_layer(nn.AvgPool2d(3, 2, 1)), 17),
    "dilated": (lambda: with_layer(nn.Conv2d(4, 4, 3, padding=2, dilation=2, stride=1)), 17),
    "multiplied_depthwise": (lambda: with_layer(nn.Conv2d(4, 8, 3, 2, 1, groups=4)), 17),
    "mean": (lambda: with_layer(Mean()), 17),
    "global_max": (lambda: with_layer(nn.AdaptiveMaxPool2d(1)), 17),
    "standardised": (lambda: with_layer(nn.ReLU(), first=[Standardised()]), 17),
    "softmax": (lambda: nn.Sequential(with_layer(nn.ReLU()), nn.Softmax(1)), 17),
    "sigmoid": (lambda: nn.Sequential(with_layer(nn.ReLU()), nn.Sigmoid()), 17),
    "batch_norm_of_vectors": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4)),
        17,
    ),
}


def export(model, x, opset=None) -> bytes:
    """The structure, by the recipe of docs/how-to/from-pytorch.md."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            copy.deepcopy(model),
            (x,),
            stream,
            dynamo=False,
            export_params=False,
            training=torch.onnx.TrainingMode.TRAINING,
            do_constant_folding=False,
            opset_version=opset,
        )
    return stream.getvalue()


def with_weights(model):
    """The net with the weights of ``onnx_nets.weights_of``."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if value.ndim}
    weights = {key: torch.from_numpy(value) for key, value in onnx_nets.weights_of(shapes).items()}
    model.load_state_dict(weights, strict=False)
    return model


def computed(name, training):
    """(outputs, key → gradient of the mean cross-entropy)."""
    model = with_weights(NETS[name]()).train(training)
    x, y = onnx_nets.batch_of(name)
    out = model(torch.from_numpy(x))
    F.cross_entropy(out, torch.from_numpy(y)).backward()
    gradients = {key: value.grad.numpy() for key, value in model.named_parameters()}
    return out.detach().numpy(), gradients


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETS:
        x, _ = onnx_nets.batch_of(name)
        (folder / f"{name}.onnx").write_bytes(export(NETS[name](), torch.from_numpy(x)))
        found = {}
        for mode in onnx_nets.modes_of(name):
            found |= onnx_nets.reference_of(mode, *computed(name, mode == "train"))
        np.savez_compressed(folder / f"{name}.npz", **found)


def write_operators(folder: Path) -> None:
    """Of each net of OPERATORS ``<name>.onnx`` and ``<name>.npz`` with its outputs; ``folded.onnx``, of
    another way, and ``state.npz``, the state dict of that net.
    """
    folder.mkdir(parents=True, exist_ok=True)
    x = torch.from_numpy(onnx_nets.batch_of("branches")[0])
    for name, (make, opset) in OPERATORS.items():
        model = make()
        model(x)  # LazyLinear has its shape after that
        model = with_weights(model).eval()
        (folder / f"{name}.onnx").write_bytes(export(model, x, opset))
        np.savez(folder / f"{name}.npz", outputs=model(x).detach().numpy())
    model = with_weights(NETS["resnet20_bn"]())
    np.savez(folder / "state.npz", **{key: value.numpy() for key, value in model.state_dict().items()})
    images = torch.from_numpy(onnx_nets.batch_of("resnet20_bn")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (images,), folder / "folded.onnx", dynamo=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(Path(sys.argv[1]))
    write_operators(Path(sys.argv[1]) / "operators")
