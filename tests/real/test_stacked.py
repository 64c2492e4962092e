"""LoRAs on top of a contestant, and weights stored in fp8: as diffusers draws with both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import LCMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from bench.contestants import identity, opening, pipelines
from bench.contestants.pipelines import Networks
from bench.contestants.sampler import Sampler, generator, initial_noise
from bench.errors import UsageError
from bench.results.keys import Key
from bench.run import memory
from bench.suite import contestant
from bench.suite.contestant import ContestantSettings, Row
from bench.suite.prompts import PromptSet
from hypersd.hashes import Hashes
from tests.support import models

CPU = torch.device("cpu")
SIZE = 64
KEYS = [Key(0, "a red circle", 0), Key(1, "two blue stars", 0)]
PROMPTS = PromptSet("mine", tuple(key.prompt for key in KEYS))


@pytest.fixture(scope="module")
def style(tiny_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second LoRA, of another seed; in the same folder one that changes nothing."""
    folder = tmp_path_factory.mktemp("style")
    unet = UNet2DConditionModel.from_pretrained(tiny_sdxl, subfolder="unet")
    state = {f"unet.{k}": v.contiguous() for k, v in models.random_lora(unet, seed=11).items()}
    save_file(state, folder / "style.safetensors")
    save_file({k: torch.zeros_like(v) for k, v in state.items()}, folder / "none.safetensors")
    return folder / "style.safetensors"


def mine(base: Path, precision: str = "fp32", **values: Any) -> ContestantSettings:
    given = {"base": str(base), "scheduler": "lcm", "precision": precision, **values}
    return contestant.read("mine", given, (2,))


def drawn(settings: ContestantSettings, networks: Networks | None = None) -> Any:
    """[B, H, W, 3] uint8."""
    file = Path(settings.weights) if settings.source in ("lora", "unet") else None
    pipe = (networks or Networks(CPU)).pipeline(settings, file)
    return Sampler(pipe, settings.sampling, 2, SIZE)(KEYS).images


def by_diffusers(pipe: Any) -> Any:
    """The same pictures by a pipeline of diffusers'."""
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    generators = [generator(key) for key in KEYS]
    latents = initial_noise(generators, (4, 16, 16)).to(pipe.unet.dtype)
    out = pipe(
        [key.prompt for key in KEYS], latents=latents, generator=generators, height=SIZE,
        width=SIZE, num_inference_steps=2, guidance_scale=1, output_type="latent",
    ).images  # fmt: skip
    vae = pipe.vae.float()
    with torch.inference_mode():
        x = vae.decode(out.float() / vae.config.scaling_factor).sample
    return (127.5 * (x + 1)).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def far(one: Any, other: Any) -> tuple[int, float]:
    """(The largest difference, the mean one) of two sets of pictures, in levels."""
    apart = np.abs(one.astype(int) - other.astype(int))
    return int(apart.max()), float(apart.mean())


def test_a_stack_draws_as_several_adapters_of_diffusers(
    tiny_sdxl: Path, sdxl_files: Path, style: Path
) -> None:
    text = sdxl_files / "text.safetensors"  # it is one of a text encoder, too
    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, add_watermarker=False)
    pipe.load_lora_weights(text.parent, weight_name=text.name, adapter_name="fast")
    pipe.load_lora_weights(style.parent, weight_name=style.name, adapter_name="style")
    pipe.set_adapters(["fast", "style"], adapter_weights=[1.0, 0.8])
    ours = drawn(mine(tiny_sdxl, lora=str(text), stack=[{"lora": str(style), "scale": 0.8}]))
    assert far(ours, by_diffusers(pipe))[0] <= 1
    assert far(ours, drawn(mine(tiny_sdxl, lora=str(text))))[0] > 10


def test_a_style_stands_on_the_base_alone_and_on_a_whole_unet(
    tiny_sdxl: Path, sdxl_files: Path, style: Path
) -> None:
    stack = [{"lora": str(style), "scale": -0.5}]
    for own in ({}, {"unet": str(sdxl_files / "unet.safetensors")}):
        pipe = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, add_watermarker=False)
        if own:
            pipe.unet.load_state_dict(load_file(own["unet"]))
        pipe.load_lora_weights(style.parent, weight_name=style.name, adapter_name="style")
        pipe.set_adapters(["style"], adapter_weights=[-0.5])
        assert far(drawn(mine(tiny_sdxl, stack=stack, **own)), by_diffusers(pipe))[0] <= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_in_fp8_under_a_lora_draw_as_diffusers_layerwise_casting(
    tiny_sdxl: Path, sdxl_files: Path, style: Path, precision: str
) -> None:
    dtype = pipelines.PRECISIONS[precision]
    text = sdxl_files / "text.safetensors"
    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, dtype=dtype, add_watermarker=False)
    pipe.load_lora_weights(text.parent, weight_name=text.name, adapter_name="fast")
    pipe.load_lora_weights(style.parent, weight_name=style.name, adapter_name="style")
    pipe.set_adapters(["fast", "style"], adapter_weights=[1.0, 0.8])
    pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    given = {"lora": str(text), "stack": [{"lora": str(style), "scale": 0.8}]}
    ours = drawn(mine(tiny_sdxl, precision, storage="fp8", **given))
    plain = drawn(mine(tiny_sdxl, precision, **given))
    rounding = 1 if precision == "fp32" else 40  # bf16 has 8 bits: each sum rounds otherwise
    largest, mean = far(ours, by_diffusers(pipe))
    assert largest <= rounding and mean < far(ours, plain)[1] / 3
    assert far(ours, plain)[0] > 2


