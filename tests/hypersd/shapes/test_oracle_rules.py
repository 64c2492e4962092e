"""The oracle's rules without its network: order of things that touch, mirrored truth."""

from __future__ import annotations

import numpy as np
import torch

from hypersd.shapes.oracle import FoundThing, relation_between
from hypersd.shapes.oracle_training import mirrored, targets
from hypersd.shapes.render import draw, hidden_pixels
from hypersd.shapes.scenes import Thing, sample_scene

COUNT = 60


def found(x: float, covered: float) -> FoundThing:
    return FoundThing(Thing("star", "red", "large"), x, 32.0, score=1.0, covered=covered)


def test_a_thing_is_behind_only_where_it_is_seen_to_be_covered():
    assert relation_between(found(20, 0.1), found(38, 0.9)) == "in front of"
    assert relation_between(found(20, 0.9), found(38, 0.1)) == "behind"
    assert relation_between(found(20, 0.3), found(38, 0.2)) == "in front of"  # not contradicted


def test_hidden_pixels_are_what_the_front_thing_takes_away():
    scenes = [sample_scene("train", i) for i in range(200)]
    touching = [hidden_pixels(s) for s in scenes if s.spec.relation == "in front of"]
    assert max(touching) > 20
    assert all(hidden_pixels(s) == 0 for s in scenes if s.spec.relation in ("left of", "above"))


def test_mirrored_truth_is_where_the_mirrored_things_are():
    truth = targets("train", 0, COUNT)
    x = torch.zeros(COUNT, 3, 64, 64)
    for n in range(COUNT):
        x[n, 0] = torch.from_numpy(draw(sample_scene("train", n))[1].any(0))
    flipped, where, values = mirrored(x, truth["where"], truth["values"])
    there = where[..., 0] >= 0
    columns = (where[..., 2] + values[..., 0])[there]  # in cells, from the left
    before = (truth["where"][..., 2] + truth["values"][..., 0])[there]
    assert torch.allclose(columns, 16 - before, atol=1e-4)
    assert np.array_equal(flipped.numpy(), x.numpy()[..., ::-1])
    again = mirrored(flipped, where, values)
    assert torch.equal(again[1], truth["where"])
