"""``lava-sc``: parses arguments, calls the package, writes files. Everything it can do, the package can."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

from lava_sc._settings import settings
from lava_sc.cli.arguments import make_parser
from lava_sc.parallel.workers import ClusterError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

_USER_ERROR: Final = 2
_DOES_NOT_FIT: Final = 1
_SHOWN_GENES: Final = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 2 after one line on what was wrong with the input."""
    arguments = make_parser(_demo, _run).parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO if arguments.verbose else logging.WARNING)
    settings.verbosity = "info" if arguments.verbose else "warning"
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return int(arguments.function(arguments) or 0)
    except (ValueError, OSError, ClusterError) as error:
        sys.stderr.write(f"lava-sc: error: {' '.join(str(error).split())}\n")
        return _USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("lava-sc: interrupted; nothing was written\n")
        return 130


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, UserWarning) and not issubclass(category, FutureWarning | DeprecationWarning):
        sys.stderr.write(f"lava-sc: warning: {message}\n")


def _demo(arguments: argparse.Namespace) -> None:
    import lava_sc as lava

    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    print("Explaining the UMAP of 700 peripheral blood cells; the first run compiles for about half a minute ...")
    adata = lava.datasets.pbmc68k()
    lava.tl.explain(adata, n_modules=4, covariates="n_counts")
    _write(adata, folder / "pbmc68k_lava.h5ad")
    page = lava.report(adata, folder / "pbmc68k_lava.html", groupby="bulk_labels", title="700 blood cells, explained")
    _print_modules(adata, "lava")
    print(f"\nData with all results: {folder / 'pbmc68k_lava.h5ad'}\nPage with pictures:    {page}")


def _run(arguments: argparse.Namespace) -> int:
    import lava_sc as lava
    from lava_sc.cli.cluster import connected
    from lava_sc.io.checkpoint import removed_at_the_end
    from lava_sc.stored.fields import has

    if arguments.dry_run:
        return _dry_run(arguments)
    _check_output(arguments.output)
    if arguments.report is not None:
        _check_output(arguments.report)
    adata = _prepared(arguments)
    with removed_at_the_end():
        with connected(arguments.workers, arguments.scheduler) as client:
            lava.tl.explain(
                adata,
                **_what_both_take(arguments, adata),
                gene_symbols=arguments.gene_symbols,
                gamma=arguments.gamma,
                gene_sets=arguments.gene_sets,
                obs_key=arguments.associate,
                donor_key=arguments.donor_key,
                checkpoint=arguments.checkpoint,
                client=client,
                key_added=arguments.key,
            )
        if arguments.name_modules and has(adata, arguments.key, "modules"):
            lava.tl.name_modules(adata, gene_symbols=arguments.gene_symbols, key=arguments.key)
        _write(adata, arguments.output)
    _print_modules(adata, arguments.key, arguments.gene_symbols)
    print(f"\nData with all results: {arguments.output}")
    if arguments.report is not None:
        page = lava.report(
            adata, arguments.report, groupby=arguments.groupby, gene_symbols=arguments.gene_symbols, key=arguments.key
        )
        print(f"Page with pictures:    {page}")
    return 0


def _prepared(arguments: argparse.Namespace) -> AnnData:
    """The cells that were asked for, normalised if that was."""
    from lava_sc.cli import input_cells

    adata = input_cells.read(arguments.input, arguments.only or [], backed=arguments.backed)
    if arguments.normalize:
        input_cells.normalize(adata)
    return adata


def _dry_run(arguments: argparse.Namespace) -> int:
    """Say what the run would take; the exit code tells whether it fits into memory."""
    import lava_sc as lava

    adata = _prepared(arguments)
    table = lava.tl.estimate(adata, **_what_both_take(arguments, adata))
    print(f"{'step':14} {'seconds':>8} {'memory, GB':>11}  size")
    for step, row in table.iterrows():
        print(f"{step:14} {row['seconds']:8.0f} {row['memory_gb']:11.2f}  {row['what']}")
    print(f"\n{table.attrs['available_gb']:.1f} GB of memory are available.")
    return 0 if table["fits"].all() else _DOES_NOT_FIT


def _what_both_take(arguments: argparse.Namespace, adata: AnnData) -> dict[str, Any]:
    """Arguments of ``tl.explain`` that ``tl.estimate`` takes too."""
    from lava_sc.cli.input_cells import with_depth

    places = ("use_rep", "n_neighbors", "overlap", "library_key")
    genes = ("n_top_genes", "layer", "use_raw", "batch_key", "fdr")
    named = {name: getattr(arguments, name) for name in (*places, *genes, "n_modules", "n_runs", "n_jobs")}
    covariates = list(arguments.covariate or [])
    if arguments.adjust_depth:
        covariates.append(with_depth(adata))
    return named | {"covariates": covariates or None, "rng": arguments.seed}


def _check_output(path: Path) -> None:
    """Find out before the work, not after it, that the result cannot be written."""
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or path.is_dir():
        msg = f"Found no way to write {str(path)!r}, expected a file in an existing, writable folder; choose another path."
        raise ValueError(msg)


def _write(adata: AnnData, path: Path) -> None:
    """Write beside the target first, so that a failure leaves no half file and a file can be written over itself."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        adata.write_h5ad(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _print_modules(adata: AnnData, key: str, gene_symbols: str | None = None) -> None:
    from lava_sc._report.summary import describe_modules
    from lava_sc.stored.fields import has, load

    if not has(adata, key, "modules"):
        print(load(adata, key, "n_modules_choice")["reason"])
        return
    modules = describe_modules(adata, key, groups=None, gene_symbols=gene_symbols, n_genes=_SHOWN_GENES)
    total = len(load(adata, key, "presences"))
    for module in modules:
        print(
            f"  module {module.number:<2} in {module.n_localities:>4} of {total} localities: {', '.join(module.genes)}"
        )
