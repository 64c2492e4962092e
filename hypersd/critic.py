"""The discriminator of adversarial distillation, in latent space.

Legend: D(x_s, s, c; x_t, t) judges a point x_s of a trajectory, given the point x_t that it was
reached from; B, C, H, W as everywhere, M the channels of the UNet's middle block.
Source: SDXL-Lightning (arXiv 2402.13929), Sec. 3.4, Eq. 22 and 23.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypersd.bases import Family
from hypersd.bases.unet import UnetFamily
from hypersd.conditions import Text
from hypersd.passes import Passes


class Critic(nn.Module):
    """A trunk, the encoder and middle block of a diffusion UNet, and a convolutional head.

    pair: the conditional form, which also sees x_t (both middles are stacked along channels);
    without, the critic sees x_s alone.  The trunk is a trained copy of the UNet's; with `frozen` it
    is the UNet itself, no copy, and only the head is trained: the caller disables adapters of the
    UNet while the critic runs.  recompute: gradient checkpointing in a trunk of its own. passes:
    counts them.
    """

    trunk: Any

    def __init__(
        self, network: Any, family: type[Family] = UnetFamily, *, pair: bool = True,
        frozen: bool = False, recompute: bool = False, passes: Passes | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.passes = passes or Passes()
        self.family, self.pair, self.frozen = family, pair, frozen
        if frozen:
            # no part of this module: it is not the critic's to save
            self.__dict__["trunk"] = network
        else:
            self.trunk = encoder_of(network, family).float().requires_grad_(True)
            if recompute:
                self.trunk.enable_gradient_checkpointing()
        middle, side = family.feature_shapes(network)[-1]
        self.head = Head(middle * (2 if pair else 1), middle, side)

    def forward(
        self,
        x_s: Tensor,
        s: Tensor,
        text: Text,
        x_t: Tensor | None = None,
        t: Tensor | None = None,
    ) -> Tensor:
        """Logits [B] of x_s [B, C, H, W] at timesteps s [B]; x_t and t where `pair`.

        Raises ValueError where x_t or t is missing for a pair.
        """
        features = self._middle(x_s, s, text)
        if self.pair:
            if x_t is None or t is None:
                raise ValueError("a pair critic needs x_t and t")
            features = torch.cat([features, self._middle(x_t, t, text)], dim=1)
        logits: Tensor = self.head(features)
        return logits

    def _middle(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        features = self.family.features(self.trunk, x, t, text)[-1]
        self.passes.count("encoder", features)
        return features

    def trained(self) -> list[nn.Parameter]:
        """The parameters for its optimizer."""
        return [p for p in self.parameters() if p.requires_grad]


class Head(nn.Module):
    """[B, inputs, S, S] -> [B]: blocks of 4x4 convolution (stride 2), group norm and SiLU down to
    2x2 or less, then a linear layer on what is left."""

    def __init__(self, inputs: int, width: int, side: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        while side > 2:
            conv = nn.Conv2d(inputs, width, 4, stride=2, padding=1)
            blocks += [conv, nn.GroupNorm(_groups(width), width), nn.SiLU()]
            inputs, side = width, side // 2
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Linear(inputs * side * side, 1)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.last(self.blocks(features).flatten(1))
        return logits[:, 0]


class PatchHeads(nn.Module):
    """A small head on every block's features: [B, C_i, h_i, w_i] each -> patch logits, [B, n_i].

    Two 1x1 convolutions with group norm, leaky ReLU and a residual, then a 1x1 convolution to one
    channel. Source: PCM (arXiv 2405.18407), Sec. 3.3 and its release.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(nn.Sequential(_Patch(n), _Patch(n)) for n in channels)
        self.last = nn.ModuleList(nn.Conv2d(n, 1, 1) for n in channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        found = []
        for h, body, last in zip(features, self.bodies, self.last, strict=True):
            found.append(last(body(h)).flatten(1))
        return found


class _Patch(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        norm = nn.GroupNorm(_groups(width), width)
        self.body = nn.Sequential(nn.Conv2d(width, width, 1), norm, nn.LeakyReLU(0.2))

    def forward(self, h: Tensor) -> Tensor:
        found: Tensor = h + self.body(h)
        return found


def encoder_of(network: Any, family: type[Family] = UnetFamily) -> Any:
    """A copy of a network's first half. It must be taken before adapters are added.

    Raises ValueError for a network that has adapters.
    """
    if getattr(network, "peft_config", None):
        raise ValueError("the critic's trunk is copied before adapters are added")
    return family.trunk(network)


def _groups(width: int) -> int:
    """The largest number of groups up to 32 that divides the width."""
    return next(n for n in range(32, 0, -1) if width % n == 0)
