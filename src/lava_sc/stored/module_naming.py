"""Names of modules out of names of genes and gene sets."""

from __future__ import annotations

import re
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

BETWEEN: Final = " · "
_NOTHING: Final = "no genes"
_LONGEST: Final = 40  # letters of a gene set
#: How MSigDB begins the names of its sets.
_COLLECTION: Final = re.compile(
    r"^(HALLMARK|GOBP|GOCC|GOMF|GO|KEGG_MEDICUS_REFERENCE|KEGG_MEDICUS|KEGG_LEGACY|KEGG|REACTOME|BIOCARTA|PID|WP|HP)_"
)
#: How Enrichr ends them.
_IDENTIFIER: Final = re.compile(r"\s*\(GO:\d+\)$|\s+R-HSA-\d+$|\s+WP\d+$|\s+hsa\d+$")
#: Words that stay in capitals, beside those with a digit.
_CAPITALS: Final = re.compile(
    r"AKT|AMPK|ATP|BCR|DNA|ECM|ER|ERK|GPCR|GTP|HDL|HIV|IFN|IGF|IL|JAK|KRAS|LDL|MAPK|MHC|MTOR|MYC|NADH|NFKB|NK|NLR|RNA|ROS"
    r"|TCA|TCR|TGF|TLR|TNFA?|UPR|UV|VEGF"
)
_MIXED: Final = {"MRNA": "mRNA", "RRNA": "rRNA", "TRNA": "tRNA", "NCRNA": "ncRNA", "MIRNA": "miRNA"}


def of_genes(genes: Sequence[str], n_genes: int) -> list[str]:
    """Names out of the strongest genes, each longer by a gene than the one before."""
    return [BETWEEN.join(genes[:n]) for n in range(min(n_genes, len(genes)), len(genes) + 1)] if genes else [_NOTHING]


def of_sets(gene_set: str, genes: Sequence[str]) -> list[str]:
    """Names out of a gene set, then with the strongest genes as well."""
    name = readable(gene_set)
    return [BETWEEN.join([name, *genes[:n]]) for n in range(len(genes) + 1)]


def distinct(candidates: Sequence[Sequence[str]], fixed: Collection[int] = ()) -> list[str]:
    """The first candidate of each, or a later one where that is another's name, too; numbered when nothing else helps.

    Parameters
    ----------
    candidates
        Names of each module, the best first, at least one.
    fixed
        Modules that keep their first, which are different.
    """
    used, chosen = [0] * len(candidates), [names[0] for names in candidates]
    while doubled := {name for name, times in Counter(chosen).items() if times > 1}:
        longer = [i for i, name in enumerate(chosen) if name in doubled and used[i] + 1 < len(candidates[i])]
        longer = [i for i in longer if i not in fixed]
        if not longer:
            break
        for i in longer:
            used[i] += 1
            chosen[i] = candidates[i][used[i]]
    there = set(chosen)
    for i, name in enumerate(chosen):
        if name in doubled and i not in fixed:
            chosen[i] = next(new for k in count(1) if (new := f"{name} ({k})") not in there)
            there.add(chosen[i])
    return chosen


def readable(gene_set: str) -> str:
    """The name of a gene set as one would write it: no collection before it, no identifier behind, no capitals throughout."""
    name = _IDENTIFIER.sub("", gene_set.strip())
    if name.isupper() and "_" in name:
        words = _COLLECTION.sub("", name).replace("_", " ").split()
        words = [_MIXED.get(word, word if _stays(word) else word.lower()) for word in words]
        words[:1] = [word if not word.islower() else word.capitalize() for word in words[:1]]
        name = " ".join(words)
    name = " ".join(name.replace("_", " ").split())
    return _cut(name) or gene_set


def _stays(word: str) -> bool:
    return _CAPITALS.fullmatch(word) is not None or any(letter.isdigit() for letter in word)


def _cut(name: str) -> str:
    """At the last space that keeps it short."""
    if len(name) <= _LONGEST:
        return name
    short, _, _ = name[:_LONGEST].rpartition(" ")
    return f"{short or name[: _LONGEST - 1]}…"
