"""The zoo's table in Markdown, from the tables of a finished run of the study.

    snakemake --cores 2 --config 'study=[zoo,zoo_32]'
    python tests/benchmarks/zoo_table.py [--tables results/tables]

One row per data set and network. Figures of three batch sizes are in one cell, smallest first. "–": the
attack is not applicable there; "…": no finished trial. Means are over clients. "recovered" is the share of
images at 20 dB or better by span inversion; of records, the share of right fields.
"""

import argparse
from pathlib import Path

import pandas as pd

SIZES = (1, 8, 32)
DATA = ("zoo_mnist", "zoo_fashion", "zoo_digits", "zoo_photos", "zoo_adult")
TABULAR = "zoo_adult"
MODEL, SIZE = "param.target.model", "batch_size"
HEAD = (
    "data",
    "network",
    "labels",
    "control: uniform",
    "recovered",
    "certified",
    "false",
    "certified by control",
    "DLG, N = 1",
)


def each(rows: pd.DataFrame, column: str, digits: int = 2) -> str:
    """The mean of ``column`` at each size, "a / b / c"."""
    return " / ".join(one(rows[rows[SIZE] == size], column, digits) for size in SIZES)


def one(rows: pd.DataFrame, column: str, digits: int = 2) -> str:
    if not len(rows):
        return "…"
    if (rows["status"] == "not applicable").all():
        return "–"
    return f"{rows.loc[rows['status'] == 'ok', column].mean():.{digits}f}"


def certified(rows: pd.DataFrame) -> str:
    """Certified examples of all, over the clients of each size."""
    texts = []
    for size in SIZES:
        given = rows[rows[SIZE] == size]
        done = given[given["status"] == "ok"]
        of = f"{done['certified'].sum():.0f} of {size * len(done)}"
        texts.append("…" if not len(given) else of if len(done) else "–")
    return " / ".join(texts)


def row(target: str, model: str, trials: pd.DataFrame) -> list[str]:
    labels, span = trials[trials["attack"] == "labels"], trials[trials["attack"] == "span"]
    is_control = span["control"] == "random_gradient"
    control, span = span[is_control], span[~is_control]
    dlg = trials[trials["attack"] == "dlg"]
    is_table = target == TABULAR
    shown = "field_accuracy" if is_table else "share_20db"
    return [
        target.removeprefix("zoo_"),
        model,
        each(labels[labels["method"] == "auto"], "irec"),
        one(labels[labels["method"] == "uniform"], "irec"),
        each(span, shown),
        certified(span),
        f"{span['false_positives'].sum():.0f}",
        f"{control['certified'].sum():.0f}",
        one(dlg, shown) if is_table else f"{one(dlg, 'psnr', 1)} dB",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=Path("results/tables"))
    trials = pd.read_csv(parser.parse_args().tables / "trials.csv")
    print("| " + " | ".join(HEAD) + " |")
    print("|" + " --- |" * len(HEAD))
    for target in DATA:
        of = trials[trials["target"] == target]
        for model in dict.fromkeys(of[MODEL]):
            print("| " + " | ".join(row(target, model, of[of[MODEL] == model])) + " |")


if __name__ == "__main__":
    main()
