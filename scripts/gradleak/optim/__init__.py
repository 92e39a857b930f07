"""Optimisers for many independent problems side by side. Independent of the attacks."""
