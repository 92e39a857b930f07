"""Attacks on an update: what each is given, and what it returns, is in ``problem``."""
