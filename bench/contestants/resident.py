"""A base that stays in memory for all contestants, with one contestant's weights in it.

A LoRA is merged into the base's networks module by module, from the weights as the base's files
hold them, summed in fp32 and rounded once to the run's precision. It is taken out by putting the
base's own weights back: afterwards every weight is that of a fresh load, to the bit.

A whole UNet replaces the base's, which is dropped: reading it again, mostly from the system's file
cache, takes little longer than moving it to the host and back, and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypersd import bases, tensor_files
from hypersd.hub import pipeline_files, wanted_variant
from hypersd.lora import merging
from hypersd.lora.forms import NETWORKS, UNET
from hypersd.lora.reader import Layer

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
KEPT = "force_zeros_for_empty_prompt"  # what a pipeline's configuration says beside its parts


class Resident:
    """A base's pipeline, which is another object after each change of its UNet.

    folder: where it was loaded from, and its own weights are read from again.  After an error the
    networks may be half changed: the caller must drop them.
    """

    def __init__(self, pipe: Any, folder: Path, precision: str) -> None:
        self.pipe, self.folder, self.precision = pipe, folder, precision
        self._has_own_unet = True
        self._merged: set[Any] = set()  # modules
        self._texts: dict[Any, Tensor] = {}  # own weights of those of text encoders

    @torch.no_grad()
    def merge(self, layers: Iterable[Layer] = (), scale: float = 1.0) -> bool:
        """Merge these layers, times `scale`, and no others, into its networks; returns whether any
        weight changes. Without layers it is the base itself.

        Raises FileError where they do not fit.
        """
        if not self._has_own_unet:
            self._replace_unet(self._own_unet)
            self._has_own_unet = True
        networks = {name: self.pipe.components.get(name) for name in NETWORKS}
        modules = {name: merging.plain(own) for name, own in networks.items() if own is not None}
        pairs = merging.targets(layers, modules)
        wanted = {module for _, module in pairs}
        originals = self._originals(modules[UNET], wanted | self._merged)
        for module in self._merged - wanted:
            module.weight.copy_(originals[module])
        changed = merging.merge_into(pairs, scale, originals)
        self._merged = wanted
        self._texts = {module: own for module, own in self._texts.items() if module in wanted}
        return changed

    @torch.no_grad()
    def replace_unet(self, load: Callable[[], Any]) -> None:
        """Replace the base's UNet by the result of `load`, at the run's precision. The UNet before
        is dropped first."""
        for module, own in self._texts.items():
            module.weight.copy_(own)
        self._merged, self._texts, self._has_own_unet = set(), {}, False
        self._replace_unet(lambda: load().to(dtype=PRECISIONS[self.precision]))

    def _replace_unet(self, load: Callable[[], Any]) -> None:
        self.pipe.unet = None
        self.pipe.unet = load()
        self.pipe = with_parts(self.pipe)

    def _own_unet(self) -> Any:
        import diffusers

        kind: Any = diffusers.UNet2DConditionModel
        wanted = wanted_variant(self.precision)
        return kind.from_pretrained(
            self.folder / UNET, dtype=PRECISIONS[self.precision],
            variant=bases.variant(self.folder, wanted), use_safetensors=True, local_files_only=True,
        )  # fmt: skip

    def _originals(self, unet: Mapping[str, Any], modules: AbstractSet[Any]) -> dict[Any, Tensor]:
        """The base's own weights of some modules.

        unet: its modules by name. Of these as the files hold them, and mapped into memory: only
        what is used is read. Those of text encoders in the run's precision, in memory since they
        were first changed.
        """
        of_unet = {module: f"{name}.weight" for name, module in unet.items() if module in modules}
        for module in modules - of_unet.keys() - self._texts.keys():
            self._texts[module] = module.weight.to("cpu", copy=True)
        held = self._unet_files() if of_unet else {}
        return {**{module: held[name] for module, name in of_unet.items()}, **self._texts}

    def _unet_files(self) -> dict[str, Tensor]:
        """The weights of the base's UNet by name, in its files' precision."""
        names = [f"{UNET}/{path.name}" for path in (self.folder / UNET).glob("*.safetensors")]
        held: dict[str, Tensor] = {}
        for name in pipeline_files(names, wanted_variant(self.precision)):
            held |= tensor_files.read(self.folder / name)[0]
        return held


def with_parts(pipe: Any, **other: Any) -> Any:
    """A pipeline of the same parts but for others."""
    parts = {**pipe.components, **other, **bases.of(pipe).loaded_with}
    if KEPT in pipe.config:
        parts[KEPT] = pipe.config[KEPT]
    return type(pipe)(**parts)
