"""Threads, Dask clusters, devices and the memory that is left."""
