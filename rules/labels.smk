# Class counts from the last layer. Shadow clients and public features are computed once for all methods.
from gradleak.labels import registry as methods


rule simulate_shadow_clients:
    input:
        gradients="results/mapping/{target}/{block}/gradients.npz",
        report="results/mapping/{target}/{block}/mapping.json",
        public=lambda w: pool(target(w).options, "public"),
    output:
        shadow="results/shadow_clients/{target}/{block}.npz",
    log:
        "results/logs/simulate_shadow_clients/{target}/{block}.log",
    benchmark:
        "results/benchmarks/simulate_shadow_clients/{target}/{block}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        code=code_of("simulate_shadow_clients.py"),
    script:
        "../scripts/simulate_shadow_clients.py"


rule extract_member_features:
    input:
        gradients=lambda w: mappings(w)[0],
        inversion="results/inversions/{cell}/{block}.npz",
    output:
        members="results/members/{cell}/{block}.npz",
    log:
        "results/logs/extract_member_features/{cell}/{block}.log",
    wildcard_constraints:
        cell=PLAN.cell_ids("span"),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_of("extract_member_features.py"),
    script:
        "../scripts/extract_member_features.py"


rule recover_labels:
    input:
        mapping=mappings,
        report=lambda w: draw_files(w, "results/mapping/{target}/{block}/mapping.json"),
        shadow=lambda w: (
            draw_files(w, "results/shadow_clients/{target}/{block}.npz")
            if cell(w).options.needs_shadow_clients(cell(w).target.has_public)
            else []
        ),
        members=members_for,
    output:
        labels="results/labels/{cell}/{block}.npz",
        record="results/labels/{cell}/{block}.json",
    log:
        "results/logs/recover_labels/{cell}/{block}.log",
    benchmark:
        "results/benchmarks/recover_labels/{cell}/{block}.tsv"
    priority: 6  # short, so that a run with a time limit has labels early
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        spec=lambda w: cell(w).spec,
        seeds=seeds,
        draws=draws,
        code=lambda w: digest("recover_labels.py", methods=frozenset(methods.modules(cell(w).options.method))),
    script:
        "../scripts/recover_labels.py"
