"""Gradient matching: DLG and latent inversion."""
