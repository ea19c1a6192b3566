"""Comparisons between repetitions as what is stored."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lava_sc.core.stability.reruns import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lava_sc.core.stability.reruns import Comparison


def table_of_cosines(found: Sequence[Comparison]) -> pd.DataFrame:
    """A row for each comparison: the parts in their order, null data last."""
    found = sorted(found, key=lambda one: (PARTS.index(one.part), one.overlap, one.null, one.module))
    return _table([asdict(one) for one in found])


def table_of_medians(found: Sequence[Comparison]) -> pd.DataFrame:
    """A row for each module, and for averages, in each part and overlap; modules of null data are alike, so all count."""
    data: dict[tuple[int, float, int], list[float]] = {}
    null: dict[tuple[int, float, bool], list[float]] = {}
    for one in found:
        part = PARTS.index(one.part)
        if one.null:
            null.setdefault((part, one.overlap, one.module < 0), []).append(one.cosine)
        else:
            data.setdefault((part, one.overlap, one.module), []).append(one.cosine)
    rows: list[dict[str, object]] = []
    for (part, overlap, module), values in sorted(data.items()):
        median, low, high = _interval(values)
        null_median, _, null_high = _interval(null[part, overlap, module < 0])
        row: dict[str, object] = {
            "part": PARTS[part],
            "overlap": overlap,
            "module": module,
            "cosine": median,
            "low": low,
            "high": high,
        }
        rows.append(row | {"n": len(values), "null_cosine": null_median, "null_high": null_high})
    return _table(rows)


def _table(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, index=pd.Index([str(i) for i in range(len(rows))]))


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 2.5 and 97.5 %."""
    low, median, high = np.quantile(values, [0.025, 0.5, 0.975])
    return float(median), float(low), float(high)
