from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from tests.helpers import assert_unchanged
from tests.pl.pictures import assert_readable, by_place, dots, texts

import lava_sc as lava

if TYPE_CHECKING:
    from anndata import AnnData


def associated(adata: AnnData, *, n_donors: int = 0, number: bool = False, n_modules: int = 3) -> AnnData:
    """Presences of some modules, with localities that do not count, and a disease or an age of cells or donors."""
    adata = adata.copy()
    rng = np.random.default_rng(0)
    n = len(adata.uns["lava"]["probes"])
    adata.uns["lava"]["presences"] = np.clip(rng.uniform(-0.3, 1, (n, n_modules)), 0, 1).astype(np.float32)
    donor = rng.integers(max(n_donors, 1), size=adata.n_obs) if n_donors else np.arange(adata.n_obs)
    adata.obs["donor"] = [f"donor {d:02d}" for d in donor]
    adata.obs["disease"] = np.where(donor % 2, "chronic kidney disease", "none")
    adata.obs["age"] = 30.0 + donor
    arguments = dict(donor_key="donor") if n_donors else {}
    lava.tl.presence_association(adata, "age" if number else "disease", n_permutations=50, **arguments)
    return adata


@pytest.fixture(scope="module")
def of_cells(explained: AnnData) -> AnnData:
    return associated(explained)


@pytest.fixture(scope="module")
def of_donors(explained: AnnData) -> AnnData:
    return associated(explained, n_donors=9)


def test_maps_have_the_colours_of_presence_and_fraction(of_cells: AnnData) -> None:
    found = of_cells.uns["lava"]
    for category, k in (("chronic kidney disease", 0), ("none", 1)):
        fig = lava.pl.association(of_cells, 1, category)
        for values, ax in zip((found["presences"][:, 1], found["locality_fractions"][:, k]), fig.axes, strict=False):
            probes = dots(ax)[1]
            shown = dict(zip(map(tuple, probes.get_offsets().tolist()), probes.get_array().tolist(), strict=True))
            assert shown == pytest.approx(
                dict(zip(map(tuple, found["probes"].tolist()), values.astype(float).tolist(), strict=True))
            )
            assert len(set(by_place(probes).values())) > 3


def test_nine_colours_by_thirds_of_either(of_cells: AnnData) -> None:
    found = of_cells.uns["lava"]
    x, y = found["presences"][:, 1].astype(float), found["locality_fractions"][:, 0]
    counts = x > 0.01
    assert 0 < (~counts).sum() < len(x)
    fig = lava.pl.association(of_cells, 1, "chronic kidney disease")
    _, left_out, there = dots(fig.axes[2])
    np.testing.assert_array_equal(left_out.get_offsets(), found["probes"][~counts])
    (image,) = fig.axes[5].get_images()
    key = np.asarray(image.get_array())
    colors = by_place(there)
    assert len(colors) == counts.sum()
    edges = [np.linspace(v[counts].min(), v[counts].max(), 4)[1:3] for v in (x, y)]
    for at, a, b in zip(found["probes"][counts].tolist(), x[counts], y[counts], strict=True):
        across, up = (int((v >= edge).sum()) for v, edge in zip((a, b), edges, strict=True))
        assert to_hex(colors[tuple(at)]) == to_hex(key[up, across])
    ends = [tick.get_text() for tick in fig.axes[5].get_xticklabels()]
    assert ends == [f"{x[counts].min():.2g}", f"{x[counts].max():.2g}"]


@pytest.mark.parametrize(("style", "sign"), [("default", -1), ("dark_background", 1)])
def test_nine_colours_are_told_apart_also_without_hue(of_cells: AnnData, style: str, sign: int) -> None:
    """Each step towards both goes away from the paper, so that the key reads in print."""
    with plt.style.context(style):
        (image,) = lava.pl.association(of_cells, 1, "none", show=False).axes[5].get_images()
    light = np.asarray(image.get_array()) @ [0.299, 0.587, 0.114]
    assert (sign * np.diff(light, axis=0) > 0.03).all()
    assert (sign * np.diff(light, axis=1) > 0.03).all()


@pytest.mark.parametrize(("style", "paper"), [("default", 1.0), ("dark_background", 0.0)])
def test_what_is_absent_recedes_from_the_paper(of_donors: AnnData, style: str, paper: float) -> None:
    """In every picture of presence, fraction, similarity and co-presence: luminance goes away from the paper as values rise."""
    of_donors = of_donors.copy()
    lava.tl.co_presence(of_donors)
    with plt.style.context(style):
        pictures = [
            (lava.pl.association(of_donors, 1, "none", show=False), (0, 1)),
            (lava.pl.presences(of_donors, show=False), (0,)),
            (lava.pl.modules(of_donors, show=False), (0,)),
            (lava.pl.co_presence(of_donors, show=False), (0,)),
            (lava.pl.locality_similarity(of_donors, 0, show=False), (0,)),
        ]
        for fig, panels in pictures:
            for panel in panels:
                scale = next(cloud for cloud in fig.axes[panel].collections if cloud.get_array() is not None)
                light = scale.get_cmap()(np.linspace(0, 1, 9))[:, :3] @ [0.299, 0.587, 0.114]
                assert (np.diff(np.abs(light - paper)) > 0).all()
                assert 0.05 < abs(light[0] - paper) < 0.35


