"""Weights on disk -> a pipeline that is ready to sample. The base is loaded once per process.

Each contestant has a UNet of its own, a LoRA merged into it, so that one contestant cannot leave a
trace in the next and its speed is that of the merged network.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from bench.contestants import files, identity, random_weights, vaes
from bench.errors import UsageError, brief
from bench.suite.contestant import ContestantSettings
from hypersd import bases, tensor_files, unet_files, unet_inputs
from hypersd.errors import FileError
from hypersd.hashes import states
from hypersd.hub import wanted_variant
from hypersd.lora import merging, reader
from hypersd.lora.forms import NETWORKS, UNET
from hypersd.quiet import quiet
from hypersd.whole_files import written_whole

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


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


def base(folder: Path, device: torch.device, precision: str = "fp32") -> Any:
    """A pipeline without progress bars. Raises UsageError if it is damaged or of another kind."""
    return _ready(_base(folder, precision, states(folder)), device)


@lru_cache(maxsize=2)
def _base(folder: Path, precision: str, files_as_they_are: tuple[str, ...]) -> Any:
    """A pipeline in memory, all parts in one precision."""
    del files_as_they_are
    return bases.load(folder, PRECISIONS[precision], wanted_variant(precision))


@lru_cache(maxsize=1)
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


def pipeline(settings: ContestantSettings, weights: Path | None, device: torch.device) -> Any:
    """The pipeline of a contestant, with the VAE that its settings ask for.

    Otherwise as `_pipeline`.
    """
    found = _pipeline(settings, weights, device)
    if not settings.vae and settings.vae_precision is None:
        return found
    vae = vae_of(settings, found).to(device, memory_format=torch.channels_last)
    found.vae.to("cpu")  # the device holds one VAE at a time
    own = _with(found, vae=vae)
    own.set_progress_bar_config(disable=True)
    return own


def vae_of(settings: ContestantSettings, pipeline: Any) -> Any:
    """The VAE of a contestant: read anew where its settings ask for one, else the pipeline's."""
    if settings.source == "random" and settings.vae_precision:
        return copy.deepcopy(pipeline.vae).to(dtype=PRECISIONS[settings.vae_precision])
    if settings.source == "random" or not (settings.vae or settings.vae_precision):
        return pipeline.vae
    return vaes.load(f"contestants.{settings.key}", settings)


def _pipeline(settings: ContestantSettings, weights: Path | None, device: torch.device) -> Any:
    """The pipeline of a contestant, with its base's VAE.

    weights: the LoRA or UNet file where there is one (for a recipe: what it trained).
    Raises UsageError, one line, for files that are damaged or of another architecture.
    """
    where = f"contestants.{settings.key}"
    if settings.source == "random":
        return _ready(_random(identity.shape(where, settings), settings.precision, device), device)
    folder = files.base_folder(where, settings)
    whole = _base(folder, settings.precision, states(folder))
    if weights is None:
        return base(folder, device, settings.precision)
    whole.unet.to("cpu")  # the device holds one UNet at a time
    own = _loaded(weights, lambda: _own(whole, folder, weights, settings))
    own.unet.to(dtype=PRECISIONS[settings.precision])
    _finite(weights, own.unet, settings.precision)
    return _ready(own, device)


def _finite(weights: Path, unet: Any, precision: str) -> None:
    """Refuse weights that a precision cannot hold: fp16 ends at 65,504."""
    for name, value in unet.state_dict().items() if precision == "fp16" else ():
        if not value.isfinite().all():
            raise UsageError(f"{weights}: {name} is too large for fp16; valid: precision=bf16")


def _own(whole: Any, folder: Path, weights: Path, settings: ContestantSettings) -> Any:
    """The base with the weights of a contestant, merged where they are a LoRA.

    A recipe's are what their name says.
    """
    name = weights.name if settings.source == "recipe" else files.WEIGHT_FILES[settings.source]
    if name != files.LORA_FILE:
        config = files.unet_config(settings, weights) or folder / "unet" / "config.json"
        return _beside(whole, _unet_of(config, safe(weights)))
    layers = reader.read(weights)
    own = _beside(whole, _fresh_unet(folder, settings.precision), {own.network for own in layers})
    networks = {name: getattr(own, name, None) for name in NETWORKS}
    if not merging.merge(layers, networks, settings.lora_scale) and settings.lora_scale:
        raise FileError("the LoRA changes no weight")
    return own


def safe(weights: Path) -> Path:
    """The file itself, or what a pickle holds as safetensors: read once, tensors only.

    The copy is kept in the hub's folder for derived files ($HF_HOME/assets).
    """
    if weights.suffix == ".safetensors":
        return weights
    from huggingface_hub import cached_assets_path
    from safetensors.torch import save_file

    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cached_assets_path("few-step-bench", "converted", sha256)
    target = folder / "diffusion_pytorch_model.safetensors"
    if not target.is_file():
        with written_whole(target) as beside:
            save_file(_tensors(weights), beside)
    return target


def _tensors(weights: Path) -> dict[str, torch.Tensor]:
    """The tensors of a pickle, which is not allowed to hold code."""
    found, _ = tensor_files.read(weights)
    return {name: value.contiguous().clone() for name, value in found.items()}


def _beside(whole: Any, unet: Any, changed: Iterable[str] = ()) -> Any:
    """A pipeline of the base's parts with another UNet, and with text encoders of its own where
    they are to be `changed`, too."""
    own = [name for name in changed if name != UNET and whole.components.get(name)]
    return _with(whole, unet=unet, **{name: copy.deepcopy(whole.components[name]) for name in own})


def _with(whole: Any, **other: Any) -> Any:
    """A pipeline of the same parts but for others."""
    parts = {**whole.components, **other, **bases.of(whole).loaded_with}
    if "force_zeros_for_empty_prompt" in whole.config:
        parts["force_zeros_for_empty_prompt"] = whole.config.force_zeros_for_empty_prompt
    return type(whole)(**parts)


def _fresh_unet(folder: Path, precision: str) -> Any:
    """The base's UNet once more, at fp32, in which a LoRA is merged most exactly."""
    import diffusers

    kind: Any = diffusers.UNet2DConditionModel
    variant = bases.variant(folder, wanted_variant(precision))
    return kind.from_pretrained(folder / "unet", variant=variant, use_safetensors=True).float()


def _unet_of(config: Path, weights: Path) -> Any:
    """A UNet of a configuration with the weights of a file.

    Raises UsageError for a configuration that makes no UNet, FileError for another's weights.
    """
    import diffusers
    from accelerate import init_empty_weights

    kind: Any = diffusers.UNet2DConditionModel
    try:
        with init_empty_weights():
            unet = kind.from_config(unet_inputs.read(config))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{config}: makes no UNet ({brief(error, 160)})") from None
    unet.load_state_dict(unet_files.weights_for(unet, weights, config), assign=True)
    return unet.eval()


def _loaded(path: Path, load: Any) -> Any:
    """What `load` gives; any error of a library as one line that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return load()
    except UsageError:
        raise
    except FileError as error:
        raise UsageError(f"{path}: cannot be loaded ({error})") from None
    except torch.OutOfMemoryError:  # no fault of the file
        raise
    except Exception as error:  # libraries raise many kinds for a bad file
        words = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: cannot be loaded ({words[:160]})") from None
