# The only stage in which truth meets reconstructions and label counts.


rule train_reference_classifier:
    input:
        pretraining="results/data/{dataset}/pretraining.npz",
        public="results/data/{dataset}/public.npz",
    output:
        reference="results/reference_classifiers/{dataset}.npz",
        accuracy="results/reference_classifiers/{dataset}.json",
    log:
        "results/logs/train_reference_classifier/{dataset}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_of("train_reference_classifier.py"),
    script:
        "../scripts/train_reference_classifier.py"


rule score_prior:
    input:
        truth="results/truth/{target}/{block}.npz",
        prior="results/priors/{prior}/weights.npz",
    output:
        ceiling="results/ceilings/{prior}/{target}/{block}.npz",
    log:
        "results/logs/score_prior/{prior}/{target}/{block}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        prior=lambda w: PLAN.priors[w.prior].spec,
        code=code_of("score_prior.py"),
    script:
        "../scripts/score_prior.py"


rule score:
    input:
        result=lambda w: f"results/{cell(w).stage}/{w.cell}/{w.block}.npz",
        record=lambda w: f"results/{cell(w).stage}/{w.cell}/{w.block}.json",
        mapping=mappings,
        truth=truths,
        public=lambda w: pool(cell(w).target.options, "public"),
        reference=lambda w: (
            f"results/reference_classifiers/{cell(w).target.options.dataset}.npz"
            if cell(w).target.has_public
            else []
        ),
        description=lambda w: (
            f"results/data/{cell(w).target.options.dataset}/dataset.json"
            if cell(w).target.has_public
            else []
        ),
        ceiling=ceilings,
    output:
        rows="results/scores/{cell}/{block}.json",
        pairs="results/scores/{cell}/{block}.npz",
    log:
        "results/logs/score/{cell}/{block}.log",
    benchmark:
        "results/benchmarks/score/{cell}/{block}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        attack=lambda w: cell(w).attack,
        seeds=seeds,
        draws=draws,
        code=code_of("score.py"),
    script:
        "../scripts/score.py"
