from __future__ import annotations

import re

import pytest
from tests.helpers import data

from lava_sc import datasets
from lava_sc.pp._gene_families import FAMILIES, in_families

MEMBERS = {
    "mitochondrial": "MT-CO1 mt-Co1 Mt-co1 MT.CO1 mt.Nd4l MT-ND4L MT-CYB MT-ATP6 MT-RNR1 MT-TL1 mt-Tp MT-CO1-1",
    "ribosomal": (
        "RPL3 RPL3L RPL5 RPL7A RPL7L1 RPL10A RPL10L RPL13A RPL22L1 RPL23A RPL26L1 RPL36A RPL36AL RPL39L RPL41 RPLP0 RPLP1 "
        "RPLP2 RPSA RPSA2 RPS2 RPS3A RPS4X RPS4Y1 RPS4Y2 RPS6 RPS15A RPS17L RPS27 RPS27A RPS27L RPS29 "
        "Rpl13a Rplp0 Rpsa Rps3a1 Rps4l Rps27rt Rps27l Rpl22l1 rpl10 "
        "RPL13P12 RPS10P5 RPS10P7 RPLP0P6 RPSAP58 RPS3AP6 RPL13AP20 RPL7AP6 RPS4XP2 RPL23AP42 RPL36P Rpl36-ps3 Rps2-ps "
        "Rpl27a-ps1 Rpl36.ps3 RPL13A-1 RPL13A.1 RPS18_ENSG00000231500 RPL36A_ENSG00000241343.2"
    ),
    "mitoribosomal": "MRPL1 MRPL12 Mrpl12 MRPL57 MRPS6 MRPS18A MRPS18B Mrps18c MRPS36 MRPL42P5 MRPS18CP2 Mrpl48-ps MRPS17-1",
}
STRANGERS = (
    "RPS6KA1 Rps6ka2 RPS6KA3-AS1 RPS6KB1 RPS6KB2 RPS6KC1 RPS6KL1 RPS19BP1 Rps19bp1 RPL34-DT RPL34-AS1 RPL34.DT RPS10-NUDT3 "
    "RPL36A-HNRNPH2 RPL36A.HNRNPH2 RPL17-C18orf32 RP11-34P13.7 RPA1 RPE RPP30 RPN1 RPRD1A RPTOR RPS RPL RPLP PRPS1 "
    "MRPL20-DT MRPS30-DT MRPL23-AS1 MRPS MRP1 MRPIP MTOR MTRNR2L1 MTND1P23 MTCO1P12 MT1X MT2A MTHFR MTX1 MT MT- "
    "TRMT1 SMT-3 M1_01 FAU UBA52 ACTB nan"
)


@pytest.mark.parametrize("family", MEMBERS)
def test_members_are_found_and_in_no_other_family(family: str) -> None:
    symbols = MEMBERS[family].split()
    assert [s for s, hit in zip(symbols, in_families(symbols, [family]), strict=True) if not hit] == []
    others = [other for other in FAMILIES if other != family]
    assert [s for s, hit in zip(symbols, in_families(symbols, others), strict=True) if hit] == []


@pytest.mark.parametrize("change", [str.upper, str.lower, str.capitalize])
def test_case_does_not_matter(change) -> None:
    symbols = [change(symbol) for names in MEMBERS.values() for symbol in names.split()]
    assert in_families(symbols, list(FAMILIES)).all()


def test_strangers_are_left() -> None:
    symbols = STRANGERS.split()
    assert [s for s, hit in zip(symbols, in_families(symbols, list(FAMILIES)), strict=True) if hit] == []


def test_families_add_up() -> None:
    symbols = ["MT-CO1", "RPL3", "MRPL1", "ACTB"]
    assert in_families(symbols, ["mitochondrial", "mitoribosomal"]).tolist() == [True, False, True, False]
    assert in_families(symbols, []).tolist() == [False] * 4
    assert in_families([], list(FAMILIES)).shape == (0,)


def test_missing_symbols_belong_to_no_family() -> None:
    assert not in_families([None, float("nan"), ""], list(FAMILIES)).any()


def test_unknown_family() -> None:
    with pytest.raises(ValueError, match=r"'ribo'.*mitochondrial, ribosomal, mitoribosomal"):
        in_families(["ACTB"], ["ribo"])


def test_bundled_cells() -> None:
    symbols = datasets.pbmc68k().var_names
    found = set(symbols[in_families(symbols, list(FAMILIES))])
    prefixed = {s for s in symbols if re.match(r"MT-|M?RP[LS]\d|RPLP|RPSA", s)}
    assert found == {s for s in prefixed if "K" not in s and "BP" not in s}
    assert {"RPL11", "RPS8", "MRPL51"} & set(symbols) <= found


def test_real_genes() -> None:
    import anndata as ad

    symbols = ad.read_h5ad(data("pbmc3k/pbmc3k_processed.h5ad"), backed="r").var_names
    found = {family: set(symbols[in_families(symbols, [family])]) for family in FAMILIES}
    assert len(found["mitochondrial"]) == 13  # all proteins of the mitochondrial chromosome
    assert not {s for s in found["ribosomal"] if re.match("RPS6K|RPS19BP", s)}
    # a cytosolic ribosome has 80 proteins, of which UBA52, FAU and a few more have other names or are not expressed here
    assert 75 <= len(found["ribosomal"]) <= 95
    assert 60 <= len(found["mitoribosomal"]) <= 85  # 82 proteins
    rest = {s for s in symbols if s.startswith(("RPL", "RPS", "MRPL", "MRPS", "MT-"))} - set.union(*found.values())
    assert rest == {
        *(f"RPS6K{s}" for s in ("A1", "A2", "A3", "A4", "A5", "B1", "B2", "C1", "L1")),
        "RPS19BP1",
        "RPL34-AS1",
    }
