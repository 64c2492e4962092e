"""The kohya form of a LoRA: diffusers reads it back to the same network."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from hypersd import kohya
from hypersd.conditions import SdxlText, keywords
from hypersd.schedule import Schedule
from hypersd.student import Student
from tests.hypersd.gaussians import SCALED_LINEAR
from tests.hypersd.real_models import make_sdxl


def test_a_pipeline_loads_the_kohya_form_to_the_same_network(
    tiny_base: Path, tmp_path: Path
) -> None:
    bare = UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet").eval()
    student = Student(copy.deepcopy(bare), Schedule.from_config(SCALED_LINEAR), rank=4)
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in student.parameters("student"):
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.1)
    student.export(tmp_path, dtype=torch.float32)
    assert kohya.main([str(tmp_path)]) == 0
    state = load_file(tmp_path / kohya.NAME)
    kinds = {key.split(".", 1)[1] for key in state}
    assert kinds == {"lora_down.weight", "lora_up.weight", "alpha"}
    assert all(key.startswith("lora_unet_") and key.count(".") <= 2 for key in state)
    assert {int(v) for k, v in state.items() if k.endswith("alpha")} == {4}
    pipe = StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    pipe.load_lora_weights(tmp_path, weight_name=kohya.NAME)
    x, t = torch.randn(2, 4, 16, 16, generator=rng), torch.tensor([999, 300])
    text = torch.randn(2, 24, 32, generator=rng)
    with torch.no_grad():
        found = pipe.unet(x, t, encoder_hidden_states=text).sample
        expected = student.predict("student", x, t, text)
        assert not torch.allclose(expected, bare(x, t, encoder_hidden_states=text).sample, atol=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_an_sdxl_pipeline_loads_it_too(tmp_path: Path) -> None:
    base = make_sdxl(tmp_path / "sdxl")
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet").eval()
    student = Student(unet, Schedule.from_config(SCALED_LINEAR), rank=4)
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in student.parameters("student"):
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.1)
    student.export(tmp_path, dtype=torch.float32)
    kohya.convert(tmp_path)
    pipe = StableDiffusionXLPipeline.from_pretrained(base, local_files_only=True)
    pipe.load_lora_weights(tmp_path, weight_name=kohya.NAME)
    x, t = torch.randn(2, 4, 8, 8, generator=rng), torch.tensor([999, 300])
    states = torch.randn(2, 12, 32, generator=rng)
    text = SdxlText(states, torch.randn(2, 16, generator=rng), torch.full((2, 6), 64.0))
    given = keywords(text, torch.float32)
    with torch.no_grad():
        found, expected = pipe.unet(x, t, **given).sample, student.predict("student", x, t, text)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad(), student.using("teacher"):
        assert not torch.allclose(unet(x, t, **given).sample, expected, atol=0.05)


@pytest.mark.parametrize("arguments", [[], ["no/where"], ["-h"]])
def test_bad_input_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert kohya.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
