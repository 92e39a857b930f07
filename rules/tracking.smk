# MLflow is an index of the files, written by one local job at the end.


rule create_database:
    output:
        database=DATABASE,
    log:
        "results/logs/create_database.log",
    localrule: True
    conda:
        ENVIRONMENT
    script:
        "../scripts/create_database.py"


rule sync_mlflow:
    input:
        database=database(),
        trials="results/tables/trials.csv",
        cells="results/tables/cells.csv",
        headline="results/tables/headline.csv",
        effects="results/tables/effects.csv",
        figures=FIGURES,
        records=blocks("results/{stage}/{cell}/{block}.json"),
        pairs=blocks("results/scores/{cell}/{block}.npz"),
    output:
        marker="results/mlflow/synced.json",
    log:
        "results/logs/sync_mlflow.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        uri=addresses.masked(TRACKING_URI),  # kept in the metadata of the job, without passwords
        blocks=DONE.asked(),
        cells=PLAN.described(),
        descriptions={s.name: s.description for s in PLAN.studies},
        prune=PLAN.config.tracking.prune,
        code=code_of("sync_mlflow.py", text=True),
    script:
        "../scripts/sync_mlflow.py"
