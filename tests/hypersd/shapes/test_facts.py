"""Facts of a spec: equal for two ways to say one picture, different for another picture."""

from __future__ import annotations

import numpy as np

from hypersd.shapes import captions
from hypersd.shapes.facts import COUNT, facts
from hypersd.shapes.scenes import Spec, Thing, sample_scene

A = Thing("star", "red", "small")
B = Thing("ring", "blue", "large")
C = Thing("cross", "cyan", "small")


def test_the_order_of_saying_changes_no_fact():
    for one, other in (("left of", "right of"), ("above", "below")):
        assert (facts(Spec((A, B), one)) == facts(Spec((B, A), other))).all()
    assert (facts(Spec((A, B, C))) == facts(Spec((C, A, B)))).all()


def test_every_other_value_is_another_fact():
    for index in range(200):
        spec = sample_scene("train", index).spec
        mine = facts(spec)
        assert mine.shape == (COUNT,)
        for name in ("shape", "colour", "size", "relation", "count"):
            for other in captions.variants(spec, name):
                if other.key() != spec.key():
                    assert np.abs(facts(other) - mine).sum() >= 2, (spec, other)
