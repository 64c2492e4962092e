"""What all networks share: settings in a name, weights, one loaded copy.

An extractor's name says which network it is, `kind` or `kind?setting=value&...` with all settings
that are not the default, so that metrics which ask for the same network share it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from bench.metrics import weights
from bench.metrics.base import Features
from hypersd.hashes import digest


@dataclass(frozen=True)
class Network:
    """A network by its settings, which are texts. Subclasses say where weights are.

    partial: columns of its features but the first are nan where a prompt does not ask for them.
    """

    kind: ClassVar[str] = ""
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


_LOADED: dict[Network, tuple[str, Any]] = {}


def loaded(network: Network, device: str | None = None) -> Any:
    """What `Network.build` gives, built once and shared.

    device: where it has to be; None: where it is, or on the CPU.
    """
    if network not in _LOADED or device not in (None, _LOADED[network][0]):
        _LOADED[network] = (device or "cpu", network.build(device or "cpu"))
    return _LOADED[network][1]
