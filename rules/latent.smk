# Latent inversion: codes of the prior whose decoded images match the leaked gradient.


use rule invert_pixels as invert_latent with:
    input:
        mapping=mappings,
        public=lambda w: pool(cell(w).target.options, "public"),
        prior=lambda w: f"results/priors/{cell(w).prior.id}/weights.npz",
        labels=labels_for,
        truth=oracle_truths,
    log:
        "results/logs/invert_latent/{cell}/{block}.log",
    benchmark:
        "results/benchmarks/invert_latent/{cell}/{block}.tsv"
    wildcard_constraints:
        cell=PLAN.cell_ids("latent"),
    params:
        script="invert_latent.py",
        spec=lambda w: cell(w).spec,
        prior=lambda w: cell(w).prior.spec,
        seeds=seeds,
        draws=draws,
        code=code_of("invert_latent.py"),
