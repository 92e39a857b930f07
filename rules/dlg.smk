# DLG: dummy images whose gradient matches the leaked one. The other attacks use this rule with inputs of their own.


rule invert_pixels:
    input:
        mapping=mappings,
        public=lambda w: pool(cell(w).target.options, "public"),
        labels=labels_for,
        truth=oracle_truths,
        members=found_for,
    output:
        inversion="results/inversions/{cell}/{block}.npz",
        record="results/inversions/{cell}/{block}.json",
    log:
        "results/logs/invert_pixels/{cell}/{block}.log",
    benchmark:
        "results/benchmarks/invert_pixels/{cell}/{block}.tsv"
    wildcard_constraints:
        cell=PLAN.cell_ids("dlg"),
    conda:
        ENVIRONMENT
    threads: PLAN.config.threads
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        trials_at_once=PLAN.config.trials_at_once,  # a resource, since a change of it does not rerun the job
        runtime=lambda w, attempt: 240 * attempt,
        gpu=PLAN.config.gpus,
    params:
        script="invert_pixels.py",
        spec=lambda w: cell(w).spec,
        seeds=seeds,
        draws=draws,
        code=code_of("invert_pixels.py"),
    script:
        "../scripts/{params.script}"
