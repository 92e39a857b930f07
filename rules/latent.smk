# Latent inversion: codes of the prior whose decoded images match the leaked gradient.


rule invert_latent:
    input:
        mapping=mappings,
        public=lambda w: pool(cell(w).target.options, "public"),
        prior=lambda w: f"results/priors/{cell(w).prior.id}/weights.npz",
        labels=labels_for,
        truth=oracle_truths,
    output:
        inversion="results/inversions/{cell}/{block}.npz",
        record="results/inversions/{cell}/{block}.json",
    log:
        "results/logs/invert_latent/{cell}/{block}.log",
    benchmark:
        "results/benchmarks/invert_latent/{cell}/{block}.tsv"
    threads: PLAN.config.threads
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        trials_at_once=PLAN.config.trials_at_once,  # here, since a change of it is no reason to run again
        runtime=lambda w, attempt: 240 * attempt,
        gpu=PLAN.config.gpus,
    params:
        spec=lambda w: cell(w).spec,
        prior=lambda w: cell(w).prior.spec,
        seeds=seeds,
        draws=draws,
        code=code_of("invert_latent.py"),
    wildcard_constraints:
        cell=PLAN.cell_ids("latent"),
    conda:
        ENVIRONMENT
    script:
        "../scripts/invert_latent.py"
