"""Memory that is left to this process, and refusal of what would not fit into it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

GB: Final = 1e9  # bytes
#: One part in so many of the free memory, or of a worker's, is what values that are read or sent may take at once.
SHARE_OF_MEMORY: Final = 4
_UNLIMITED: Final = 2**60  # version 1 of cgroups says no limit by a huge one


def memory_available(root: Path = Path("/")) -> int:
    """Bytes that this process can still take: what the machine has, or what its limits and control groups (containers, jobs) leave.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are mounted.
    """
    import psutil

    return min([psutil.virtual_memory().available, *_left_in_groups(root), *_left_to_process(root)])


def _left_to_process(root: Path) -> list[int]:
    """Bytes left below each limit that was set for this process (``ulimit -v`` and ``-d``); none where there is no ``/proc``."""
    try:
        import resource

        status = (root / "proc/self/status").read_text(encoding="utf-8")
    except (ImportError, OSError):
        return []
    sizes = dict(line.split(":", 1) for line in status.splitlines())
    limits = {
        "VmSize": resource.getrlimit(resource.RLIMIT_AS)[0],
        "VmData": resource.getrlimit(resource.RLIMIT_DATA)[0],
    }
    return [
        max(limit - 1024 * int(sizes[name].split()[0]), 0)
        for name, limit in limits.items()
        if limit != resource.RLIM_INFINITY
    ]


def _left_in_groups(root: Path) -> list[int]:
    """Bytes left below the limit of each control group that this process is in and that has one.

    Files in the page cache that were not used lately count as used there, but are dropped when memory runs short.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    left: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.strip("/")
        left += [room for folder in (group, *group.parents) if (room := _left(folder, *names)) is not None]
    return left


def _left(folder: Path, limit_name: str, usage_name: str, cache_name: str) -> int | None:
    try:
        limit, usage = ((folder / name).read_text(encoding="ascii").strip() for name in (limit_name, usage_name))
        stat = dict(
            line.split(maxsplit=1) for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        )
    except OSError:
        return None
    if limit == "max" or int(limit) >= _UNLIMITED:
        return None
    return max(int(limit) - int(usage) + int(stat.get(cache_name, 0)), 0)


def refuse_what_does_not_fit(what: str, n_bytes: float, remedy: str) -> None:
    """Refuse work that is expected to take more memory than is available.

    Parameters
    ----------
    what
        The work, such as "the correlations of 1,350 localities".
    n_bytes
        What it is expected to take.
    remedy
        What to change, such as "lower n_top_genes".

    Raises
    ------
    ValueError
        If that is more than there is.
    """
    available = memory_available()
    if n_bytes > available:
        raise ValueError(too_large(what, n_bytes, available, remedy))


def too_large(what: str, n_bytes: float, available: float, remedy: str) -> str:
    """The sentence that says so."""
    return (
        f"Found that {what} would take about {n_bytes / GB:.2g} GB of memory, expected no more than the {available / GB:.2g} "
        f"GB that are available; {remedy}."
    )
