"""Point sets on which searches and placements go wrong: ties of every kind, and densities that differ by far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LAYOUTS = [
    "random",
    "some duplicates",
    "more duplicates than neighbours",
    "one point",
    "lattice",
    "lattice with rounding",
    "collinear",
    "clusters far apart",
    "far from the origin",
]


def layout(name: str, n_samples: int, dimension: int) -> Floats:
    """Samples, (n_samples, dimension)."""
    rng = np.random.default_rng([n_samples, dimension])
    normal, shape = rng.normal(size=(n_samples, dimension)), (n_samples, dimension)
    return {
        "random": normal,
        "some duplicates": normal[rng.integers(0, -(-n_samples // 5), n_samples)],
        "more duplicates than neighbours": normal[rng.integers(0, min(3, n_samples), n_samples)],
        "one point": np.full(shape, 0.1),
        "lattice": rng.integers(0, 4, shape) * 0.25,
        "lattice with rounding": rng.integers(0, 4, shape) * 0.1,
        "collinear": np.outer(rng.permutation(n_samples) // 2, rng.integers(1, 4, dimension)).astype(float),
        "clusters far apart": normal + 1e6 * rng.integers(0, 4, (n_samples, 1)),
        "far from the origin": normal * 1e-3 + 1e5,
    }[name]
