"""An upper estimate of the members that the searched layer's gradient determines, whatever the search.

    python tests/benchmarks/bench_bound.py [SETTING ...] [--draws 5] [--components 100]

M = (1/N) Σ f_n δ_nᵀ + rounding is linearised at the true images. The attacker of this model knows the labels,
N, the covariance of public images, and of every image all but its ``components`` strongest principal
components. The posterior of these is that of a linear Gaussian model, C = (JᵀJ / σ² + Λ⁻¹)⁻¹. Counted are
images whose expected error is 20 dB or better; ``lowest``: the expected PSNR of the worst and of the second
worst. Settings of bench_span with one local step.
"""

import argparse

import bench_span
import numpy as np
import scipy.linalg

from gradleak.attacks.span.dense_layer import DenseLayer, features_of
from gradleak.evaluation import metrics

_STEP = 1e-4  # of the central differences over pixels in [0, 1]


def slopes(
    layer: DenseLayer, images: np.ndarray, labels: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of features [N, K, I] and δ [N, K, O] along ``directions`` [K, H, W, C] of each image."""
    feature_slopes, delta_slopes = [], []
    for image, label in zip(images, labels, strict=True):
        ends = [features_of(layer, image + sign * _STEP * directions) for sign in (1, -1)]
        deltas = [layer.delta(end, np.full(len(end), label)).numpy() for end in ends]
        feature_slopes.append((ends[0] - ends[1]) / (2 * _STEP))
        delta_slopes.append((deltas[0] - deltas[1]) / (2 * _STEP))
    return np.array(feature_slopes), np.array(delta_slopes)


def information(f: np.ndarray, d: np.ndarray, df: np.ndarray, dd: np.ndarray) -> np.ndarray:
    """JᵀJ [N K, N K] of N M along all directions: the inner products of df δᵀ + f dδᵀ, without forming these
    matrices."""
    count, components = df.shape[:2]

    def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a.reshape(count * components, -1) @ b.reshape(count * components, -1).T).reshape(
            2 * (count, components)
        )

    crossed = np.einsum("nki,mi,nj,mlj->nkml", df, f, d, dd, optimize=True)  # ⟨df_nk δ_nᵀ, f_m dδ_mlᵀ⟩
    total = products(df, df) * (d @ d.T)[:, None, :, None]
    total += products(dd, dd) * (f @ f.T)[:, None, :, None]
    total += crossed
    total += crossed.transpose(2, 3, 0, 1)
    return total.reshape(count * components, -1)


def expected(information: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Squared error [N] that the posterior leaves of each image. variances [K]: of the prior."""
    components = len(variances)
    precision = information + np.diag(np.tile(1 / variances, len(information) // components))
    scale = 1 / np.sqrt(np.diag(precision))  # weak images beside strong ones
    factor = scipy.linalg.cholesky(precision * scale[:, None] * scale, lower=True)
    inverse = scipy.linalg.solve_triangular(factor, np.diag(scale), lower=True)
    return np.square(inverse).sum(axis=0).reshape(-1, components).sum(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", default=["n32", "n64"])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--components", type=int, default=100)
    arguments = parser.parse_args()
    print("| setting | client | ≥ 20 dB | lowest | above rounding |\n" + "| --- " * 5 + "|")
    for name in arguments.settings:
        problem, images, labels = bench_span.update_of(name, arguments.draws)
        public = problem.public.reshape(len(problem.public), -1).astype(float)
        _, values, axes = np.linalg.svd(public - public.mean(axis=0), full_matrices=False)
        variances = values[: arguments.components] ** 2 / len(public)
        directions = axes[: arguments.components].reshape(-1, *problem.shape)
        for draw in range(arguments.draws):
            update, x, y = bench_span.ClientUpdate(problem, draw), images[draw].astype(float), labels[draw]
            layer = update.layer
            f = features_of(layer, x)
            found = (
                information(f, layer.delta(f, y).numpy(), *slopes(layer, x, y, directions))
                / (len(x) * update.span.deviation) ** 2
            )
            reached = metrics.psnr(expected(found, variances) / public.shape[1])
            worst = np.sort(reached)[:2]
            print(
                f"| {name} | {draw} | {(reached >= 20).sum()} of {len(x)} | "
                f"{worst[0]:.0f}, {worst[1]:.0f} dB | "
                f"{update.above_rounding(x, y).sum()} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
