"""(prompt, seed) -> image by a pipeline's own call, with the benchmark's noise.

The pipeline is given one generator per image, as `bench.contestants.sampler` seeds it, and draws
its initial latents from that, in the shape that its network wants, and whatever noise its scheduler
adds; what it would draw from torch's own state is drawn from the images' generators, too. In half
precision these draws are made in fp32 and rounded, as newer versions of torch do by themselves;
older ones draw from another stream there, with tails that end at 3.3 deviations.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.contestants.noise import OwnNoise
from bench.contestants.sampler import Batch, Clock, generator, to_uint8
from bench.contestants.schedulers import NAMED
from bench.errors import UsageError, brief
from bench.results.keys import Key
from bench.suite.contestant import ContestantSettings

NETWORKS = ("transformer", "unet", "prior", "decoder")  # how the names of those that denoise begin
TRAILING = "trailing"
WARM_UP = Key(0, "a picture", 0)


class OwnSampler:
    """Draws images with one pipeline, one number of steps and one call.

    pipeline: of any class of diffusers from text to image, its weights ready; it gets a scheduler
    of this contestant.  size: height and width in pixels.
    """

    def __init__(
        self, pipeline: Any, settings: ContestantSettings, steps: int, size: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.pipeline, self.settings, self.device, self.size = pipeline, settings, device, size
        self._takes = inspect.signature(type(pipeline).__call__).parameters
        pipeline.scheduler = make_scheduler(pipeline.scheduler, settings)
        sampling, own = settings.sampling, settings.own
        sigmas = None if _spaces(type(pipeline.scheduler)) else trailing(sampling.spacing, steps)
        given = {"num_inference_steps": steps, "height": size, "width": size, "output_type": "pt",
                 "guidance_scale": own.guidance, "eta": sampling.eta or None, "sigmas": sigmas,
                 "timesteps": sampling.timesteps and list(sampling.timesteps)}  # fmt: skip
        known = {k: v for k, v in given.items() if k in self._takes and v is not None}
        self.arguments = {**known, **own.arguments}
        self._networks = networks(pipeline)

    @torch.inference_mode()
    def __call__(self, keys: Sequence[Key]) -> Batch:
        """The images of the keys, in their order. Raises UsageError where the pipeline refuses its
        arguments, or draws another size."""
        clock, forwards = Clock(self.device), [0]
        drawn = self._call(keys, clock, forwards)
        images, broken = to_uint8(_as_pixels(drawn))
        clock.lap("rest")
        if images.shape[:3] != (len(keys), self.size, self.size):
            count, high, wide = images.shape[:3]
            raise UsageError(
                f"{self._who} drew {count} pictures of {wide}x{high} px for {len(keys)} prompts at "
                f"{self.size} px; valid: a size that its model has"
            )
        cut = self._truncated([key.prompt for key in keys])
        return Batch(images, clock.seconds, broken, cut, forwards[0])

    def warm_up(self, batch: int) -> None:
        """Draw a batch, so that the first one is as fast as the others; on a CPU nothing, where no
        kernel is chosen by trying."""
        if self.device.type != "cpu":
            with torch.inference_mode():
                self._call([WARM_UP] * batch, Clock(self.device), [0])

    @property
    def _who(self) -> str:
        return f"contestants.{self.settings.key}: {type(self.pipeline).__name__}"

    def _call(self, keys: Sequence[Key], clock: Clock, forwards: list[int]) -> Any:
        given = {**copy.deepcopy(self.arguments), "prompt": [key.prompt for key in keys]}
        generators = [generator(key) for key in keys]
        if "generator" in self._takes:
            given["generator"] = generators
        for name in ("negative_prompt", "negative_prompt_2"):
            if isinstance(given.get(name), str):
                given[name] = [given[name]] * len(keys)
        with watched(self.pipeline, self._networks, clock, forwards), OwnNoise(generators):
            try:
                found = self.pipeline(**given)
            except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
                said = " ".join(str(error).split())[:300]
                raise UsageError(f"{self._who} does not draw so: {said}") from error
        clock.lap("rest")
        return found[0]

    def _truncated(self, prompts: Sequence[str]) -> list[int]:
        """Positions of prompts that no text encoder reads to their end."""
        cut: list[set[int]] = []
        longest = self._longest()
        for name, tokenizer in self.pipeline.components.items():
            if not name.startswith("tokenizer") or not callable(tokenizer):
                continue
            is_clip = "CLIP" in type(tokenizer).__name__
            most = tokenizer.model_max_length if is_clip or longest is None else longest
            ids = tokenizer(list(prompts))["input_ids"]
            cut.append({i for i, one in enumerate(ids) if len(one) > most})
        return sorted(set.intersection(*cut)) if cut else []

    def _longest(self) -> int | None:
        """The tokens that encoders other than CLIP's read, where the call says it."""
        own = self._takes.get("max_sequence_length")
        found = self.arguments.get("max_sequence_length", own.default if own else None)
        return found if isinstance(found, int) else None


