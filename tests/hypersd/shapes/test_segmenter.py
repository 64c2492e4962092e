"""The instance segmenter: maps that say the truth cost nothing and are read back exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hypersd.shapes.render import draw, render
from hypersd.shapes.scenes import SHAPES, sample_scene
from hypersd.shapes.segmenter import (
    CHANNELS,
    GRID,
    Instances,
    Maps,
    SegmenterNet,
    instance_loss,
    instances,
    segment,
)

COUNT = 12


@pytest.fixture(scope="module")
def truth() -> Instances:
    return instances("validation", 500, COUNT)


def perfect(truth: Instances) -> Maps:
    """Categories by the true cells; thing k's kernel picks channel k, which holds its mask."""
    categories = torch.full((COUNT, 3, len(SHAPES), GRID, GRID), -20.0)
    kernels = torch.zeros(COUNT, 3, CHANNELS, GRID, GRID)
    features = torch.zeros(COUNT, CHANNELS, *truth.masks.shape[2:])
    for n in range(COUNT):
        for k, (size, i, j, shape) in enumerate(truth.where[n].tolist()):
            if size >= 0:
                categories[n, size, shape, i, j] = 20.0
                kernels[n, size, k, i, j] = 1.0
                features[n, k] = 40.0 * truth.masks[n, k] - 20.0
    return Maps(categories, kernels, features)


class Fixed(nn.Module):
    """Gives the same maps whatever it sees."""

    def __init__(self, maps: Maps) -> None:
        super().__init__()
        self.maps, self.weight = maps, nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> Maps:
        return self.maps


def test_masks_are_the_renderers(truth: Instances) -> None:
    for n in range(COUNT):
        exact = draw(sample_scene("validation", 500 + n))[1]
        halved = exact.reshape(len(exact), 32, 2, 32, 2).mean((2, 4)) >= 0.5
        assert np.array_equal(truth.masks[n, : len(exact)].numpy(), halved)
        assert not truth.masks[n, len(exact) :].any()


@pytest.mark.parametrize("bf16", [False, True])
def test_the_truth_costs_nothing(truth: Instances, bf16: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        focal, dice = instance_loss(perfect(truth), truth)
    torch.testing.assert_close(focal, torch.zeros(COUNT), rtol=0, atol=1e-6)
    torch.testing.assert_close(dice, torch.zeros(COUNT), rtol=0, atol=1e-3)


def test_a_wrong_shape_and_a_shifted_mask_cost(truth: Instances) -> None:
    maps = perfect(truth)
    swapped = Maps(maps.categories.roll(1, dims=2), maps.kernels, maps.features)
    assert float(instance_loss(swapped, truth)[0].min()) > 5
    shifted = Maps(maps.categories, maps.kernels, maps.features.roll(4, dims=3))
    assert float(instance_loss(shifted, truth)[1].min()) > 0.2


def test_what_the_maps_say_is_read_back(truth: Instances) -> None:
    pictures = np.stack([render(sample_scene("validation", 500 + n)) for n in range(COUNT)])
    found = segment(Fixed(perfect(truth)), pictures)  # type: ignore[arg-type]
    for n in range(COUNT):
        there = [k for k in range(3) if truth.where[n, k, 0] >= 0]
        said = {(shape, mask.tobytes()) for shape, mask in found[n]}
        assert said == {
            (SHAPES[int(truth.where[n, k, 3])], truth.masks[n, k].numpy().tobytes()) for k in there
        }


def test_the_loss_reaches_the_picture_and_falls(truth: Instances) -> None:
    """Few steps on few pictures; and a gradient in the pixels, as feedback learning needs it."""
    torch.manual_seed(0)
    net = SegmenterNet(16).train()
    pictures = np.stack([render(sample_scene("validation", 500 + n)) for n in range(COUNT)])
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    optimizer, losses = torch.optim.AdamW(net.parameters(), lr=5e-3), []
    for _ in range(25):
        loss = torch.stack([part.mean() for part in instance_loss(net(x), truth)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    net.eval().requires_grad_(False)
    x.requires_grad_(True)
    sum(part.sum() for part in instance_loss(net(x), truth)).backward()
    assert float(x.grad.abs().amax((1, 2, 3)).min()) > 0
