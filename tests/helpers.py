"""A small toy, the steps in their order, and an exact comparison of everything an AnnData object holds."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

DATA = Path(os.environ.get("LAVA_SC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

GENE_SETS = {
    "first": [f"M1_{i:02d}" for i in range(1, 9)],
    "second": [f"M2_{i:02d}" for i in range(1, 9)],
    "markers": [f"MARK{r}_{i:02d}" for r in (1, 2, 3) for i in (1, 2)],
}


def data(name: str) -> Path:
    """A file of the data that are not in the repository; the test is skipped without it."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is absent; set LAVA_SC_DATA to the folder with the data")
    return path


def toy(**kwargs: Any) -> AnnData:
    """300 cells, 2 modules of 8 genes; some genes are not in the panel."""
    defaults = dict(n_cells=300, n_genes=40, n_modules=2, genes_per_module=8, markers_per_region=2)
    adata = lava.datasets.planted(**(defaults | kwargs))
    lava.pp.select_genes(adata, n_top_genes=None)
    return adata


def localities(adata: AnnData, **kwargs: Any) -> AnnData | None:
    return lava.tl.localities(adata, **(dict(n_neighbors=60, max_evals=5, use_rep="umap") | kwargs))


def locality_corr(adata: AnnData, **kwargs: Any) -> AnnData | None:
    return lava.tl.locality_corr(adata, **kwargs)


def amf(adata: AnnData, **kwargs: Any) -> AnnData | None:
    return lava.tl.amf(adata, **(dict(n_modules=2, n_runs=2, patience=30, n_jobs=1) | kwargs))


def module_genes(adata: AnnData, **kwargs: Any) -> AnnData | None:
    return lava.tl.module_genes(adata, **kwargs)


def ora(adata: AnnData, **kwargs: Any) -> AnnData | None:
    return lava.tl.ora(adata, GENE_SETS, **kwargs)


STEPS: dict[str, Callable[..., AnnData | None]] = {
    "localities": localities,
    "locality_corr": locality_corr,
    "amf": amf,
    "module_genes": module_genes,
    "ora": ora,
}

#: Every field that the steps document: where it is, and under which name.
FIELDS: dict[str, dict[str, list[str]]] = {
    "locality_size": {"uns": ["locality_size"]},  # beside the others, so it is in no chain of steps
    "localities": {
        "uns": ["probes", "placement"],
        "obsm": ["{key}_localities"],
        "obs": ["{key}_in_degree", "{key}_locality_in_degree"],
    },
    "locality_corr": {"uns": ["genes", "defined", "C", "evidence"]},
    "gene_set_scores": {  # beside the chain, too
        "uns": ["gene_set_summary", "gene_set_scores"],
        "obsm": ["{key}_gene_set_scores"],
    },
    "choose_n_modules": {"uns": ["n_modules", "n_modules_choice"]},
    "amf": {"uns": ["modules", "presences", "runs"], "obsm": ["{key}_presences"], "varm": ["{key}_gene_weights"]},
    "project": {"uns": ["preservation", "preservation_localities"]},  # stores what these two steps do, and this
    "finetune_presences": {"uns": ["presences_amf", "finetuning"]},  # may be left out, so it is in none either
    "co_presence": {"uns": ["co_presence", "module_entropy"]},  # in no chain, as all that may be left out
    "presence_association": {"uns": ["presence_association", "locality_fractions"]},
    "stability": {"uns": ["stability", "stability_cosines"]},
    "factorisations": {"uns": ["factorisations"]},
    "module_evidence": {"uns": ["module_evidence"], "varm": ["{key}_gene_q"]},
    "module_genes": {"uns": ["module_genes"]},
    "ora": {"uns": ["ora", "ora_control"]},
    "name_modules": {"uns": ["module_names"]},
}


def localities_with_pairs(adata: AnnData, **kwargs: Any) -> int:
    """In how many localities any pair is kept; that there is none at all is refused."""
    try:
        lava.tl.locality_corr(adata, **kwargs)
    except ValueError as error:
        if "correlations at fdr=" in str(error):
            return 0
        raise
    return int((adata.uns["lava"]["evidence"]["n_kept_pairs"] > 0).sum())


def names(steps: list[str], container: str, key: str = "lava") -> set[str]:
    """What these steps store in a container."""
    return {name.format(key=key) for step in steps for name in FIELDS[step].get(container, [])}


def run_steps(adata: AnnData, *steps: str, key: str = "lava") -> AnnData:
    """Run steps (all when none is named) in place."""
    for step in steps or STEPS:
        STEPS[step](adata, **{"key_added" if step == "localities" else "key": key})
    return adata


def stored(adata: AnnData, steps: list[str], key: str = "lava") -> dict[str, Any]:
    """The fields and arguments of these steps, by place and name."""
    found: dict[str, Any] = {step: adata.uns[key]["params"][step] for step in steps}
    for container in ("obs", "obsm", "varm"):
        found |= {f"{container}/{name}": getattr(adata, container)[name] for name in names(steps, container, key)}
    return found | {f"uns/{name}": adata.uns[key][name] for name in names(steps, "uns", key)}


def contents(adata: AnnData) -> dict[str, Any]:
    """Everything in an object."""
    mappings = {name: dict(getattr(adata, name)) for name in ("layers", "obsm", "varm", "obsp", "varp", "uns")}
    return {"X": adata.X, "obs": adata.obs, "var": adata.var, **mappings}


def assert_same(found: Any, expected: Any, where: str = "adata", *, dtypes: bool = True) -> None:
    """Equal to the last bit, class and dtype included; wall times do not count.

    ``dtypes=False`` leaves out the classes of strings and index arrays, which files do not keep.
    """
    if isinstance(expected, Mapping):
        assert set(found) == set(expected), where
        for name in expected:
            assert_same(found[name], expected[name], f"{where}[{name!r}]", dtypes=dtypes)
    elif isinstance(expected, pd.DataFrame | pd.Series):
        if isinstance(expected, pd.DataFrame):
            found, expected = (table.drop(columns="seconds", errors="ignore") for table in (found, expected))
        compare = pd.testing.assert_frame_equal if found.ndim == 2 else pd.testing.assert_series_equal
        compare(found, expected, check_exact=True, check_dtype=dtypes, check_index_type=dtypes, obj=where)
    elif isinstance(expected, sparse.sparray | sparse.spmatrix):
        assert found.format == expected.format, where
        assert found.shape == expected.shape, where
        assert found.dtype == expected.dtype, where
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found, part), getattr(expected, part), err_msg=where)
    else:
        found, expected = np.asarray(found), np.asarray(expected)
        if dtypes or expected.dtype.kind in "biuf":
            assert found.dtype == expected.dtype, where
        np.testing.assert_array_equal(found, expected, err_msg=where)


def assert_unchanged(adata: AnnData, before: AnnData) -> None:
    assert_same(contents(adata), contents(before))


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether something holds within three minutes: a loaded machine is slow."""
    ending = time.monotonic() + 180
    while not condition():
        if time.monotonic() > ending:
            return False
        time.sleep(0.01)
    return True


class OneByOne(queue.Queue[Any]):
    """A queue for one reader, which puts no event before all former ones are dealt with: the reader has come back for more.

    ``None`` is put without waiting.
    """

    _taken = False

    def put(self, item: Any, *args: Any, **kwargs: Any) -> None:
        super().put(item, *args, **kwargs)
        if item is not None:
            self.join()

    def get(self, *args: Any, **kwargs: Any) -> Any:
        if self._taken:
            self.task_done()
        self._taken = False
        item = super().get(*args, **kwargs)
        self._taken = True
        return item
