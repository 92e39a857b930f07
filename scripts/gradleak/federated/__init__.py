"""The simulated federation: data sets, models, clients, defences."""
