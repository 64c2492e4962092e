"""Conditioning of the network: text embeddings; also the pooled text (SDXL, SD3) and sizes (SDXL).

Legend: B batch, L tokens, D width of the embedding, P width of the pooled one. `Text` is a plain
tensor [B, L, D] for SD1.5 and the embedded world, an `SdxlText` for SDXL, a `PooledText` for SD3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PooledText:
    """SD3's: states [B, L, D], of the CLIPs, then of T5; pooled [B, P], of both CLIPs."""

    states: Tensor
    pooled: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with each of its tensors changed."""
        return type(self)(**{name: change(value) for name, value in tensors(self).items()})

    def __getitem__(self, rows: Any) -> Self:
        return self.map(lambda value: value[rows])

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True, eq=False)
class SdxlText(PooledText):
    """states [B, L, D]; pooled [B, P], of the second encoder; time_ids [B, 6]: original height and
    width, top and left of the crop, target height and width, in pixels."""

    time_ids: Tensor


Text = Tensor | PooledText
KINDS: tuple[type[PooledText], ...] = (PooledText, SdxlText)


def tensors(text: Text) -> dict[str, Tensor]:
    """The parts of a condition by name, "states" the first of them."""
    if isinstance(text, Tensor):
        return {"states": text}
    return {field.name: getattr(text, field.name) for field in fields(text)}


def of_tensors(parts: Mapping[str, Tensor]) -> Text:
    """The condition of such parts."""
    if set(parts) == {"states"}:
        return parts["states"]
    kind = next(one for one in KINDS if {field.name for field in fields(one)} == set(parts))
    return kind(**parts)


def moved(text: Text, to: torch.device | torch.dtype) -> Text:
    """A condition on another device, or in another precision."""
    return text.to(to) if isinstance(text, Tensor) else text.map(lambda value: value.to(to))


def keywords(text: Text, dtype: torch.dtype) -> dict[str, Any]:
    """The keyword arguments that give a condition to diffusers' UNet2DConditionModel."""
    if isinstance(text, Tensor):
        return {"encoder_hidden_states": text.to(dtype)}
    if not isinstance(text, SdxlText):
        raise TypeError(f"a UNet's condition is no {type(text).__name__}")
    added = {"text_embeds": text.pooled, "time_ids": text.time_ids}
    return {"encoder_hidden_states": text.states.to(dtype), "added_cond_kwargs": added}


def with_unconditional(empty: Text, text: Text) -> Text:
    """The empty prompt's condition for each sample, then the text: [2B, ...]. Both have the sizes
    of the samples.

    empty: of one sample.  Raises ValueError where the two are of different kinds.
    """
    if type(empty) is not type(text):
        raise ValueError("an empty prompt of another kind than the text")
    without, given = tensors(empty), tensors(text)
    if isinstance(text, SdxlText):
        without["time_ids"] = text.time_ids
    return of_tensors({
        name: torch.cat([without[name].expand_as(value), value]) for name, value in given.items()
    })  # fmt: skip
