"""Weights on disk -> a pipeline that is ready to sample.

A LoRA is merged into the network's weights, so that a contestant's speed is that of the merged
network. One base is in memory at a time, and in it one contestant.
"""

from __future__ import annotations

import copy
import gc
import warnings
from pathlib import Path
from typing import Any

import torch

from bench.contestants import files, identity, random_weights, unet_weights, vaes
from bench.contestants.resident import PRECISIONS, Resident, with_parts
from bench.errors import UsageError, brief
from bench.suite.contestant import ContestantSettings
from hypersd import bases
from hypersd.errors import FileError
from hypersd.hashes import state, states
from hypersd.hub import wanted_variant
from hypersd.lora import reader
from hypersd.lora.forms import UNET
from hypersd.quiet import quiet


def device_of(name: str, index: int = 0) -> torch.device:
    """The device of "auto", "cpu", "cuda" or "mps". Raises UsageError where it is not there.

    index: of this process among those of the machine, each with a GPU of its own as far as there
    are so many.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, ready in there.items() if ready), "cpu")
    if not there.get(name, True):
        raise UsageError(f"device={name}: not on this machine; there is device=cpu")
    if name != "cuda":
        return torch.device(name)
    return torch.device("cuda", index % torch.cuda.device_count())


def check_compiler(device: torch.device) -> None:
    """Compile one line with torch.compile, which needs a C++ compiler (CPU) or triton (GPU).

    Raises UsageError where it fails.
    """
    try:
        torch.compile(_line)(torch.ones(8, device=device))
    except Exception as error:  # each part of the compiler raises its own kinds
        raise UsageError(
            f"compile=true: torch.compile does not work on {device} here ({brief(error)})"
        ) from None


def _line(x: torch.Tensor) -> torch.Tensor:
    return (2 * x + 1).relu()


def free(device: torch.device) -> None:
    """Give memory that no tensor holds back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def base(folder: Path, device: torch.device, precision: str = "fp32") -> Any:
    """A pipeline without progress bars. Raises UsageError if it is damaged or of another kind."""
    return _ready(_load(folder, precision), device)


def pipeline(settings: ContestantSettings, weights: Path | None, device: torch.device) -> Any:
    """The pipeline of a contestant, as `Networks.pipeline`, that shares nothing with others."""
    return Networks(device).pipeline(settings, weights)


class Networks:
    """The networks of a run on a device: one base, with the weights of one contestant.

    A base of another name, precision or changed files replaces the one before.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._resident: Resident | None = None
        self._base: tuple[object, ...] = ()
        self._own: tuple[object, ...] = ()
        self._vae: tuple[object, Any] | None = None

    def pipeline(self, settings: ContestantSettings, weights: Path | None) -> Any:
        """The pipeline of a contestant, until another one is asked for. Weights that are in memory
        already, from another number of steps, are not loaded again.

        weights: the LoRA or UNet file where there is one (for a recipe: what it trained).
        Raises UsageError, one line, for files that are damaged or of another architecture. Nothing
        is held after an error, since it may be half changed.
        """
        try:
            resident = self._on_base(settings)
            own = _own_state(settings, weights)
            if own != self._own:
                read = weights or resident.folder
                _loaded(read, lambda: _put_in(resident, settings, weights))
                if weights is not None:
                    _check_range(weights, resident.pipe.unet, settings.precision)
                self._own = own
            return self._with_vae(settings, _ready(resident.pipe, self.device))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Drop all networks. On CUDA their memory is freed, unless something else holds a part."""
        if self._resident is not None:
            self._resident, self._base, self._own, self._vae = None, (), (), None
            free(self.device)

    def _with_vae(self, settings: ContestantSettings, found: Any) -> Any:
        """The pipeline with the VAE that the settings ask for, if it is not its own; only one VAE
        is on the device."""
        key = settings.vae, settings.vae_precision
        if not any(key):
            self._vae = None
            return found
        if self._vae is None or self._vae[0] != key:
            self._vae = key, _own_vae(settings, found)
        found.vae.to("cpu")
        vae = self._vae[1].to(self.device, memory_format=torch.channels_last)
        own = with_parts(found, vae=vae)
        own.set_progress_bar_config(disable=True)
        return own

    def _on_base(self, settings: ContestantSettings) -> Resident:
        """The contestant's base, with the weights that are in it at present."""
        where, precision = f"contestants.{settings.key}", settings.precision
        is_random = settings.source == "random"
        folder = Path() if is_random else files.base_folder(where, settings)
        shape = identity.shape(where, settings) if is_random else ""
        key = (shape, precision) if is_random else (folder, precision, *states(folder))
        if self._resident is None or key != self._base:
            self.release()
            pipe = _random(shape, precision, self.device) if is_random else _load(folder, precision)
            self._resident, self._base = Resident(pipe, folder, precision), key
        return self._resident


