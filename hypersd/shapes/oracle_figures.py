"""How right the oracle is on test renders, where everything about a picture is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from hypersd.shapes.oracle import COLUMNS, FoundThing, Oracle, relation_between
from hypersd.shapes.pictures import pictures, texts
from hypersd.shapes.scenes import Scene, sample_scene

HELD_OUT = 30_000  # the first test scene: no prompt list reaches it
NEAR = 6.0  # pixels from a thing's true centre within which it counts as found
ATTRIBUTES = ("shape", "colour", "size")


def figures(oracle: Oracle, count: int = 2000) -> dict[str, float]:
    """Shares judged right on `count` renders: of pictures (whole captions, which are right), and of
    things and relations one by one."""
    found, rows = [], []
    shown, prompts = pictures("test", HELD_OUT, count), texts("test", HELD_OUT, count)
    for i in range(0, count, 100):
        found += oracle.find(shown[i : i + 100])
        rows.append(oracle.judge(shown[i : i + 100], prompts[i : i + 100]))
    means = np.nanmean(np.concatenate(rows), axis=0)
    whole = {f"held_out_{name}": float(m) for name, m in zip(COLUMNS, means, strict=True)}
    scenes = [sample_scene("test", HELD_OUT + i) for i in range(count)]
    single = {f"held_out_each_{name}": share for name, share in one_by_one(found, scenes).items()}
    return {name: round(value, 4) for name, value in {**whole, **single}.items()}


def one_by_one(found: list[list[FoundThing]], scenes: list[Scene]) -> dict[str, float]:
    """Share of true things whose shape, colour and size are read rightly, and of true relations;
    a thing that is not found near its place is wrong in all."""
    right: dict[str, list[bool]] = {name: [] for name in (*ATTRIBUTES, "relation")}
    for picture, scene in zip(found, scenes, strict=True):
        matched = _matched(picture, scene)
        for thing, match in zip(scene.spec.things, matched, strict=True):
            for name in ATTRIBUTES:
                read = match and getattr(match.thing, name)
                right[name].append(read == getattr(thing, name))
        if scene.spec.relation:
            first, second = matched[:2]
            read = first and second and relation_between(first, second)
            right["relation"].append(read == scene.spec.relation)
    return {name: float(np.mean(values)) for name, values in right.items()}


def _matched(found: list[FoundThing], scene: Scene) -> list[Any]:
    """For each thing of a scene what was found in its place, or None; of two things in one place
    (one inside the other) the one of its size."""
    matched: list[Any] = [None] * len(scene.places)
    if found:
        far = cdist([(p.x, p.y) for p in scene.places], [(f.x, f.y) for f in found])
        sizes = [[t.size != f.thing.size for f in found] for t in scene.spec.things]
        for i, j in zip(*linear_sum_assignment(far + NEAR * np.array(sizes)), strict=True):
            if far[i, j] < NEAR:
                matched[i] = found[j]
    return matched
