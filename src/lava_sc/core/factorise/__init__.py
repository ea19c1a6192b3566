"""Factorisations of correlations into modules and presences."""
