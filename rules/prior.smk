# The adversary's prior: a VAE on public images.


rule train_vae:
    input:
        public=lambda w: pool(PLAN.priors[w.prior].options, "public"),
    output:
        weights="results/priors/{prior}/weights.npz",
        history="results/priors/{prior}/history.json",
        panel="results/priors/{prior}/panel.npz",
    log:
        "results/logs/train_vae/{prior}.log",
    benchmark:
        "results/benchmarks/train_vae/{prior}.tsv"
    priority: 10  # latent cells wait for it, so it goes first
    conda:
        ENVIRONMENT
    threads: PLAN.config.threads
    resources:
        mem_mb=lambda w, attempt: 3000 * attempt,
        runtime=lambda w, attempt: 120 * attempt,
        gpu=PLAN.config.gpus,
    params:
        spec=lambda w: PLAN.priors[w.prior].spec,
        code=code_of("train_vae.py"),
    script:
        "../scripts/train_vae.py"
