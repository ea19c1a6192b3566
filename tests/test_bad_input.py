"""What users get wrong: one sentence that says what was found, what was expected and what to do; nothing is changed."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.neighbors import KNeighborsTransformer, RadiusNeighborsTransformer
from tests.helpers import GENE_SETS, assert_unchanged

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from anndata import AnnData


def nothing(adata: AnnData) -> None:
    """Leave it as it is."""


@dataclass(frozen=True)
class Bad:
    """A call that is refused: on which stage of the toy, what spoils it, and what the message has to say."""

    call: Callable[..., object]
    stage: str
    arguments: dict[str, Any]
    message: str
    spoil: Callable[[AnnData], object] = field(default=nothing)


def set_embedding(value: float) -> Callable[[AnnData], None]:
    def spoil(adata: AnnData) -> None:
        adata.obsm["X_umap"][[3, 7], 1] = value

    return spoil


def set_value(value: float) -> Callable[[AnnData], None]:
    def spoil(adata: AnnData) -> None:
        adata.X.data[[3, 7]] = value

    return spoil


def set_dense_value(value: float) -> Callable[[AnnData], None]:
    def spoil(adata: AnnData) -> None:
        adata.X = adata.X.toarray()
        adata.X[[3, 7], 0] = value

    return spoil


def set_dtype(adata: AnnData, dtype: type) -> None:
    adata.X = adata.X.toarray().astype(dtype)


def drop_embeddings(adata: AnnData) -> None:
    adata.obsm["X_draw"] = adata.obsm.pop("X_umap")
    adata.obsm["spatial"] = adata.obsm["X_draw"]


def drop_all_embeddings(adata: AnnData) -> None:
    del adata.obsm


def repeat_names(adata: AnnData) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")
        adata.var_names = ["twice", "twice", *adata.var_names[2:]]


def empty_genes(adata: AnnData) -> None:
    X = adata.X.toarray()
    X[np.arange(len(X)) % 12 > 0] = 0
    adata.X = sparse.csr_matrix(X)


def shuffle(adata: AnnData) -> None:
    adata.X = np.random.default_rng(0).permuted(adata.X.toarray(), axis=0)


def set_obs(name: str, values: Callable[[int], object]) -> Callable[[AnnData], None]:
    def spoil(adata: AnnData) -> None:
        adata.obs[name] = values(adata.n_obs)

    return spoil


def with_gap(n: int) -> np.ndarray:
    return np.where(np.arange(n) == 4, np.nan, np.arange(n))


def levels_with_gap(n: int) -> pd.Categorical:
    return pd.Categorical([None, *["a"] * (n - 1)])


LOCALITIES, CORR, AMF = lava.tl.localities, lava.tl.locality_corr, lava.tl.amf
CHOOSE = lava.tl.choose_n_modules
GENES, ORA, SELECT = lava.tl.module_genes, lava.tl.ora, lava.pp.select_genes
NAMES, SCORE = lava.tl.name_modules, lava.tl.score_gene_sets
NAN, INF = float("nan"), float("inf")
FEWEST = r"expected genes that are expressed in at least 15 of a locality's 60 cells"


def PROJECT(adata: AnnData, **kwargs: Any) -> None:  # noqa: N802  # stands beside the others
    lava.tl.project(adata, adata, **kwargs)


BAD: dict[str, Bad] = {
    # representation
    "no usual representation": Bad(
        LOCALITIES,
        "start",
        {},
        r"Found 'planted_presences', 'X_draw', 'spatial' in adata\.obsm, expected one of X_umap, X_tsne, X_pca; .*use_rep",
        drop_embeddings,
    ),
    "no representation at all": Bad(
        LOCALITIES, "start", {}, r"Found nothing in adata\.obsm, expected one of .*compute", drop_all_embeddings
    ),
    "unknown representation": Bad(
        LOCALITIES, "start", {"use_rep": "tsne"}, r"Found 'X_umap', .* in adata\.obsm, expected 'tsne'; compute"
    ),
    "NaN in the embedding": Bad(
        LOCALITIES,
        "start",
        {},
        r"NaN or infinite coordinates for 2 of 300 cells in .*'X_umap'.*drop",
        set_embedding(NAN),
    ),
    "inf in the embedding": Bad(
        LOCALITIES, "start", {}, r"infinite coordinates for 2 of 300 cells .*drop", set_embedding(-INF)
    ),
    # localities
    "two cells": Bad(
        lambda adata: LOCALITIES(adata[:2].copy()), "start", {}, r"Found (only )?2 cells.*expected at least 3"
    ),
    "more neighbors than cells": Bad(
        LOCALITIES, "start", {"n_neighbors": 301}, r"n_neighbors=301, expected a whole number between 3 and 300; change"
    ),
    "two neighbors": Bad(LOCALITIES, "start", {"n_neighbors": 2}, r"n_neighbors=2, .*between 3 and 300; change"),
    "half a neighbor": Bad(LOCALITIES, "start", {"n_neighbors": 50.5}, r"n_neighbors=50\.5, expected a whole number"),
    "neighbors as text": Bad(LOCALITIES, "start", {"n_neighbors": "50"}, r"n_neighbors='50', expected a whole number"),
    "neighbors as bool": Bad(LOCALITIES, "start", {"n_neighbors": True}, r"n_neighbors=True, expected a whole number"),
    "fewer cells than localities": Bad(
        LOCALITIES,
        "start",
        {"n_neighbors": 10, "overlap": 11},
        r"overlap=11 with n_neighbors=10, .*330 localities, expected at most .*300 cells; lower overlap or raise",
    ),
    "no overlap": Bad(LOCALITIES, "start", {"overlap": 0}, r"overlap=0, expected a number of at least"),
    "negative overlap": Bad(LOCALITIES, "start", {"overlap": -1}, r"overlap=-1, expected a number of at least"),
    "overlap is NaN": Bad(LOCALITIES, "start", {"overlap": NAN}, r"overlap=nan, expected a number"),
    "overlap is infinite": Bad(LOCALITIES, "start", {"overlap": INF}, r"overlap=inf, expected"),
    "no evaluation": Bad(LOCALITIES, "start", {"max_evals": 0}, r"max_evals=0, expected a whole number of at least 1"),
    "no worker": Bad(LOCALITIES, "start", {"n_jobs": 0}, r"n_jobs=0, expected a whole number of at least 1"),
    "unknown optimizer": Bad(
        LOCALITIES, "start", {"optimizer": "adam"}, r"optimizer='adam', expected one of 'moves', 'direct'; change"
    ),
    "no optimizer": Bad(LOCALITIES, "start", {"optimizer": None}, r"optimizer=None, expected one of 'moves', 'direct'"),
    "unknown section column": Bad(
        LOCALITIES, "start", {"library_key": "slide"}, r"no column of adata\.obs 'slide', .*'region'.*change"
    ),
    "cells without a section": Bad(
        LOCALITIES,
        "start",
        {"library_key": "slide", "n_neighbors": 60},
        r"1 cells without a section .*adata\.obs\['slide'\].*drop",
        set_obs("slide", levels_with_gap),
    ),
    "no cell has a section": Bad(
        LOCALITIES,
        "start",
        {"library_key": "slide", "n_neighbors": 60},
        r"300 cells without a section .*adata\.obs\['slide'\].*drop",
        set_obs("slide", lambda n: pd.Categorical([None] * n, categories=["a"])),
    ),
    "a section smaller than a locality": Bad(
        LOCALITIES,
        "start",
        {"library_key": "slide", "n_neighbors": 60},
        r"59 cells in section 'b' .*adata\.obs\['slide'\], expected at least n_neighbors=60 in each; .*lower n_neighbors",
        set_obs("slide", lambda n: np.where(np.arange(n) < 59, "b", "a")),
    ),
    "a search by name": Bad(
        LOCALITIES, "start", {"transformer": "pynndescent"}, r"transformer='pynndescent', expected .*; "
    ),
    "a search that is no object": Bad(
        LOCALITIES,
        "start",
        {"transformer": KNeighborsTransformer},
        r"transformer=.*KNeighborsTransformer.*, expected .*; ",
    ),
    "a search that finds too few": Bad(
        LOCALITIES,
        "start",
        {"n_neighbors": 60, "transformer": RadiusNeighborsTransformer(radius=1e-6)},
        r"Found 1 neighbours of cell 0 by the transformer, expected at least 60, .*; give it a larger",
    ),
    "the key is taken": Bad(
        LOCALITIES, "start", {}, r"uns\['lava'\]|uns\[\"lava\"\]", lambda adata: adata.uns.update(lava="mine")
    ),
    # data
    **{
        f"{name} in {kind} data": Bad(
            CORR, "localities", {}, r"Found 2 NaN or infinite values in adata\.X, expected finite numbers; drop", spoil
        )
        for name, value in {"NaN": NAN, "inf": INF}.items()
        for kind, spoil in {"sparse": set_value(value), "dense": set_dense_value(value)}.items()
    },
    "NaN, selecting genes": Bad(SELECT, "start", {}, r"2 NaN or infinite values in adata\.X", set_value(NAN)),
    "no matrix": Bad(
        CORR, "localities", {}, r"no matrix in adata\.X, .*layer=", lambda adata: setattr(adata, "X", None)
    ),
    "a matrix of objects": Bad(
        CORR, "localities", {}, r"dtype object.* in adata\.X|in adata\.X.* dtype object", lambda a: set_dtype(a, object)
    ),
    "complex numbers": Bad(
        CORR,
        "localities",
        {},
        r"dtype complex128.* in adata\.X|in adata\.X.* complex128",
        lambda a: set_dtype(a, complex),
    ),
    "unknown layer": Bad(CORR, "localities", {"layer": "log"}, r"no layer 'log', expected one of .*'counts'.*change"),
    "duplicated genes": Bad(
        CORR, "localities", {}, r"1 duplicated names .*'twice'.*var_names_make_unique", repeat_names
    ),
    "duplicated genes, selecting": Bad(SELECT, "start", {}, r"duplicated .*var_names_make_unique", repeat_names),
    # genes
    "unknown mask": Bad(
        CORR, "localities", {"mask_var": "hvg"}, r"no column of adata\.var 'hvg', .*'lava_genes'.*change"
    ),
    "mask of text": Bad(
        CORR,
        "localities",
        {"mask_var": "kind"},
        r"var\['kind'\] of dtype (object|str).*boolean",
        lambda a: a.var.insert(0, "kind", "x"),
    ),
    "mask of numbers": Bad(CORR, "localities", {"mask_var": np.ones(40)}, r"dtype float64 and shape \(40,\).*boolean"),
    "mask too short": Bad(
        CORR, "localities", {"mask_var": [True] * 39}, r"shape \(39,\), .*each of the 40 genes; pass"
    ),
    "mask with two axes": Bad(CORR, "localities", {"mask_var": np.ones((40, 1), dtype=bool)}, r"shape \(40, 1\).*pass"),
    "mask of one gene": Bad(
        CORR,
        "localities",
        {"mask_var": np.arange(40) < 1},
        r"1 selected genes in mask_var, expected at least 2; select",
    ),
    "all genes undefined": Bad(CORR, "localities", {}, FEWEST + r"; select .*enlarge n_neighbors", empty_genes),
    "selecting among undefined genes": Bad(
        SELECT,
        "localities",
        {"localities_key": "lava"},
        r"0 candidate genes .*expected at least 2; .*enlarge",
        empty_genes,
    ),
    "nothing but noise": Bad(
        CORR, "localities", {"fdr": 1e-9}, r"none of \d+ correlations at fdr=1e-09, .*select other.*fdr=None", shuffle
    ),
    # correlations
    "unknown method": Bad(
        CORR, "localities", {"method": "kendall"}, r"method='kendall', expected one of 'spearman', 'pearson'"
    ),
    "fdr above 1": Bad(CORR, "localities", {"fdr": 5}, r"fdr=5, expected a number between 0 and 1; change fdr"),
    "fdr is NaN": Bad(CORR, "localities", {"fdr": NAN}, r"fdr=nan, expected a number between 0 and 1"),
    "fdr is True": Bad(CORR, "localities", {"fdr": True}, r"fdr=True, expected a number between 0 and 1"),
    "tie fraction above 1": Bad(
        CORR, "localities", {"max_tie_fraction": 75}, r"max_tie_fraction=75, .*between 0 and 1"
    ),
    "unknown covariate": Bad(
        CORR, "localities", {"covariates": "depth"}, r"no column of adata\.obs 'depth', .*'total_counts'.*change"
    ),
    "one unknown covariate": Bad(
        CORR, "localities", {"covariates": ["total_counts", "depth"]}, r"no column of adata\.obs 'depth'"
    ),
    "covariate with NaN": Bad(
        CORR,
        "localities",
        {"covariates": "age"},
        r"1 missing values in adata\.obs\['age'\].*drop",
        set_obs("age", with_gap),
    ),
    "covariate with a missing level": Bad(
        CORR, "localities", {"covariates": "age"}, r"1 missing values .*drop", set_obs("age", levels_with_gap)
    ),
    "no worker for correlations": Bad(CORR, "localities", {"n_jobs": -1}, r"n_jobs=-1, expected a whole number"),
    # modules
    "no modules": Bad(AMF, "locality_corr", {"n_modules": 0}, r"n_modules=0, expected a whole number between 1 and 15"),
    "more modules than localities": Bad(AMF, "locality_corr", {"n_modules": 16}, r"n_modules=16, .*between 1 and 15"),
    "half a module": Bad(AMF, "locality_corr", {"n_modules": 2.5}, r"n_modules=2\.5, expected a whole number"),
    "modules neither said nor chosen": Bad(
        AMF, "locality_corr", {"n_modules": None}, r'"n_modules_choice"\] is missing.*choose_n_modules; call it first'
    ),
    "choice without correlations": Bad(CHOOSE, "localities", {}, r'uns\["lava"\]\["C"\] is missing.*locality_corr'),
    "choice among nothing": Bad(
        CHOOSE, "locality_corr", {"n_modules": []}, r"no number in n_modules, expected at least"
    ),
    "choice of none": Bad(CHOOSE, "locality_corr", {"n_modules": [0, 1]}, r"n_modules=0, expected .* at least 1"),
    "choice of half a module": Bad(CHOOSE, "locality_corr", {"n_modules": [1.5]}, r"n_modules=1\.5, expected a whole"),
    "choice of more modules than localities": Bad(
        CHOOSE, "locality_corr", {"n_modules": [30, 40]}, r"n_modules of at least 30, .*15 localities; lower it"
    ),
    "choice by one run": Bad(CHOOSE, "locality_corr", {"n_runs": 1}, r"n_runs=1, expected .* at least 2"),
    "choice without null": Bad(CHOOSE, "locality_corr", {"n_permutations": 0}, r"n_permutations=0, .*at least 1"),
    "choice with unknown depth": Bad(CHOOSE, "locality_corr", {"depth_key": "deep"}, r"column of adata\.obs 'deep'"),
    "choice with depth in categories": Bad(
        CHOOSE, "locality_corr", {"depth_key": "region"}, r"categories in adata\.obs\['region'\], expected numbers"
    ),
    "choice from another start": Bad(CHOOSE, "locality_corr", {"init": "svd"}, r"init='svd', expected one of"),
    "evidence without modules": Bad(
        lava.tl.module_evidence, "locality_corr", {}, r'uns\["lava"\]\["modules"\] is missing.*lava_sc\.tl\.amf'
    ),
    "evidence without null": Bad(
        lava.tl.module_evidence, "amf", {"n_permutations": 0}, r"n_permutations=0, .*at least 1"
    ),
    "evidence without decoys": Bad(lava.tl.module_evidence, "amf", {"n_decoys": 0}, r"n_decoys=0, .*at least 1"),
    "evidence beyond the largest weight": Bad(
        lava.tl.module_evidence, "amf", {"threshold": 2}, r"threshold=2, .*between 0 and 1"
    ),
    "picture of no gene sets": Bad(
        lava.pl.ora, "module_genes", {}, r'uns\["lava"\]\["ora"\] is missing.*lava_sc\.tl\.ora'
    ),
    "picture of no choice": Bad(
        lava.pl.n_modules, "amf", {}, r'uns\["lava"\]\["n_modules"\] is missing.*choose_n_modules'
    ),
    "nu below 1": Bad(AMF, "locality_corr", {"n_modules": 2, "nu": 0.5}, r"nu=0\.5, expected a number of at least 1"),
    "negative gamma": Bad(AMF, "locality_corr", {"n_modules": 2, "gamma": -1}, r"gamma=-1, .*at least 0; change gamma"),
    "gamma in words": Bad(
        AMF, "locality_corr", {"n_modules": 2, "gamma": "best"}, r"gamma='best', expected one of 'auto'"
    ),
    "negative refits": Bad(AMF, "locality_corr", {"n_modules": 2, "n_refits": -1}, r"n_refits=-1, .*at least 0"),
    "pairs of no locality": Bad(
        AMF, "locality_corr", {"n_modules": 2, "min_localities": 0}, r"min_localities=0, .*at least 1"
    ),
    "pairs of more localities than there are": Bad(
        AMF,
        "locality_corr",
        {"n_modules": 2, "min_localities": 99},
        r"no pair .* in 99 localities.*lower min_localities",
    ),
    "gamma is NaN": Bad(AMF, "locality_corr", {"n_modules": 2, "gamma": NAN}, r"gamma=nan, expected a number"),
    "gamma is infinite": Bad(AMF, "locality_corr", {"n_modules": 2, "gamma": INF}, r"gamma=inf, expected a number"),
    "nu is infinite": Bad(AMF, "locality_corr", {"n_modules": 2, "nu": INF}, r"nu=inf, expected a number"),
    "unknown start": Bad(
        AMF, "locality_corr", {"n_modules": 2, "init": "svd"}, r"init='svd', expected one of .*'random'"
    ),
    "unknown device": Bad(
        AMF, "locality_corr", {"n_modules": 2, "device": "tpu"}, r"device='tpu', expected one of 'auto'"
    ),
    "no runs": Bad(AMF, "locality_corr", {"n_modules": 2, "n_runs": 0}, r"n_runs=0, .*at least 1"),
    "empty batches": Bad(AMF, "locality_corr", {"n_modules": 2, "batch_size": 0}, r"batch_size=0, .*at least 1"),
    "no steps": Bad(AMF, "locality_corr", {"n_modules": 2, "learning_rate": 0}, r"learning_rate=0, expected a number"),
    "no epochs": Bad(AMF, "locality_corr", {"n_modules": 2, "max_epochs": 0}, r"max_epochs=0, .*at least 1"),
    "no patience": Bad(AMF, "locality_corr", {"n_modules": 2, "patience": 0}, r"patience=0, .*at least 1"),
    "tolerance above 1": Bad(AMF, "locality_corr", {"n_modules": 2, "tol": 2}, r"tol=2, .*between 0 and 1"),
    "threshold above 1": Bad(GENES, "amf", {"threshold": 5}, r"threshold=5, expected a number between 0 and 1"),
    # stability
    **{
        f"one repetition, {name}": Bad(
            lava.tl.stability, "amf", {name: 1}, rf"{name}=1, expected a whole number of at least 2; change"
        )
        for name in ("n_placements", "n_runs")
    },
    "no resample": Bad(lava.tl.stability, "amf", {"n_resamples": 0}, r"n_resamples=0, .*of at least 1; change"),
    "more localities than cells, repeated": Bad(
        lava.tl.stability,
        "amf",
        {"overlaps": [3, 90]},
        r"overlaps=90 with n_neighbors=60, .*450 localities, .*lower it",
    ),
    "two donors": Bad(
        lava.tl.stability,
        "amf",
        {"donor_key": "donor"},
        r"2 donors in adata\.obs\['donor'\], expected at least 3 to draw from; leave donor_key out",
        set_obs("donor", lambda n: np.arange(n) % 2),
    ),
    "a cell without a donor": Bad(
        lava.tl.stability,
        "amf",
        {"donor_key": "donor"},
        r"1 cells without a donor in adata\.obs\['donor'\], expected one for each; drop",
        set_obs("donor", levels_with_gap),
    ),
    "stability before modules": Bad(
        lava.tl.stability,
        "locality_corr",
        {},
        r'uns\["lava"\]\["modules"\] is missing.*lava_sc\.tl\.amf; call it first',
    ),
    # co-presence and comparison
    "negative presence sum": Bad(
        lava.tl.co_presence,
        "amf",
        {"min_presence_sum": -1},
        r"min_presence_sum=-1, expected a number of at least 0; change",
    ),
    "co-presence before modules": Bad(
        lava.tl.co_presence,
        "locality_corr",
        {},
        r'uns\["lava"\]\["presences"\] is missing.*lava_sc\.tl\.amf; call it first',
    ),
    "nothing says how many modules to compare": Bad(
        lava.tl.compare_factorisations,
        "locality_corr",
        {},
        r"no n_modules and no modules of lava_sc\.tl\.amf.*; pass n_m",
    ),
    "more components than localities": Bad(
        lava.tl.compare_factorisations, "amf", {"n_modules": 16}, r"n_modules=16, .*between 1 and 15; change n_modules"
    ),
    "no runs to compare": Bad(
        lava.tl.compare_factorisations, "amf", {"n_runs": 0}, r"n_runs=0, .*of at least 1; change"
    ),
    "a picture before its entropies": Bad(
        lava.pl.co_presence,
        "amf",
        {},
        r'uns\["lava"\]\["co_presence"\] is missing.*lava_sc\.tl\.co_presence; call it first',
    ),
    "reconstruction of an unknown locality": Bad(
        lava.pl.reconstruction, "amf", {"locality": 15}, r"locality=15, .*between 0 and 14; change locality"
    ),
    "reconstruction of an unknown gene": Bad(
        lava.pl.reconstruction,
        "amf",
        {"locality": 0, "genes": ["M1_01", "CD4"]},
        r"gene 'CD4', expected names out of .*choose",
    ),
    "similarity over a single gene": Bad(
        lava.pl.locality_similarity,
        "amf",
        {"locality": 0, "genes": "M1_01"},
        r"1 genes, expected at least 2 .*; name more",
    ),
    # association
    "association with an unknown column": Bad(
        lava.tl.presence_association,
        "amf",
        {"obs_key": "disease"},
        r"no column of adata\.obs 'disease', .*'region'.*change",
    ),
    "association with a column of one value": Bad(
        lava.tl.presence_association,
        "amf",
        {"obs_key": "same"},
        r"1 different values in adata\.obs\['same'\], expected at least 2 .*choose another",
        set_obs("same", lambda n: ["x"] * n),
    ),
    "donors with several labels": Bad(
        lava.tl.presence_association,
        "amf",
        {"obs_key": "region", "donor_key": "donor"},
        r"several levels of adata\.obs\['region'\] in 2 of 2 donors .*expected one level for each.*leave donor_key out",
        set_obs("donor", lambda n: np.arange(n) % 2),
    ),
    "strata of no donors": Bad(
        lava.tl.presence_association,
        "amf",
        {"obs_key": "region", "strata_key": "donor"},
        r"strata_key='donor' without donor_key, .*; pass donor_key",
    ),
    "donors in several strata": Bad(
        lava.tl.presence_association,
        "amf",
        {"obs_key": "donor", "donor_key": "donor", "strata_key": "region"},
        r"several or missing values of adata\.obs\['region'\] in 2 of 2 donors .*; change strata_key",
        set_obs("donor", lambda n: np.arange(n) % 2),
    ),
    "presence above 1": Bad(
        lava.tl.presence_association,
        "amf",
        {"obs_key": "region", "min_presence": 2},
        r"min_presence=2, expected a number between 0 and 1; change min_presence",
    ),
    "association before modules": Bad(
        lava.tl.presence_association,
        "locality_corr",
        {"obs_key": "region"},
        r'uns\["lava"\]\["presences"\] is missing.*lava_sc\.tl\.amf; call it first',
    ),
    "a picture before its associations": Bad(
        lava.pl.association,
        "amf",
        {"module": 0, "category": "R1"},
        r'uns\["lava"\]\["presence_association"\] is missing.*lava_sc\.tl\.presence_association; call it first',
    ),
    # gene sets
    "missing file": Bad(
        ORA, "module_genes", {"gene_sets": "a.gmt"}, r"no GMT file at 'a\.gmt', expected an existing .*check"
    ),
    "not a GMT file": Bad(ORA, "module_genes", {"gene_sets": __file__}, r"no GMT file at .*\.py'.*ends in \.gmt"),
    "no set large enough": Bad(
        ORA,
        "module_genes",
        {"gene_sets": {"x": ["CD4"] * 9}},
        r"no gene set with at least 5 of the \d+ .*gene_symbols=",
    ),
    "no sets": Bad(ORA, "module_genes", {"gene_sets": {}}, r"no gene set"),
    "unknown background": Bad(
        ORA,
        "module_genes",
        {"gene_sets": GENE_SETS, "background": "all"},
        r"background='all', expected one of 'selected', ",
    ),
    "no background": Bad(
        ORA, "module_genes", {"gene_sets": GENE_SETS, "background": None}, r"background=None, expected .*'selected'"
    ),
    "unknown symbols": Bad(
        ORA,
        "module_genes",
        {"gene_sets": GENE_SETS, "gene_symbols": "sym"},
        r"no column of adata\.var 'sym', .*'lava_genes'",
    ),
    "no size": Bad(ORA, "module_genes", {"gene_sets": GENE_SETS, "min_size": 0}, r"min_size=0, .*at least 1"),
    "no correlations to score": Bad(
        SCORE,
        "localities",
        {"gene_sets": GENE_SETS},
        r'uns\["lava"\]\["genes"\] is missing.*lava_sc\.tl\.locality_corr',
    ),
    "sets of strangers to score": Bad(
        SCORE,
        "locality_corr",
        {"gene_sets": {"x": [f"m1_0{i}" for i in range(1, 9)]}},
        r"no gene set with at least 5 of the 35 correlated .*; 8 genes differ in upper and lower case only",
    ),
    "sets of pairs": Bad(
        SCORE,
        "locality_corr",
        {"gene_sets": GENE_SETS, "min_size": 2},
        r"min_size=2, expected a whole number of at least 3",
    ),
    "no set between the sizes": Bad(
        SCORE, "locality_corr", {"gene_sets": GENE_SETS, "max_size": 5}, r"no gene set with 5 to 5 correlated genes"
    ),
    "no random sets": Bad(SCORE, "locality_corr", {"gene_sets": GENE_SETS, "n_random": 0}, r"n_random=0, .*at least 1"),
    "cells removed before scoring": Bad(
        lambda adata, **kwargs: SCORE(adata[1:], **kwargs),
        "locality_corr",
        {"gene_sets": GENE_SETS},
        r"Found cells missing",
    ),
    # projection, here of an object onto itself
    "projected nothing": Bad(
        PROJECT, "locality_corr", {}, r"no modules under key 'lava' in the reference, .*reference_key="
    ),
    "projected another key": Bad(PROJECT, "amf", {"reference_key": "healthy"}, r"no modules under key 'healthy'"),
    "projected onto no localities": Bad(
        PROJECT, "amf", {"key": "new"}, r'obsm\["new_localities"\] is missing.*localities'
    ),
    "projected by unknown symbols": Bad(
        PROJECT, "amf", {"gene_symbols": "sym"}, r"no column of adata\.var or reference\.var 'sym', .*'lava_genes'"
    ),
    "projected on other genes": Bad(
        PROJECT,
        "amf",
        {"gene_symbols": "name"},
        r"Found 0 of the reference's 35 correlated genes .*; pass gene_symbols=, a column",
        lambda adata: adata.var.insert(0, "name", "same"),
    ),
    "projected with a weight below 1": Bad(PROJECT, "amf", {"nu": 0.5}, r"nu=0\.5, expected a number of at least 1"),
    "projected with a weight as text": Bad(PROJECT, "amf", {"nu": "low"}, r"nu='low', expected a number"),
    "projected without exchanges": Bad(PROJECT, "amf", {"n_permutations": 0}, r"n_permutations=0, .*at least 1"),
    "projected without what it was adjusted by": Bad(
        PROJECT,
        "amf",
        {},
        r"no column 'total_counts' in adata\.obs, by which the reference's .*\(None for none\)",
        lambda adata: (
            adata.uns["lava"]["params"]["locality_corr"].update(covariates=np.array(["total_counts"]))
            or adata.obs.pop("total_counts")
        ),
    ),
    # gene lists and names
    "a share above 1": Bad(GENES, "amf", {"threshold": 5}, r"threshold=5, .*between 0 and 1"),
    "no genes to list": Bad(GENES, "amf", {"n_genes": 0}, r"n_genes=0, .*at least 1"),
    "half a gene": Bad(GENES, "amf", {"n_genes": 2.5}, r"n_genes=2\.5, .*a whole number"),
    "names before gene lists": Bad(NAMES, "amf", {}, r'uns\["lava"\]\["module_genes"\] is missing.*call it first'),
    "names by sets not tested": Bad(NAMES, "module_genes", {"by": "sets"}, r"is missing.*lava_sc\.tl\.ora; call it"),
    "names by presence": Bad(NAMES, "ora", {"by": "presence"}, r"by='presence', expected one of 'genes', 'sets'"),
    "names without genes": Bad(NAMES, "ora", {"n_genes": 0}, r"n_genes=0, .*at least 1"),
    "names from nowhere": Bad(NAMES, "ora", {"gene_symbols": "sym"}, r"no column of adata\.var 'sym'"),
    "too few labels": Bad(NAMES, "ora", {"labels": ["a"]}, r"labels=\['a'\], expected one for each of the 2 modules"),
    "a single label": Bad(NAMES, "ora", {"labels": "ab"}, r"labels='ab', expected one for each of the 2 modules"),
    "a number as label": Bad(NAMES, "ora", {"labels": 3}, r"labels=3, expected one for each of the 2 modules"),
    "no label": Bad(NAMES, "ora", {"labels": {}}, r"labels=\{\}, expected one for each"),
    "a label of no module": Bad(NAMES, "ora", {"labels": {2: "a"}}, r"labels=\{2: 'a'\}, expected modules from 0 to 1"),
    "an empty label": Bad(NAMES, "ora", {"labels": ["a", " "]}, r"expected texts that are not empty; change labels"),
    "labels that are lists": Bad(NAMES, "ora", {"labels": {0: ["a"]}}, r"expected texts that are not empty"),
    "the same label": Bad(NAMES, "ora", {"labels": ["a", "a"]}, r"expected names that are all different"),
    "genes of a module that is not": Bad(
        lava.pl.module_genes, "module_genes", {"modules": 2}, r"modules=2, expected numbers from 0 to 1"
    ),
    "a picture of no gene": Bad(lava.pl.module_genes, "module_genes", {"n_genes": 0}, r"n_genes=0, .*at least 1"),
    "a picture before gene lists": Bad(
        lava.pl.module_genes, "amf", {}, r'uns\["lava"\]\["module_genes"\] is missing.*call it first'
    ),
    "network before gene lists": Bad(
        lava.pl.module_network, "amf", {"module": 0}, r'uns\["lava"\]\["module_genes"\] is missing.*call it first'
    ),
    "network of an unknown module": Bad(
        lava.pl.module_network, "module_genes", {"module": 2}, r"module=2, .*between 0 and 1"
    ),
    "network of one gene": Bad(
        lava.pl.module_network, "module_genes", {"module": 0, "n_genes": 1}, r"n_genes=1, .*at least 2"
    ),
    "network without lines": Bad(
        lava.pl.module_network, "module_genes", {"module": 0, "n_edges": 0}, r"n_edges=0, .*at least 1"
    ),
    # selection
    "unknown flavor": Bad(SELECT, "start", {"flavor": "scran"}, r"flavor='scran', expected one of 'seurat'"),
    "unknown family": Bad(
        SELECT, "start", {"exclude": ["sex"]}, r"no gene family 'sex', expected some of mitochondrial"
    ),
    "localities of another key": Bad(
        SELECT, "localities", {"localities_key": "pca"}, r'obsm\["pca_localities"\] is missing.*lava_sc\.tl\.localities'
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_one_sentence_and_nothing_changed(stages: Mapping[str, AnnData], name: str) -> None:
    bad = BAD[name]
    adata = stages[bad.stage].copy()
    bad.spoil(adata)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")
        before = adata.copy()
    with pytest.raises((ValueError, TypeError)) as caught:
        bad.call(adata, **bad.arguments)
    message = str(caught.value)
    assert re.search(bad.message, message, re.DOTALL), message
    assert_is_a_sentence(message)
    assert_unchanged(adata, before)


def assert_is_a_sentence(message: str) -> None:
    assert "\n" not in message
    assert message[0].isupper() or message.startswith("adata."), message
    assert message.endswith("."), message
    assert ". " not in message.replace("e.g. ", ""), message
    assert "; " in message, message  # what to do comes after what is wrong
    assert len(message) < 400, message


@pytest.mark.parametrize("first", [np.ones((5, 5)), pd.DataFrame(), None, "file.h5ad"], ids=lambda v: type(v).__name__)
@pytest.mark.parametrize(
    "function",
    [
        *(getattr(lava.tl, name) for name in lava.tl.__all__),
        *(getattr(lava.pp, name) for name in lava.pp.__all__),
        *(getattr(lava.get, name) for name in lava.get.__all__),
        *(getattr(lava.pl, name) for name in lava.pl.__all__),
        lava.report,
    ],
    ids=lambda function: f"{function.__module__}",
)
def test_not_an_anndata_object(function: Callable[..., object], first: object, tmp_path: Path) -> None:
    arguments = {"amf": [2], "ora": [{}], "module": [0], "report": [tmp_path / "page.html"]}
    arguments |= {"reconstruction": [0], "locality_similarity": [0], "module_network": [0]}
    arguments |= {"score_gene_sets": [{}], "project": [None], "image_modules": [(2, 2)]}
    arguments |= {"presence_association": ["region"], "association": [0, "R1"]}
    second = arguments.get(function.__name__, [])
    with pytest.raises(TypeError, match=f"Found {type(first).__name__} .*expected an AnnData object") as caught:
        function(first, *second)
    assert_is_a_sentence(str(caught.value))
    assert not list(tmp_path.iterdir())


def test_view_of_a_backed_object(stages: Mapping[str, AnnData], tmp_path: Path) -> None:
    path = tmp_path / "backed.h5ad"
    stages["localities"].write_h5ad(path)
    content = path.read_bytes()
    adata = ad.read_h5ad(path, backed="r")[:200]
    for call in (CORR, SELECT):
        with pytest.raises(
            ValueError, match=r"Found a view of a backed AnnData object, .*adata\.to_memory\(\) first\."
        ) as caught:
            call(adata)
        assert_is_a_sentence(str(caught.value))
    assert "C" not in adata.uns["lava"]
    adata.file.close()
    assert path.read_bytes() == content


def test_missing_gene_sets_in_a_file(stages: Mapping[str, AnnData], tmp_path: Path) -> None:
    (tmp_path / "empty.gmt").touch()
    (tmp_path / "table.csv").write_text("name,genes\n", encoding="utf-8")
    (tmp_path / "folder.gmt").mkdir()
    for name in ("empty.gmt", "table.csv", "folder.gmt", "missing.gmt"):
        adata = stages["module_genes"].copy()
        with pytest.raises(
            ValueError, match=r"Found no (gene sets in|GMT file at) .*; check the (file|path)\."
        ) as caught:
            lava.tl.ora(adata, tmp_path / name)
        assert_is_a_sentence(str(caught.value))
        assert_unchanged(adata, stages["module_genes"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda adata: setattr(adata, "X", adata.layers["counts"]), r"adata\.X holds whole numbers only.*raw counts"),
        (lambda adata: setattr(adata, "X", adata.layers["counts"].toarray().astype(float)), r"looks like raw counts"),
        (
            lambda adata: setattr(adata, "X", scaled(adata)),
            r"adata\.X holds negative values and looks scaled: ranks are",
        ),
    ],
    ids=["sparse counts", "dense counts", "scaled"],
)
def test_doubtful_values_warn_at_the_caller(
    stages: Mapping[str, AnnData], spoil: Callable[[AnnData], None], message: str
) -> None:
    adata = stages["localities"].copy()
    spoil(adata)
    with pytest.warns(UserWarning, match=message) as caught:
        lava.tl.locality_corr(adata)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "C" in adata.uns["lava"]


def scaled(adata: AnnData) -> np.ndarray:
    X = adata.X.toarray()
    return (X - X.mean(axis=0)) / X.std(axis=0)