def kinds(base: Path, files: Path, style: Path) -> Iterator[ContestantSettings]:
    on_top = [{"lora": str(style)}]
    lora, unet = (
        {"lora": str(files / "text.safetensors")},
        {"unet": str(files / "unet.safetensors")},
    )
    for own in ({}, lora, unet):
        for stack in ({}, {"stack": on_top}):
            for storage in ({}, {"storage": "fp8"}):
                yield mine(base, **own, **stack, **storage)


def test_whatever_was_before_it_each_draws_as_alone_and_has_an_identity_of_its_own(
    tiny_sdxl: Path, sdxl_files: Path, style: Path
) -> None:
    every = list(kinds(tiny_sdxl, sdxl_files, style))
    alone = [drawn(one) for one in every]
    networks = Networks(CPU)
    for place in (*range(len(every)), *reversed(range(len(every)))):
        np.testing.assert_array_equal(drawn(every[place], networks), alone[place])
    every.append(mine(tiny_sdxl, stack=[{"lora": str(style), "scale": 0.5}]))
    every.append(mine(tiny_sdxl, "bf16"))
    named = {identity.contestant(Row(one, 2), PROMPTS, Hashes()) for one in every}
    assert len(named) == len(every)


def test_a_network_in_fp8_has_half_of_the_bytes_of_bf16(tiny_sdxl: Path) -> None:
    bytes_of = []
    for storage in ({}, {"storage": "fp8"}):
        settings = mine(tiny_sdxl, "bf16", **storage)
        unet = Networks(CPU).pipeline(settings, None).unet
        assert unet.dtype == torch.bfloat16
        bytes_of.append(sum(p.nbytes for p in unet.parameters()))
        held = memory.parameters(settings)
        assert held is not None
        assert memory.weights(settings, {"unet": held["unet"]}) == pytest.approx(
            bytes_of[-1], rel=0.1
        )
    assert bytes_of[1] < 0.55 * bytes_of[0]


def test_what_cannot_be_stacked_is_one_line(
    tiny_sdxl: Path, sdxl_files: Path, style: Path, sd15_lora: Path, tmp_path: Path
) -> None:
    def loaded(settings: ContestantSettings) -> None:
        opening.check(settings)
        Networks(CPU).pipeline(settings, None)

    def said(**values: Any) -> str:
        with pytest.raises(UsageError) as error:
            loaded(mine(tiny_sdxl, **values))
        return str(error.value)

    assert "valid: a LoRA of this base" in said(stack=[{"lora": str(sd15_lora)}])
    assert "stack[0].lora=gone: no such file" in said(stack=[{"lora": "gone"}])
    none = str(style.with_name("none.safetensors"))
    for storage in ({}, {"storage": "fp8"}):
        line = said(stack=[{"lora": str(style)}, {"lora": none}], **storage)
        assert "none.safetensors: cannot be loaded (the LoRA changes no weight)" in line
    state = load_file(style)
    magnitudes = {
        k.replace("lora_B.weight", "lora_magnitude_vector"): torch.ones(len(v))
        for k, v in state.items() if "lora_B" in k
    }  # fmt: skip
    save_file(state | magnitudes, tmp_path / "dora.safetensors")
    dora = [{"lora": str(tmp_path / "dora.safetensors")}]
    assert "is a DoRA, which cannot be beside weights in fp8" in said(stack=dora, storage="fp8")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"stack": [{"lora": "x", "scale": 11}]}, "contestants.mine.stack[0].scale=11: must be"),
        ({"stack": [{"loar": "x"}]}, "did you mean 'lora'"),
        ({"stack": []}, "must hold at least one value"),
        ({"storage": "int8"}, "valid: fp8"),
    ],
)
def test_mistakes_in_a_suite_are_one_line(values: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError) as error:
        mine(Path("x"), **values)
    assert line in str(error.value)
