"""The rank of this process: started by torchrun, `accelerate launch` or srun, or alone.

RANK, WORLD_SIZE and LOCAL_RANK say so, as torchrun sets them. Processes share the cache folder and
nothing else: no rendezvous, no message. A slice belongs to whoever holds its lock, and the system
lets go of a dead process's locks, so no process waits for a dead one (`bench.run.rows`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import UsageError

NAMES = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}  # and what they are where not set


@dataclass(frozen=True)
class Process:
    """rank: of `count` processes.  local: of those on this machine; says which GPU."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process holds the run folder, prints, and writes the result."""
        return self.rank == 0


def here() -> Process:
    """This process; rank 0 of 1 without these variables. Raises UsageError."""
    given = {
        name: os.environ.get(name, default) for name, default in zip(NAMES, "010", strict=True)
    }
    said = " ".join(f"{name}={value}" for name, value in given.items())
    if not all(value.isdecimal() for value in given.values()):
        raise UsageError(f"{said}: must be whole numbers, as torchrun sets them")
    found = Process(*map(int, given.values()))
    if found.rank >= found.count:
        raise UsageError(f"{said}: RANK must be below WORLD_SIZE")
    return found


@contextlib.contextmanager
def rank_zero_prints() -> Iterator[None]:
    """Standard output of rank 0 alone; every process writes its errors."""
    if here().leads:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def as_the_only_one() -> Iterator[None]:
    """Inside the block accelerate takes this process for the only one."""
    kept = {name: os.environ.pop(name) for name in NAMES if name in os.environ}
    try:
        yield
    finally:
        os.environ |= kept
