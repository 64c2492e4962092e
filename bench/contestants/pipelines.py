"""Weights on disk -> a pipeline that is ready to sample.

A LoRA is merged into the network's weights, so that a contestant's speed is that of the merged
network. One base is in memory at a time, and in it one contestant.
"""

from __future__ import annotations

import copy
import gc
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.contestants import (
    files,
    identity,
    own_pipelines,
    own_resident,
    random_weights,
    unet_weights,
    vaes,
)
from bench.contestants.own_resident import OwnResident
from bench.contestants.resident import PRECISIONS, Resident, with_parts
from bench.errors import UsageError, brief
from bench.suite.contestant import ContestantSettings, StackedLora
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
    offload: of bases that draw by their own call (`own_resident.on_device`).
    """

    def __init__(self, device: torch.device, offload: str = "none") -> None:
        if offload != "none" and device.type == "cpu":
            raise UsageError(f"offload={offload}: keeps parts off a GPU, and this runs on the CPU; "
                             "valid: without offload")  # fmt: skip
        self.device, self.offload = device, offload
        self._resident: Resident | OwnResident | None = None
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
            if isinstance(resident, OwnResident):
                return self._own_call(resident, settings, weights, own)
            if own != self._own:
                read = weights or resident.folder
                _put_in(resident, settings, weights, read)
                if own:
                    _check_range(read, resident.pipe.unet, settings)
                self._own = own
            return self._with_vae(settings, _ready(resident.pipe, self.device))
        except BaseException:
            self.release()
            raise

    def _own_call(
        self, resident: OwnResident, settings: ContestantSettings, weights: Path | None,
        own: tuple[object, ...],
    ) -> Any:  # fmt: skip
        """The pipeline of a base that draws by its own call."""
        if own != self._own:
            loras = [(path, one.scale) for path, one in _stack(settings)]
            loras = [*([(weights, settings.lora_scale)] if weights else []), *loras]
            resident.restore()
            for path, scale in loras:
                _loaded(path, partial(resident.fuse, path, scale))
            self._own = own
        resident.pipe.scheduler = resident.scheduler
        if settings.vae_precision is not None:
            resident.pipe.vae.to(dtype=PRECISIONS[settings.vae_precision])
        return own_resident.on_device(resident.pipe, self.device, self.offload)

    def release(self) -> None:
        """Drop all networks. On CUDA their memory is freed, unless something else holds a part."""
        if self._resident is not None:
            self._resident, self._base, self._own, self._vae = None, (), (), None
            free(self.device)

    def _with_vae(self, settings: ContestantSettings, found: Any) -> Any:
        """The pipeline with the VAE that the settings ask for, if it is not its own; only one VAE
        is on the device."""
        key = settings.vae, settings.vae_precision
        if not _asks_for_another(settings):
            self._vae = None
            return found
        if self._vae is None or self._vae[0] != key:
            self._vae = key, _own_vae(settings, found)
        found.vae.to("cpu")
        vae = self._vae[1].to(self.device, memory_format=torch.channels_last)
        own = with_parts(found, vae=vae)
        own.set_progress_bar_config(disable=True)
        return own

    def _on_base(self, settings: ContestantSettings) -> Resident | OwnResident:
        """The contestant's base, with the weights that are in it at present."""
        where, precision = f"contestants.{settings.key}", settings.precision
        is_random = settings.source == "random"
        folder = Path() if is_random else files.base_folder(where, settings)
        shape = identity.shape(where, settings) if is_random else ""
        key = (shape,) if is_random else (folder, *states(folder))
        key = (*key, precision, settings.storage)
        if own_pipelines.is_own(settings):
            key = (*key, "own call", settings.vae_precision)
        if self._resident is None or key != self._base:
            self.release()
            self._resident = _resident(settings, folder, shape, self.device)
            self._base = key
        return self._resident


