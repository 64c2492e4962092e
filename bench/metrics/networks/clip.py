"""CLIP models of open_clip: `clip`, the embedding under `aesthetic`, and HPSv2's network.

Weights of a tag come from the hub file that open_clip itself would take. Whether a network has
QuickGELU follows its weights: open_clip 3 builds `ViT-B-32` with GELU for OpenAI's weights, which
were trained with QuickGELU, and only warns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from bench.errors import UsageError, brief, nearest
from bench.metrics import resize
from bench.metrics.base import Features
from bench.metrics.networks.base import CastNetwork, TextNetwork
from bench.metrics.networks.placement import Movable
from hypersd.file_kinds import mistaken, of_weights

if TYPE_CHECKING:
    from torch import Tensor

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Tag(NamedTuple):
    """Published weights, from open_clip's table."""

    repo: str
    quick_gelu: bool
    resize: str = "shortest"
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD


# Of open_clip's own table, so that a plan need not import torch to name these files.
KNOWN = {
    ("ViT-B-32", "openai"): Tag("timm/vit_base_patch32_clip_224.openai", True),
    ("ViT-L-14", "openai"): Tag("timm/vit_large_patch14_clip_224.openai", True),
    ("ViT-L-14-336", "openai"): Tag("timm/vit_large_patch14_clip_336.openai", True),
    ("ViT-H-14", "laion2b_s32b_b79k"): Tag("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", False),
    ("ViT-g-14", "laion2b_s12b_b42k"): Tag("laion/CLIP-ViT-g-14-laion2B-s12B-b42K", False),
}
HPS = {  # by version
    "v2.0": "hf://xswu/HPSv2/HPS_v2_compressed.pt",
    "v2.1": "hf://xswu/HPSv2/HPS_v2.1_compressed.pt",
}
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
QUICK, LOCAL = "-quickgelu", "local-dir:"


@dataclass(frozen=True)
class OpenClip(CastNetwork, TextNetwork):
    """model: open_clip's name, or `local-dir:FOLDER` with an open_clip_config.json.  weights:
    open_clip's tag, or a source.  resize: one of RESIZES; empty: as the weights were trained.
    """

    kind: ClassVar[str] = "open_clip"
    model: str = "ViT-B-32"
    weights: str = "openai"
    resize: str = ""

    @cached_property
    def tag(self) -> Tag | None:
        """The table's entry of the weights; None for a file."""
        if self.folder is not None:
            return _of_folder(self.folder)
        if ":" in self.weights or Path(self.weights).exists():
            return None
        plain = self.model.removesuffix(QUICK)
        found = KNOWN.get((plain, self.weights)) or _looked_up(plain, self.weights)
        if self.model.endswith(QUICK) and not found.quick_gelu:
            raise UsageError(
                f"{self.model}: the weights {self.weights!r} were not trained with QuickGELU; "
                f"take model {plain}"
            )
        return found

    @property
    def label(self) -> str:
        """For file names."""
        model = "local" if self.folder else self.model.removesuffix(QUICK)
        return f"{self.kind}-{model}-{self.preparation}"

    @property
    def folder(self) -> Path | None:
        """The folder of a local model."""
        local = self.model.startswith(LOCAL)
        return Path(self.model.removeprefix(LOCAL)) if local else None

    @property
    def quick_gelu(self) -> bool:
        """The activation that the weights were trained with; of a file, the model's name says."""
        return self.model.endswith(QUICK) if self.tag is None else self.tag.quick_gelu

    @property
    def preparation(self) -> str:
        """How pictures get to the network's size."""
        found = self.resize or (self.tag.resize if self.tag else "shortest")
        if found not in RESIZES:
            raise UsageError(f"{self.kind}: resize={found}; {nearest(found, RESIZES)}")
        return found

    @property
    def sources(self) -> tuple[str, ...]:
        """A tag's files on the hub, a folder's, or the source that was given."""
        if self.tag is None:
            return (self.weights,)
        place = self.tag.repo if self.folder else f"hf://{self.tag.repo}"
        return tuple(f"{place}/{name}" for name in FILES)

    @property
    def companions(self) -> tuple[str, ...]:
        """Configuration and tokenizer of a local model; those of a tag are open_clip's own."""
        if self.folder is None:
            return ()
        found = [path for kind in ("*.json", "*.txt") for path in self.folder.glob(kind)]
        return tuple(map(str, sorted(found)))

    @property
    def about(self) -> str:
        """The description of model and input; the path of a local model is left out."""
        model = "local" if self.folder else self.model.removesuffix(QUICK)
        activation = "QuickGELU" if self.quick_gelu else "GELU"
        return f"{model},{activation};input={self.preparation};output=unit image embedding"

    def build(self, device: str) -> ClipNetwork:
        """The network. Raises UsageError for another architecture's weights."""
        return ClipNetwork(self, device)


