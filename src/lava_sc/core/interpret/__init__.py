"""What modules and presences say of genes, gene sets, cells and donors."""
