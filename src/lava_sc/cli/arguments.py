"""Arguments of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

_DESCRIPTION: Final = """\
Explain an embedding of single cells by modules of genes that correlate locally (LAVA).

  lava-sc demo                     explain 700 bundled blood cells; needs no file and no network
  lava-sc run IN.h5ad -o OUT.h5ad  explain your own embedding
"""
_RUN_DESCRIPTION: Final = """\
Explain an embedding stored in an h5ad file.

The file needs log-normalised values in X (or --layer) and an embedding in obsm. Overlapping neighbourhoods
(localities) are placed over the embedding, genes are correlated within each, and the correlations are factorised
into modules, patterns that recur over the map. All results are written to the output file; read it with
anndata.read_h5ad and see `lava_sc.pl.modules`.
"""
_RUN_EXAMPLES: Final = """\
examples:
  lava-sc run pbmc.h5ad -o explained.h5ad --report explained.html
  lava-sc run atlas.h5ad -o explained.h5ad --use-rep X_scVI --n-neighbors 500 --n-modules 12
  lava-sc run atlas.h5ad --backed --dry-run
  lava-sc run pbmc.h5ad -o explained.h5ad --covariate total_counts --gene-sets hallmark.gmt --report explained.html
  lava-sc run cellxgene.h5ad -o explained.h5ad --only tissue=lung --adjust-depth --associate disease --donor-key donor_id
"""


def make_parser(demo_function: Callable[..., Any], run_function: Callable[..., Any]) -> argparse.ArgumentParser:
    """Parser of the command line; ``function`` of its result is the one to call with it."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="lava-sc", description=_DESCRIPTION, formatter_class=raw)
    commands = parser.add_subparsers(title="commands", required=True, metavar="{demo,run}")

    demo = commands.add_parser(
        "demo", help="explain 700 bundled blood cells", description="Explain 700 bundled blood cells."
    )
    demo.add_argument(
        "-o", "--output", type=Path, default=Path("lava_demo"), help="folder to write to (default: %(default)s)"
    )
    demo.set_defaults(function=demo_function)

    run = commands.add_parser(
        "run",
        help="explain an embedding in an h5ad file",
        description=_RUN_DESCRIPTION,
        epilog=_RUN_EXAMPLES,
        formatter_class=raw,
    )
    for add_group in (_add_files, _add_localities, _add_genes, _add_modules, _add_general):
        add_group(run)
    run.set_defaults(function=run_function)
    for command in (demo, run):
        command.add_argument("-v", "--verbose", action="store_true", help="say what each step does")
    return parser


def _add_files(run: argparse.ArgumentParser) -> None:
    files = run.add_argument_group("files")
    files.add_argument("input", type=Path, metavar="IN.h5ad")
    target = files.add_mutually_exclusive_group(required=True)
    target.add_argument("-o", "--output", type=Path, metavar="OUT.h5ad", help="input plus all results")
    target.add_argument(
        "--dry-run",
        action="store_true",
        help="only estimate the time and memory of each step; exits with 1 if it does not fit",
    )
    files.add_argument("--backed", action="store_true", help="leave the matrix in the file and read what is needed")
    files.add_argument(
        "--only",
        action="append",
        type=_condition,
        metavar="COLUMN=VALUE[,VALUE]",
        help="cells to take, by an obs column; can be repeated",
    )
    files.add_argument("--report", type=Path, metavar="OUT.html", help="page with pictures, genes and gene sets")


def _add_localities(run: argparse.ArgumentParser) -> None:
    where = run.add_argument_group("localities")
    where.add_argument(
        "--use-rep", metavar="KEY", help="embedding in obsm (default: that of CELLxGENE, X_umap, X_tsne or X_pca)"
    )
    where.add_argument(
        "--n-neighbors", type=int, metavar="N", help="cells in a locality (default: 4·√cells, 50 to 500)"
    )
    where.add_argument(
        "--overlap",
        type=float,
        default=3.0,
        metavar="O",
        help="localities around a cell, 2 to 20 (default: %(default)g)",
    )
    where.add_argument("--library-key", metavar="COLUMN", help="obs column with sections that no locality may mix")


