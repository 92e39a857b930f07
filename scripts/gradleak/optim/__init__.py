"""Optimisers for many independent problems side by side. Knows no attack."""
