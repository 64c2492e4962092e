"""DINOv2 (Oquab et al. 2023): a picture's class token, under `fd_dinov2` and `diversity`.

Stein et al. 2023 (arXiv 2306.04675) find distances in it nearer to people's judgement than
Inception's; their `dgm-eval` is what this follows: ViT-L/14, 224 pixels, bicubic on floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError, brief
from bench.metrics import resize
from bench.metrics.networks.base import FolderNetwork
from bench.metrics.networks.placement import Movable
from hypersd.model_folder import culprit

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Dinov2(FolderNetwork):
    """weights: `hf://owner/name` or a folder, with config.json and model.safetensors."""

    kind: ClassVar[str] = "dinov2"
    weights: str = "hf://facebook/dinov2-large"

    @property
    def label(self) -> str:
        """For file names."""
        return Path(self.weights).name

    @property
    def about(self) -> str:
        """Input and output."""
        return f"input=clean {SIDE};output=class token"

    def build(self, device: str) -> Dinov2Network:
        """The network in fp32. Raises UsageError for other weights."""
        return Dinov2Network(_model(self.folder), device)


class Dinov2Network(Movable):
    """A loaded DINOv2."""

    def __init__(self, model: Any, device: str) -> None:
        self.model = model
        self.to(device)

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B, D] of uint8 [B, H, W, 3]."""
        del prompts
        x = resize.clean(images.permute(0, 3, 1, 2), SIDE) / 255
        x = (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)
        found: Tensor = self.model(pixel_values=x).pooler_output
        return found


def _model(folder: Path) -> Any:
    """The model by transformers' own loader, which maps the layer names of published files."""
    # Differs from dgm-eval: transformers stretches the position embeddings (37 x 37 to 16 x 16) to
    # exactly that size, the authors' code with an offset of 0.1 in the scale.
    import torch
    from transformers import Dinov2Model

    from hypersd.quiet import quiet

    quiet()
    loader: Any = Dinov2Model
    try:
        model, said = loader.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # the loader raises many kinds for a bad file
        why = culprit(folder) or f"not DINOv2's weights ({brief(error, 120)})"
        raise UsageError(f"{folder}: {why}") from None
    wrong = [*said["missing_keys"], *said["unexpected_keys"]]
    if wrong:
        raise UsageError(f"{folder}: not DINOv2's weights ({sorted(wrong)[0]} does not fit)")
    return model.eval().requires_grad_(False)
