"""A simulated panel with a known utility, to check that the figures recover it.

The utility of a picture is its HPS score in this run, standardised over the study's pictures:

    u = SCALE * (hps - mean) / sd;   rater r sees u + taste[r, contestant], taste ~ N(0, TASTE^2)

and prefers the picture for which utility plus standard Gumbel noise is higher (so votes without
ties are Bradley-Terry per prompt). Closer than TIE is a tie; two pictures below BAD are both bad.
Every eighth rater is careless and votes at random. Its raters and votes are marked as simulated in
the database and everywhere they are shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.results.run_folder import RunFolder
from bench.study.desk import Desk
from bench.study.material import Material
from bench.study.store import CHOICES, SIMULATED, Rater, Trial
from bench.study.strengths import fit

METRIC = "hps"
SCALE, TASTE, TIE, BAD, SLIP = 1.5, 0.3, 0.3, -2.0, 0.02
CARELESS = 8  # every so many-th rater
DRAWS = 200_000  # for the truth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """The expected result of the panel's votes, careless raters left out.

    strengths: by contestant, mean 0.  shares: by "a|b", of votes for a, ties half.
    """

    strengths: dict[str, float]
    shares: dict[str, float]


def utilities(material: Material) -> dict[tuple[str, int], float]:
    """Utility by (contestant, prompt). Raises UsageError where the run has no HPS scores."""
    found: dict[tuple[str, int], float] = {}
    for name in material.contestants:
        arrays = RunFolder(material.run).scores(name)
        if METRIC not in arrays or f"{METRIC}.prompts" not in arrays:
            raise UsageError(
                f"simulate: the panel's utility is the {METRIC} score, which the run's scores of "
                f"{name} do not have"
            )
        pairs = zip(arrays[f"{METRIC}.prompts"], arrays[METRIC], strict=True)
        found |= {(name, int(i)): float(x) for i, x in pairs if int(i) in material.prompts}
    values = np.array(list(found.values()))
    spread = float(values.std()) or 1.0
    return {key: SCALE * (x - float(values.mean())) / spread for key, x in found.items()}


def run(desk: Desk, votes: int, raters: int, seed: int = 0) -> int:
    """Let the panel vote until each rater has given `votes` votes; returns how many were added."""
    material, store = desk.material, desk.store
    worth = utilities(material)
    store.note("panel", json.dumps(_json(truth(material, worth, seed))))
    people = [store.rater(f"{SIMULATED} {n + 1:02d}", simulated=True) for n in range(raters)]
    rng = np.random.default_rng(seed)
    taste = TASTE * rng.normal(size=(raters, len(material.contestants)))
    added = 0
    for _ in range(votes):
        for number, rater in enumerate(people):
            if len(store.done(rater)) < votes:
                added += _one(desk, rater, number, worth, taste[number], rng)
    return added


def _one(
    desk: Desk, rater: Rater, number: int, worth: dict[tuple[str, int], float], taste: Array,
    rng: np.random.Generator,
) -> int:  # fmt: skip
    queue = desk.queue(rater, 1)
    if not queue:
        return 0
    careless = number % CARELESS == CARELESS - 1
    choice = _choice(desk.material, queue[0], worth, taste, rng, careless)
    return desk.store.vote(rater, queue[0].id, choice, float(rng.lognormal(1.0, 0.5)))


def _choice(
    material: Material, trial: Trial, worth: dict[tuple[str, int], float], taste: Array,
    rng: np.random.Generator, careless: bool,
) -> str:  # fmt: skip
    if careless or rng.random() < SLIP:
        return CHOICES[int(rng.integers(2 if careless else 4))]
    if trial.kind == "check":
        return "right" if trial.flipped else "left"
    names = material.contestants
    left, right = (worth[n, trial.prompt] + taste[names.index(n)] for n in trial.sides)
    if max(left, right) < BAD:
        return "both_bad"
    gap = left - right + float(rng.logistic())
    return "tie" if abs(gap) < TIE else "left" if gap > 0 else "right"


def truth(material: Material, worth: dict[tuple[str, int], float], seed: int = 0) -> Truth:
    """Expected shares over the study's prompts and new raters, by simulation, and the strengths
    that fit them best when every pair is asked equally often."""
    names, size = material.contestants, len(material.contestants)
    rng = np.random.default_rng([seed, 1])
    wins, shares = np.zeros((size, size)), {}
    for a, b in material.pairs:
        u, v = (np.array([worth[names[k], p] for p in material.prompts]) for k in (a, b))
        shares[f"{names[a]}|{names[b]}"] = p = _expected(u, v, rng)
        wins[a, b], wins[b, a] = p, 1 - p
    values = fit(wins)
    return Truth(dict(zip(names, map(float, values), strict=True)), shares)


def _expected(first: Array, second: Array, rng: np.random.Generator) -> float:
    """Share of votes for the first, over prompts ([P] utilities each), tastes and noise."""
    each = max(1, DRAWS // len(first))
    tastes = TASTE * rng.normal(size=(2, each, len(first)))
    left, right = first + tastes[0], second + tastes[1]
    gap = left - right + rng.logistic(size=left.shape)
    even = (np.abs(gap) < TIE) | (np.maximum(left, right) < BAD)
    share = np.where(even, 0.5, gap > 0).mean()
    return float((1 - SLIP) * share + SLIP * 0.5)


def _json(found: Truth) -> dict[str, dict[str, float]]:
    return {"strengths": found.strengths, "shares": found.shares}
