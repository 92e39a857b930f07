# Sources of updates: a simulated client, a folder, or Google Drive. Truth takes a path of its own.
#
# A folder has no content that Snakemake can compare, and the time of a folder changes when it is copied. So jobs
# depend on the sums of its files, and on the folder only in that it is there (ancient).


rule split_dataset:
    input:
        own=lambda w: own_files.inputs_of(PLAN.config, w.dataset),
    output:
        private="results/data/{dataset}/private.npz",
        pretraining="results/data/{dataset}/pretraining.npz",
        public="results/data/{dataset}/public.npz",
        description="results/data/{dataset}/dataset.json",
    log:
        "results/logs/split_dataset/{dataset}.log",
    localrule: True  # it may download, and a cluster's nodes may not
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        options=lambda w: PLAN.dataset_options(w.dataset),
        code=code_of("split_dataset.py"),
    script:
        "../scripts/split_dataset.py"


rule receive_model:
    input:
        model=lambda w: own_files.models(t.options for t in PLAN.targets.values())[w.model],
    output:
        model=directory("results/models/{model}"),
        sums="results/models/{model}.sha256",
    log:
        "results/logs/receive_model/{model}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_of("receive_model.py"),
    script:
        "../scripts/receive_model.py"


rule simulate_client:
    input:
        private=lambda w: pool(target(w).options, "private"),
        pretraining=lambda w: pool(target(w).options, "pretraining"),
        model=lambda w: [ancient(f"results/models/{id}") for id in own_files.models([target(w).options])],
        sums=lambda w: [f"results/models/{id}.sha256" for id in own_files.models([target(w).options])],
    output:
        artifacts=directory("results/targets/{target}/{block}"),
        sums="results/targets/{target}/{block}.sha256",
        truth="results/truth/{target}/{block}.npz",
    log:
        "results/logs/simulate_client/{target}/{block}.log",
    benchmark:
        "results/benchmarks/simulate_client/{target}/{block}.tsv"
    wildcard_constraints:
        target=PLAN.target_ids("simulate"),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        spec=lambda w: target(w).spec,
        draws=lambda w: seed_blocks.seeds_of_block(w.block),
        code=code_of("simulate_client.py"),
    script:
        "../scripts/simulate_client.py"


rule fetch_artifacts:
    input:
        files=lambda w: resolve.local_files(target(w), w.block) if target(w).options.source == "local" else [],
    output:
        artifacts=directory("results/targets/{target}/{block}"),
        sums="results/targets/{target}/{block}.sha256",
    log:
        "results/logs/fetch_artifacts/{target}/{block}.log",
    wildcard_constraints:
        target=PLAN.target_ids("local", "drive"),
    localrule: True  # it may download, and a cluster's nodes may not
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        ids=lambda w: getattr(target(w).options, "ids", []),
        draw=lambda w: seed_blocks.seeds_of_block(w.block)[0],
        cache="results/fetched",
        lock="artifacts.lock.json",
        code=code_of("fetch_artifacts.py"),
    script:
        "../scripts/fetch_artifacts.py"


rule import_truth:
    input:
        truth=lambda w: resolve.truth_files(target(w), w.block),
        gradients="results/mapping/{target}/{block}/gradients.npz",
    output:
        truth="results/truth/{target}/{block}.npz",
    log:
        "results/logs/import_truth/{target}/{block}.log",
    wildcard_constraints:
        target=PLAN.target_ids("local"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_of("import_truth.py"),
    script:
        "../scripts/import_truth.py"