def make_scheduler(base: Any, settings: ContestantSettings) -> Any:
    """A scheduler of the pipeline's own configuration, with what a contestant says of it.

    Raises UsageError for a class that diffusers lacks, and for a configuration that it refuses.
    """
    import diffusers

    sampling, where = settings.sampling, f"contestants.{settings.key}"
    kind = getattr(diffusers, NAMED[sampling.scheduler]) if sampling.scheduler else type(base)
    is_sigmas = sampling.spacing == TRAILING and not _spaces(kind)
    named = {
        "timestep_spacing": None if is_sigmas else sampling.spacing,
        "prediction_type": sampling.prediction_type,
        "original_inference_steps": sampling.original_steps,
    }
    changes = {name: value for name, value in named.items() if value is not None}
    changes |= settings.own.scheduler_config
    accepted = inspect.signature(kind.__init__).parameters
    for name in changes:
        if name not in accepted:
            valid = ", ".join(one for one in accepted if one != "self")
            raise UsageError(f"{where}.scheduler_config.{name}: {kind.__name__} has none; valid: "
                             f"{valid}")  # fmt: skip
    try:
        return kind.from_config(base.config, **changes)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UsageError(f"{where}: {kind.__name__}: {str(error)[:200]}") from None


def trailing(spacing: str | None, steps: int) -> list[float] | None:
    """The noise levels 1, 1 - 1/N, .., 1/N of N steps, before a flow's shift, for trailing
    spacing: FLUX's own ones, and what a student of a flow is distilled at. None without it."""
    return [1 - i / steps for i in range(steps)] if spacing == TRAILING else None


def _spaces(kind: type) -> bool:
    """Whether a scheduler's class spaces its timesteps itself, as those of flows do not."""
    return "timestep_spacing" in inspect.signature(kind).parameters


def check_scheduler(folder: Path, settings: ContestantSettings) -> None:
    """Raise UsageError where `make_scheduler` would, by the configuration in a pipeline's
    folder."""
    import diffusers

    path = folder / "scheduler/scheduler_config.json"
    try:
        config = json.loads(path.read_bytes())
        base = getattr(diffusers, config["_class_name"]).from_config(config)
    except FileNotFoundError:  # of a pipeline without one
        return
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path}: is no scheduler's configuration ({brief(error)})") from None
    make_scheduler(base, settings)


def networks(pipeline: Any) -> dict[str, nn.Module]:
    """The networks of a pipeline that denoise, by name."""
    parts = {name: one for name, one in pipeline.components.items() if isinstance(one, nn.Module)}
    found = {name: one for name, one in parts.items() if name.startswith(NETWORKS)}
    others = {k: v for k, v in parts.items() if not k.startswith(("vae", "text_encoder"))}
    return found or others


@contextmanager
def watched(
    pipeline: Any, denoising: Mapping[str, nn.Module], clock: Clock, forwards: list[int]
) -> Iterator[None]:
    """Inside it, images through the networks are counted, and seconds are told apart: of text
    encoders, networks and VAE.

    forwards: of which the first entry grows. A guided picture that goes through twice counts twice.
    """

    def begins(*_: object) -> None:
        clock.lap("rest")

    def denoised(_: object, args: tuple[Any, ...], kwargs: dict[str, Any], __: object) -> None:
        clock.lap("unet")
        forwards[0] += len(kwargs["hidden_states"] if "hidden_states" in kwargs else
                           next(iter([*args, *kwargs.values()])))  # fmt: skip

    def encoded(*_: object) -> None:
        clock.lap("text")

    texts = [one for name, one in pipeline.components.items()
             if name.startswith("text_encoder") and isinstance(one, nn.Module)]  # fmt: skip
    with ExitStack() as stack:
        for network in denoising.values():
            stack.callback(network.register_forward_pre_hook(begins).remove)
            hook = network.register_forward_hook(denoised, with_kwargs=True)
            stack.callback(hook.remove)
        for encoder in texts:
            stack.callback(encoder.register_forward_pre_hook(begins).remove)
            stack.callback(encoder.register_forward_hook(encoded).remove)
        vae = getattr(pipeline, "vae", None)
        if vae is not None:
            vae.decode = _timed(vae, vae.decode, clock)
            stack.callback(delattr, vae, "decode")
        yield


def _timed(vae: Any, decode: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    def decoded(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        clock.lap("rest")
        found = decode(latents.to(vae.dtype), *args, **kwargs)  # it may be more precise
        clock.lap("vae")
        return found

    return decoded


def _as_pixels(drawn: Any) -> Tensor:
    """A pipeline's pictures, [B, 3, H, W] in [0, 1], as pixels in [-1, 1]."""
    return 2 * torch.as_tensor(drawn).float() - 1
