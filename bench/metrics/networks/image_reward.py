"""ImageReward (Xu et al. 2023, arXiv 2304.05977): BLIP reads picture and prompt together.

    score = (head(first token of the text encoder, which attends to the picture) - mean) / std

The head is five linear layers without activations, so it is one affine map. The networks are those
of `hypersd.rewards.blip`, where they are a reward. Prompts are cut at 35 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.errors import UsageError, brief
from bench.metrics import resize, weights
from bench.metrics.networks.base import CastNetwork, loaded
from bench.metrics.networks.clip import MEAN, STD
from bench.metrics.networks.placement import Movable

if TYPE_CHECKING:
    from torch import Tensor

TOKENS = 35


@dataclass(frozen=True)
class ImageReward(CastNetwork):
    """weights, vocabulary: sources of the published file and of BERT's vocab.txt."""

    kind: ClassVar[str] = "image_reward"
    weights: str = "hf://THUDM/ImageReward/ImageReward.pt"
    vocabulary: str = "hf://google-bert/bert-base-uncased/vocab.txt"

    @property
    def sources(self) -> tuple[str, ...]:
        """The network's file."""
        return (self.weights,)

    @property
    def companions(self) -> tuple[str, ...]:
        """BERT's vocabulary."""
        return (self.vocabulary,)

    @property
    def about(self) -> str:
        """Input and output."""
        return f"input=shortest,{TOKENS} tokens;output=score"

    def cut(self, texts: list[str]) -> list[bool]:
        """Whether each text is longer than the network reads."""
        found: list[bool] = loaded(self).cut(texts)
        return found

    def build(self, device: str) -> ImageRewardNetwork:
        """The network. Raises UsageError for other weights."""
        return ImageRewardNetwork(self, device)


class ImageRewardNetwork(Movable):
    """A loaded ImageReward."""

    def __init__(self, network: ImageReward, device: str) -> None:
        from tokenizers import BertWordPieceTokenizer

        from hypersd.rewards import affine, blip
        from hypersd.rewards.tensors import tensors

        self.dtype, path = network.dtype, network.path
        state = tensors(path)
        try:
            self.head = affine.of_layers(blip.below("mlp.", state))
            self.vision = blip.vision(blip.below("blip.visual_encoder.", state)).to(self.dtype)
            self.text = blip.text(blip.below("blip.text_encoder.", state)).to(self.dtype)
        except (KeyError, ValueError, RuntimeError) as error:
            raise UsageError(f"{path}: not ImageReward's weights ({brief(error, 120)})") from None
        vocabulary = weights.find(f"{network.name}: vocabulary", (network.vocabulary,))
        self.tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
        self.side = self.vision.config.image_size
        self.to(device)

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """Scores [B, 1] of uint8 [B, H, W, 3] and their prompts; about a standard normal on the
        pictures that people judged."""
        from hypersd.rewards.blip import score

        ids, mask = self._ids(prompts)
        pixels = self.prepared(images).to(self.dtype)
        return score(self.vision, self.text, self.head, pixels, ids, mask)[:, None]

    def prepared(self, images: Tensor) -> Tensor:
        """[B, 3, S, S]: the shorter side to S, the middle, CLIP's mean and deviation."""
        x = resize.shortest(images.permute(0, 3, 1, 2), self.side)
        x = resize.centre(x, self.side) / 255
        return (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)

    def cut(self, texts: list[str]) -> list[bool]:
        """Whether each text has more than 35 tokens, with start and end."""
        self.tokenizer.no_truncation()
        return [len(self.tokenizer.encode(text).ids) > TOKENS for text in texts]

    def _ids(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        import torch

        self.tokenizer.enable_truncation(TOKENS)
        self.tokenizer.enable_padding(length=TOKENS)
        coded = self.tokenizer.encode_batch(prompts)
        self.tokenizer.no_padding()
        ids = torch.tensor([one.ids for one in coded], device=self.device)
        return ids, torch.tensor([one.attention_mask for one in coded], device=self.device)
