"""Losses against torch's own and their limits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hypersd.losses import DISTANCES, pseudo_huber, squared_error


def pair(scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 4, 6, 6, generator=rng) for _ in range(2))
    return a, a + scale * (b - a)


def test_squared_error_is_torchs_per_sample() -> None:
    a, b = pair()
    expected = torch.stack([F.mse_loss(x, y) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(squared_error(a, b), expected)


def test_pseudo_huber_is_absolute_far_out_and_square_near_zero() -> None:
    a, b = pair()
    c = 0.001
    torch.testing.assert_close(pseudo_huber(a, b, c), (a - b).abs().mean((1, 2, 3)), rtol=0, atol=c)
    near = pseudo_huber(torch.full((2, 4), 1e-4), torch.zeros(2, 4), c)
    torch.testing.assert_close(near, torch.full((2,), 1e-8 / (2 * c)), rtol=5e-3, atol=0)
    assert float(pseudo_huber(torch.full((1, 1), 0.1), torch.zeros(1, 1))) == pytest.approx(
        0.0990, abs=1e-4
    )


def test_pseudo_hubers_slope() -> None:
    """d / sqrt(d^2 + c^2): at d = c it is 1 / sqrt(2)."""
    d = torch.tensor([[0.0], [0.001], [5.0]], requires_grad=True)
    pseudo_huber(d, torch.zeros_like(d)).sum().backward()
    expected = torch.tensor([[0.0], [2**-0.5], [1.0]])
    torch.testing.assert_close(d.grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_distances_are_single_precision_and_want_one_shape(name: str) -> None:
    a, b = pair()
    assert DISTANCES[name](a.half(), b.half()).dtype == torch.float32
    with pytest.raises(ValueError, match="shapes differ"):
        DISTANCES[name](a, b[:, :1])
