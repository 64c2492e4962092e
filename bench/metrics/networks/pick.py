"""PickScore's network (Kirstain et al. 2023, arXiv 2305.01569): CLIP-H tuned on people's choices.

    score = exp(logit scale) * cos(picture, prompt), around 22; papers also print a hundredth of it

transformers' CLIP, as published. Tokens are those of every CLIP; open_clip has them built in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import UsageError, brief
from bench.metrics import resize
from bench.metrics.base import Features
from bench.metrics.networks.base import CastNetwork, FolderNetwork, TextNetwork
from bench.metrics.networks.clip import MEAN, STD, unit
from bench.metrics.networks.placement import Movable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pick(CastNetwork, FolderNetwork, TextNetwork):
    """weights: `hf://owner/name` or a folder, with config.json and model.safetensors."""

    kind: ClassVar[str] = "pick"
    unit: ClassVar[float] = 1.0  # the picture's embedding carries the network's scale, about 100
    weights: str = "hf://yuvalkirstain/PickScore_v1"

    @property
    def about(self) -> str:
        """Input and output."""
        return "input=shortest;output=image embedding of length exp(logit scale)"

    def build(self, device: str) -> PickNetwork:
        """The network. Raises UsageError for other weights."""
        return PickNetwork(self, device)


class PickNetwork(Movable):
    """A loaded PickScore."""

    def __init__(self, network: Pick, device: str) -> None:
        import open_clip

        model = _model(network.folder)
        self.scale = float(model.logit_scale.exp())  # before it is rounded
        self.dtype, self.model = network.dtype, model.to(network.dtype)
        self.side: int = self.model.config.vision_config.image_size
        length = self.model.config.text_config.max_position_embeddings
        self.tokenizer = open_clip.SimpleTokenizer(context_length=length)
        self.to(device)

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B, D]: unit embeddings of uint8 [B, H, W, 3], times the network's own scale."""
        del prompts
        x = resize.centre(resize.shortest(images.permute(0, 3, 1, 2), self.side), self.side) / 255
        x = (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)
        return (
            unit(self.model.get_image_features(pixel_values=x.to(self.dtype)).pooler_output)
            * self.scale
        )

    def embedded(self, texts: list[str]) -> Features:
        """Unit text embeddings [B, D]; a text that is too long is cut, its end token kept."""
        import torch

        with torch.inference_mode():
            ids = self.tokenizer(texts).to(self.device)
            found = self.model.get_text_features(input_ids=ids).pooler_output
            embeddings: Features = unit(found).cpu().numpy()
        return embeddings

    def cut(self, texts: list[str]) -> list[bool]:
        """Whether each text has more tokens than the context (77)."""
        length = self.tokenizer.context_length
        return [len(self.tokenizer.encode(text)) + 2 > length for text in texts]


def _model(folder: Path) -> Any:
    from transformers import CLIPConfig, CLIPModel

    from hypersd.rewards.tensors import tensors

    path = folder / "model.safetensors"
    try:
        model = CLIPModel(CLIPConfig.from_json_file(folder / "config.json"))
        missing, unexpected = model.load_state_dict(_plain(tensors(path)), strict=False)
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise UsageError(f"{path}: not PickScore's weights ({brief(error, 120)})") from None
    if missing or unexpected:
        names = [*missing, *unexpected]
        raise UsageError(f"{path}: not PickScore's weights ({names[0]} does not fit)")
    return model.eval().requires_grad_(False)


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without buffers that older versions of transformers saved."""
    return {name: value for name, value in state.items() if not name.endswith("position_ids")}
