"""Span inversion: images one by one from the gradient of a dense layer."""
