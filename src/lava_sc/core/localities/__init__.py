"""Placement of localities: in-degrees, weighted k-means, local search."""
