# Update → model. Every attack reads the gradients; the report alone reads the prospects.


rule validate_mapping:
    input:
        artifacts="results/targets/{target}/{block}",
        public=lambda w: pool(target(w).options, "public"),
    output:
        gradients="results/mapping/{target}/{block}/gradients.npz",
        report="results/mapping/{target}/{block}/mapping.json",
        spectrum="results/mapping/{target}/{block}/spectrum.npz",
    log:
        "results/logs/validate_mapping/{target}/{block}.log",
    benchmark:
        "results/benchmarks/validate_mapping/{target}/{block}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        user_claims=lambda w: target(w).user_claims,
        code=code_of("validate_mapping.py"),
    conda:
        ENVIRONMENT
    script:
        "../scripts/validate_mapping.py"


rule assess_prospects:
    input:
        gradients="results/mapping/{target}/{block}/gradients.npz",
        report="results/mapping/{target}/{block}/mapping.json",
    output:
        prospects="results/mapping/{target}/{block}/prospects.json",
    log:
        "results/logs/assess_prospects/{target}/{block}.log",
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("assess_prospects.py", text=True),
    localrule: True
    conda:
        ENVIRONMENT
    script:
        "../scripts/assess_prospects.py"
