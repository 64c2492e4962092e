"""(prompt, seed) -> image. Every random draw of a benchmark is made here.

The initial latents and the noise inside few-step schedulers come from one CPU generator per
image, seeded by (prompt, seed), so an image does not depend on what else is in its batch, on the
device's generator or on how many processes work.

B: images of a batch; C, h, w: latent channels, height, width; H, W: image height, width.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contestants.noise import DrawnWhole
from bench.contestants.schedulers import CLASSES
from bench.errors import UsageError
from bench.results.keys import Key
from bench.suite.sampling import Sampling
from hypersd import bases, pictures
from hypersd.conditions import Text, keywords, with_unconditional
from hypersd.passes import Passes

NEEDED = ("set_timesteps", "init_noise_sigma", "scale_model_input", "step")  # of a scheduler
WARM_UP = 8  # latents high and wide, for a warm-up that does not depend on the size
DECODED = 2**20  # pixels that the VAE decodes at once: one picture of 1024 px, many small ones


@dataclass(frozen=True)
class Batch:
    """Images [B, H, W, 3] uint8, seconds per stage for the whole batch, and what went wrong.

    broken: positions whose decoded image was not finite (drawn black).  truncated: positions
    whose prompt the text encoder did not read to its end.  unet_forwards: images through the
    network, counted at each call; a guided one is two.  notes: what had to be done to picture
    files, and the positions of those.
    """

    images: NDArray[np.uint8]
    seconds: dict[str, float] = field(default_factory=dict)
    broken: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    unet_forwards: int = 0
    notes: dict[str, list[int]] = field(default_factory=dict)


def generator(key: Key) -> torch.Generator:
    """The source of all randomness of one image."""
    words = f"{key.seed}\n{key.prompt}".encode()
    seed = int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)


def initial_noise(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Standard normal latents [B, *shape] in fp32, one draw from each generator."""
    draws = [torch.randn((1, *shape), generator=g, dtype=torch.float32) for g in generators]
    return torch.cat(draws)


def make_scheduler(base: Any, sampling: Sampling) -> Any:
    """A diffusers scheduler: the base's configuration with what `sampling` says of it.

    base: the pipeline's own scheduler.  Raises UsageError for one of other networks than these.
    """
    import diffusers

    kind = getattr(diffusers, CLASSES[sampling.scheduler]) if sampling.scheduler else type(base)
    changes = {
        "timestep_spacing": sampling.spacing,
        "prediction_type": sampling.prediction_type,
        "original_inference_steps": sampling.original_steps,
    }
    made = kind.from_config(base.config, **{k: v for k, v in changes.items() if v is not None})
    lacking = next((name for name in NEEDED if not hasattr(made, name)), None)
    if lacking is not None:
        raise UsageError(f"{kind.__name__} has no {lacking}, so it cannot draw with this base; "
                         f"valid: scheduler={'|'.join(CLASSES)}")  # fmt: skip
    return made


def set_steps(scheduler: Any, sampling: Sampling, steps: int, device: torch.device) -> None:
    """Choose the scheduler's timesteps. Raises UsageError where it cannot make so many steps."""
    chosen: dict[str, Any] = {"num_inference_steps": steps}
    if sampling.timesteps is not None:
        chosen = {"timesteps": list(sampling.timesteps)}
    try:
        scheduler.set_timesteps(device=device, **chosen)
    except (ValueError, TypeError) as error:
        name = type(scheduler).__name__
        raise UsageError(f"{name} cannot make {steps} steps: {str(error)[:200]}") from None


