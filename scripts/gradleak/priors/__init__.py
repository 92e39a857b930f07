"""The adversary's generative models."""
