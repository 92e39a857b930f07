"""A VAE prior: its training, reconstructions and samples."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from gradleak.evaluation.figures.style import picture


def vae_panel(
    history: list[dict], held_out: np.ndarray, reconstructed: np.ndarray, samples: np.ndarray, latent: int
) -> Figure:
    """Learning curve, held-out images above their reconstructions, and samples from the prior."""
    figure = plt.figure(figsize=(10, 3))
    outer = figure.add_gridspec(1, 3, width_ratios=[1.25, 1, 1], wspace=0.12)
    axis = figure.add_subplot(outer[0])
    epochs = [row["epoch"] for row in history]
    axis.plot(epochs, [row["elbo"] for row in history], label="training")
    axis.plot(epochs, [row["held_out_elbo"] for row in history], label="held out")
    axis.set(xlabel="epoch", ylabel="ELBO (nats per image)", title=f"{latent}-dimensional VAE")
    axis.legend(fontsize=7)
    for column, (title, rows) in enumerate(
        (
            ("held out / reconstructed", _interleave(held_out[:8], reconstructed[:8])),
            ("samples", samples[:16]),
        )
    ):
        inner = outer[column + 1].subgridspec(4, 4, wspace=0.04, hspace=0.04)
        for index, image in enumerate(rows):
            cell = figure.add_subplot(inner[index // 4, index % 4])
            picture(cell, image)
            if index == 0:
                cell.set_title(title, fontsize=8, loc="left")
    return figure


def _interleave(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Rows of four: true, reconstructed, true, reconstructed."""
    return np.concatenate([top[:4], bottom[:4], top[4:8], bottom[4:8]])
