"""Data sets: the built-in ones, readers of files, and the pools that each is cut into."""
