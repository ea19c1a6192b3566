"""Files from CELLxGENE as they come: Ensembl ids, ``feature_name``, counts in ``raw``, donors that are none, any capitals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from tests import helpers

import lava_sc as lava
from lava_sc.cli.commands import main
from lava_sc.stored import embeddings

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

FAST = ["--n-modules", "2", "--n-runs", "1", "--n-neighbors", "150", "--n-top-genes", "300"]


@pytest.fixture
def pbmc3k() -> Path:
    return helpers.data("pbmc3k/pbmc3k_cellxgene_shaped.h5ad")


def with_reps(**shapes: tuple[int, ...]) -> AnnData:
    return ad.AnnData(np.ones((5, 2)), obsm={name: np.zeros(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        (["X_UMAP", "X_pca"], None, "X_UMAP"),
        (["X_UMAP"], "umap", "X_UMAP"),
        (["X_tSNE"], "X_TSNE", "X_tSNE"),
        (["X_UMAP", "X_umap"], "umap", "X_umap"),
        (["UMAP", "X_umap"], "UMAP", "UMAP"),
        (["X_scVI"], "scvi", "X_scVI"),
    ],
)
def test_capitals_of_embeddings_do_not_matter(there: list[str], asked: str | None, expected: str) -> None:
    assert embeddings.representation_key(with_reps(**dict.fromkeys(there, (5, 2))), asked) == expected


def test_capitals_that_could_mean_two() -> None:
    adata = with_reps(X_UMAP=(5, 2), X_Umap=(5, 2))
    with pytest.raises(ValueError, match=r"Found 'X_UMAP', 'X_Umap' in adata\.obsm, expected 'umap'"):
        embeddings.representation_key(adata, "umap")


def test_the_embedding_that_is_shown_first() -> None:
    adata = with_reps(X_umap=(5, 2), X_tissue=(5, 2))
    adata.uns["default_embedding"] = "X_tissue"
    assert embeddings.representation_key(adata, None) == "X_tissue"
    adata.uns["default_embedding"] = "X_gone"
    assert embeddings.representation_key(adata, None) == "X_umap"


def test_pictures_find_embeddings_in_any_capitals(explained: AnnData) -> None:
    adata = explained.copy()
    adata.obsm["X_tSNE"] = adata.obsm["X_umap"][:, ::-1].copy()
    fig = lava.pl.modules(adata, 0, basis="tsne", show=False)
    assert fig.axes[0].get_xlabel() == "tSNE1"


@pytest.fixture(scope="module")
def explained() -> AnnData:
    adata = helpers.toy()
    helpers.run_steps(adata, "localities", "locality_corr", "amf", "module_genes")
    return adata


def test_unknown_donors_are_no_donors(explained: AnnData) -> None:
    """The test is that of the cells of known donors alone."""
    adata = explained.copy()
    donors = np.array([f"d{i % 8}" for i in range(adata.n_obs)], dtype=object)
    adata.obs["disease"] = np.where(np.isin(donors, ["d0", "d1", "d2", "d3"]), "ill", "normal")
    nobody = np.arange(adata.n_obs) % 7 == 0
    missing = pd.Categorical(np.where(nobody, None, donors))
    donors[nobody] = np.where(np.arange(nobody.sum()) % 2, "unknown", "Pooled")
    tables = []
    for column in (missing, pd.Categorical(donors)):
        adata.obs["donor_id"] = column
        if "unknown" in column.categories:
            with pytest.warns(
                UserWarning, match=r"Left out 43 of 300 cells whose adata.obs\['donor_id'\] is 'Pooled' or 'unknown'"
            ):
                lava.tl.presence_association(adata, "disease", donor_key="donor_id", n_permutations=30)
        else:
            lava.tl.presence_association(adata, "disease", donor_key="donor_id", n_permutations=30)
        tables.append(adata.uns["lava"]["presence_association"])
    pd.testing.assert_frame_equal(*tables)
    adata.obs["donor_id"] = "unknown"
    with (
        pytest.warns(UserWarning, match="which is no donor"),
        pytest.raises(ValueError, match=r"Found no donor in adata\.obs\['donor_id'\]"),
    ):
        lava.tl.presence_association(adata, "disease", donor_key="donor_id")


def test_explain_associates_when_asked(explained: AnnData) -> None:
    adata = helpers.toy()
    lava.tl.explain(adata, 2, n_neighbors=60, n_runs=1, obs_key="region")
    assert adata.uns["lava"]["params"]["presence_association"]["obs_key"] == "region"
    with pytest.raises(ValueError, match="Found donor_key='region' without obs_key"):
        lava.tl.explain(helpers.toy(), 2, donor_key="region")


def test_from_file_to_page(pbmc3k: Path, tmp_path: Path) -> None:
    """Symbols everywhere, depth from the counts in raw, backed and in memory alike."""
    adata, backed = ad.read_h5ad(pbmc3k), ad.read_h5ad(pbmc3k, backed="r")
    assert "total_counts" not in adata.obs
    for one in (adata, backed):
        lava.pp.total_counts(one)
        lava.tl.explain(one, 2, n_neighbors=150, n_top_genes=300, n_runs=1, covariates="total_counts")
        symbols = one.var["feature_name"].astype(str)[one.uns["lava"]["genes"]]
        lava.tl.ora(one, {"some": symbols[:20].tolist()}, n_random=0)
    np.testing.assert_array_equal(adata.obs["total_counts"], adata.raw.X.sum(axis=1).A1)
    assert adata.uns["lava"]["ora"]["set_size"].tolist() == [20, 20]
    for field in ("C", "modules", "presences", "ora"):
        helpers.assert_same(backed.uns["lava"][field], adata.uns["lava"][field])
    assert adata.uns["lava"]["params"]["localities"]["use_rep"] == adata.uns["default_embedding"] == "X_umap"
    lava.tl.name_modules(adata)
    names = " · ".join(map(str, adata.uns["lava"]["module_names"]))
    page = lava.report(adata, tmp_path / "page.html").read_text(encoding="utf-8")
    for text in (names, page):
        assert not re.search(r"ENSG\d{11}", re.sub(r"data:[^\"]*", "", text))
    first = adata.var.loc[adata.uns["lava"]["module_genes"]["gene"].iloc[0], "feature_name"]
    assert first in page


@pytest.mark.slow
def test_on_the_command_line(pbmc3k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "out.h5ad", tmp_path / "page.html"
    cells = ["--only", "author_cell_type=B,NK", "--adjust-depth", "--associate", "cell_type", "--name-modules"]
    assert main(["run", str(pbmc3k), "-o", str(out), "--report", str(page), "--backed", *cells, *FAST]) == 0
    found = ad.read_h5ad(out)
    assert set(found.obs["author_cell_type"]) == {"B", "NK"}
    assert found.uns["lava"]["params"]["locality_corr"]["covariates"].tolist() == ["total_counts"]
    assert set(found.uns["lava"]["presence_association"]["category"]) == {"B cell", "natural killer cell"}
    assert len(found.uns["lava"]["module_names"]) == 2
    assert not re.search(r"ENSG\d{11}", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "tissue=lung"], r"Found no cell with tissue=lung, expected a value that occurs \('blood'\)"),
        (["--only", "nothing=1"], r"nothing"),
        (["--only", "author_cell_type=B", "--only", "author_cell_type=NK"], r"meets all conditions of --only"),
        (["--normalize"], r"Found values in adata\.X that are no counts"),
        (["--normalize", "--backed"], r"Found --normalize with --backed"),
        (["--donor-key", "donor_id"], r"without obs_key"),
        (["--associate", "donor_id"], r"Found 1 different values"),
    ],
)
def test_errors_on_the_command_line(
    pbmc3k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["run", str(pbmc3k), "-o", str(tmp_path / "out.h5ad"), *arguments, *FAST]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("lava-sc: error: ")
    assert re.search(message, error)
    assert not list(tmp_path.iterdir())


def test_a_valid_file_of_two_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = helpers.data("cellxgene_schema/example_valid.h5ad")
    assert main(["run", str(path), "-o", str(tmp_path / "out.h5ad")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lava-sc: error: Found")


@pytest.mark.filterwarnings("default::UserWarning")
def test_raw_counts_of_heart_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """X holds counts: that is said, with what to do, and doing it helps."""
    path = helpers.data("cellxgene_schema/example_invalid_CL.h5ad")
    few = ["--n-modules", "2", "--n-runs", "1", "--n-neighbors", "60", "--fdr", "none"]
    assert main(["run", str(path), "-o", str(tmp_path / "plain.h5ad"), *few]) == 0
    assert "looks like raw counts" in capsys.readouterr().err
    assert main(["run", str(path), "-o", str(tmp_path / "normal.h5ad"), "--normalize", "--adjust-depth", *few]) == 0
    assert "looks like raw counts" not in capsys.readouterr().err
    found = ad.read_h5ad(tmp_path / "normal.h5ad")
    np.testing.assert_allclose(np.expm1(found.X.toarray()).sum(axis=1), 1e4, rtol=1e-3)
    assert found.uns["lava"]["params"]["locality_corr"]["covariates"].tolist() == ["total_counts"]
