# Class counts from the last layer.


rule recover_labels:
    input:
        mapping=mappings,
    output:
        labels="results/labels/{cell}/{block}.npz",
        record="results/labels/{cell}/{block}.json",
    log:
        "results/logs/recover_labels/{cell}/{block}.log",
    benchmark:
        "results/benchmarks/recover_labels/{cell}/{block}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        spec=lambda w: cell(w).spec,
        seeds=seeds,
        draws=draws,
        code=code_of("recover_labels.py"),
    conda:
        ENVIRONMENT
    script:
        "../scripts/recover_labels.py"