def vit_l(model: str = "ViT-L-14", weights: str = "openai", precision: str = "fp32") -> OpenClip:
    """The CLIP of LAION's aesthetic predictors."""
    return OpenClip(model, weights, precision=precision)


def vit_l_336(model: str = "ViT-L-14-336", weights: str = "openai", resize: str = "") -> OpenClip:
    """CMMD's CLIP, in fp32 like its reference."""
    return OpenClip(model, weights, resize)


def hpsv2(
    version: str = "v2.1",
    model: str = "ViT-H-14",
    weights: str = "",
    resize: str = "longest",
    precision: str = "fp32",
) -> OpenClip:
    """HPSv2's network (Wu et al. 2023, arXiv 2306.09341), CLIP tuned on pairs judged by people.

    weights: a source; empty: of the version. Raises UsageError for an unknown version.
    """
    if version not in HPS:
        raise UsageError(f"metrics.hps.version={version}; {nearest(version, HPS)}")
    return OpenClip(model, weights or HPS[version], resize, precision=precision)


def _looked_up(model: str, tag: str) -> Tag:
    import open_clip

    if model not in open_clip.list_models():
        raise UsageError(f"no open_clip model {model!r}; {nearest(model, open_clip.list_models())}")
    held = open_clip.get_pretrained_cfg(model, tag)
    if not held.get("hf_hub"):
        valid = open_clip.list_pretrained_tags_by_model(model)
        raise UsageError(f"{model} has no weights {tag!r} on the hub; {nearest(tag, valid)}")
    quick_gelu = bool(held.get("quick_gelu"))
    mean, std = tuple(held["mean"]), tuple(held["std"])
    return Tag(held["hf_hub"].rstrip("/"), quick_gelu, _resize(held), mean, std)


def _of_folder(folder: Path) -> Tag:
    try:
        held = json.loads((folder / "open_clip_config.json").read_bytes())
        quick_gelu, shown = bool(held["model_cfg"].get("quick_gelu")), held["preprocess_cfg"]
        mean, std = tuple(shown["mean"]), tuple(shown["std"])
        return Tag(str(folder), quick_gelu, _resize(shown), mean, std)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{folder}: no open_clip model (open_clip_config.json)") from None


def _resize(shown: Mapping[str, Any]) -> str:
    """One of RESIZES, by open_clip's words on a picture's preparation: bilinear for CLIPA,
    MobileCLIP and PE, where others are bicubic."""
    mode = str(shown.get("resize_mode") or "shortest")
    return f"{mode}_bilinear" if shown.get("interpolation") == "bilinear" else mode


