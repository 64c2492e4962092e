"""Prompts -> what the UNet is told: one text encoder (SD1.5), or two and the picture's size (SDXL).

B: prompts; T: tokens; D: width of a token, for SDXL both encoders' side by side; P: width of the
pooled embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """hidden: [B, T, D].  added: SDXL's pooled `text_embeds` [B, P] and `time_ids` [B, 6]."""

    hidden: Tensor
    added: dict[str, Tensor]

    def at(self, rows: Sequence[int]) -> Conditioning:
        """These rows, in this order."""
        places = list(rows)
        return Conditioning(self.hidden[places], {k: v[places] for k, v in self.added.items()})

    def after(self, other: Conditioning) -> Conditioning:
        """The rows of `other`, then these: the batch of classifier-free guidance."""
        added = {k: torch.cat([other.added[k], v]) for k, v in self.added.items()}
        return Conditioning(torch.cat([other.hidden, self.hidden]), added)

    @property
    def keywords(self) -> dict[str, Any]:
        """Arguments of diffusers' UNet2DConditionModel."""
        added = {"added_cond_kwargs": self.added} if self.added else {}
        return {"encoder_hidden_states": self.hidden, **added}


class Reader:
    """The text side of a StableDiffusionPipeline or StableDiffusionXLPipeline.

    size: height and width in pixels, which SDXL is told.
    """

    def __init__(self, pipeline: Any, size: int) -> None:
        self.pipeline, self.size = pipeline, size
        second = getattr(pipeline, "tokenizer_2", None)
        self.two = second is not None
        self.tokenizers = [one for one in (pipeline.tokenizer, second) if one is not None]
        self._empty: Conditioning | None = None

    def __call__(self, texts: list[str]) -> tuple[Conditioning, list[bool]]:
        """What the UNet is told of each text; whether some encoder did not read it to its end."""
        told = self._two(texts) if self.two else self._one(texts)
        return told, self.cut(texts)

    def cut(self, texts: list[str]) -> list[bool]:
        """Which texts are longer than an encoder reads."""
        found = [False] * len(texts)
        for tokenizer in self.tokenizers:
            ids = tokenizer(texts)["input_ids"]
            found = [
                f or len(i) > tokenizer.model_max_length for f, i in zip(found, ids, strict=True)
            ]
        return found

    def nothing(self) -> Conditioning:
        """One row: what guidance leads away from. Zeros where an SDXL pipeline asks for them."""
        if self._empty is None:
            self._empty = self._two([""], empty=True) if self.two else self._one([""])
        return self._empty

    def _one(self, texts: list[str]) -> Conditioning:
        tokenizer, encoder = self.pipeline.tokenizer, self.pipeline.text_encoder
        tokens = tokenizer(
            texts,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return Conditioning(encoder(tokens.input_ids.to(encoder.device))[0], {})

    def _two(self, texts: list[str], empty: bool = False) -> Conditioning:
        """The second to last states of both encoders, and the second one's pooled embedding."""
        found = self.pipeline.encode_prompt(
            texts,
            device=self.pipeline.text_encoder_2.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=empty,
        )
        hidden, pooled = found[1::2] if empty else found[0::2]
        # Original size, corner of the crop, target size: as if trained on a whole picture of it.
        ids = hidden.new_tensor([self.size, self.size, 0, 0, self.size, self.size])
        return Conditioning(
            hidden, {"text_embeds": pooled, "time_ids": ids.expand(len(hidden), -1)}
        )
