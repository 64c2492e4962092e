"""The options of a run on the command line, beside its suite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

Pictures = Literal["all", "shown", "none"]  # of a run that are kept; each keeps less than the last
PICTURES: tuple[Pictures, ...] = get_args(Pictures)


def is_shown(pictures: Pictures, number: int) -> bool:
    """Whether a row's slice of this number is kept for people to see."""
    return pictures == "all" or (pictures == "shown" and number == 0)


@dataclass(frozen=True)
class RunOptions:
    """How a suite is run.

    out: run folder, None for the default.  limit: only the first so many prompts.  images: a folder
    of images, one more contestant.  precomputed: use shipped features where identities match.
    batch: images at once, None for the device's default.  best_batch: searched for, for each
    contestant (`batch=best`).  export: a folder that receives this run's features as shipped ones.
    random_weights: networks of the real shapes without their weights, for seconds and memory alone.
    compiled: UNets run through torch.compile (`compile=`).  references: made by the run itself, of
    photographs ("real") or of the teacher's own pictures too.  pictures: kept in the cache and the
    run folder: all, those of each row's first slice, or none.  rounds: in which contestants are
    timed in turns; 0: not at all, None: by what they take.  offload: bases that draw by their own
    call are on the device in parts (`bench.contestants.own_resident`).  call: the call in Python
    that asks for the run; empty where a command line does.
    """

    out: Path | None = None
    cache: Path = Path("runs/cache")
    limit: Annotated[int, Field(ge=2)] | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    images: Path | None = None
    precomputed: bool = True
    batch: Annotated[int, Field(ge=1, le=4096)] | None = None
    best_batch: bool = False
    export: Path | None = None
    random_weights: bool = False
    references: Literal["real", "teacher"] = "real"
    pictures: Pictures = "all"
    rounds: Annotated[int, Field(ge=0, le=99)] | None = None
    compiled: Annotated[bool, Field(alias="compile")] = False
    offload: Literal["none", "model", "sequential"] = "none"
    call: str = ""


@dataclass(frozen=True)
class PlanOptions:
    """How a plan is asked for. strict: it is an error where something is missing."""

    strict: bool = False
