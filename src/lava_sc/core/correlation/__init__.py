"""Correlations between features within each locality, and which of them are evidence."""
