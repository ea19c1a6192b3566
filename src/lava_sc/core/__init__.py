"""The numerics: arrays in, arrays or small frozen dataclasses out. Nothing here knows AnnData, plots or files."""
