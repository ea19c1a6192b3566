"""The steps: what each stores, and on which it builds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Container = Literal["obs", "obsm", "varm", "uns"]
StepName = Literal[
    "locality_size",
    "localities",
    "locality_corr",
    "gene_set_scores",
    "choose_n_modules",
    "amf",
    "project",
    "finetune_presences",
    "co_presence",
    "presence_association",
    "stability",
    "factorisations",
    "module_evidence",
    "module_genes",
    "ora",
    "name_modules",
]
FieldName = Literal[
    "locality_size",
    "probes",
    "placement",
    "localities",
    "in_degree",
    "locality_in_degree",
    "genes",
    "defined",
    "C",
    "evidence",
    "gene_set_summary",
    "gene_set_scores",
    "cell_gene_set_scores",
    "n_modules",
    "n_modules_choice",
    "n_modules_runs",
    "modules",
    "presences",
    "runs",
    "cell_presences",
    "gene_weights",
    "gamma_sweep",
    "preservation",
    "preservation_localities",
    "presences_amf",
    "finetuning",
    "co_presence",
    "module_entropy",
    "presence_association",
    "locality_fractions",
    "locality_donors",
    "stability",
    "stability_cosines",
    "factorisations",
    "module_evidence",
    "gene_q",
    "module_genes",
    "ora",
    "ora_control",
    "module_names",
]


@dataclass(frozen=True)
class Step:
    """A call that stores results: its function, the step it builds on, where its fields live, and which may be missing.

    It may also replace fields of the step that it builds on. Steps that read these build on the one that may replace them,
    whether it has been run or not, so that they are dropped when it does.
    """

    function: str
    builds_on: StepName | None
    fields: Mapping[FieldName, Container] = field(default_factory=dict)
    optional: frozenset[FieldName] = frozenset()
    replaces: frozenset[FieldName] = frozenset()


STEPS: Final[Mapping[StepName, Step]] = {
    "locality_size": Step("lava_sc.tl.locality_size", builds_on=None, fields={"locality_size": "uns"}),
    "localities": Step(
        "lava_sc.tl.localities",
        builds_on=None,
        fields={
            "probes": "uns",
            "placement": "uns",
            "localities": "obsm",
            "in_degree": "obs",
            "locality_in_degree": "obs",
        },
    ),
    "locality_corr": Step(
        "lava_sc.tl.locality_corr",
        builds_on="localities",
        fields={"genes": "uns", "defined": "uns", "C": "uns", "evidence": "uns"},
    ),
    "gene_set_scores": Step(
        "lava_sc.tl.score_gene_sets",
        builds_on="locality_corr",
        fields={"gene_set_summary": "uns", "gene_set_scores": "uns", "cell_gene_set_scores": "obsm"},
    ),
    "choose_n_modules": Step(
        "lava_sc.tl.choose_n_modules",
        builds_on="locality_corr",
        fields={"n_modules": "uns", "n_modules_choice": "uns", "n_modules_runs": "uns"},
        optional=frozenset({"n_modules_runs"}),
    ),
    "amf": Step(
        "lava_sc.tl.amf",
        builds_on="locality_corr",
        fields={
            "modules": "uns",
            "presences": "uns",
            "runs": "uns",
            "cell_presences": "obsm",
            "gene_weights": "varm",
            "gamma_sweep": "uns",
        },
        optional=frozenset({"gamma_sweep"}),
    ),
    "project": Step(
        "lava_sc.tl.project", builds_on="amf", fields={"preservation": "uns", "preservation_localities": "uns"}
    ),
    "finetune_presences": Step(
        "lava_sc.tl.finetune_presences",
        builds_on="amf",
        fields={"presences_amf": "uns", "finetuning": "uns"},
        replaces=frozenset({"presences", "cell_presences"}),
    ),
    "co_presence": Step(
        "lava_sc.tl.co_presence",
        builds_on="finetune_presences",
        fields={"co_presence": "uns", "module_entropy": "uns"},
    ),
    "presence_association": Step(
        "lava_sc.tl.presence_association",
        builds_on="finetune_presences",
        fields={"presence_association": "uns", "locality_fractions": "uns", "locality_donors": "uns"},
        optional=frozenset({"locality_donors"}),
    ),
    "stability": Step("lava_sc.tl.stability", builds_on="amf", fields={"stability": "uns", "stability_cosines": "uns"}),
    "factorisations": Step(
        "lava_sc.tl.compare_factorisations", builds_on="locality_corr", fields={"factorisations": "uns"}
    ),
    "module_evidence": Step(
        "lava_sc.tl.module_evidence",
        builds_on="finetune_presences",
        fields={"module_evidence": "uns", "gene_q": "varm"},
    ),
    "module_genes": Step("lava_sc.tl.module_genes", builds_on="amf", fields={"module_genes": "uns"}),
    "ora": Step("lava_sc.tl.ora", builds_on="module_genes", fields={"ora": "uns", "ora_control": "uns"}),
    "name_modules": Step("lava_sc.tl.name_modules", builds_on="module_genes", fields={"module_names": "uns"}),
}
