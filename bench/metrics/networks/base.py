"""The base class of networks: settings in a name, weights, one loaded copy.

An extractor's name says which network it is, `kind` or `kind?setting=value&...` with all settings
that are not the default, so that metrics which ask for the same network share it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from bench.errors import UsageError, nearest
from bench.metrics import weights
from bench.metrics.base import Features
from bench.metrics.networks.placement import Placement
from hypersd.hashes import digest

if TYPE_CHECKING:
    import torch

PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}  # as torch calls them


@dataclass(frozen=True)
class Network:
    """A network by its settings, which are texts; subclasses locate the weights.

    partial: columns of its features other than the first are nan where a prompt does not ask for
    them.
    is_published_half: its file is in half precision.
    """

    kind: ClassVar[str] = ""
    is_published_half: ClassVar[bool] = False
    partial: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The extractor's name."""
        given = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
        return f"{self.kind}?{urlencode(given, safe='/:@#=')}" if given else self.kind

    @property
    def label(self) -> str:
        """A short name for files, the same for all users of the network."""
        return self.kind

    @property
    def least(self) -> int:
        """The shortest side that a picture may have, in pixels."""
        return 1

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of its weights, best first."""
        raise NotImplementedError

    @property
    def companions(self) -> tuple[str, ...]:
        """Other files it needs: configurations and vocabularies."""
        return ()

    @property
    def about(self) -> str:
        """Architecture, preprocessing and output, for the identity."""
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """Kind, hash of the weights and of its other files, `about`.

        Raises UsageError where a file is not on this machine (`weights.NotHere` where a run would
        fetch it first).
        """
        about = self.about  # a wrong setting is said before a missing file
        files = [*((companion,) for companion in self.companions), self.sources]
        *beside, own = weights.all_here(self.name, files)
        others = [[path.name, weights.sha256(path)] for path in beside]
        also = f"with={digest(others)[:12]};" if others else ""
        return f"{self.kind}/1;weights={weights.sha256(own)[:12]};{also}{about}"

    @property
    def path(self) -> Path:
        """The weights, fetched if need be. Raises UsageError."""
        return weights.find(self.name, self.sources)

    def build(self, device: str) -> Any:
        """The loaded network: (uint8 [B, H, W, 3], B prompts) -> [B, D], tensor or array; one that
        compares has `between` instead. `loaded` keeps it."""
        raise NotImplementedError


class TextNetwork(Network):
    """A network that embeds texts as well as pictures.

    unit: what a score is of the two embeddings' product.
    """

    unit: ClassVar[float] = 100.0

    def embedded(self, texts: list[str]) -> Features:
        """Unit embeddings [B, D], fp32, where the pictures' side is loaded, or on the CPU."""
        found: Features = loaded(self).embedded(texts)
        return found

    def cut(self, texts: list[str]) -> list[bool]:
        """Whether each text is longer than the network reads."""
        found: list[bool] = loaded(self).cut(texts)
        return found


@dataclass(frozen=True)
class CastNetwork(Network):
    """A network that may run in half precision: its values change by less than a margin
    (docs/metrics.md).

    precision: of weights and activations; features are fp32 and unit length whatever it is.
    """

    precision: str = field(default="fp32", kw_only=True)

    @property
    def identity(self) -> str:
        """The identity, with the precision unless it is fp32. Raises UsageError as
        `Network.identity`, and for an unknown precision."""
        if self.precision not in PRECISIONS:
            valid = nearest(self.precision, PRECISIONS)
            raise UsageError(f"{self.kind}: precision={self.precision}; {valid}")
        found = super().identity
        return found if self.precision == "fp32" else f"{found};precision={self.precision}"

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and input."""
        import torch

        found: torch.dtype = getattr(torch, PRECISIONS[self.precision])
        return found


@dataclass(frozen=True)
class FolderNetwork(Network):
    """A network in transformers' format. weights: `hf://owner/name` or a folder, with config.json
    and model.safetensors."""

    weights: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """The network's file."""
        return (f"{self.weights}/model.safetensors",)

    @property
    def companions(self) -> tuple[str, ...]:
        """The architecture's description."""
        return (f"{self.weights}/config.json",)

    @property
    def folder(self) -> Path:
        """Where both lie, fetched if need be. Raises UsageError."""
        for companion in self.companions:
            weights.find(self.name, (companion,))
        return self.path.parent


LOADED = Placement()


def loaded(network: Network, device: str | None = None) -> Any:
    """The network of `Network.build`, built once and shared.

    device: None is the device of the last call, or the CPU.
    """
    return LOADED.get(network, device)


def make_room(device: str, but: Network | None = None) -> bool:
    """Move all loaded networks but one to the host; returns whether any was on the device."""
    return LOADED.release(device, but)


def leave_for_drawing(device: str) -> None:
    """Move all networks to the host, if only one at a time may be on the device."""
    if LOADED.alone:
        LOADED.release(device)


def one_at_a_time(alone: bool) -> None:
    """Set whether loaded networks are on the device one at a time, or all of them."""
    LOADED.alone = alone
