"""The discriminator of adversarial distillation, in latent space.

Legend: D(x_s, s, c; x_t, t) judges a point x_s of a trajectory, given the point x_t that it was
reached from; B, C, H, W as everywhere, M the channels of the UNet's middle block.
Source: SDXL-Lightning (arXiv 2402.13929), Sec. 3.4, Eq. 22 and 23.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypersd.conditions import Text, keywords
from hypersd.passes import Passes


class Critic(nn.Module):
    """A trunk, the encoder and middle block of a diffusion UNet, and a convolutional head.

    pair: the conditional form, which also sees x_t (both middles are stacked along channels);
    without, the critic sees x_s alone.  The trunk is a trained copy of the UNet's; with `frozen` it
    is the UNet itself, no copy, and only the head is trained: whoever has put adapters on the UNet
    takes them off while the critic looks.  recompute: gradient checkpointing in a trunk of its own.
    passes: counts them.
    """

    trunk: Any

    def __init__(
        self, unet: Any, *, pair: bool = True, frozen: bool = False, recompute: bool = False,
        passes: Passes | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.passes = passes or Passes()
        self.pair, self.frozen = pair, frozen
        if frozen:
            self.__dict__["trunk"] = unet  # no part of this module: it is not the critic's to save
        else:
            self.trunk = encoder_of(unet).float().requires_grad_(True)
            if recompute:
                self.trunk.enable_gradient_checkpointing()
        middle = int(unet.config.block_out_channels[-1])
        side = int(unet.config.sample_size) >> (len(unet.config.block_out_channels) - 1)
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
        features = encode_all(self.trunk, x, t, text)[-1]
        self.passes.count("encoder", features)
        return features

    def trained(self) -> list[nn.Parameter]:
        """What its optimizer is given."""
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


def encoder_of(unet: Any) -> Any:
    """A copy of a UNet without its decoder. It must be taken before adapters are added.

    Raises ValueError for a UNet that has adapters.
    """
    if getattr(unet, "peft_config", None):
        raise ValueError("the critic's trunk is copied before adapters are added")
    kept = {name: getattr(unet, name) for name in ("up_blocks", "conv_norm_out", "conv_out")}
    for name in kept:
        setattr(unet, name, None)
    try:
        trunk = copy.deepcopy(unet)
    finally:
        for name, module in kept.items():
            setattr(unet, name, module)
    return trunk


def encode_all(trunk: Any, x: Tensor, t: Tensor, text: Text) -> list[Tensor]:
    """The outputs of every down block and of the middle one, [B, M, h, w], fp32 at least.

    x: [B, C, H, W].  t: [B].  text: of B samples.
    The first half of diffusers' `UNet2DConditionModel.forward`, with SDXL's added conditions.
    """
    given = keywords(text, trunk.dtype)
    states, added = given["encoder_hidden_states"], given.get("added_cond_kwargs", {})
    emb = trunk.time_embedding(trunk.get_time_embed(sample=x.to(trunk.dtype), timestep=t))
    more = trunk.get_aug_embed(emb=emb, encoder_hidden_states=states, added_cond_kwargs=added)
    emb = emb if more is None else emb + more
    h = trunk.conv_in(x.to(trunk.dtype))
    found: list[Tensor] = []
    for block in trunk.down_blocks:
        if getattr(block, "has_cross_attention", False):
            h, _ = block(hidden_states=h, temb=emb, encoder_hidden_states=states)
        else:
            h, _ = block(hidden_states=h, temb=emb)
        found.append(h)
    found.append(trunk.mid_block(h, emb, encoder_hidden_states=states))
    return [features.to(torch.promote_types(features.dtype, torch.float32)) for features in found]


def _groups(width: int) -> int:
    """The largest number of groups up to 32 that divides the width."""
    return next(n for n in range(32, 0, -1) if width % n == 0)
