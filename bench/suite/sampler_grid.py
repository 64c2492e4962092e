"""One contestant of a suite drawn by a grid of samplers: `task=sensitivity`.

The recommended cell is the contestant as the suite has it. Every other cell changes its scheduler,
eta (of TCD's scheduler, which alone has one here), shift (of a rectified flow) or guidance;
weights, steps, prompts and seeds are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from bench.errors import UsageError, nearest
from bench.statistics.families import Primary
from bench.statistics.metrics import spec
from bench.suite.contestant import OWN_STEPS, ContestantSettings
from bench.suite.sampling import Sampling
from bench.suite.suite import Suite
from hypersd.validation import OneOrMore, Text

CUT = ("lcm", "tcd")  # schedulers that cut their steps from a grid of `original_steps`
GridScheduler = Literal["ddim", "dpm", "euler", "euler_ancestral", "lcm", "tcd",
                        "flow_euler", "flow_heun", "flow_lcm"]  # fmt: skip
FLOWS = ("flow_euler", "flow_heun", "flow_lcm")  # of rectified flows, which have no spacing
ORIGINAL = 50  # of these, where nothing is said


@dataclass(frozen=True)
class Grid:
    """The words of `task=sensitivity`. contestant: its name in the suite.  The others: the values
    that are crossed, beside the contestant's own settings.  shifts: of flows; None: their own."""

    contestant: Text = ""
    schedulers: OneOrMore[GridScheduler] = ("ddim", "euler", "lcm", "tcd")
    etas: OneOrMore[Annotated[float, Field(ge=0, le=1)]] = (0.0, 0.3, 1.0)
    guidances: OneOrMore[Annotated[float, Field(ge=1, le=100)]] = (1.0, 2.0)
    shifts: OneOrMore[Annotated[float, Field(gt=0, le=100)]] | None = None


def gridded(suite: Suite, grid: Grid) -> Suite:
    """The suite of one contestant and its cells, and of the teacher where a metric needs it.

    Primary are the comparisons of the recommended cell with every other.  Raises UsageError for a
    contestant that the suite lacks, or that no sampler draws.
    """
    own = [one for one in suite.contestants if one.key == grid.contestant]
    drawn = list(dict.fromkeys(one.key for one in suite.contestants if one.steps))
    if not grid.contestant:
        raise UsageError(f"contestant=NAME is missing; there are {', '.join(drawn)}")
    if not own or not all(one.steps for one in own):
        raise UsageError(f"contestant={grid.contestant}: {nearest(grid.contestant, drawn)}")
    if grid.shifts and not set(FLOWS) & set(grid.schedulers):
        raise UsageError(f"shifts: go with a rectified flow; valid: schedulers=[{','.join(FLOWS)}]")
    teacher = [
        one for one in suite.contestants
        if one.method == "teacher" and one not in own and _needs_teacher(suite)
    ]  # fmt: skip
    found = [cell for one in own for cell in (one, *_cells(one, grid))]
    return replace(
        suite,
        name=f"{suite.name}-sensitivity-{grid.contestant}",
        title=f"{suite.title}: {grid.contestant} by sampler",
        contestants=(*found, *teacher),
        claims=(),
        primary=(Primary((own[0].method,), suite.metrics),) if suite.metrics else (),
    )


def _needs_teacher(suite: Suite) -> bool:
    return any(spec(name).paired or spec(name).of_teacher for name in suite.metrics)


def _cells(one: ContestantSettings, grid: Grid) -> Iterator[ContestantSettings]:
    """Its cells but the recommended one."""
    known = {(_effective(one.sampling), one.own.scheduler_config.get("shift"))}
    for sampling, shift in _crossed(one, grid):
        if (_effective(sampling), shift) not in known:
            known.add((_effective(sampling), shift))
            name = f"{one.key}.{named(sampling, shift)}"
            call = replace(one.own, guidance=sampling.guidance)
            if shift is not None:
                call = replace(call, scheduler_config=_shifted(one, sampling, shift))
            yield replace(one, key=name, method=name, sampling=sampling, own=call, assumed=False)


def _crossed(one: ContestantSettings, grid: Grid) -> Iterator[tuple[Sampling, float | None]]:
    """Every sampling, of a flow with each shift; None is the contestant's own."""
    for sampling in _samplings(one, grid):
        is_flow = sampling.scheduler in FLOWS
        own = one.own.scheduler_config.get("shift") if is_flow else None
        for shift in (grid.shifts or (own,)) if is_flow else (None,):
            yield sampling, shift


def _shifted(one: ContestantSettings, sampling: Sampling, shift: float) -> dict[str, Any]:
    """The scheduler's configuration with a shift of its own, for all sizes of pictures."""
    fixed = {"use_dynamic_shifting": False} if sampling.scheduler != "flow_heun" else {}
    return {**one.own.scheduler_config, "shift": shift, **fixed}


def _samplings(one: ContestantSettings, grid: Grid) -> Iterator[Sampling]:
    own = one.sampling
    for scheduler in grid.schedulers:
        if scheduler in CUT and max(one.steps) > (own.original_steps or ORIGINAL):
            continue
        takes_steps = scheduler not in OWN_STEPS
        for eta in grid.etas if scheduler == "tcd" else (0.0,):
            for guidance in grid.guidances:
                yield Sampling(
                    scheduler=scheduler,
                    spacing=None if scheduler in (*CUT, *FLOWS) else "trailing",
                    timesteps=own.timesteps if takes_steps else None,
                    eta=eta,
                    guidance=guidance,
                    prediction_type=own.prediction_type,
                    original_steps=own.original_steps if scheduler in CUT else None,
                )


def _effective(sampling: Sampling) -> Sampling:
    """The sampling without what its scheduler does not read."""
    if sampling.scheduler not in CUT:
        return replace(sampling, original_steps=None, eta=0.0)
    return replace(sampling, spacing=None)


def named(sampling: Sampling, shift: float | None = None) -> str:
    """ "tcd-eta0.3-g2", "flow_euler-shift3": a cell's name."""
    parts = [sampling.scheduler or "base"]
    parts += [f"eta{sampling.eta:g}"] if sampling.scheduler == "tcd" else []
    parts += [f"shift{shift:g}"] if shift is not None else []
    parts += [f"g{sampling.guidance:g}"] if sampling.guidance != 1 else []
    return "-".join(parts)
