"""Reading of modules and presences: genes, gene sets, cells and donors."""
