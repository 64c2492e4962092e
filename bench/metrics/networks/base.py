"""What all towers of published networks share: settings in a name, weights, one loaded copy.

An extractor's name says which network it is, `kind` or `kind?setting=value&...` with all settings
that are not the default, so that metrics which ask for the same network share it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from urllib.parse import urlencode

from bench.metrics import weights
from bench.metrics.base import Features

if TYPE_CHECKING:
    from torch import Tensor

Network = Callable[["Tensor", list[str]], Any]
"""(uint8 [B, H, W, 3], B prompts) -> [B, D], tensor or array."""


class TextSide(Protocol):
    """A network that embeds texts as well."""

    def embedded(self, texts: list[str]) -> Features:
        """Unit embeddings [B, D], fp32."""
        ...

    def cut(self, texts: list[str]) -> list[bool]:
        """Whether each text is longer than the network reads."""
        ...


@dataclass(frozen=True)
class Tower:
    """A published network, by settings that are texts. Subclasses say where weights are."""

    kind: ClassVar[str] = ""

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
    def sources(self) -> tuple[str, ...]:
        """Where its weights may come from, the best first."""
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
        """Kind, hash of the weights, `about`.

        Raises UsageError where a file is not on this machine (`weights.NotHere` where a run would
        fetch it first).
        """
        about = self.about  # a wrong setting is said before a missing file
        files = [*((companion,) for companion in self.companions), self.sources]
        found = weights.all_here(self.name, files)[-1]
        return f"{self.kind}/1;weights={weights.sha256(found)[:12]};{about}"

    @property
    def path(self) -> Path:
        """The weights, fetched if need be. Raises UsageError."""
        return weights.find(self.name, self.sources)

    def build(self, device: str) -> Any:
        """The network, called as `Network`; `loaded` keeps it."""
        raise NotImplementedError


@dataclass(frozen=True)
class FolderTower(Tower):
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


_LOADED: dict[Tower, tuple[str, Any]] = {}


def loaded(tower: Tower, device: str | None = None) -> Any:
    """A tower's network, built once and shared.

    device: where it has to be; None: where it is, or on the CPU.
    """
    if tower not in _LOADED or device not in (None, _LOADED[tower][0]):
        _LOADED[tower] = (device or "cpu", tower.build(device or "cpu"))
    return _LOADED[tower][1]
