"""`bench.metric`: every metric of the world for torchmetrics, and in its hands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics import Metric, MetricCollection

import bench
from bench import metrics
from bench.metrics.extractor import extractor
from hypersd.shapes import captions, render, scenes

N = 24
SCENES = [scenes.sample_scene("test", index) for index in range(N)]
PROMPTS = [captions.caption(scene) for scene in SCENES]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Real pictures of the prompts [N, 64, 64, 3]."""
    return np.stack([np.asarray(render.render(scene), np.uint8) for scene in SCENES])


@pytest.mark.parametrize("name", ["clip", "hps", "aesthetic", "faithful", "fid", "kid"])
def test_it_is_the_suites_metric(name: str, images: NDArray[np.uint8]) -> None:
    made = bench.metric(name)
    assert isinstance(made, Metric)
    for first in range(0, N, 10):
        made.update(images[first : first + 10], PROMPTS[first : first + 10])
    judge = metrics.metric(name)
    features = extractor(judge.extractor)(images, PROMPTS)
    whole = judge.evaluate(features, PROMPTS, list(range(N)))
    assert float(made.compute()) == pytest.approx(whole.value, rel=1e-4)
    assert made.higher_is_better is judge.higher_is_better
    assert made.result().n == N


def test_pictures_in_torchs_forms_are_the_same(images: NDArray[np.uint8]) -> None:
    values = []
    first = torch.from_numpy(images).permute(0, 3, 1, 2)
    for form in (images, first, first.float() / 255, first.double().permute(0, 2, 3, 1) / 255):
        made = bench.metric("clip")
        made.update(form, PROMPTS)
        values.append(float(made.compute()))
    assert values == [values[0]] * 4


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(2, 64, 64), r"need pictures \[B, H, W, 3\]"),
        (torch.zeros(2, 4, 64, 64), r"need pictures \[B, H, W, 3\]"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.int64), "need uint8, or floats from 0 to 1"),
        (torch.full((2, 3, 64, 64), -0.5), "floats from 0 to 1, .* from -0.5"),
        (torch.full((2, 3, 64, 64), torch.nan), "floats from 0 to 1"),
    ],
)
def test_anything_else_is_refused(images: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bench.metric("clip").update(images, PROMPTS[:2])


def test_a_collection_takes_several(images: NDArray[np.uint8]) -> None:
    both = MetricCollection({"clip": bench.metric("clip"), "faithful": bench.metric("faithful")})
    both.update(images, PROMPTS)
    found = both.compute()
    assert 50 < float(found["clip"]) <= 100 and float(found["faithful"]) > 0.8
    both.reset()
    again = both.clone()
    again.update(images[:4], PROMPTS[:4])
    assert set(again.compute()) == {"clip", "faithful"}
