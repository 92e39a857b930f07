# Update → model. Every attack reads the gradients.


rule validate_mapping:
    input:
        artifacts=ancient("results/targets/{target}/{block}"),
        sums="results/targets/{target}/{block}.sha256",
        public=lambda w: pool(target(w).options, "public"),
    output:
        gradients="results/mapping/{target}/{block}/gradients.npz",
        report="results/mapping/{target}/{block}/mapping.json",
        spectrum="results/mapping/{target}/{block}/spectrum.npz",
    log:
        "results/logs/validate_mapping/{target}/{block}.log",
    benchmark:
        "results/benchmarks/validate_mapping/{target}/{block}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        user_claims=lambda w: target(w).user_claims,
        preprocess=lambda w: target(w).preprocess,
        code=code_of("validate_mapping.py"),
    script:
        "../scripts/validate_mapping.py"
