"""The input of Qwen's vision-language models, from pictures and texts.

A picture is cut into patches and stands in the text as as many tokens as it has patches, by four.
Pictures go through transformers' own image processor, texts through the model's tokenizer; the
chat's frame is written out here, as the models' own template writes it for one user and one
picture, so that no template is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError, brief
from hypersd.model_folder import culprit

if TYPE_CHECKING:
    from torch import Tensor

PICTURE = "<|image_pad|>"
USER = "<|im_start|>user\n<|vision_start|>{picture}<|vision_end|>{text}<|im_end|>\n"
FRAME = USER + "<|im_start|>assistant\n"
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"  # Qwen2-VL writes it always
AT_ONCE = 8  # pictures with a text each


class Reader:
    """Pictures and texts -> the input of a Qwen model. frame: of a text and its picture."""

    def __init__(self, folder: Path, frame: str, **image_settings: Any) -> None:
        """folder: tokenizer.json and preprocessor_config.json. Raises UsageError for others."""
        from tokenizers import Tokenizer
        from transformers import Qwen2VLImageProcessor

        self.frame, self.image_settings = frame, image_settings
        try:
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.pictures: Any = Qwen2VLImageProcessor.from_pretrained(folder)
        except Exception as error:  # both raise many kinds for a bad file
            why = (
                culprit(folder) or f"not Qwen's tokenizer and image processor ({brief(error, 90)})"
            )
            raise UsageError(f"{folder}: {why}") from None
        self.picture = self.token(PICTURE)

    def token(self, text: str) -> int:
        """The id of a text that is one token, or of its first one."""
        return int(self.tokenizer.encode(text, add_special_tokens=False).ids[0])

    def __call__(
        self, images: Sequence[Any], texts: Sequence[str], device: str, dtype: Any
    ) -> dict[str, Tensor]:
        """The model's input for pictures (uint8 tensors [3, H, W], or PIL's), one text each.

        dtype: of the patches.
        Shorter texts are padded at the left, so that all end at the last place.
        """
        import torch

        seen = self.pictures(images=list(images), return_tensors="pt", **self.image_settings)
        merged = seen["image_grid_thw"].prod(dim=1) // self.pictures.merge_size**2
        written = [
            self.frame.format(picture=PICTURE * int(count), text=plain(text))
            for text, count in zip(texts, merged, strict=True)
        ]
        coded = [e.ids for e in self.tokenizer.encode_batch(written, add_special_tokens=False)]
        longest = max(map(len, coded))
        ids = torch.tensor([[0] * (longest - len(one)) + one for one in coded])
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in coded])
        return {
            "input_ids": ids.to(device),
            "attention_mask": mask.to(device),
            "mm_token_type_ids": ((ids == self.picture) & (mask > 0)).int().to(device),
            "pixel_values": seen["pixel_values"].to(device, dtype),
            "image_grid_thw": seen["image_grid_thw"].to(device),
        }


def plain(text: str) -> str:
    """A text without the model's own special tokens."""
    return text.replace("<|", "< |")


def parts(count: int) -> Iterator[slice]:
    """A batch, a few at a time: each picture is a thousand tokens."""
    return (slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE))


def opened(folder: Path, what: str, load: Callable[[], tuple[Any, Sequence[str]]]) -> Any:
    """A model by transformers' own loader. load: gives it, and names that do not fit.

    Raises UsageError where there are any, and for whatever the loader raises.
    """
    from hypersd.quiet import quiet

    quiet()
    try:
        model, wrong = load()
    except Exception as error:  # the loader raises many kinds for a bad file
        why = culprit(folder) or f"not {what}'s weights ({brief(error, 120)})"
        raise UsageError(f"{folder}: {why}") from None
    if wrong:
        raise UsageError(f"{folder}: not {what}'s weights ({sorted(wrong)[0]} does not fit)")
    return model.eval().requires_grad_(False)
