"""Conditioning of the network: text embeddings; for SDXL also the pooled text and sizes.

Legend: B batch, L tokens, D width of the embedding, P width of the pooled one. `Text` is a plain
tensor [B, L, D] for SD1.5 and the embedded world, and an `SdxlText` for SDXL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SdxlText:
    """states [B, L, D]; pooled [B, P], of the second encoder; time_ids [B, 6]: original height and
    width, top and left of the crop, target height and width, in pixels."""

    states: Tensor
    pooled: Tensor
    time_ids: Tensor

    def __getitem__(self, rows: Any) -> SdxlText:
        return SdxlText(self.states[rows], self.pooled[rows], self.time_ids[rows])

    def __len__(self) -> int:
        return len(self.states)


Text = Tensor | SdxlText


def moved(text: Text, to: torch.device | torch.dtype) -> Text:
    """A condition on another device, or in another precision."""
    if isinstance(text, Tensor):
        return text.to(to)
    return SdxlText(text.states.to(to), text.pooled.to(to), text.time_ids.to(to))


def keywords(text: Text, dtype: torch.dtype) -> dict[str, Any]:
    """The keyword arguments that give a condition to diffusers' UNet2DConditionModel."""
    if isinstance(text, Tensor):
        return {"encoder_hidden_states": text.to(dtype)}
    added = {"text_embeds": text.pooled, "time_ids": text.time_ids}
    return {"encoder_hidden_states": text.states.to(dtype), "added_cond_kwargs": added}


def with_unconditional(empty: Text, text: Text) -> Text:
    """The empty prompt's condition for each sample, then the text: [2B, ...]. Both have the sizes
    of the samples.

    empty: of one sample.  Raises ValueError where the two are of different kinds.
    """
    if isinstance(empty, Tensor) and isinstance(text, Tensor):
        return torch.cat([empty.expand_as(text), text])
    if isinstance(empty, SdxlText) and isinstance(text, SdxlText):
        return SdxlText(
            torch.cat([empty.states.expand_as(text.states), text.states]),
            torch.cat([empty.pooled.expand_as(text.pooled), text.pooled]),
            text.time_ids.repeat(2, 1),
        )
    raise ValueError("an empty prompt of another kind than the text")


def stack(parts: Sequence[Text]) -> Text:
    """Conditions of several samples, one after the other, as one."""
    plain = [part for part in parts if isinstance(part, Tensor)]
    if len(plain) == len(parts):
        return torch.cat(plain)
    sized = [part for part in parts if isinstance(part, SdxlText)]
    return SdxlText(
        torch.cat([part.states for part in sized]),
        torch.cat([part.pooled for part in sized]),
        torch.cat([part.time_ids for part in sized]),
    )
