"""Pure time of the networks in a process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Networks:
    """seconds: within any module's call, counted once however deep.  calls: outermost ones."""

    seconds: float = 0.0
    calls: int = 0


@contextmanager
def timed(clock: Callable[[], float] = time.perf_counter) -> Iterator[Networks]:
    """Counts the time within torch modules while it is open; waits for a GPU after each.

    Costs an inner module's call about 0.2 microseconds.
    """
    import torch

    found, depth = Networks(), 0
    call = torch.nn.Module.__call__

    def counted(module: torch.nn.Module, *arguments: Any, **named: Any) -> Any:
        nonlocal depth
        if depth:
            return call(module, *arguments, **named)
        depth, began = 1, clock()
        try:
            out = call(module, *arguments, **named)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            return out
        finally:
            depth = 0
            found.seconds += clock() - began
            found.calls += 1

    torch.nn.Module.__call__ = counted  # type: ignore[method-assign]
    try:
        yield found
    finally:
        torch.nn.Module.__call__ = call  # type: ignore[method-assign]
