"""Trials into MLflow."""
