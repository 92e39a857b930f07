"""gradleak: what an aggregated model update gives away, measured."""
