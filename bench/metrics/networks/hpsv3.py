"""HPSv3 (Ma et al. 2025, arXiv 2508.03789): Qwen2-VL-7B reads picture and prompt and rates both.

    mu, s = head(hidden state at the token <|Reward|>),   sigma = exp(s)

The rating is a normal variable of mean mu and deviation sigma, as the loss `uncertainty` takes it;
mu is what is published as the score. The head is Linear 1024, ReLU, Linear 16, ReLU, Linear 2, in
fp32. The picture is resized by PIL's bicubic to 256 tokens' worth of pixels, whatever its size.

Followed here: the package hpsv3 1.0.0 (MIT), which pins transformers 4.45.2; its text is in
hpsv3_instruction.txt, since a score is of these words. `hpsv3`'s own argument order differs between
its versions: here pictures and prompts have names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.metrics import weights
from bench.metrics.networks import qwen_vl
from bench.metrics.networks.base import CastNetwork
from bench.metrics.networks.placement import Movable

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

PIXELS = 256 * 28 * 28  # of each picture, about
REWARD = "<|Reward|>"
FRAME = qwen_vl.SYSTEM + qwen_vl.FRAME.replace("{text}", "{text}\nPlease provide the overall "
        f"ratings of this image: {REWARD}\n\nEND\n")  # fmt: skip


@dataclass(frozen=True)
class Hpsv3(CastNetwork):
    """weights: the published file.  base: the model that it was trained from, whose tokenizer and
    configuration it takes; `hf://owner/name` or a folder."""

    kind: ClassVar[str] = "hpsv3"
    half: ClassVar[str] = "bf16"  # as it was trained and is published
    is_published_half: ClassVar[bool] = True
    weights: str = "hf://MizzenAI/HPSv3/HPSv3.safetensors"
    base: str = "hf://Qwen/Qwen2-VL-7B-Instruct"

    @property
    def sources(self) -> tuple[str, ...]:
        """The network's file."""
        return (self.weights,)

    @property
    def companions(self) -> tuple[str, ...]:
        """The base's description, vocabulary and image processor."""
        names = ("config.json", "tokenizer.json", "preprocessor_config.json")
        return tuple(f"{self.base}/{name}" for name in names)

    @property
    def about(self) -> str:
        """Input and output."""
        return "input=PIL bicubic to 256 tokens,instruction of hpsv3 1.0.0;output=mu,log sigma"

    def build(self, device: str) -> Hpsv3Network:
        """The network. Raises UsageError for other weights."""
        return Hpsv3Network(self, device)


class Hpsv3Network(Movable):
    """A loaded HPSv3."""

    def __init__(self, network: Hpsv3, device: str) -> None:
        from tokenizers import AddedToken

        found = [weights.find(network.name, (one,)) for one in network.companions]
        folder = found[0].parent
        self.dtype = network.dtype
        self.reader = qwen_vl.Reader(folder, FRAME, do_resize=False)
        self.reader.tokenizer.add_special_tokens([AddedToken(REWARD, special=True)])
        self.reward = self.reader.token(REWARD)
        opened = qwen_vl.opened(network.path, "HPSv3", lambda: _opened(folder, network))
        self.model, self.head = opened
        self.to(device)

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B, 2]: mu and log sigma of uint8 [B, H, W, 3] and their prompts."""
        import torch

        found = []
        for part in qwen_vl.parts(len(prompts)):
            texts = [instruction().replace("{text_prompt}", prompt) for prompt in prompts[part]]
            pictures = [resized(picture) for picture in images[part].cpu()]
            given = self.reader(pictures, texts, self.device, self.dtype)
            # As its package calls the model: places one after the other, a picture's too, and not
            # Qwen2-VL's rows and columns. It was trained so.
            places = (given["attention_mask"].cumsum(dim=1) - 1).clamp_min(0).expand(3, -1, -1)
            hidden = self.model(**given, position_ids=places).last_hidden_state
            at = hidden[given["input_ids"] == self.reward]
            found.append(self.head(at.float()))
        return torch.cat(found)


@cache
def instruction() -> str:
    """The instruction before the prompt, which takes the place of `{text_prompt}`."""
    return Path(__file__).with_name("hpsv3_instruction.txt").read_text(encoding="utf-8")


def resized(picture: Tensor) -> Image:
    """A picture (uint8 [H, W, 3]) of about `PIXELS` pixels, its sides multiples of 28."""
    from PIL import Image
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    height, width = smart_resize(
        picture.shape[0], picture.shape[1], min_pixels=PIXELS, max_pixels=PIXELS
    )
    return Image.fromarray(picture.numpy()).resize((width, height), Image.Resampling.BICUBIC)


def _opened(folder: Path, network: Hpsv3) -> tuple[Any, list[str]]:
    """([the model without its language head, the rating's head], names that do not fit)."""
    from accelerate import init_empty_weights
    from torch import nn
    from transformers import Qwen2VLConfig, Qwen2VLModel

    from hypersd.rewards.tensors import tensors

    state = {_today(name): value for name, value in tensors(network.path).items()}
    state.pop("lm_head.weight", None)
    head = _head(state)
    config = Qwen2VLConfig.from_pretrained(folder)
    # the package cuts the embedding to the length of the tokenizer with the mark
    config.text_config.vocab_size = len(state["language_model.embed_tokens.weight"])
    with init_empty_weights():
        model = Qwen2VLModel(config)
    state = {name: value.to(network.dtype) for name, value in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    return nn.ModuleList([model, head]), [*missing, *unexpected]


def _head(state: dict[str, Tensor]) -> Any:
    """The rating's head, in fp32; its weights are taken out of `state`."""
    from torch import nn

    own = [name for name in state if name.startswith("rm_head.")]
    held = {name.removeprefix("rm_head."): state.pop(name).float() for name in own}
    (wide, width), narrow = held["0.weight"].shape, len(held["3.weight"])
    head = nn.Sequential(nn.Linear(width, wide), nn.ReLU(), nn.Dropout(),
                         nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, 2))  # fmt: skip
    head.load_state_dict(held)
    return head


def _today(name: str) -> str:
    """The present name in transformers of a weight that 4.45 or later wrote."""
    if name.startswith(("model.visual.", "model.language_model.")):
        return name.removeprefix("model.")
    return f"language_model.{name.removeprefix('model.')}" if name.startswith("model.") else name