def _own_vae(settings: ContestantSettings, pipeline: Any) -> Any:
    """The VAE that a contestant's settings ask for, read anew."""
    if settings.source != "random":
        return vaes.load(f"contestants.{settings.key}", settings)
    if settings.vae_precision is None:
        return pipeline.vae
    return copy.deepcopy(pipeline.vae).to(dtype=PRECISIONS[settings.vae_precision])


def _load(folder: Path, precision: str) -> Any:
    """A pipeline on the CPU, all parts in one precision."""
    return bases.load(folder, PRECISIONS[precision], wanted_variant(precision), UNET)


def _random(shape: str, precision: str, device: torch.device) -> Any:
    quiet()
    return random_weights.pipeline(shape, PRECISIONS[precision], device)


def _ready(pipeline: Any, device: torch.device) -> Any:
    """On the device, channels last: an eighth faster on CPU, a quarter in the VAE."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device=device)
    if bases.of(pipeline).upcast and pipeline.vae.config.force_upcast:
        pipeline.vae.to(dtype=torch.float32)  # SDXL's own VAE overflows in fp16: black pictures
    for network in (pipeline.unet, pipeline.vae):
        network.to(memory_format=torch.channels_last)
    return pipeline


def _own_state(settings: ContestantSettings, weights: Path | None) -> tuple[object, ...]:
    """A key of the weights in a base's networks: equal keys need no change."""
    if weights is None:
        return ()
    read = [weights, *files.read_beside(settings, weights)]
    return (settings.source, settings.lora_scale, *map(state, read))


def _put_in(resident: Resident, settings: ContestantSettings, weights: Path | None) -> None:
    """Put a contestant's weights into a base's networks; a LoRA is merged.

    A recipe's weights are a LoRA or a UNet by their file name.
    """
    if weights is None:
        resident.merge()
        return
    name = weights.name if settings.source == "recipe" else files.WEIGHT_FILES[settings.source]
    if name == files.LORA_FILE:
        layers = reader.read(weights)
        if not resident.merge(layers, settings.lora_scale) and settings.lora_scale:
            raise FileError("the LoRA changes no weight")
    else:
        config = files.unet_config(settings, weights) or resident.folder / UNET / "config.json"
        resident.replace_unet(lambda: unet_weights.load(config, weights))


def _check_range(weights: Path, unet: Any, precision: str) -> None:
    """Refuse weights that a precision cannot hold: fp16 ends at 65,504."""
    for name, value in unet.state_dict().items() if precision == "fp16" else ():
        if not value.isfinite().all():
            raise UsageError(f"{weights}: {name} is too large for fp16; valid: precision=bf16")


def _loaded(path: Path, load: Any) -> Any:
    """The result of `load`; any error of a library becomes one line that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return load()
    except UsageError:
        raise
    except FileError as error:
        raise UsageError(f"{path}: cannot be loaded ({error})") from None
    except (torch.OutOfMemoryError, MemoryError):  # no fault of the file
        raise
    except Exception as error:  # libraries raise many kinds for a bad file
        words = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: cannot be loaded ({words[:160]})") from None
