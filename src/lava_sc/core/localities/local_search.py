"""Moving probes one by one to where their localities lower L itself, which k-means only approximates by its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from lava_sc.core.localities.kd_index import NO_POINT, SLACK, bound_from, collect, leaves_near, make_buffers, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from lava_sc._types import FloatArray
    from lava_sc.core.localities.kd_index import SpatialIndex

_STEP: Final = 0.4  # usual length in radii of the locality, in the first sweep; falls to nothing in the last
_TRIES: Final = 3  # positions for each probe and sweep, one of them where the rim points to
_RIM = 1.3  # points up to this many radii away say where to go
_LEAST_GAIN = 1e-9
_OUTSIDE: Final = (
    0.15  # how far out of its cells a probe may go, 0 where a uniform ball has its centre, 1 without bound
)


def refine_probes(
    index: SpatialIndex,
    in_degree: FloatArray,
    probes: FloatArray,
    n: int,
    n_sweeps: int,
    rng: np.random.Generator,
    on_sweep: Callable[[], object],
) -> FloatArray:
    """Lower L = Σ|deg − loc| (Equation 2) by local moves of the probes.

    In each sweep every probe, in random order, tries a few positions around it and takes the best if that lowers L,
    all other probes held where they are. So L never rises; steps shrink from sweep to sweep. Positions outside of the
    cells, from where a locality is seen from one side only, are not taken, although they would lower L a little more.

    Parameters
    ----------
    index
        The E samples.
    in_degree
        (E,) that the localities are to reproduce, by sample.
    probes
        (ℓ, D_L) start; not changed.
    n
        Locality size.
    n_sweeps
        Number of sweeps.
    rng
        Draws order and steps.
    on_sweep
        Called after each sweep.

    Returns
    -------
    (ℓ, D_L).
    """
    probes = np.array(probes, dtype=np.float64)
    n_probes, dimension = probes.shape
    wanted = in_degree[index.samples] * n_probes
    state = _start(index.arrays, wanted, probes, n)
    centre = n ** (-1 / dimension)  # distance to the nearest of n points of a uniform ball, in radii
    farthest = centre + _OUTSIDE * (1 - centre)
    for sweep in range(n_sweeps):
        steps = rng.standard_normal((n_probes, _TRIES, dimension)) * (1 - sweep / n_sweeps)
        steps *= _STEP / np.sqrt(dimension)
        _sweep(index.arrays, probes, n, state, rng.permutation(n_probes), steps, farthest)
        on_sweep()
    return probes


@njit(nogil=True, cache=True)
def _start(index, wanted, probes, n):  # type: ignore[no-untyped-def]
    """Members and radii of the localities, and in how many more localities each point is wanted."""
    buffers = make_buffers(len(index[0]))
    leaves = np.arange(len(index[2]) - 1)
    members = np.empty((len(probes), n), dtype=np.int64)
    radii = np.empty(len(probes))
    missing = wanted.copy()
    for p in range(len(probes)):
        bound = bound_from(radii[p - 1], probes[p - 1], probes[p]) if p > 0 else np.inf
        radii[p] = nearest(index, leaves, len(leaves), probes[p], NO_POINT, bound, n, buffers)
        _settle(members[p], buffers[0], missing)
    return members, radii, missing


@njit(nogil=True, cache=True)
def _settle(members, near, missing):  # type: ignore[no-untyped-def]
    """Make the first points of ``near`` the members of a locality."""
    for k in range(len(members)):
        members[k] = near[k]
        missing[near[k]] -= 1


@njit(nogil=True, cache=True)
def _cost(missing, members):  # type: ignore[no-untyped-def]
    """Change of ℓ·L when a locality with these members is added."""
    total = 0.0
    for i in members:
        total += abs(missing[i] - 1) - abs(missing[i])
    return total


@njit(nogil=True, cache=True)
def _rim_step(index, leaves, n_near, probe, radius, missing, buffers, step):  # type: ignore[no-untyped-def]
    """Turn a step in place to where the points around the rim of a locality are wanted; 0 if they are nowhere."""
    points, length = index[0], _norm(step)
    near, squared, _ = buffers
    count = collect(index, leaves, n_near, probe, (_RIM * radius) ** 2, near, squared)
    step[:] = 0
    for k in range(count):
        if squared[k] > radius * radius / 2:
            gain = abs(missing[near[k]]) - abs(missing[near[k]] - 1)
            for d in range(len(step)):
                step[d] += gain * (points[near[k], d] - probe[d])
    norm = _norm(step)
    for d in range(len(step)):
        step[d] = step[d] / norm * length if norm > 0 else 0.0


@njit(nogil=True, cache=True)
def _norm(step):  # type: ignore[no-untyped-def]
    total = 0.0
    for d in range(len(step)):
        total += step[d] * step[d]
    return np.sqrt(total)


@njit(nogil=True, cache=True)
def _sweep(index, probes, n, state, order, steps, farthest):  # type: ignore[no-untyped-def]
    """Let each probe try its steps (in radii); the first one's length is that of a step towards the rim."""
    members, radii, missing = state
    buffers = make_buffers(len(index[0]))
    near, squared, _ = buffers
    leaves = np.empty(len(index[2]) - 1, dtype=np.int64)
    best_members, position = np.empty(n, dtype=np.int64), np.empty(probes.shape[1])
    for p in order:
        for i in members[p]:
            missing[i] += 1
        home, radius = probes[p].copy(), radii[p]
        longest = 0.0
        for t in range(steps.shape[1]):
            longest = max(longest, _norm(steps[p, t]))
        reach = (radius * max(_RIM, 1 + 2 * longest)) ** 2
        n_near = leaves_near(index, home, home, reach * SLACK, leaves)
        _rim_step(index, leaves, n_near, home, radius, missing, buffers, steps[p, 0])
        best = _cost(missing, members[p]) - _LEAST_GAIN
        _copy(members[p], best_members)
        for t in range(steps.shape[1]):
            for d in range(len(position)):
                position[d] = home[d] + steps[p, t, d] * radius
            bound = bound_from(radius, home, position)
            distance = nearest(index, leaves, n_near, position, NO_POINT, bound, n, buffers)
            cost = _cost(missing, near[:n])
            if cost < best and np.sqrt(_least(squared, n)) <= farthest * distance:
                best, radii[p] = cost, distance
                _copy(position, probes[p])
                _copy(near, best_members)
        _settle(members[p], best_members, missing)


@njit(nogil=True, cache=True)
def _least(values, n):  # type: ignore[no-untyped-def]
    least = np.inf
    for k in range(n):
        least = min(least, values[k])
    return least


@njit(nogil=True, cache=True)
def _copy(source, target):  # type: ignore[no-untyped-def]
    """As many numbers as the target has. An assignment to a slice takes long to compile, for its error's message."""
    for k in range(len(target)):
        target[k] = source[k]
