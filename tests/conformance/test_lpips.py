"""Distances between pictures against torchmetrics' LPIPS with the same random weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torchmetrics.functional.image import lpips as theirs
from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity

from bench.errors import UsageError
from bench.metrics.diversity_share import SPREADS, of_squares, share
from bench.metrics.extractor import extractor
from bench.metrics.networks.base import loaded
from bench.metrics.networks.lpips import Lpips
from bench.metrics.networks.lpips_sketch import WIDTH, LpipsSketch
from bench.metrics.networks.world import PerceptualNetwork, ShapesPerceptual
from bench.metrics.perceptual import to_teacher
from tests.conformance import seeded

X, Y = seeded.pictures(3, 256, 256, 1), seeded.pictures(3, 256, 256, 2)


@pytest.fixture(scope="module")
def backbone() -> Mapping[str, Any]:
    """AlexNet's layers of features."""
    with torch.device("meta"):
        shapes = torchvision.models.alexnet().features.state_dict()
    found = {f"features.{name}": value for name, value in shapes.items()}
    return {n: torch.from_numpy(seeded.array(n, tuple(v.shape))) for n, v in found.items()}


@pytest.fixture
def tower(backbone: Mapping[str, Any], tmp_path: Path) -> Lpips:
    torch.save(backbone, tmp_path / "alex.pth")
    return Lpips(weights=str(tmp_path / "alex.pth"), against="0123")


def test_it_is_torchmetrics(
    tower: Lpips, backbone: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_download(name: str, pretrained: bool) -> Any:
        net = torchvision.models.alexnet()
        net.load_state_dict(backbone, strict=False)
        return net.features

    monkeypatch.setattr(theirs, "_get_tv_model_features", without_download)
    pairs = [torch.from_numpy(p).permute(0, 3, 1, 2) / 127.5 - 1 for p in (X, Y)]
    expected = learned_perceptual_image_patch_similarity(*pairs, net_type="alex", reduction="none")
    ours = extractor(tower.name).between(X, Y)
    np.testing.assert_allclose(ours[:, 0], expected.detach().numpy(), rtol=1e-5)
    assert (ours > 0.01).all()
    found = to_teacher("lpips_teacher", tower, {}).evaluate(ours, [], [0, 1, 2])
    assert found.value == pytest.approx(float(expected.mean()), rel=1e-5)


def test_pictures_of_another_size_are_compared(tower: Lpips) -> None:
    """The same waves at twice the size are nearly the same picture."""
    double = X.repeat(2, axis=1).repeat(2, axis=2)
    network = extractor(tower.name)
    assert (network.between(double, X) < 0.05 * network.between(X, Y)).all()
    assert (network.between(X, X) == 0).all()


def test_whose_pictures_the_others_are_is_part_of_the_identity(tower: Lpips) -> None:
    other = Lpips(weights=tower.weights, against="4567")
    assert tower.identity.replace("0123", "4567") == other.identity
    assert extractor(tower.name).identity == tower.identity


def test_other_weights_are_refused(tower: Lpips, tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "alex.pth")
    with pytest.raises(UsageError, match="not the weights of alex"):
        extractor(tower.name).between(X, Y)
    with pytest.raises(UsageError, match="did you mean 'vgg'"):
        _ = Lpips(net="vgg16").identity


def test_the_worlds_is_the_same_distance_with_all_weights_one() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = torch.nn.Sequential(*(torch.nn.Conv2d(n, 6, 3, 2) for n in (3, 6)))
    pair = [torch.from_numpy(p) for p in (X, Y)]
    expected = torch.zeros(3)
    a, b = (p.permute(0, 3, 1, 2) / 127.5 - 1 for p in pair)
    with torch.inference_mode():
        for block in blocks:
            a, b = block(a), block(b)
            unlike = (theirs._normalize_tensor(a) - theirs._normalize_tensor(b)) ** 2
            expected += theirs._spatial_average(unlike).sum(dim=(1, 2, 3))
        found = PerceptualNetwork(blocks).between(*pair)
    torch.testing.assert_close(found[:, 0], expected)


def test_the_worlds_network_is_the_shipped_one() -> None:
    small, other = (seeded.pictures(2, 64, 64, seed) for seed in (3, 4))
    network = extractor(ShapesPerceptual(against="0123").name)
    assert (network.between(small, small) == 0).all()
    assert (network.between(small, other) > 0.1).all()


def test_sketches_are_lpips_over_pairs_of_seeds(tower: Lpips) -> None:
    """The mean over all pairs against torchmetrics' network, pair by pair; exact before the
    sketch."""
    seeds, prompts = 4, 3
    shown = [seeded.pictures(seeds, 96, 128, draw) for draw in range(prompts)]
    sketch = LpipsSketch(weights=tower.weights)
    ids = [prompt for prompt in range(prompts) for _ in range(seeds)]
    pairs = list(itertools.combinations(range(seeds), 2))
    compare = extractor(tower.name)
    expected = np.array([
        np.mean([compare.between(one[[a]], one[[b]])[0, 0] for a, b in pairs]) for one in shown
    ])  # fmt: skip
    network: Any = loaded(sketch)
    with torch.inference_mode():
        prepared = network.lpips.prepared(torch.from_numpy(np.concatenate(shown)))
        whole = torch.cat(network.layers(prepared), dim=1).numpy()
    np.testing.assert_allclose(of_squares(whole, ids)[1], expected, rtol=1e-4)
    found = extractor(sketch.name)(np.concatenate(shown), [""] * len(ids))
    assert found.shape == (len(ids), WIDTH)
    np.testing.assert_allclose(of_squares(found, ids)[1], expected, rtol=0.05)
    metric = share("lpips_share", sketch, {"against": "t"}).beside(found, ids)
    assert metric.evaluate(found, [], ids).value == pytest.approx(100)
    assert f"lpips_share/1;100*ratio of means to the teacher's;{SPREADS['lpips_share'][1]};" \
        f"{sketch.identity};teacher=t" == metric.identity  # fmt: skip
    assert LpipsSketch("vgg").about != LpipsSketch().about