def _asks_for_another(settings: ContestantSettings) -> bool:
    """Whether its settings ask for another VAE than the base's, or another precision of it."""
    if settings.source == "random":
        return settings.vae_precision is not None
    return vaes.is_other(f"contestants.{settings.key}", settings)


def _own_vae(settings: ContestantSettings, pipeline: Any) -> Any:
    """The VAE that a contestant's settings ask for, read anew."""
    if settings.source != "random":
        return vaes.load(f"contestants.{settings.key}", settings)
    assert settings.vae_precision is not None
    return copy.deepcopy(pipeline.vae).to(dtype=PRECISIONS[settings.vae_precision])


def _load(folder: Path, precision: str) -> Any:
    """A pipeline on the CPU, all parts in one precision."""
    return bases.load(folder, PRECISIONS[precision], wanted_variant(precision), UNET)


def _resident(
    settings: ContestantSettings, folder: Path, shape: str, device: torch.device
) -> Resident | OwnResident:
    """A base in memory. shape: of one with random weights, else ""."""
    precision, own = settings.precision, own_pipelines.is_own(settings)
    if not shape and not (own or own_pipelines.of_other_class(settings)):
        return Resident(_load(folder, precision), folder, precision, settings.storage)
    if not shape:
        pipe = bases.load_any(folder, PRECISIONS[precision], wanted_variant(precision))
        return OwnResident(pipe, folder, precision)
    quiet()
    pipe = random_weights.pipeline(shape, PRECISIONS[precision], device, own=own)
    if own:
        return OwnResident(pipe, folder, precision)
    return Resident(pipe, folder, precision, settings.storage)


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
    stacked = [(path, one.scale) for path, one in _stack(settings)]
    on_top = [(scale, *map(state, [path, *files.beside_lora(path)])) for path, scale in stacked]
    if weights is None:
        return tuple(on_top)
    read = [weights, *files.read_beside(settings, weights)]
    return (settings.source, settings.lora_scale, *map(state, read), *on_top)


def _stack(settings: ContestantSettings) -> list[tuple[Path, StackedLora]]:
    """The LoRAs on top of a contestant, with their files."""
    paths = files.stacked_files(f"contestants.{settings.key}", settings)
    return list(zip(paths, settings.stack, strict=True))


def _put_in(
    resident: Resident, settings: ContestantSettings, weights: Path | None, read: Path
) -> None:
    """Put a contestant's weights, and the LoRAs on top of them, into a base's networks.

    A recipe's weights are a LoRA or a UNet by their file name. read: what an error is said of.
    """
    loras = [(path, one.scale) for path, one in _stack(settings)]
    name = weights and (
        weights.name if settings.source == "recipe" else files.WEIGHT_FILES[settings.source]
    )
    if name == files.LORA_FILE and weights is not None:
        loras.insert(0, (weights, settings.lora_scale))
    layers = [(_loaded(path, partial(reader.read, path)), scale) for path, scale in loras]
    if name in (None, files.LORA_FILE):
        changed = _loaded(read, lambda: resident.merge(layers))
    else:
        assert weights is not None
        config = files.unet_config(settings, weights) or resident.folder / UNET / "config.json"
        load = partial(unet_weights.load, config, weights)
        changed = _loaded(read, lambda: resident.replace_unet(load, layers))
    for (path, scale), does in zip(loras, changed, strict=True):
        if scale and not does:
            raise UsageError(f"{path}: cannot be loaded (the LoRA changes no weight)")


def _check_range(weights: Path, unet: Any, settings: ContestantSettings) -> None:
    """Refuse weights that a precision cannot hold: fp16 ends at 65,504, fp8 (e4m3) at 448."""
    kind, other = ("fp8", "no storage=") if settings.storage else ("fp16", "precision=bf16")
    is_narrow = kind in (settings.storage, settings.precision)
    for name, value in unet.state_dict().items() if is_narrow else ():
        if not value.float().isfinite().all():
            raise UsageError(f"{weights}: {name} is too large for {kind}; valid: {other}")


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
