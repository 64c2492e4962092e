"""The cache: whole entries or none, and damage that is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.errors import UsageError
from bench.results.keys import Key, needed, ordered, slice_key, slices
from bench.results.lossless import Encoder, packed, unpacked
from bench.run.cache import Cache

IMAGES = {"images": np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.write("images", "abc", IMAGES, {"batch": 2})
    entry = cache.read("images", "abc")
    assert entry is not None and entry.record == {"batch": 2}
    np.testing.assert_array_equal(entry.arrays["images"], IMAGES["images"])
    assert cache.read("images", "other") is None and cache.damaged == []


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 33), st.integers(1, 33), st.just(3)).flatmap(
        lambda shape: arrays(np.uint8, shape)
    ),
    st.integers(1, 5),
)
def test_every_pixel_comes_back(pictures: np.ndarray, batch: int) -> None:
    with Encoder() as encoder:
        for start in range(0, len(pictures), batch):
            encoder.add(pictures[start : start + batch])
        files = encoder.files()
    np.testing.assert_array_equal(unpacked(packed("images", files))["images"], pictures)


def test_noise_and_packed_pictures_are_read_from_an_entry(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 70, 50, 3), dtype=np.uint8)
    with Encoder() as encoder:
        encoder.add(noise)
        files = encoder.files()
    cache = Cache(tmp_path)
    cache.write("images", "abc", packed("images", files), {"batch": 3})
    entry = cache.read("images", "abc")
    assert entry is not None and entry.record == {"batch": 3} and list(entry.arrays) == ["images"]
    np.testing.assert_array_equal(entry.arrays["images"], noise)


def test_a_packed_picture_that_is_none_is_damage(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.write("images", "abc", packed("images", [b"no picture"]), {})
    assert cache.read("images", "abc") is None
    assert "not a WebP file" in cache.damaged[0]


def test_entries_with_raw_pixels_are_read(tmp_path: Path) -> None:
    """As caches of before hold them."""
    cache = Cache(tmp_path)
    cache.write("images", "abc", IMAGES, {"batch": 2})
    entry = cache.read("images", "abc")
    assert entry is not None and list(entry.arrays) == ["images"]
    np.testing.assert_array_equal(entry.arrays["images"], IMAGES["images"])


def test_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.write("images", "abc", IMAGES, {"batch": 2})
    path = cache.path("images", "abc")
    whole = path.read_bytes()
    for place in range(8, len(whole), 29):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(bytes(damaged))
        assert cache.read("images", "abc") is None, f"byte {place}"
        assert not path.exists()
    path.write_bytes(whole[:-1])
    assert cache.read("images", "abc") is None
    assert all(name.startswith("images/abc.safetensors") for name in cache.damaged)


def test_a_write_that_dies_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader sees the old entry until the new one is whole on the disk."""
    cache = Cache(tmp_path)
    cache.write("images", "abc", IMAGES, {"batch": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        cache.write("images", "abc", IMAGES, {"batch": 2})
    entry = cache.read("images", "abc")
    assert entry is not None and entry.record == {"batch": 1}
    assert len(list(tmp_path.rglob("*writing*"))) == 0


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cache="):
        Cache(tmp_path / "file").write("images", "abc", IMAGES, {})


def test_slices_do_not_depend_on_the_limit() -> None:
    keys = ordered([f"prompt {i}" for i in range(250)], [0, 1])
    pieces = slices(keys)
    assert [len(piece) for piece in pieces] == [100] * 5
    assert pieces[2][50] == Key(0, "prompt 0", 1)
    assert needed(pieces, 10) == [pieces[0], pieces[2]]
    assert slices(ordered([f"prompt {i}" for i in range(250)], [0]))[:2] == pieces[:2]


def test_a_slice_is_named_by_its_contestant_prompts_seeds_and_size() -> None:
    keys = ordered(["a", "b"], [0])
    names = {
        slice_key("x", keys, 64),
        slice_key("y", keys, 64),
        slice_key("x", keys, 32),
        slice_key("x", keys[::-1], 64),
        slice_key("x", ordered(["a", "b"], [1]), 64),
    }
    assert len(names) == 5
    assert slice_key("x", [Key(7, "a", 0), Key(9, "b", 0)], 64) in names
