"""From a config to the plan of a run, and Snakemake's hooks, failures and dry runs."""
