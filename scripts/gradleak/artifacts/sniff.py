"""The kind of a file, from its first bytes and never from its name."""

from __future__ import annotations

import zipfile
from pathlib import Path

from gradleak.artifacts import limits
from gradleak.artifacts.errors import ArtifactError

KINDS = ("npz", "npy", "json", "keras", "h5", "safetensors", "onnx")
# An ONNX file has no signature. It begins with its version (field 1, up to 31), and then has another field of
# ModelProto: the producer, its version, a domain, a number, a text, the graph, or the operators' version.
ONNX_FIELDS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)
REFUSED = (
    (b"\x80", "a bare pickle, which could run code; save plain arrays with numpy.savez instead"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip file; unpack it first"),
    (b"Rar!", "a RAR file; unpack it first"),
    (b"%PDF", "a PDF"),
)


def sniff(path: Path) -> str:
    """One of KINDS; an ArtifactError for anything else."""
    size = path.stat().st_size
    if size == 0:
        raise ArtifactError(f"{path}: the file is empty; fetch or copy it again")
    if size > limits.MAX_FILE:
        raise ArtifactError(f"{path}: {size} bytes is more than the limit of {limits.MAX_FILE}")
    with path.open("rb") as handle:
        head = handle.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(path)
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "h5"
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    if len(head) > 2 and head[0] == 8 and 0 < head[1] < 32 and head[2] in ONNX_FIELDS:
        return "onnx"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[", b'"')):
        return "json"
    if text.startswith(b"<"):
        raise ArtifactError(
            f"{path}: this is a web page (a sign-in or quota page?), not an artifact; download it by hand"
        )
    for start, what in REFUSED:
        if head.startswith(start):
            raise ArtifactError(f"{path}: this is {what}")
    raise ArtifactError(
        f"{path}: not an .npz, .npy, JSON, .keras, .h5, .safetensors or .onnx file (starts with {head[:8]!r})"
    )


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise ArtifactError(f"{path}: damaged or cut off ({error}); fetch or copy it again") from None
    if any(name.endswith("data.pkl") for name in names):
        raise ArtifactError(
            f"{path}: this is a PyTorch checkpoint, which is a pickle and could run code; save its "
            "state_dict as .safetensors, or as plain arrays with numpy.savez"
        )
    if {"config.json", "model.weights.h5"} <= names:
        return "keras"
    if names and not any(name.endswith(".npy") for name in names):
        raise ArtifactError(
            f"{path}: a zip of {len(names)} files that are no arrays; if it holds the artifacts, unpack it"
        )
    return "npz"
