"""All that knows how results and their inputs lie in an AnnData object."""
