"""Sampling against diffusers' own pipeline, and independence from batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch.overrides import TorchFunctionMode

from bench.contestants.sampler import Sampler, generator, initial_noise, make_scheduler, to_uint8
from bench.errors import UsageError
from bench.results.keys import Key
from bench.suite.sampling import Sampling

KEYS = [Key(0, "a small red circle", 0), Key(1, "two large blue stars", 0),
        Key(2, "a small red circle", 1), Key(3, "a big green ring", 0)]  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(tiny_base: Path) -> Any:
    found = StableDiffusionPipeline.from_pretrained(tiny_base)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.mark.parametrize(
    ("sampling", "steps"),
    [
        (Sampling(guidance=3.0), 3),
        (Sampling("ddim", spacing="leading"), 2),
        (Sampling("dpm", guidance=2.0), 3),
        (Sampling("euler"), 2),
        (Sampling("lcm", original_steps=40), 1),
        (Sampling("lcm", original_steps=40), 4),
        (Sampling("tcd", original_steps=40, eta=0.3), 4),
        (Sampling("tcd", original_steps=40, eta=0.3, timesteps=(999, 499)), 2),
    ],
)
def test_images_equal_those_of_the_diffusers_pipeline(
    pipeline: Any, sampling: Sampling, steps: int
) -> None:
    """Same weights and noise: diffusers' own loop gives the same bytes."""
    ours = Sampler(pipeline, sampling, steps, 64)(KEYS)
    generators = [generator(key) for key in KEYS]
    latents = initial_noise(generators, (4, 16, 16))
    reference = StableDiffusionPipeline(
        **{**pipeline.components, "scheduler": make_scheduler(pipeline.scheduler, sampling)},
        requires_safety_checker=False,
    )
    reference.set_progress_bar_config(disable=True)
    chosen: dict[str, Any] = {"num_inference_steps": steps}
    if sampling.timesteps:
        chosen = {"timesteps": list(sampling.timesteps)}
    theirs = reference(
        [key.prompt for key in KEYS],
        guidance_scale=sampling.guidance,
        latents=latents,
        generator=generators,
        eta=sampling.eta,
        output_type="np",
        **chosen,
    ).images
    np.testing.assert_array_equal(ours.images, (theirs * 255).round().astype(np.uint8))


@pytest.mark.parametrize("sampling", [Sampling(guidance=3.0), Sampling("lcm", original_steps=40)])
def test_an_image_does_not_depend_on_its_batch(pipeline: Any, sampling: Sampling) -> None:
    sampler = Sampler(pipeline, sampling, 3, 64)
    together = sampler(KEYS).images
    np.testing.assert_array_equal(sampler(KEYS[::-1]).images[::-1], together)
    alone = np.concatenate([sampler([key]).images for key in KEYS])
    assert np.abs(alone.astype(int) - together.astype(int)).max() <= 1


class OlderTorch(TorchFunctionMode):
    """Draws half precision's noise otherwise than fp32's, as torch 2.11 does."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        found = func(*args, **given)
        is_half = given.get("dtype") in (torch.float16, torch.bfloat16)
        return found.clamp(-0.5, 0.5) if func is torch.randn and is_half else found


@pytest.mark.parametrize("name", ["lcm", "tcd", "euler_ancestral"])
def test_noise_within_the_sampler_is_that_of_every_torch(tiny_base: Path, name: str) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(tiny_base, dtype=torch.bfloat16)
    sampler = Sampler(pipe, Sampling(name, eta=1.0), 3, 64)
    expected = sampler(KEYS).images
    with OlderTorch():
        np.testing.assert_array_equal(sampler(KEYS).images, expected)


def test_a_size_that_is_cut_to_whole_latents_is_refused(pipeline: Any) -> None:
    with pytest.raises(UsageError, match="size=66: pictures of this base"):
        Sampler(pipeline, Sampling(), 2, 66)


def test_a_warm_up_on_a_cpu_draws_no_whole_picture(pipeline: Any) -> None:
    sampler, seen = Sampler(pipeline, Sampling(guidance=3.0), 3, 64), list[tuple[int, ...]]()
    hook = pipeline.unet.register_forward_pre_hook(lambda net, given: seen.append(given[0].shape))
    before = sampler(KEYS).images
    sampler.warm_up(50)
    hook.remove()
    assert seen == [(8, 4, 16, 16)] * 3 + [(2, 4, 8, 8)]
    np.testing.assert_array_equal(sampler(KEYS).images, before)


def test_prompt_and_seed_decide_the_noise() -> None:
    first, other_prompt, other_seed, _ = (
        initial_noise([generator(key)], (4, 16, 16)) for key in KEYS
    )
    assert torch.equal(first, initial_noise([generator(KEYS[0])], (4, 16, 16)))
    assert not torch.equal(first, other_prompt)
    assert not torch.equal(first, other_seed)
    assert abs(float(first.std()) - 1) < 0.1


def test_lcm_and_tcd_steps_are_cut_from_the_grid_of_40(pipeline: Any) -> None:
    """The training grid has its edges at 249, 499, 749, 999."""
    for name in ("lcm", "tcd"):
        scheduler = make_scheduler(pipeline.scheduler, Sampling(name, original_steps=40))
        scheduler.set_timesteps(4)
        assert scheduler.timesteps.tolist() == [999, 749, 499, 249]


def test_an_image_that_is_not_finite_is_black_and_named() -> None:
    decoded = torch.zeros(2, 3, 4, 4)
    decoded[1, 0, 0, 0] = float("nan")
    images, broken = to_uint8(decoded)
    assert broken == [1]
    assert images[0].min() == 128 and images[1].max() == 0


def test_a_prompt_that_is_cut_is_named(pipeline: Any) -> None:
    keys = [Key(0, "a red circle", 0), Key(1, "a red circle " * 12, 0)]
    assert Sampler(pipeline, Sampling(), 1, 64)(keys).truncated == [1]
