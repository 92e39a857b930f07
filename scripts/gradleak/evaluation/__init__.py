"""Scores against the truth, tables, figures and the report."""
