"""The plan of timing: which contestants, how many images at once, how many rounds, and its seconds.

Seconds of drawing also depend on what else the machine does: one contestant is drawn in a quiet
minute, the next beside a compilation. So after all is drawn the contestants draw a few images again
in turns, and seconds per image are medians over these rounds.

    rounds    7; where an image takes more than 5 seconds 3, more than 20 none, unless the run
              draws at least 140 images of each, of which 7 are 5 %; none with `compile=true`, as a
              network is compiled anew each time that it is put in
    batch     the run's, halved until the rounds take a second a row or 5 % of the drawing; by
              guesses and not by what was measured, so that two runs of a suite have the same
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.run import costs
from bench.run.hardware import pictures_at_once

if TYPE_CHECKING:
    from bench.run.plan import Plan
    from bench.run.rows_left import Planned

ROUNDS = 7  # of which the smallest and the largest bound a median with 98 %
LEAST = 3  # the smallest number of rounds for a median
SHARE = 0.05  # of the drawing
A_ROW = 1.0  # seconds of a row that are always spent
LOAD = {"world": 0.1, "cuda": 3.0, "mps": 10.0, "cpu": 30.0}  # seconds to put in other weights; of
# SDXL's size guesses
DEAR, TOO_DEAR = 5.0, 20.0  # seconds of an image: from here on 3 rounds, none


@dataclass(frozen=True)
class Turns:
    """rounds: by row, of those that are timed.  batch: images at once.  seconds: of all of it, as
    expected.  forced: asked for by `rounds=`, so nothing that was kept is used."""

    rounds: dict[str, int]
    batch: int
    seconds: float
    forced: bool = False


def turns(plan: Plan) -> Turns:
    """The rows that a plan times: every sound row that a sampler draws."""
    given, kind = plan.options.rounds, plan.device_kind
    guessed = costs.guessed(plan.suite, kind)
    drawn = [one for one in plan.rows if one.nfe is not None and not one.fault]
    rows = {one.name: one for one in drawn}  # in the suite's order: a contestant's steps together
    cost = {name: seconds_of_an_image(plan, one, plan.costs) for name, one in rows.items()}
    if given is None:
        rounds = {name: _rounds(seconds, len(plan.keys)) for name, seconds in cost.items()}
    else:
        rounds = dict.fromkeys(rows, given)
    if plan.options.compiled and given is None:
        rounds = {}
    rounds = {name: count for name, count in rounds.items() if count}
    batch = plan.options.batch or pictures_at_once(kind, plan.suite.size)
    if given is None and rounds:
        guesses = {name: seconds_of_an_image(plan, rows[name], guessed) for name in rounds}
        made = sum(guesses[name] for name in rounds if rows[name].shipped is None)
        budget = max(A_ROW * len(rounds), SHARE * made * len(plan.keys))
        batch = _batch(batch, budget, ROUNDS * sum(guesses.values()))
    seconds = batch * sum((count + warm_up(count)) * cost[name] for name, count in rounds.items())
    loads = {rows[name].row.settings.key: count + warm_up(count) for name, count in rounds.items()}
    seconds += sum(loads.values()) * LOAD[kind if plan.suite.published else "world"]
    return Turns(rounds, batch, seconds, given is not None)


def seconds_of_an_image(plan: Plan, planned: Planned, known: Mapping[str, float]) -> float:
    """Expected seconds of an image. known: seconds by stage."""
    assert planned.nfe is not None
    scale = (planned.row.size(plan.suite.size) / plan.suite.size) ** 2
    return (planned.nfe.count * known["unet"] + known["vae"]) * scale


def warm_up(rounds: int) -> int:
    """Warm-up rounds; none for expensive images, which were drawn just before."""
    return int(rounds >= ROUNDS)


def _rounds(seconds: float, images: int) -> int:
    if seconds <= DEAR or SHARE * images >= ROUNDS:
        return ROUNDS
    return LEAST if seconds <= TOO_DEAR else 0


def _batch(most: int, budget: float, of_one: float) -> int:
    """At most so many images, halved until they fit into the budget; at least one."""
    while most > 1 and most * of_one > budget:
        most //= 2
    return most
