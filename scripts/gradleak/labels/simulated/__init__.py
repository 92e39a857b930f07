"""Label methods that learn from simulated clients."""
