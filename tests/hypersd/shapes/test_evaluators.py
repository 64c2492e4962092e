"""The shipped evaluators on held-out renders: the Frechet features rise with damage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench.metrics.frechet import frechet
from bench.metrics.references import ReferenceStatistics
from hypersd.shapes.render import render
from hypersd.shapes.scenes import sample_scene

COUNT = 400
MANY = 1500  # of few pictures most of the distance is bias, which a slight blur makes smaller


@pytest.fixture(scope="module")
def measure():
    from hypersd.shapes.evaluators import load_features

    network = load_features()

    def features(images):
        with torch.inference_mode():
            parts = [network(images[i : i + 100]) for i in range(0, len(images), 100)]
        return torch.cat(parts).double().numpy()

    truth = np.stack([render(sample_scene("test", 50_000 + i)) for i in range(2000)])
    reference = ReferenceStatistics.of(features(truth), name="real", extractor="test")
    return lambda images: float(frechet(features(images), reference)[0])


@pytest.fixture(scope="module")
def pictures():
    return np.stack([render(sample_scene("test", 60_000 + i)) for i in range(MANY)])


def blurred(images: np.ndarray, times: int) -> np.ndarray:
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    for _ in range(times):
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return x.round().byte().permute(0, 2, 3, 1).numpy()


def noisy(images: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


def test_frechet_rises_with_blur(measure, pictures):
    values = [measure(blurred(pictures, times)) for times in (0, 1, 3, 6)]
    assert values == sorted(values)


def test_frechet_rises_with_noise(measure, pictures):
    values = [measure(noisy(pictures, sigma)) for sigma in (0, 12, 25, 50)]
    assert values == sorted(values)


def test_frechet_rises_when_a_class_is_dropped(measure):
    scenes = [sample_scene("test", 70_000 + i) for i in range(1200)]
    dropped = ("circle", "ring", "square")
    values = []
    for count in range(4):
        gone = set(dropped[:count])
        kept = [s for s in scenes if not gone & {t.shape for t in s.spec.things}]
        values.append(measure(np.stack([render(s) for s in kept[:COUNT]])))
    assert values == sorted(values)
