"""A pipeline in memory that draws by its own call, and the LoRAs that are fused into it.

LoRAs are read and fused by diffusers, which knows more forms than this project (kohya's, x-flux's,
...), but a file of which any key stays unused is refused all the same. A fused network is loaded
anew for the next contestant: taking a LoRA out again would round.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bench.contestants.resident import PRECISIONS
from hypersd import bases
from hypersd.errors import FileError, brief
from hypersd.hub import wanted_variant
from hypersd.quiet import heard
from hypersd.reference import PICKLES

ADAPTER = "contestant"
UNUSED = ("unexpected keys", "missing keys", "missing adapter keys")  # as diffusers and PEFT say it


class OwnResident:
    """A base's pipeline, with LoRAs fused.

    folder: where it was loaded from; Path() of random weights.  pipe: on the CPU at first.
    """

    def __init__(self, pipe: Any, folder: Path, precision: str) -> None:
        self.pipe, self.folder, self.precision = pipe, folder, precision
        self.scheduler = pipe.scheduler  # the pipeline's own, whatever a contestant draws with
        self._fused: set[str] = set()

    def restore(self) -> None:
        """Make it the base itself, without LoRAs."""
        self.pipe.remove_all_hooks()  # of offloading
        for name in self._fused:
            self._reload(name)
        self._fused = set()

    def fuse(self, weights: Path, scale: float) -> None:
        """Fuse a LoRA, times `scale`, into what is there.

        Raises FileError for a file that is not used to its last key.
        """
        parts = _loaded_into(self.pipe, weights)
        self._fused |= {*parts}
        self.pipe.fuse_lora(components=parts, lora_scale=scale, adapter_names=[ADAPTER])
        self.pipe.unload_lora_weights()

    def _reload(self, name: str) -> None:
        kind = type(getattr(self.pipe, name))
        setattr(self.pipe, name, None)  # the memory of the one before first
        folder, wanted = self.folder / name, wanted_variant(self.precision)
        own = kind.from_pretrained(
            folder, dtype=PRECISIONS[self.precision], use_safetensors=True, local_files_only=True,
            variant=bases.variant(self.folder, wanted, name),
        )  # fmt: skip
        setattr(self.pipe, name, own.eval())


def check_lora(kind: Any, weights: Path) -> None:
    """Refuse a LoRA's file with keys that are of no part of a pipeline.

    kind: diffusers' class of the pipeline.  Raises FileError.
    """
    if weights.suffix in PICKLES:
        raise FileError("is a pickle, which is not read here; valid: .safetensors")
    if not hasattr(kind, "load_lora_weights"):
        raise FileError(f"{kind.__name__} takes no LoRA")
    loadable = kind._lora_loadable_modules
    try:
        found = kind.lora_state_dict(str(weights))
    except Exception as error:  # its converters raise many kinds for keys that they do not know
        raise FileError(f"is no LoRA that {kind.__name__} reads: {brief(error, 160)}") from None
    state = found[0] if isinstance(found, tuple) else found
    strange = sorted(key for key in state if key.split(".")[0] not in loadable)
    if strange:
        raise FileError(f"{len(strange)} keys are of none of {', '.join(loadable)}: {strange[0]}")


def _loaded_into(pipe: Any, weights: Path) -> list[str]:
    """The parts of a pipeline that a LoRA was put on, not fused yet."""
    check_lora(type(pipe), weights)
    with heard() as words:
        pipe.load_lora_weights(
            str(weights.parent), weight_name=weights.name, adapter_name=ADAPTER,
            local_files_only=True,
        )  # fmt: skip
    for line in words:
        if any(said in line for said in UNUSED):
            raise FileError(line[:300])
    parts = list(pipe.get_list_adapters())
    if not parts:
        raise FileError("the LoRA changes nothing")
    return parts


def on_device(pipe: Any, device: torch.device, offload: str) -> Any:
    """The pipeline, ready to draw.

    offload: "none", or "model" or "sequential", as diffusers calls them: its parts, or each of
    their modules, are on the device only while they work.
    """
    pipe.set_progress_bar_config(disable=True)
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    return pipe
