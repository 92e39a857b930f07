# Span inversion: images whose features lie in the span of a dense layer's gradient, one by one.


use rule invert_pixels as invert_span with:
    input:
        mapping=mappings,
        public=lambda w: pool(cell(w).target.options, "public"),
        prior=lambda w: [f"results/priors/{p.id}/weights.npz" for p in [cell(w).prior] if p],
    log:
        "results/logs/invert_span/{cell}/{block}.log",
    benchmark:
        "results/benchmarks/invert_span/{cell}/{block}.tsv"
    wildcard_constraints:
        cell=PLAN.cell_ids("span"),
    priority: 5  # the longest jobs: a run would end with one of them on one core
    params:
        script="invert_span.py",
        spec=lambda w: cell(w).spec,
        prior=lambda w: cell(w).prior.spec if cell(w).prior else None,
        seeds=seeds,
        draws=draws,
        code=code_of("invert_span.py"),