def test_donors_are_marked_in_the_scatter(of_donors: AnnData) -> None:
    found = of_donors.uns["lava"]
    x, y = found["presences"][:, 2].astype(float), found["locality_fractions"][:, 1]
    counts = x > 0.01
    ax = lava.pl.association(of_donors, 2, "none").axes[6]
    expected = {
        donor: {
            (a, b) for a, b, d in zip(x[counts], y[counts], found["locality_donors"][counts], strict=True) if d == donor
        }
        for donor in set(found["locality_donors"][counts])
    }
    drawn = {cloud.get_label(): set(map(tuple, cloud.get_offsets().tolist())) for cloud in ax.collections}
    assert drawn == expected
    looks = {(to_hex(cloud.get_facecolor()[0]), cloud.get_paths()[0].vertices.tobytes()) for cloud in ax.collections}
    assert len(looks) == len(expected) > 2
    assert {text.get_text() for text in ax.get_legend().get_texts()} == set(expected)
    assert ax.get_legend().get_title().get_text() == "donor"


def test_the_scatter_without_donors(of_cells: AnnData) -> None:
    ax = lava.pl.association(of_cells, 0, "none").axes[6]
    (cloud,) = ax.collections
    x = of_cells.uns["lava"]["presences"][:, 0]
    np.testing.assert_allclose(cloud.get_offsets()[:, 0], x[x > 0.01])
    assert ax.get_legend() is None


@pytest.mark.parametrize("test", ["overlap", "donors"])
def test_tested_and_plain_p_values_are_named(of_cells: AnnData, of_donors: AnnData, test: str) -> None:
    adata = of_cells if test == "overlap" else of_donors
    row = adata.uns["lava"]["presence_association"].iloc[2]
    written = " ".join(text.get_text() for text in texts(lava.pl.association(adata, 1, "chronic kidney disease")))
    for name, label in (("pearson", "Pearson r"), ("spearman", "Spearman ρ")):
        expected = (
            f"{label} = {row[name]:.2f}, p = {row[f'{name}_p']:.2g} ({test}), {row[f'{name}_p_plain']:.2g} (plain)"
        )
        assert expected in written


def test_what_was_not_tested_is_said(explained: AnnData) -> None:
    with pytest.warns(UserWarning, match="Nothing is tested"):
        adata = associated(explained, n_donors=4)
    fig = lava.pl.association(adata, 0, "none")
    assert any("not tested (donors), p = " in text.get_text() for text in texts(fig))
    assert_readable(fig)


@pytest.mark.parametrize("font_size", [7, 18])
@pytest.mark.parametrize("n_donors", [0, 7, 40])
@pytest.mark.parametrize("n_modules", [2, 9])
def test_no_text_meets_another(explained: AnnData, n_modules: int, n_donors: int, font_size: int) -> None:
    plt.rcParams.update({"font.size": font_size, "axes.grid": True})
    adata = associated(explained, n_donors=n_donors, n_modules=n_modules)
    assert_readable(lava.pl.association(adata, n_modules - 1, "chronic kidney disease"))


@pytest.mark.parametrize("stretch", [(1, 20), (20, 1)])
def test_tissues_and_numbers_are_readable(explained: AnnData, stretch: tuple[int, int]) -> None:
    adata = associated(explained, n_donors=7, number=True)
    adata.obsm["spatial"] = adata.obsm["X_umap"] * stretch
    fig = lava.pl.association(adata, 0, "age", basis="spatial")
    assert fig.axes[6].get_ylabel() == "mean"
    assert_readable(fig)


@pytest.mark.parametrize("presence", [0.0, 0.5])
def test_a_module_that_is_nowhere_or_everywhere_alike(of_donors: AnnData, presence: float) -> None:
    adata = of_donors.copy()
    adata.uns["lava"]["presences"][:, 0] = presence
    lava.tl.presence_association(adata, "disease", donor_key="donor", n_permutations=9)
    fig = lava.pl.association(adata, 0, "none")
    assert any("Pearson r undefined" in text.get_text() for text in texts(fig))
    assert_readable(fig)


def test_a_subset_shows_the_localities_it_has(of_donors: AnnData) -> None:
    adata = of_donors[of_donors.obs["region"] == of_donors.obs["region"].iloc[0]].copy()
    n_there = (adata.obsm["lava_localities"].sum(axis=0) > 0).sum()
    axes = lava.pl.association(adata, 0, "none").axes
    for ax in axes[:3]:
        assert sum(len(cloud.get_offsets()) for cloud in dots(ax)[1:]) == n_there < len(adata.uns["lava"]["probes"])


def test_nothing_in_adata_changes(of_donors: AnnData) -> None:
    before = of_donors.copy()
    lava.pl.association(of_donors, 0, "none")
    assert_unchanged(of_donors, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(module=3, category="none"), "module=3, expected a whole number between 0 and 2; change module."),
        (
            dict(module=0, category="AKI"),
            "no category 'AKI', expected one of those there are ('chronic kidney disease',",
        ),
        (dict(module=0, category="none", basis="pca"), "no basis in adata.obsm 'pca'"),
        (dict(module=0, category="none", key="other"), "lava_sc.tl.presence_association; call it first"),
    ],
)
def test_bad_arguments_get_one_sentence(of_cells: AnnData, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        lava.pl.association(of_cells, **arguments)
