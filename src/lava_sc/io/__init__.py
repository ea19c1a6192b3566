"""Matrices, correlations, states of runs and gene sets in files."""
