"""Figures. ``registry`` lists them, ``draw`` finds their drawing functions, one module a topic draws."""
