"""DINOv2 (Oquab et al. 2023): a picture's class token, under `fd_dinov2` and `diversity`.

Stein et al. 2023 (arXiv 2306.04675) find distances in it nearer to people's judgement than
Inception's; their `dgm-eval` is what this follows: ViT-L/14, 224 pixels, bicubic on floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError
from bench.metrics import resize, weights
from bench.metrics.towers.base import Tower

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Dinov2(Tower):
    """weights: `hf://owner/name` or a folder, with config.json and model.safetensors."""

    kind: ClassVar[str] = "dinov2"
    weights: str = "hf://facebook/dinov2-large"

    @property
    def label(self) -> str:
        """For file names."""
        return Path(self.weights).name

    @property
    def sources(self) -> tuple[str, ...]:
        """The network's file."""
        return (f"{self.weights}/model.safetensors",)

    @property
    def companions(self) -> tuple[str, ...]:
        """The architecture's description."""
        return (f"{self.weights}/config.json",)

    @property
    def about(self) -> str:
        """Input and output."""
        return f"input=clean {SIDE};output=class token"

    def build(self, device: str) -> Dinov2Network:
        """The network in fp32. Raises UsageError for other weights."""
        config = weights.find(self.name, self.companions)
        return Dinov2Network(_model(config, self.path).to(device))


class Dinov2Network:
    """A loaded DINOv2."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B, D] of uint8 [B, H, W, 3]."""
        del prompts
        x = resize.clean(images.permute(0, 3, 1, 2), SIDE) / 255
        x = (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)
        found: Tensor = self.model(pixel_values=x).pooler_output
        return found


def _model(config: Path, path: Path) -> Any:
    from transformers import Dinov2Config, Dinov2Model

    try:
        model = Dinov2Model(Dinov2Config.from_json_file(config))
        model.load_state_dict(dict(weights.tensors(path)))
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        words = " ".join(str(error).split())
        raise UsageError(f"{path}: not DINOv2's weights ({words[:120]})") from None
    return model.eval().requires_grad_(False)
