"""Weights that begin at random are the same for a seed, and no other device is asked."""

from __future__ import annotations

import pytest
import torch

from hypersd.seeded import seeded


def test_draws_follow_the_seed_and_then_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node of eight GPUs none is touched."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "get_rng_state", None)
    expected = torch.rand(3, generator=torch.Generator().manual_seed(7))
    torch.manual_seed(1)
    first, then = torch.rand(1), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), first)
    with seeded(7):
        assert torch.equal(torch.rand(3), expected)
    assert torch.equal(torch.rand(1), then)
