"""Reruns of an analysis on other localities, runs and samples."""
