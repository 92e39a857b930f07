# The plan of the run, and one-line look-ups in it. scripts/gradleak/workflow/ expands and names everything.
import functools
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

BASE = Path(workflow.basedir)
sys.path.insert(0, str(BASE / "scripts"))

from gradleak.datasets.names import NAME
from gradleak.evaluation.figures import registry as figures
from gradleak.tracking import addresses
from gradleak.workflow import (
    code_digest,
    config as configuration,
    failures,
    hooks,
    interpreter,
    own_files,
    progress,
    resolve,
    scheduling,
    seed_blocks,
    study,
)

interpreter.quote_for_snakemake()

# Snakemake merges a config file of the user into the shipped one, key by key.
config.update(configuration.with_own_entries(config, workflow.config_settings.overwrite_config))

try:
    PLAN = study.plan(configuration.load(config, BASE / "config" / "studies"))
except configuration.ConfigError as error:
    raise WorkflowError(f"The configuration cannot run:\n{error}")

if workflow.is_main_process:
    scheduling.wake_once_at_a_time()
    print(progress.summary(PLAN), file=sys.stderr)

MISSING = failures.missing(PLAN) if PLAN.config.partial else []
DONE = PLAN.without(MISSING)  # the blocks that tables, figures and report are made from

DATABASE = addresses.DEFAULT.removeprefix("sqlite:///")
TRACKING_URI = addresses.chosen(config, os.environ)
ENVIRONMENT = "../envs/environment.yaml"


@functools.cache
def digest(script, text=False, methods=None):
    return code_digest.digest(BASE / "scripts" / script, text, methods)


def code_of(script, text=False):
    """The digest of a script. text: its product is text for people, so that an edit of a sentence counts."""
    return lambda w: digest(script, text)  # evaluated only for jobs that may run


def cell(w):
    return PLAN.cells[w.cell]


def seeds(w):
    return PLAN.blocks[w.cell, w.block]


def draws(w):
    return cell(w).draws(seeds(w))


def target(w):
    return PLAN.targets[w.target]


def pool(options, name):
    """A file of a data set. Nothing without one (dataset: none)."""
    return [] if options.dataset == configuration.NO_DATASET else f"results/data/{options.dataset}/{name}.npz"


def draw_files(w, pattern):
    return [pattern.format(target=cell(w).target.id, block=b) for b in cell(w).target.draw_blocks(draws(w))]


def mappings(w):
    return draw_files(w, "results/mapping/{target}/{block}/gradients.npz")


def truths(w):
    return draw_files(w, "results/truth/{target}/{block}.npz") if cell(w).target.has_truth else []


def ceilings(w):
    return (
        draw_files(w, f"results/ceilings/{cell(w).prior.id}/{{target}}/{{block}}.npz")
        if cell(w).prior and truths(w)
        else []
    )


def oracle_truths(w):
    return truths(w) if cell(w).options.labels == "oracle" else []


def labels_for(w):
    return [f"results/labels/{c}/{w.block}.npz" for c in [PLAN.label_cell(w.cell)] if c]


def members_for(w):
    return [f"results/members/{c.id}/{w.block}.npz" for c in [cell(w).members] if c]


def found_for(w):
    return [f"results/inversions/{c.id}/{w.block}.npz" for c in [cell(w).members] if c]


def database():
    return [DATABASE] if TRACKING_URI == addresses.DEFAULT else []


def missing_blocks(w):
    return [tuple(m) for m in failures.explained(PLAN, MISSING, workflow.rules)]


def tracked():
    return [*database(), "results/mlflow/synced.json"] if PLAN.config.tracking.enabled else []


def blocks(pattern):
    return [pattern.format(cell=c, block=b, stage=PLAN.cells[c].stage) for c, b in DONE.asked()]


FIGURE_FILES = {
    **{name: f"results/tables/{name}.csv" for name in ("trials", "cells", "labels", "effects")},
    "pairs": [f"results/scores/{c}/{b}.npz" for c, b in DONE.pictured()],
    "records": [f"results/inversions/{c}/{b}.json" for c, b in DONE.shown()],
}


FIGURES = [f"results/figures/{name}.png" for name in DONE.figures()]
MAPPING_FIGURES = [f"results/figures/mapping/{t}_{b}.png" for t, b in DONE.mapped()]
# Updates whose attacks are not finished count, too, if their mapping is.
MAPPED = {*DONE.mapped()}
AUDITED = [
    (t, b)
    for t, b in (PLAN.mapped() if PLAN.audited() else [])
    if (t, b) in MAPPED or Path(f"results/mapping/{t}/{b}/prospects.json").exists()
]
VERDICT = ["results/tables/verdict.json"] if DONE.audited() else []
PRIOR_FIGURES = [f"results/figures/priors/{p}.png" for p in DONE.priors]


def block_results():
    """The files of every block: result and record of the attack, scores and matched pairs."""
    return [
        file
        for pattern in ("results/{stage}/{cell}/{block}", "results/scores/{cell}/{block}")
        for ending in ("npz", "json")
        for file in blocks(f"{pattern}.{ending}")
    ]


def figure_inputs(w):
    return {name: FIGURE_FILES[name] for name in figures.FIGURES[w.figure].inputs}


def figure_cells(w):
    """The cell of each file of a figure's input that has one for each cell."""
    return [c for c, _ in (DONE.pictured() if "pairs" in figures.FIGURES[w.figure].inputs else DONE.shown())]


def figure_group(w):
    return figures.FIGURES[w.figure].group


wildcard_constraints:
    cell="[0-9a-f]{10}",
    target="[0-9a-f]{10}",
    prior="[0-9a-f]{10}",
    dataset=NAME,
    model="[0-9a-f]{10}",
    figure="[a-z0-9_]+",
    block=r"\d\d\d\d+-\d\d\d\d+",