class ClipNetwork(Movable):
    """A loaded CLIP: pictures and texts to unit embeddings."""

    def __init__(self, network: OpenClip, device: str) -> None:
        import open_clip

        self.network = network
        self.model = _model(network)
        side = self.model.visual.image_size
        self.side: int = side[0] if isinstance(side, (tuple, list)) else side
        self.tokenizer = open_clip.get_tokenizer(network.model.removesuffix(QUICK))
        self.to(device)

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """Unit image embeddings [B, D] of uint8 [B, H, W, 3]."""
        del prompts
        return unit(self.model.encode_image(self.prepared(images).to(self.network.dtype)))

    def prepared(self, images: Tensor) -> Tensor:
        """[B, 3, S, S], as the network was shown pictures in training."""
        x = RESIZES[self.network.preparation](images.permute(0, 3, 1, 2), self.side)
        tag = self.network.tag
        mean, std = (tag.mean, tag.std) if tag else (MEAN, STD)
        return (x - x.new_tensor(mean).view(3, 1, 1)) / x.new_tensor(std).view(3, 1, 1)

    def embedded(self, texts: list[str]) -> Features:
        """Unit text embeddings [B, D]; a text that is too long is cut, its end token kept."""
        import torch

        with torch.inference_mode():
            ids = self.tokenizer(texts).to(self.device)
            found: Features = unit(self.model.encode_text(ids)).cpu().numpy()
        return found

    def cut(self, texts: list[str]) -> list[bool]:
        """Whether each text has more tokens than the context (77 of most models)."""
        return [self._tokens(text) > self.tokenizer.context_length for text in texts]

    def _tokens(self, text: str) -> int:
        """With start and end."""
        if hasattr(self.tokenizer, "sot_token_id"):  # open_clip's own
            return len(self.tokenizer.encode(text)) + 2
        return len(self.tokenizer.tokenizer(self.tokenizer.clean_fn(text)).input_ids)


def unit(embeddings: Tensor) -> Tensor:
    """Embeddings [B, D] of any precision at length 1, fp32."""
    from torch.nn.functional import normalize

    found: Tensor = normalize(embeddings.float(), dim=-1)
    return found


def _model(network: OpenClip) -> Any:
    import open_clip

    path = network.path
    try:
        model = open_clip.create_model(
            network.model.removesuffix(QUICK), load_weights=False, precision="fp32",
            force_quick_gelu=network.quick_gelu, pretrained_text=False,
        )  # fmt: skip
        open_clip.load_checkpoint(model, str(path), weights_only=True)
    except Exception as error:  # open_clip raises many kinds for a bad file
        why = f"not the weights of {network.model} ({brief(error, 160)})"
        raise UsageError(f"{path}: {mistaken(path, of_weights(path)) or why}") from None
    return model.eval().requires_grad_(False).to(network.dtype)


def _shortest(x: Tensor, side: int) -> Tensor:
    return resize.centre(resize.shortest(x, side), side) / 255


def _shortest_bilinear(x: Tensor, side: int) -> Tensor:
    return resize.centre(resize.shortest(x, side, "bilinear"), side) / 255


def _squash(x: Tensor, side: int) -> Tensor:
    return resize.resized(x, side, side, rounded=True) / 255


def _squash_bilinear(x: Tensor, side: int) -> Tensor:
    return resize.resized(x, side, side, kernel="bilinear", rounded=True) / 255


def _longest(x: Tensor, side: int) -> Tensor:
    return resize.padded(x.float() / 255, side)


def _longest_aliased(x: Tensor, side: int) -> Tensor:
    return resize.padded(x.float() / 255, side, antialias=False)


def _lanczos_256(x: Tensor, side: int) -> Tensor:
    return _shortest(resize.resized(x, 256, 256, kernel="lanczos", rounded=True), side)


RESIZES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "shortest": _shortest,  # CLIP's own: the shorter side, then the middle
    "shortest_bilinear": _shortest_bilinear,  # MobileCLIP
    "squash": _squash,  # SigLIP and others
    "squash_bilinear": _squash_bilinear,  # CLIPA, PE
    "longest": _longest,  # HPSv2 with torchvision 0.17 or newer
    "longest_aliased": _longest_aliased,  # HPSv2 with an older torchvision
    "lanczos_256": _lanczos_256,  # DMD2's evaluation
}
