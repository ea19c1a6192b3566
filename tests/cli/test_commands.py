from __future__ import annotations

import subprocess
import sys
import warnings

import anndata as ad
import numpy as np
import pytest
from tests import helpers

import lava_sc as lava
from lava_sc.cli.commands import main
from lava_sc.parallel import memory


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "small.h5ad"
    lava.datasets.planted(n_cells=400, n_modules=2, n_genes=80).write_h5ad(path)
    return path


FAST = ["--n-modules", "2", "--n-runs", "1", "--n-neighbors", "80"]


def one_error_line(capsys) -> str:
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 1
    assert lines[0].startswith("lava-sc: error: ")
    return lines[0]


def test_run_writes_what_explain_stores(small_file, tmp_path, capsys):
    out, page = tmp_path / "out.h5ad", tmp_path / "out.html"
    assert main(["run", str(small_file), "-o", str(out), "--report", str(page), *FAST]) == 0
    expected = ad.read_h5ad(small_file)
    lava.tl.explain(expected, 2, n_runs=1, n_neighbors=80)
    written = ad.read_h5ad(out)
    np.testing.assert_array_equal(written.uns["lava"]["presences"], expected.uns["lava"]["presences"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5ad", "out.html"]
    printed = capsys.readouterr().out
    assert str(out) in printed
    assert str(page) in printed
    assert "module 0" in printed
    assert "M1_" in printed


def test_run_can_replace_its_input(small_file, tmp_path):
    path = tmp_path / "same.h5ad"
    path.write_bytes(small_file.read_bytes())
    assert main(["run", str(path), "-o", str(path), *FAST]) == 0
    assert "lava" in ad.read_h5ad(path).uns


def test_arguments_reach_the_steps(small_file, tmp_path):
    out = tmp_path / "out.h5ad"
    arguments = ["--key", "k", "--fdr", "none", "--covariate", "total_counts", "--seed", "3", "--gamma", "0.5"]
    assert main(["run", str(small_file), "-o", str(out), "--overlap", "4", "--use-rep", "umap", *arguments, *FAST]) == 0
    params = ad.read_h5ad(out).uns["k"]["params"]
    assert params["localities"]["overlap"] == 4
    assert params["localities"]["n_neighbors"] == 80
    assert params["localities"]["rng"] == 3
    assert "fdr" not in params["locality_corr"]
    assert params["locality_corr"]["covariates"].tolist() == ["total_counts"]
    assert params["amf"]["gamma"] == 0.5


def test_gamma_can_be_searched(small_file, tmp_path):
    out = tmp_path / "out.h5ad"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "With no gamma")  # whether one is found is the business of tl.amf
        assert main(["run", str(small_file), "-o", str(out), "--gamma", "auto", *FAST]) == 0
    results = ad.read_h5ad(out).uns["lava"]
    assert results["params"]["amf"]["gamma"] == "auto"
    assert results["gamma_sweep"]["chosen"].sum() == 1


def test_dry_run_estimates_and_writes_nothing(small_file, tmp_path, capsys):
    before = small_file.read_bytes()
    assert main(["run", str(small_file), "--dry-run", *FAST]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[1:5]] == [
        "localities",
        "select_genes",
        "locality_corr",
        "amf",
    ]
    assert "GB of memory are available" in printed
    assert small_file.read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_dry_run_of_what_does_not_fit_warns_and_fails(small_file, capsys, monkeypatch):
    monkeypatch.setattr(memory, "memory_available", lambda: 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["run", str(small_file), "--dry-run", *FAST]) == 1
    assert "warning: Found that" in capsys.readouterr().err


def test_backed_gives_the_same_file(small_file, tmp_path, capsys):
    for name, options in {"plain": [], "backed": ["--backed"]}.items():
        assert main(["run", str(small_file), "-o", str(tmp_path / f"{name}.h5ad"), *options, *FAST]) == 0
    plain, backed = (ad.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("plain", "backed"))
    helpers.assert_same(helpers.contents(backed), helpers.contents(plain))


def broken(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)


def text(path):
    path.write_text("gene,cell\n1,2\n")


@pytest.mark.parametrize("make", [broken, text], ids=["corrupt", "not-h5ad"])
def test_unreadable_input_is_one_line(make, tmp_path, capsys):
    path = tmp_path / "in.h5ad"
    make(path)
    assert main(["run", str(path), "-o", str(tmp_path / "out.h5ad")]) == 2
    assert "no readable h5ad" in one_error_line(capsys)


def test_h5_file_of_something_else_is_one_line(tmp_path, capsys):
    import h5py

    path = tmp_path / "in.h5ad"
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["run", str(path), "-o", str(tmp_path / "out.h5ad")]) == 2
    assert one_error_line(capsys)


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_unwritable_output_is_found_before_the_work(option, small_file, tmp_path, capsys):
    nowhere = str(tmp_path / "missing" / "file")
    outputs = {"-o": str(tmp_path / "out.h5ad"), option: nowhere}
    arguments = [word for pair in outputs.items() for word in pair]
    assert main(["run", str(small_file), *arguments]) == 2
    line = one_error_line(capsys)
    assert "missing" in line
    assert "write" in line
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--use-rep", "X_scVI"], "X_scVI"),
        (["--n-neighbors", "2"], "n_neighbors=2"),
        (["--n-modules", "1000"], "n_modules=1000"),
        (["--covariate", "nothing"], "nothing"),
        (["--gene-sets", "nowhere.gmt", *FAST], "nowhere.gmt"),
    ],
)
def test_bad_arguments_are_one_line_and_write_nothing(arguments, found, small_file, tmp_path, capsys):
    out = tmp_path / "out.h5ad"
    assert main(["run", str(small_file), "-o", str(out), *arguments]) == 2
    assert found in one_error_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file(small_file, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out.h5ad"
    out.write_text("kept")

    def full_disk(self, path):
        path.write_text("half")
        msg = "No space left on device"
        raise OSError(msg)

    monkeypatch.setattr(ad.AnnData, "write_h5ad", full_disk)
    assert main(["run", str(small_file), "-o", str(out), *FAST]) == 2
    assert "No space left" in one_error_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5ad"]
    assert out.read_text() == "kept"


@pytest.mark.parametrize("command", [[], ["run"], ["demo"]], ids=["top", "run", "demo"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "lava-sc" in capsys.readouterr().out


def test_missing_output_is_a_usage_error(small_file, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(small_file)])
    assert stopped.value.code == 2
    assert "-o" in capsys.readouterr().err


@pytest.mark.slow
def test_demo_in_a_process_of_its_own(tmp_path):
    command = [sys.executable, "-m", "lava_sc", "demo", "-o", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in (tmp_path / "demo").iterdir()} == {".h5ad", ".html"}
    assert "Traceback" not in done.stderr
    assert "warning" not in done.stderr
    assert "CD74" in done.stdout  # the invariant chain of MHC class II, strongest gene of antigen-presenting cells
