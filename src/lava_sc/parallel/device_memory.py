"""Memory of torch's devices: how much to take at once, and how to tell that it ran out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

# More keeps no device busier
_MEMORY: Final = 1 << 28
_SHARE_OF_FREE: Final = 4


def memory_bound(device: torch.device) -> int:
    """Bytes of temporary arrays to take at once."""
    if device.type != "cuda":
        return _MEMORY
    return min(_MEMORY, int(torch.cuda.mem_get_info(device)[0]) // _SHARE_OF_FREE)


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out; Apple's devices and the CPU have no exception of their own for it."""
    found = isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in str(error) or "allocate memory" in str(error))
    )
    return bool(found)


def memory_error(device: str, remedy: str, wanted: str) -> MemoryError:
    """Error where memory ran out, with a remedy."""
    return MemoryError(f"Found too little free memory on {device!r}, expected enough for {wanted}; {remedy}.")


@contextmanager
def too_little_memory(device: str, remedy: str, wanted: str) -> Iterator[None]:
    """Turn the errors of torch into that of :func:`memory_error`."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise memory_error(device, remedy, wanted) from error
