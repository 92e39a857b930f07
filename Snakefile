# gradleak: recovering labels and images from aggregated gradients. See README.md; rules/ has one file per stage.
import os

from snakemake.utils import min_version

min_version("9.0")


CONFIG = "config/config.yaml"
if not os.path.exists(CONFIG):  # snakemake --directory
    CONFIG = os.path.join(workflow.basedir, CONFIG)


configfile: CONFIG


include: "rules/common.smk"


rule all:
    default_target: True
    input:
        "results/cells.csv",
        "results/report.html",
        multiext("results/tables/", "trials.csv", "cells.csv", "labels.csv", "headline.csv", "effects.csv"),
        # What these are made from, too: Snakemake remakes a missing file only if it is asked for.
        block_results(),
        [*FIGURES, *MAPPING_FIGURES, *PRIOR_FIGURES, *VERDICT],
        tracked(),
    localrule: True


include: "rules/artifacts.smk"
include: "rules/mapping.smk"
include: "rules/labels.smk"
include: "rules/dlg.smk"
include: "rules/prior.smk"
include: "rules/latent.smk"
include: "rules/span.smk"
include: "rules/score.smk"
include: "rules/report.smk"
include: "rules/tracking.smk"


onstart:
    hooks.begin()


onerror:
    hooks.report_what_is_done(workflow, config, PLAN, log)
