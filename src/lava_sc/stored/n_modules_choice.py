"""The number of modules that :func:`lava_sc.tl.choose_n_modules` chose, and its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lava_sc.stored.fields import has, load, load_params

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from lava_sc.stored.fields import Fields


def stored_runs(adata: AnnData, key: str, n_modules: int, arguments: Mapping[str, Any]) -> Fields | None:
    """Runs of :func:`choose_n_modules` with this number and these arguments, which would be the same again."""
    if not has(adata, key, "n_modules_runs") or load(adata, key, "n_modules_choice")["n_modules"] != n_modules:
        return None
    params = load_params(adata, key, "choose_n_modules")
    same = all(np.array_equal(np.asarray(params.get(name)), value) for name, value in arguments.items())
    found: Fields = load(adata, key, "n_modules_runs")
    return found if same else None


def chosen_number(adata: AnnData, key: str) -> int:
    """The number of modules that was chosen.

    Raises
    ------
    ValueError
        If none was, or the answer was that there are no modules.
    """
    choice = load(adata, key, "n_modules_choice")
    if choice["n_modules"] == 0:
        msg = (
            f"Found 0 as the number of modules that exceed chance ({choice['reason']}), expected at least 1; pass n_modules "
            f"to factorise what may be noise."
        )
        raise ValueError(msg)
    return int(choice["n_modules"])
