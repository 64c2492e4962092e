"""`clip`: how well a picture fits its prompt, 100 * cos of CLIP's two embeddings.

Hessel et al. 2021 without the prefix and the factor 2.5, as few-step papers report it; negative
values are kept. `hps` is the same arithmetic on a network tuned on people's choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from bench.metrics.base import Features, Result, mean_result

Encode = Callable[[list[str]], Any]


@dataclass(frozen=True)
class CosineScore:
    """100 * cos(image, text) in one CLIP model.

    encode: texts -> unit embeddings [B, D] (array or tensor).  network: the extractor's identity.
    """

    encode: Encode
    network: str
    _texts: dict[str, Features] = field(default_factory=dict, repr=False, compare=False)

    name: ClassVar[str] = ""
    extractor: ClassVar[str] = ""
    weights: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    @classmethod
    def load(cls, references: dict[str, Any] | None = None) -> CosineScore:
        """With the installed network; its text side is loaded at the first `evaluate`."""
        from bench.metrics.extractors import clip_model, identity

        def encode(texts: list[str]) -> Any:
            return clip_model(cls.weights, "cpu").encode_text(texts)

        return cls(encode, identity(cls.extractor))

    @property
    def identity(self) -> str:
        return f"{self.name}/1;100*cos;{self.network}"

    def trained_on(self, method: str) -> str:
        """No trainer of this project is rewarded by this network or its kind of labels."""
        return "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: unit image embeddings [N, D]; every prompt is embedded once per process."""
        texts = self._embedded(prompts)
        images = np.asarray(features, np.float64)
        return mean_result(100.0 * np.einsum("nd,nd->n", images, texts), clusters)

    def _embedded(self, prompts: Sequence[str]) -> Features:
        import torch

        new = [text for text in dict.fromkeys(prompts) if text not in self._texts]
        for start in range(0, len(new), 256):
            chunk = new[start : start + 256]
            with torch.inference_mode():
                rows = torch.as_tensor(self.encode(chunk)).float().cpu().numpy()
            self._texts.update(zip(chunk, rows, strict=True))
        return np.stack([self._texts[text] for text in prompts])


class ClipScore(CosineScore):
    """`clip`: the world's CLIP, trained on captions; no trainer uses it."""

    name: ClassVar[str] = "clip"
    extractor: ClassVar[str] = "shapes_clip"
    weights: ClassVar[str] = "clip"
