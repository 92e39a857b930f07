"""From a config to a plan, and what a run of Snakemake needs beside its rules."""
