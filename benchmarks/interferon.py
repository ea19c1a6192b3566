"""Whether the interferon response is found as a module in Kang's cells, and what two donors allow to say of it.

    python benchmarks/interferon.py

Control and IFN-β cells of two lupus donors (1,556 cells, the 1,267 genes of the file), localities of 150 cells, overlap 6, eight
modules. For each module: its genes, its best Hallmark set of the two interferon responses, in how many localities it is
present, the fraction of stimulated cells there and elsewhere, and the correlation of presence and fraction over all localities.
Then what `tl.presence_association` says with localities and with donors as the unit.

Data are read from the folder LAVA_SC_DATA.
"""

from __future__ import annotations

import argparse
import warnings

import anndata
import numpy as np
from amf_data import data_folder
from scipy.stats import pearsonr

import lava_sc as lava

SETS = ("HALLMARK_INTERFERON_ALPHA_RESPONSE", "HALLMARK_INTERFERON_GAMMA_RESPONSE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", type=int, default=8)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    adata = anndata.read_h5ad(data_folder() / "kang_ifnb/kang_muscat_donors_1556.h5ad")
    lava.tl.localities(adata, use_rep="umap", n_neighbors=150, overlap=6)
    lava.tl.locality_corr(adata, mask_var=[True] * adata.n_vars)
    lava.tl.amf(adata, arguments.modules)
    lava.tl.module_genes(adata)
    lava.tl.ora(adata, data_folder() / "genesets/h.all.v7.5.1.symbols.gmt")
    table_of_modules(adata)
    table_of_tests(adata)


def table_of_modules(adata: anndata.AnnData) -> None:
    found = adata.uns["lava"]
    stimulated = (adata.obs["condition"] == "stim").to_numpy(dtype=float)
    membership = adata.obsm["lava_localities"]
    fraction = membership.T @ stimulated / np.asarray(membership.sum(axis=0)).ravel()
    print(f"{len(fraction)} localities, {fraction.mean():.2f} of their cells stimulated")
    print(
        "module  genes  best of the interferon sets             p   adjusted  present  stimulated there  elsewhere      r"
    )
    for m in range(found["presences"].shape[1]):
        genes = found["module_genes"].query("module == @m")["gene"]
        sets = found["ora"].query("module == @m and gene_set in @SETS").sort_values("pvalue").iloc[0]
        presence = found["presences"][:, m]
        there = presence > 0.01
        elsewhere = fraction[~there].mean() if not there.all() else np.nan
        print(
            f"{m:6d}  {len(genes):5d}  {sets['gene_set'].removeprefix('HALLMARK_'):32s} {sets['pvalue']:9.1e} {sets['pvalue_adj']:9.1e}"
            f"  {there.sum():7d}  {fraction[there].mean():16.2f}  {elsewhere:9.2f}  {pearsonr(presence, fraction).statistic:5.2f}"
        )
        print("        " + ", ".join(name.partition("_ENSG")[0] for name in genes.head(10)))


def table_of_tests(adata: anndata.AnnData) -> None:
    lava.tl.presence_association(adata, "condition")
    table = adata.uns["lava"]["presence_association"].query("category == 'stim'")
    print("over the localities in which a module is present, without donors:")
    print(
        table[["module", "n_localities", "pearson", "pearson_p_plain", "pearson_p", "pearson_p_adj"]].to_string(
            index=False
        )
    )
    try:
        lava.tl.presence_association(adata, "condition", donor_key="donor_id")
    except ValueError as error:
        print(f"with donors: {error}")


if __name__ == "__main__":
    main()
