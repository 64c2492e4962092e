"""A base that stays in memory for all contestants, with one contestant's weights in it.

A LoRA is merged into the base's networks module by module, from the weights as the base's files
hold them, summed in fp32 and rounded once to the run's precision. It is taken out by putting the
base's own weights back: afterwards every weight is that of a fresh load, to the bit.

A whole UNet replaces the base's, which is dropped: reading it again, mostly from the system's file
cache, takes little longer than moving it to the host and back, and no memory.

A UNet that is stored in fp8 (diffusers' layerwise casting) keeps the base's weights, and LoRAs
stand beside them (`hypersd.lora.beside`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypersd import bases, tensor_files
from hypersd.hub import pipeline_files, wanted_variant
from hypersd.lora import beside, merging
from hypersd.lora.forms import NETWORKS, UNET
from hypersd.lora.reader import Layer

Loras = Sequence[tuple[Sequence[Layer], float]]  # the layers of each, and its strength
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
STORAGE = {"fp8": torch.float8_e4m3fn}
KEPT = "force_zeros_for_empty_prompt"  # what a pipeline's configuration says beside its parts


class Resident:
    """A base's pipeline, which is another object after each change of its UNet.

    folder: where it was loaded from, and its own weights are read from again.  After an error the
    networks may be half changed: the caller must drop them.
    """

    def __init__(self, pipe: Any, folder: Path, precision: str, storage: str = "") -> None:
        self.pipe, self.folder, self.precision, self.storage = pipe, folder, precision, storage
        self._has_own_unet = True
        self._beside: list[Any] = []  # handles of what stands beside weights in fp8
        self._store()
        self._merged: set[Any] = set()  # modules
        self._texts: dict[Any, Tensor] = {}  # own weights of those of text encoders

    def merge(self, loras: Loras = ()) -> list[bool]:
        """Put these LoRAs, and no others, into the base's networks; whether each changes any
        weight. Without LoRAs it is the base itself.

        Raises FileError where they do not fit.
        """
        if not self._has_own_unet:
            self._replace_unet(self._own_unet)
            self._has_own_unet = True
        return self._merge(loras)

    def replace_unet(self, load: Callable[[], Any], loras: Loras = ()) -> list[bool]:
        """Replace the base's UNet by the result of `load`, at the run's precision, with these LoRAs
        in it; returns as `merge`. The UNet before is dropped first."""
        self._has_own_unet = False
        self._replace_unet(lambda: load().to(dtype=PRECISIONS[self.precision]))
        return self._merge(loras)

    @torch.no_grad()
    def _merge(self, loras: Loras) -> list[bool]:
        for handle in self._beside:
            handle.remove()
        self._beside = []
        networks = {name: self.pipe.components.get(name) for name in NETWORKS}
        modules = {name: merging.plain(own) for name, own in networks.items() if own is not None}
        pairs = [(merging.targets(layers, modules), scale) for layers, scale in loras]
        kept = [self._stand_beside(own, scale) for own, scale in pairs]
        merged = [([pair for pair in own if not self._is_stored(pair[0])], scale)
                  for own, scale in pairs]  # fmt: skip
        wanted = {module for own, _ in merged for _, module in own}
        originals = self._originals(modules[UNET], wanted | self._merged)
        for module in self._merged - wanted:
            module.weight.copy_(originals[module])
        changed = merging.merge_all(merged, originals)
        self._merged = wanted
        self._texts = {module: own for module, own in self._texts.items() if module in wanted}
        return [one or other for one, other in zip(kept, changed, strict=True)]

    def _is_stored(self, layer: Layer) -> bool:
        """Whether a layer is of a network that is kept in fewer bits."""
        return bool(self.storage) and layer.network == UNET

    def _stand_beside(self, pairs: Sequence[tuple[Layer, Any]], scale: float) -> bool:
        """Let the layers of a network in fewer bits stand beside its weights; whether they add
        anything."""
        own = [pair for pair in pairs if self._is_stored(pair[0])]
        beside.refuse_dora(layer for layer, _ in own)
        dtype = PRECISIONS[self.precision]
        self._beside += [beside.add(module, layer, scale, dtype) for layer, module in own]
        return any(bool(layer.up.any()) and bool(layer.down.any()) for layer, _ in own)

    def _replace_unet(self, load: Callable[[], Any]) -> None:
        self.pipe.unet, self._beside = None, []
        self._merged &= self._texts.keys()
        self.pipe.unet = load()
        self._store()
        self.pipe = with_parts(self.pipe)

    def _store(self) -> None:
        """Keep the UNet's weights in 8 bits, if it is asked for; norms stay as they are."""
        if self.storage:
            self.pipe.unet.enable_layerwise_casting(
                storage_dtype=STORAGE[self.storage], compute_dtype=PRECISIONS[self.precision]
            )

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
        what is used is read; of a UNet in the base's place as they are, since it is never put back.
        Those of text encoders in the run's precision, in memory since they were first changed.
        """
        of_unet = {module: f"{name}.weight" for name, module in unet.items() if module in modules}
        for module in modules - of_unet.keys() - self._texts.keys():
            self._texts[module] = module.weight.to("cpu", copy=True)
        if not self._has_own_unet:
            return {**{module: module.weight for module in of_unet}, **self._texts}
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
