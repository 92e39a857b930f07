# Span inversion: images whose features lie in the span of a dense layer's gradient, one by one.


rule invert_span:
    input:
        mapping=mappings,
        public=lambda w: pool(cell(w).target.options, "public"),
        prior=lambda w: [f"results/priors/{p.id}/weights.npz" for p in [cell(w).prior] if p],
    output:
        inversion="results/inversions/{cell}/{block}.npz",
        record="results/inversions/{cell}/{block}.json",
    log:
        "results/logs/invert_span/{cell}/{block}.log",
    benchmark:
        "results/benchmarks/invert_span/{cell}/{block}.tsv"
    threads: PLAN.config.threads
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        trials_at_once=PLAN.config.trials_at_once,  # here, since a change of it is no reason to run again
        runtime=lambda w, attempt: 240 * attempt,
        gpu=PLAN.config.gpus,
    params:
        spec=lambda w: cell(w).spec,
        prior=lambda w: cell(w).prior.spec if cell(w).prior else None,
        seeds=seeds,
        draws=draws,
        code=code_of("invert_span.py"),
    wildcard_constraints:
        cell=PLAN.cell_ids("span"),
    conda:
        ENVIRONMENT
    script:
        "../scripts/invert_span.py"
