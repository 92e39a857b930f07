"""results/inversions/{cell}/{block}.npz: its one writer, its one reader, and the padding rule between them.

A file holds T trials with M candidate images each. M is the largest number of candidates of any trial; the
rows of the other trials are padded at their end with the values in PADDING. An entry is a real candidate if
``residual >= 0``. Attacks that do not certify write no residual: all M images of every trial are real.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from gradleak.files import read_npz, write_npz

# Each column of the candidates: the value of an entry that is no candidate, and the type.
PADDING: Mapping[str, tuple[float, type]] = MappingProxyType(
    {
        "images": (0, np.float32),
        "labels": (0, np.int64),
        "accepted": (False, bool),
        "residual": (-1, np.float64),
        "normalised_residual": (-1, np.float64),
        "weight": (-1, np.float64),
        "margin": (-1, np.float64),
        "expected_psnr": (np.nan, np.float64),
    }
)
CERTIFICATES = tuple(name for name in PADDING if name not in ("images", "labels", "accepted"))


@dataclass(frozen=True)
class InversionTrial:
    """What an attack wrote of one trial, without padding: m candidate images."""

    images: np.ndarray  # float32 [m, H, W, C] in [0, 1]
    labels: np.ndarray  # int64 [m]
    accepted: np.ndarray  # bool [m]
    certificates: dict[
        str, np.ndarray
    ]  # float64 [m] each, see CERTIFICATES; empty for attacks that do not certify
    samples_estimated: int  # N as the certificates estimate it; 0: no estimate


@dataclass(frozen=True)
class InversionFile:
    """The reconstructions of one block."""

    images: np.ndarray  # float32 [T, M, H, W, C] in [0, 1]
    labels: np.ndarray  # int64 [T, M]
    seeds: np.ndarray  # int64 [T], the trials
    objective: np.ndarray  # float64 [T], the attack's own, lower is better
    accepted: np.ndarray  # bool [T, M]
    certificates: dict[str, np.ndarray] = field(
        default_factory=dict
    )  # CERTIFICATES [T, M], samples_estimated [T]

    def trial(self, index: int) -> InversionTrial:
        """Trial ``index`` of the block, without padding."""
        columns = {name: self.certificates[name][index] for name in CERTIFICATES if name in self.certificates}
        residual = columns.get("residual")
        real = np.ones(self.accepted.shape[1], bool) if residual is None else residual >= 0
        samples = self.certificates.get("samples_estimated")
        return InversionTrial(
            self.images[index][real],
            self.labels[index][real],
            self.accepted[index][real],
            {name: column[real] for name, column in columns.items()},
            0 if samples is None else int(samples[index]),
        )


def padded(columns: Sequence[np.ndarray], fill: float, dtype: type) -> np.ndarray:
    """One array [T, M, ...] of T arrays [m_t, ...], M = max m_t: row t ends with M - m_t times ``fill``."""
    out = np.full((len(columns), max(map(len, columns)), *columns[0].shape[1:]), fill, dtype)
    for row, column in zip(out, columns, strict=True):
        row[: len(column)] = column
    return out


def write(path: str | Path, inversion: InversionFile) -> None:
    """Write the file of a block, its certificates as arrays of their own."""
    write_npz(
        path,
        images=inversion.images,
        labels=inversion.labels,
        seeds=inversion.seeds,
        objective=inversion.objective,
        accepted=inversion.accepted,
        **inversion.certificates,
    )


def read(path: str | Path) -> InversionFile:
    """Read the file of a block, padding included."""
    arrays = read_npz(path)
    columns = {name: arrays.pop(name) for name in ("images", "labels", "seeds", "objective", "accepted")}
    return InversionFile(**columns, certificates=arrays)