class Sampler:
    """Draws images with one pipeline, one number of steps and one kind of sampling.

    pipeline: a StableDiffusionPipeline or StableDiffusionXLPipeline, its weights ready; its own
    scheduler is left as it is.  size: height and width in pixels.  compiled: the UNet runs through
    torch.compile.  Raises UsageError for a size that the VAE has not, which would be cut to one.
    """

    def __init__(
        self, pipeline: Any, sampling: Sampling, steps: int, size: int, *, compiled: bool = False
    ) -> None:
        self.pipeline, self.sampling, self.steps, self.size = pipeline, sampling, steps, size
        # its dtype is that of its calculation, whatever its weights are stored in
        self.device, self.dtype = pipeline.unet.device, pipeline.unet.dtype
        self.compiled = compiled
        self._unet: Any = torch.compile(pipeline.unet) if compiled else pipeline.unet
        self.family = bases.of(pipeline, size)
        if size % pipeline.vae_scale_factor:
            raise UsageError(f"size={size}: pictures of this base are of whole latents; valid: a "
                             f"multiple of {pipeline.vae_scale_factor}")  # fmt: skip
        self.scheduler = make_scheduler(pipeline.scheduler, sampling)
        accepted = inspect.signature(self.scheduler.step).parameters
        self._eta = {"eta": sampling.eta} if "eta" in accepted else {}
        self._draws = "generator" in accepted
        self._told = pipeline.unet.config.time_cond_proj_dim  # width of the guidance's embedding
        self._guided = sampling.guidance > 1 and self._told is None

    @torch.inference_mode()
    def __call__(self, keys: Sequence[Key]) -> Batch:
        """The images of the keys, in their order."""
        clock, passes = Clock(self.device), Passes()
        text, truncated = self._text([key.prompt for key in keys])
        clock.lap("text")
        latents = self._denoise(text, [generator(key) for key in keys], clock, passes)
        clock.lap("rest")
        decoded = self._decode(latents)
        clock.lap("vae")
        images, broken = to_uint8(decoded)
        clock.lap("rest")
        return Batch(images, clock.seconds, broken, truncated, passes.counts["unet_forwards"])

    @torch.inference_mode()
    def warm_up(self, batch: int) -> None:
        """Run the networks once on nothing, called as for images, so that the first batch is as
        fast as the others. On a CPU, where nothing is chosen by size unless it is compiled, on one
        picture of a few pixels."""
        set_steps(self.scheduler, self.sampling, self.steps, self.device)
        channels, *sides = self.family.latent_shape()
        if self.device.type == "cpu" and not self.compiled:
            batch, sides = 1, [min(side, WARM_UP) for side in sides]
        latents = torch.zeros((batch, channels, *sides), device=self.device)
        x, given = latents.to(self.dtype), self._given(self._empty[[0] * batch])
        if self._guided:
            x = torch.cat([x] * 2)
        self._unet(x, self.scheduler.timesteps[0], **given, return_dict=False)
        self._decode(latents)

    @cached_property
    def _empty(self) -> Text:
        return self.family.unconditional()

    def _text(self, prompts: list[str]) -> tuple[Text, list[int]]:
        """Every distinct prompt, encoded once, for each image; positions that were cut."""
        distinct = sorted(set(prompts))
        text, cut = self.family.encode(distinct), self.family.truncated(distinct)
        place = [distinct.index(prompt) for prompt in prompts]
        return text[place], [i for i, j in enumerate(place) if cut[j]]

    def _denoise(
        self, text: Text, generators: list[torch.Generator], clock: Clock, passes: Passes
    ) -> Tensor:
        unet, scheduler = self._unet, self.scheduler
        set_steps(scheduler, self.sampling, self.steps, self.device)
        latents: Tensor = initial_noise(generators, self.family.latent_shape()).to(
            self.device, self.dtype
        )
        latents = latents * scheduler.init_noise_sigma
        guided, given = self._guided, self._given(text)
        extra = {**self._eta, **({"generator": generators} if self._draws else {})}
        for t in scheduler.timesteps:
            x = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, t)
            clock.lap("rest")
            predicted = unet(x, t, **given, return_dict=False)[0]
            passes.count("unet", predicted)
            clock.lap("unet")
            if guided:
                plain, led = predicted.chunk(2)
                predicted = plain + self.sampling.guidance * (led - plain)
            with DrawnWhole():
                latents = scheduler.step(predicted, t, latents, **extra, return_dict=False)[0]
        return latents

    def _given(self, text: Text) -> dict[str, Any]:
        """The inputs of the network at each step besides latents and timestep: the text (twice for
        guidance by two evaluations), and the guidance where it is an input.

        Source: diffusers' LatentConsistencyModelPipeline, which embeds w = guidance - 1 (LCM, arXiv
        2310.04378, Sec. 4.3).
        """
        if self._guided:
            text = with_unconditional(self._empty, text)
        given = keywords(text, self.dtype)
        if self._told is not None:
            w = torch.full((len(text),), self.sampling.guidance - 1)
            embedding = self.pipeline.get_guidance_scale_embedding(w, embedding_dim=self._told)
            given["timestep_cond"] = embedding.to(self.device, self.dtype)
        return given

    def _decode(self, latents: Tensor) -> Tensor:
        """[B, 3, H, W] of latents [B, C, h, w], a few large pictures at a time: the VAE needs by
        far the most memory per picture. In the VAE's own precision (fp32 where fp16 overflows)."""
        latents = latents.to(self.pipeline.vae.dtype)
        parts = torch.split(latents, max(1, DECODED // self.size**2))
        return torch.cat([self.family.decode(part) for part in parts])


def to_uint8(decoded: Tensor) -> tuple[NDArray[np.uint8], list[int]]:
    """[B, 3, H, W] in [-1, 1] -> ([B, H, W, 3] uint8, rounded once; positions not finite)."""
    finite = torch.isfinite(decoded).flatten(1).all(dim=1)
    decoded = torch.where(finite[:, None, None, None], decoded.float(), -1.0)
    return pictures.to_uint8(decoded), torch.nonzero(~finite).flatten().tolist()


class Clock:
    """Seconds between laps, added up by name; waits for the device before it reads the time."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._last = self._now()

    def lap(self, name: str) -> None:
        """Add the seconds since the last lap under a name."""
        now = self._now()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
