"""Names of gene sets as one would write them, and names that are all different."""

from __future__ import annotations

import pytest

from lava_sc.stored.module_naming import distinct, of_genes, of_sets, readable


@pytest.mark.parametrize(
    ("gene_set", "name"),
    [
        ("HALLMARK_INTERFERON_ALPHA_RESPONSE", "Interferon alpha response"),
        ("HALLMARK_TNFA_SIGNALING_VIA_NFKB", "TNFA signaling via NFKB"),
        ("HALLMARK_MYC_TARGETS_V1", "MYC targets V1"),
        ("HALLMARK_G2M_CHECKPOINT", "G2M checkpoint"),
        ("GOBP_MRNA_PROCESSING", "mRNA processing"),
        ("GOMF_RNA_BINDING", "RNA binding"),
        ("KEGG_MEDICUS_REFERENCE_TRANSLATION_INITIATION", "Translation initiation"),
        ("REACTOME_NEUTROPHIL_DEGRANULATION", "Neutrophil degranulation"),
        ("Cellular Response To Interferon (GO:0071357)", "Cellular Response To Interferon"),
        ("Neutrophil Degranulation R-HSA-6798695", "Neutrophil Degranulation"),
        ("my own_set", "my own set"),
        ("CD8", "CD8"),
        ("first", "first"),
        ("HALLMARK_", "HALLMARK_"),
        ("a" * 60, "a" * 39 + "…"),
        ("REACTOME_" + "LONG_" * 20 + "END", "Long long long long long long long long…"),
    ],
)
def test_readable(gene_set: str, name: str) -> None:
    assert readable(gene_set) == name


def test_candidates_grow_by_a_gene() -> None:
    genes = ["A", "B", "C", "D"]
    assert of_genes(genes, 2) == ["A · B", "A · B · C", "A · B · C · D"]
    assert of_genes(genes, 9) == ["A · B · C · D"]
    assert of_genes([], 3) == ["no genes"]
    assert of_sets("HALLMARK_HYPOXIA", genes[:2]) == ["Hypoxia", "Hypoxia · A", "Hypoxia · A · B"]
    assert of_sets("HALLMARK_HYPOXIA", []) == ["Hypoxia"]


@pytest.mark.parametrize(
    ("candidates", "fixed", "expected"),
    [
        ([["a"], ["b"]], [], ["a", "b"]),
        ([["a", "a b"], ["a", "a c"], ["d"]], [], ["a b", "a c", "d"]),
        ([["a", "a b", "a b c"], ["a", "a b", "a b d"]], [], ["a b c", "a b d"]),
        ([["a"], ["a"], ["a", "a b"]], [], ["a (1)", "a (2)", "a b"]),
        ([["a", "a b"], ["a"]], [1], ["a b", "a"]),
        ([["a"], ["a"]], [1], ["a (1)", "a"]),
        ([["a"], ["a"], ["a (1)"]], [2], ["a (2)", "a (3)", "a (1)"]),
        ([], [], []),
    ],
)
def test_distinct(candidates: list[list[str]], fixed: list[int], expected: list[str]) -> None:
    assert distinct(candidates, fixed) == expected
