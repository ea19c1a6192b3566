"""Association Matrix Factorisation: loss, fits, restarts and presences."""
