"""Null data and permutation tests."""
