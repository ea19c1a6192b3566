"""Sphinx configuration: https://www.sphinx-doc.org/en/master/usage/configuration.html."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

info = metadata("lava-sc")
project = "lava_sc"
author = "lava_sc developers"
copyright = f"2026, {author}"
version = release = info["Version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # notebooks are stored with their outputs
default_role = "literal"

autosummary_generate = True
autodoc_member_order = "bysource"
napoleon_google_docstring = False
always_use_bars_union = True
typehints_defaults = "braces"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Looking up other projects needs the network, so only the published docs link to them.
link_to_others = os.environ.get("READTHEDOCS") == "True" or os.environ.get("LAVA_SC_DOCS_INTERSPHINX") == "1"
intersphinx_mapping = (
    {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "matplotlib": ("https://matplotlib.org/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/pandas-docs/stable/", None),
        "python": ("https://docs.python.org/3", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    }
    if link_to_others
    else {}
)

html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {"navigation_with_keys": False}


def indent_returns(_app: Sphinx, _what: str, _name: str, _obj: object, _options: Any, lines: list[str]) -> None:
    """Indent the text under *Returns*: it has no type, and napoleon would take its first line for one."""
    headings = [i for i, (line, under) in enumerate(pairwise(lines)) if line and under and set(under) == {"-"}]
    for start, end in pairwise([*headings, len(lines)]):
        if lines[start] == "Returns":
            lines[start + 2 : end] = [":", *(f"    {line}".rstrip() for line in lines[start + 2 : end])]
            return


def copy_tutorials(app: Sphinx) -> None:
    """Sphinx reads nothing outside of its own folder."""
    copies = Path(app.srcdir, "tutorials")
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for notebook in Path(app.srcdir).parent.glob("tutorials/*.ipynb"):
        shutil.copy(notebook, copies)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", copy_tutorials)
    app.connect("autodoc-process-docstring", indent_returns, priority=400)  # before napoleon
