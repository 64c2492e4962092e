"""People of the embedded world: what they rate, and which of two pictures they prefer.

Every function here is the documented truth that an evaluator is trained to recover and is
measured against. A caption never reveals a picture's style, so neither does a prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hypersd.shapes.scenes import Scene

WEIGHTS = {"sharpness": 0.30, "shading": 0.20, "harmony": 0.15, "composition": 0.15, "clean": 0.20}
RATER_NOISE = 0.7  # standard deviation of one rating


def qualities(scene: Scene) -> dict[str, float]:
    """The five qualities of a picture's style, each in [0, 1]."""
    style = scene.style
    return {
        "sharpness": style.sharpness,
        "shading": style.shading,
        "harmony": scene.harmony(),
        "composition": scene.composition(),
        "clean": style.clean,
    }


def rating(scene: Scene) -> float:
    """The noise-free aesthetic rating, 1 to 10: the weighted mean of the qualities, stretched
    about one half by 1.6 and clipped."""
    mean = sum(WEIGHTS[name] * value for name, value in qualities(scene).items())
    return 1.0 + 9.0 * min(1.0, max(0.0, 0.5 + 1.6 * (mean - 0.5)))


def rated(scene: Scene, rng: np.random.Generator) -> float:
    """One person's rating: the noise-free one and a person's noise, 1 to 10."""
    return float(np.clip(rating(scene) + RATER_NOISE * rng.standard_normal(), 1.0, 10.0))


@dataclass(frozen=True)
class Pool:
    """A disjoint pool of raters with a utility of its own, on scenes of its own.

    faithful: weight of how much of the prompt is there.  power: above 1, a nearly right picture
    counts for little more than a wrong one.  style: weights of the qualities.  start: the first
    index of the pool's scenes.  temperature: how noisy one vote is, in units of utility.
    """

    name: str
    faithful: float
    power: float
    style: dict[str, float]
    start: int
    temperature: float = 0.25


POOLS = {
    "hps": Pool("hps", 2.0, 1.0, {"sharpness": 0.8, "shading": 0.5, "clean": 0.2}, 3_000_000),
    "image_reward": Pool("image_reward", 2.4, 2.0, {"sharpness": 0.6, "harmony": 0.5, "clean": 0.3},
                         4_000_000),
    "pick": Pool("pick", 1.4, 0.7, {"shading": 0.6, "composition": 0.6, "sharpness": 0.5},
                 5_000_000),
}  # fmt: skip


def utility(pool: Pool, agreement: float, scene: Scene) -> float:
    """The utility of a picture to a pool: faithful * agreement^power + its weighted qualities.

    agreement: share of the prompt's values (shape, colour, size of each thing, the relation) that
    the picture has, in [0, 1].
    """
    found = qualities(scene)
    style = sum(weight * found[name] for name, weight in pool.style.items())
    return pool.faithful * float(agreement**pool.power) + style


def probability(pool: Pool, first: float, second: float) -> float:
    """How likely a vote goes to the first of two utilities (Bradley-Terry)."""
    return 1.0 / (1.0 + math.exp((second - first) / pool.temperature))
