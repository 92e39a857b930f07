"""Recorders of running federations. Each file stands alone, so that it can be copied into an application."""
