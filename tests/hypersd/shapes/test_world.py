"""Scenes, pictures, masks and captions: what they promise, checked from the pixels."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from hypersd.shapes import captions
from hypersd.shapes.render import OUTLINES, draw
from hypersd.shapes.scenes import (
    BACKGROUNDS,
    COLOURS,
    RELATIONS,
    SHAPES,
    SIZES,
    SPLITS,
    Spec,
    Thing,
    sample_scene,
)

COUNT = 400


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene("train", i) for i in range(COUNT)]


def test_world_is_as_rich_as_promised(scenes):
    assert len(SHAPES) >= 8
    assert len(COLOURS) >= 8
    assert len(SIZES) >= 3
    assert len(BACKGROUNDS) >= 6
    assert {s.spec.relation for s in scenes} == {None, *RELATIONS}
    assert {len(s.spec.things) for s in scenes} == {1, 2, 3}
    assert set(OUTLINES) == set(SHAPES)


def test_same_index_gives_same_scene_caption_and_masks():
    # Golden digests: another machine or version must give these very scenes.
    said, masks = hashlib.sha256(), hashlib.sha256()
    for i in range(50):
        scene = sample_scene("test", i)
        said.update(f"{scene} {captions.caption(scene)}".encode())
        masks.update(np.packbits(draw(scene)[1]).tobytes())
    assert said.hexdigest()[:16] == "c9e59915aedc3412"
    assert masks.hexdigest()[:16] == "4d5c8717dab90aab"


def test_splits_share_no_attribute_combination():
    keys = {split: {sample_scene(split, i).spec.key() for i in range(600)} for split in SPLITS}
    assert not keys["train"] & keys["test"]
    assert not keys["train"] & keys["validation"]
    assert not keys["validation"] & keys["test"]


def test_a_relation_said_the_other_way_round_is_the_same_combination():
    a, b = Thing("star", "red", "small"), Thing("ring", "blue", "large")
    assert Spec((a, b), "left of").key() == Spec((b, a), "right of").key()
    assert Spec((a, b), "above").key() == Spec((b, a), "below").key()
    assert Spec((a, b), "inside").key() != Spec((b, a), "inside").key()


def test_masks_show_where_a_thing_was_painted(scenes):
    """A pixel well inside a mask has about the thing's colour, lit or not, whatever the style."""
    off = []
    for scene in scenes[:150]:
        picture, masks = draw(scene)
        for thing, mask in zip(scene.spec.things, masks, strict=True):
            inner = mask.copy()
            for axis in (0, 1):
                for shift in (1, -1):
                    inner &= np.roll(mask, shift, axis)
            if inner.sum() >= 12:
                mean = picture[inner].astype(float).mean(axis=0)
                off.append(np.abs(mean - COLOURS[thing.colour]).max())
    assert len(off) > 200
    assert np.quantile(off, 0.95) < 45


def test_relations_hold_in_the_masks(scenes):
    for scene in scenes:
        relation = scene.spec.relation
        if relation is None:
            continue
        _, masks = draw(scene)
        rows, cols = np.mgrid[0:64, 0:64]
        (ya, xa), (yb, xb) = ((rows[m].mean(), cols[m].mean()) for m in masks)
        if relation in ("left of", "right of"):
            assert (xa < xb) == (relation == "left of")
            assert abs(xa - xb) > abs(ya - yb)
        elif relation in ("above", "below"):
            assert (ya < yb) == (relation == "above")
            assert abs(ya - yb) > abs(xa - xb)
        else:
            assert masks.any(axis=(1, 2)).all()
        assert not (masks[0] & masks[1]).any()


def test_a_larger_size_is_larger_in_pixels(scenes):
    areas = {(t, s): [] for t in SHAPES for s in SIZES}
    for scene in scenes:
        if len(scene.spec.things) == 1 or scene.spec.relation in ("left of", "right of", "above"):
            for thing, mask in zip(scene.spec.things, draw(scene)[1], strict=True):
                areas[thing.shape, thing.size].append(mask.sum())
    for shape in SHAPES:
        small, medium, large = (np.mean(areas[shape, size]) for size in SIZES)
        assert small * 1.5 < medium < large / 1.5


def test_captions_read_back(scenes):
    for i, scene in enumerate(scenes):
        text = captions.caption(scene, with_style=i % 2 == 1)
        assert captions.parse(text) == scene.spec
        assert "background" not in text or f" on a {scene.background} background" in text
    assert captions.parse("a photo of a dog") is None


def test_captions_of_training_pictures_say_nothing_of_style(scenes):
    words = {word for pair in captions.STYLE_WORDS.values() for word in pair}
    for scene in scenes:
        assert not words & set(captions.caption(scene).replace(",", "").split())


@pytest.mark.parametrize("attribute", ["shape", "colour", "size", "relation", "count"])
def test_variants_differ_in_one_value(scenes, attribute):
    seen = 0
    for scene in scenes[:120]:
        for other in captions.variants(scene.spec, attribute):
            seen += 1
            assert other != scene.spec
            assert (other.relation != scene.spec.relation) == (attribute == "relation")
            assert (len(other.things) != len(scene.spec.things)) == (attribute == "count")
            if attribute in ("shape", "colour", "size"):
                names = {"shape", "colour", "size"} - {attribute}
                for a, b in zip(other.things, scene.spec.things, strict=True):
                    assert all(getattr(a, n) == getattr(b, n) for n in names)
    assert seen > 20


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="splits are"):
        sample_scene("dev", 0)


def test_harmony_is_seen_in_the_picture(scenes):
    """It is one at a complement or a neighbour, zero between them, and the mean over things."""
    from dataclasses import replace

    red = next(s for s in scenes if {t.colour for t in s.spec.things} == {"red"})
    at = {turn: replace(red, background_hue=(359 + turn) % 360).harmony() for turn in range(360)}
    assert at[180] == at[30] == at[330] == 1.0
    assert at[105] == at[255] == min(at.values()) == 0.0
    both = next(s for s in scenes if {t.colour for t in s.spec.things} >= {"red", "cyan"})
    alone = [replace(both, spec=Spec((thing,))).harmony() for thing in both.spec.things]
    assert both.harmony() == pytest.approx(np.mean(alone))