def _add_genes(run: argparse.ArgumentParser) -> None:
    genes = run.add_argument_group("genes and correlations")
    genes.add_argument("--layer", metavar="NAME", help="layer with log-normalised values (default: X)")
    genes.add_argument("--use-raw", action="store_true", help="take the genes' values from raw instead")
    genes.add_argument(
        "--n-top-genes", type=int, default=1000, metavar="D", help="most variable genes to take (default: %(default)d)"
    )
    genes.add_argument(
        "--gene-symbols",
        metavar="COLUMN",
        help="var column with symbols (default: var_names; feature_name for Ensembl ids)",
    )
    genes.add_argument(
        "--covariate",
        action="append",
        metavar="COLUMN",
        help="obs column to take out, e.g. total_counts; can be repeated",
    )
    genes.add_argument(
        "--normalize",
        action="store_true",
        help="X holds counts: take log1p of counts per 10,000 (the matrix has to be in memory)",
    )
    genes.add_argument(
        "--adjust-depth",
        action="store_true",
        help="take the cells' sums of counts out, as a covariate; they are added up from raw or X if obs has none",
    )
    genes.add_argument("--batch-key", metavar="COLUMN", help="obs column with donors or batches to correlate within")
    genes.add_argument(
        "--fdr",
        type=_fdr,
        default=0.05,
        metavar="Q",
        help="false-discovery rate within a locality, or 'none' to keep all (default: 0.05)",
    )


def _add_modules(run: argparse.ArgumentParser) -> None:
    modules = run.add_argument_group("modules")
    modules.add_argument(
        "--n-modules", type=int, metavar="M", help="number of modules (default: chosen by what holds in other cells)"
    )
    modules.add_argument(
        "--gamma",
        type=_gamma,
        default=1e-4,
        metavar="G",
        help="weight of the absolute error, or 'auto': as much as it takes to keep overestimation low (default: 1e-4)",
    )
    modules.add_argument(
        "--n-runs", type=int, default=10, metavar="R", help="runs, the best of which is kept (default: %(default)d)"
    )
    modules.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="keep the state of the runs here, so that the same command goes on if it was killed; needs --n-modules",
    )
    modules.add_argument(
        "--gene-sets",
        type=Path,
        action="append",
        metavar="SETS.gmt",
        help="test modules for these gene sets; can be repeated",
    )
    modules.add_argument("--name-modules", action="store_true", help="name modules by their strongest genes")
    modules.add_argument(
        "--associate",
        metavar="COLUMN",
        help="obs column to hold against presences, e.g. disease, tested with --donor-key",
    )
    modules.add_argument("--donor-key", metavar="COLUMN", help="obs column with the donor of each cell")
    modules.add_argument(
        "--groupby",
        metavar="COLUMN",
        help="obs column to describe modules by in the report (default: cell_type if there)",
    )


def _add_general(run: argparse.ArgumentParser) -> None:
    general = run.add_argument_group("general")
    general.add_argument("--key", default="lava", metavar="KEY", help="name of the results (default: %(default)s)")
    general.add_argument(
        "--seed", type=int, default=0, metavar="S", help="same seed, same result (default: %(default)d)"
    )
    general.add_argument("--n-jobs", type=int, metavar="J", help="threads (default: all cores)")
    workers = general.add_mutually_exclusive_group()
    workers.add_argument(
        "--workers", type=_at_least_one, metavar="N", help="work in N processes of one thread each; needs lava-sc[dask]"
    )
    workers.add_argument(
        "--scheduler", metavar="ADDRESS", help="work at the workers of this Dask scheduler, e.g. tcp://127.0.0.1:8786"
    )


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        msg = f"expected at least 1, found {text}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _fdr(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def _gamma(text: str) -> float | Literal["auto"]:
    return "auto" if text == "auto" else float(text)


def _condition(text: str) -> tuple[str, list[str]]:
    column, equals, values = text.partition("=")
    if not (column and equals and values):
        msg = f"expected COLUMN=VALUE, found {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return column, values.split(",")
