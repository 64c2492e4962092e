"""`clip`: how well a picture fits its prompt, 100 * cos of CLIP's two embeddings.

Hessel et al. 2021 without the prefix and the factor 2.5, as few-step papers report it; negative
values are kept. `hps` is the same arithmetic on a network tuned on people's choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from bench.metrics.base import Features
from bench.statistics.result import Result, mean_result

Encode = Callable[[list[str]], Any]


@dataclass(frozen=True)
class CosineScore:
    """unit * cos(image, text) in one CLIP model.

    encode: texts -> unit embeddings [B, D] (array or tensor).  network: the extractor's identity.
    prefix: put before every prompt.  too_long: says of texts whether the network cuts them.
    """

    encode: Encode
    network: str
    extractor: str = ""
    unit: float = 100.0
    prefix: str = ""
    too_long: Callable[[list[str]], list[bool]] | None = field(default=None, compare=False)
    _texts: dict[str, Features] = field(default_factory=dict, repr=False, compare=False)

    name: ClassVar[str] = ""
    weights: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    @classmethod
    def load(cls, references: dict[str, Any] | None = None) -> CosineScore:
        """With the installed network; its text side is loaded at the first `evaluate`."""
        from bench.metrics.extractors import clip_model, identity

        def encode(texts: list[str]) -> Any:
            return clip_model(cls.weights, "cpu").encode_text(texts)

        def too_long(texts: list[str]) -> list[bool]:
            model = clip_model(cls.weights, "cpu")
            return [model.truncated([text]) > 0 for text in texts]

        return cls(encode, identity(cls.extractor), too_long=too_long)

    @property
    def identity(self) -> str:
        before = f"prefix={self.prefix!r};" if self.prefix else ""
        return f"{self.name}/1;{self.unit:g}*cos;{before}{self.network}"

    def trained_on(self, method: str) -> str:
        """No trainer of this project is rewarded by this network or its kind of labels."""
        return "no"

    def evaluate(
        self, features: Features, prompts: Sequence[str], clusters: Sequence[int]
    ) -> Result:
        """features: unit image embeddings [N, D]; every prompt is embedded once per process."""
        texts = self._embedded(prompts)
        images = np.asarray(features, np.float64)
        return mean_result(self.unit * np.einsum("nd,nd->n", images, texts), clusters)

    def truncated(self, prompts: Sequence[str]) -> list[bool] | None:
        """Whether the network reads only a part of each prompt; None where nobody can say."""
        if self.too_long is None:
            return None
        return self.too_long([self.prefix + prompt for prompt in prompts])

    def _embedded(self, prompts: Sequence[str]) -> Features:
        import torch

        new = [text for text in dict.fromkeys(prompts) if text not in self._texts]
        for start in range(0, len(new), 256):
            chunk = new[start : start + 256]
            with torch.inference_mode():
                said = [self.prefix + text for text in chunk]
                rows = torch.as_tensor(self.encode(said)).float().cpu().numpy()
            self._texts.update(zip(chunk, rows, strict=True))
        return np.stack([self._texts[text] for text in prompts])


@dataclass(frozen=True)
class ClipScore(CosineScore):
    """`clip`: CLIP trained on captions, the world's own or any of open_clip; no trainer uses it."""

    extractor: str = "shapes_clip"

    name: ClassVar[str] = "clip"
    weights: ClassVar[str] = "clip"
