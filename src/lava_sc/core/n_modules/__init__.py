"""The number of modules: sweep, split halves, rule."""
