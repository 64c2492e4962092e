"""Pipelines that draw by their own call, held against plain diffusers: small random models of the
real classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import diffusers
import numpy as np
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file

from bench.contestants import (
    identity,
    opening,
    own_pipelines,
    own_resident,
    schedulers,
    source,
)
from bench.contestants.noise import OwnNoise
from bench.contestants.pipelines import Networks
from bench.contestants.sampler import Batch, generator, initial_noise
from bench.errors import UsageError
from bench.results.keys import Key
from bench.run import memory
from bench.run.batches import Batches
from bench.run.rows import RowSource
from bench.suite import contestant, per_step
from bench.suite.contestant import ContestantSettings, Row, SuiteDefaults
from bench.suite.prompts import PromptSet
from hypersd.hashes import Hashes
from hypersd.pictures import to_unit
from tests.support import families

CPU = torch.device("cpu")
SIZE = 64
KEYS = [Key(0, "a red circle", 0), Key(1, "two blue stars, and a very large green ring", 3)]
PROMPTS = PromptSet("mine", tuple(key.prompt for key in KEYS))
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 6.0}
SPRINT = {"use_resolution_binning": False}
# A maker of the model, what a suite says, and what its card's script calls it with.
MADE: dict[str, tuple[Callable[[Path], Path], dict[str, Any], dict[str, Any]]] = {
    "flux": (families.make_flux, {"guidance": 3.5}, {"guidance_scale": 3.5}),
    "klein": (families.make_klein, {"guidance": 1.0}, {"guidance_scale": 1.0}),
    "qwen": (
        families.make_qwen_image,
        {"call": {"true_cfg_scale": 4.0, "negative_prompt": " "}},
        {"true_cfg_scale": 4.0, "negative_prompt": [" ", " "]},
    ),
    "sana": (families.make_sana_sprint, {"guidance": 4.5, "call": SPRINT}, SPRINT),
    "sd3": (families.make_sd35, {"guidance": 5.0}, {"guidance_scale": 5.0}),
    "z_image": (families.make_z_image, {"guidance": 0}, {"guidance_scale": 0.0}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a model, made once."""
    root = tmp_path_factory.mktemp("families")

    def of(name: str) -> Path:
        folder = root / name
        return folder if folder.exists() else MADE[name][0](folder)

    return of


def given(folder: Path, steps: int = 2, **values: Any) -> ContestantSettings:
    return contestant.read("mine", {"pipeline": str(folder), "steps": [steps], **values}, (1,))


def drawn(settings: ContestantSettings, keys: Any = KEYS, networks: Any = None) -> Batch:
    networks = networks or Networks(CPU)
    weights = Path(settings.weights) if settings.source == "lora" else None
    row = Row(settings, settings.steps[0])
    found: Batch = source.load(row, PROMPTS, SIZE, weights, networks)(keys)
    return found


def plain(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def by_script(pipe: Any, steps: int = 2, **call: Any) -> Any:
    """Pictures in [0, 255], as a user of diffusers draws them."""
    noise = {} if "latents" in call else {"generator": [generator(key) for key in KEYS]}
    found = pipe(prompt=[key.prompt for key in KEYS], num_inference_steps=steps, height=SIZE,
                 width=SIZE, output_type="np", **{**noise, **call})  # fmt: skip
    return found.images * 255


def apart(batch: Batch, images: Any) -> float:
    return float(np.abs(batch.images - images).max())


@contextmanager
def counted(pipe: Any) -> Iterator[list[int]]:
    """Images through the transformer, counted by what it gives back."""
    seen: list[int] = []
    hook = pipe.transformer.register_forward_hook(lambda _, __, found: seen.append(len(found[0])))
    yield seen
    hook.remove()


@pytest.mark.parametrize("name", MADE)
def test_its_pictures_are_those_of_plain_diffusers(
    folders: Callable[[str], Path], name: str
) -> None:
    folder, (_, says, call) = folders(name), MADE[name]
    batch = drawn(given(folder, **says))
    pipe = plain(folder)
    with counted(pipe) as seen:
        assert apart(batch, by_script(pipe, **call)) < 1
    assert batch.unet_forwards == sum(seen)
    assert batch.images.std() > 10
    alone = np.concatenate([drawn(given(folder, **says), [key]).images for key in KEYS])
    assert np.abs(batch.images.astype(int) - alone).max() <= 1
    assert not batch.truncated and not batch.broken
    assert {*batch.seconds} == {"text", "unet", "vae", "rest"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_noise_is_the_benchmarks(folders: Callable[[str], Path], precision: str) -> None:
    """FLUX packs 2x2 latents of 16 channels into tokens of 64."""
    folder = folders("flux")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    noise = initial_noise([generator(key) for key in KEYS], (16, SIZE // 8, SIZE // 8))
    packed = diffusers.FluxPipeline._pack_latents(noise, 2, 16, SIZE // 8, SIZE // 8)
    suite = SuiteDefaults(precision=precision)
    values = {"pipeline": str(folder), "guidance": 3.5}
    mine = contestant.read("mine", values, (2,), suite)
    images = by_script(plain(folder, dtype), latents=packed.to(dtype), guidance_scale=3.5)
    assert apart(drawn(mine), images) < 1


def beside_others(settings: ContestantSettings) -> int:
    """Levels by which the pictures that are drawn together differ from those drawn alone."""
    networks = Networks(CPU)
    together = drawn(settings, KEYS, networks).images.astype(int)
    alone = np.concatenate([drawn(settings, [key], networks).images for key in KEYS])
    return int(np.abs(together - alone).max())


@pytest.mark.parametrize("name", MADE)
def test_pictures_do_not_depend_on_their_batch(folders: Callable[[str], Path], name: str) -> None:
    settings = given(folders(name), **MADE[name][1])
    assert beside_others(settings) <= 1 and not own_pipelines.is_drawn_alone(settings)


def test_one_whose_pictures_would_is_drawn_one_at_a_time(tmp_path: Path) -> None:
    """CogView4 reads the padding that a longer prompt brings."""
    settings = given(families.make_cogview4(tmp_path / "cogview"), guidance=1.0)
    assert beside_others(settings) > 20
    batches = Batches(CPU, 4)
    plan: Any = SimpleNamespace(suite=SimpleNamespace(size=SIZE),
                                options=SimpleNamespace(best_batch=True))  # fmt: skip
    planned: Any = SimpleNamespace(row=Row(settings, 2), identity="x")
    worker: Any = SimpleNamespace(batches=batches, cache=SimpleNamespace(root=tmp_path))
    assert batches.of(RowSource(plan, planned, worker).stage) == 1
    assert list(own_pipelines.notes(settings)) == [
        "CogView4Pipeline reads padding as text: pictures are drawn one at a time"
    ]


@pytest.mark.parametrize("name", ["flux", "sd3"])
@pytest.mark.parametrize("says", [{"scheduler": "flow_lcm"},
                                  {"scheduler_config": {"stochastic_sampling": True}}],
                         ids=["lcm", "stochastic"])  # fmt: skip
def test_noise_that_a_scheduler_adds_is_the_images_own(
    folders: Callable[[str], Path], name: str, says: dict[str, Any]
) -> None:
    """These pipelines hand their scheduler no generator: plain diffusers draws other noise at every
    call, and for every batch."""
    settings = given(folders(name), guidance=1.0, **says)
    batch = drawn(settings)
    assert (drawn(settings).images == batch.images).all()
    alone = np.concatenate([drawn(settings, [key]).images for key in KEYS])
    assert np.abs(batch.images.astype(int) - alone).max() <= 1
    if "scheduler" not in says:
        return
    pipe, own = plain(folders(name)), [generator(key) for key in KEYS]
    pipe.scheduler = diffusers.FlowMatchLCMScheduler.from_config(pipe.scheduler.config)
    pipe.scheduler.step = partial(pipe.scheduler.step, generator=own)
    assert apart(batch, by_script(pipe, guidance_scale=1.0, generator=own)) < 1


def test_noise_that_belongs_to_no_image_is_refused() -> None:
    own = [generator(key) for key in KEYS]
    with OwnNoise(own), pytest.raises(ValueError, match=r"2 images share noise of shape \[3, 4\]"):
        torch.randn(3, 4)
    with OwnNoise(own):
        both = torch.randn((4, 5), dtype=torch.float64)
    apart = [torch.randn(2, 5, generator=generator(key), dtype=torch.float64) for key in KEYS]
    assert torch.equal(both, torch.cat(apart))


def test_a_pipelines_forwards_are_counted_as_they_happen(folders: Callable[[str], Path]) -> None:
    """Guided SD3 goes twice through its network in a step, in one call."""
    row = Row(given(folders("sd3"), 3, guidance=5.0), 3)
    planned = schedulers.evaluations(row)
    assert planned is not None and planned.count == 6 and planned.is_estimate
    assert drawn(row.settings).unet_forwards == 6 * len(KEYS)
    embedded = schedulers.evaluations(Row(given(folders("flux"), 3, guidance=3.5), 3))
    assert embedded is not None and embedded.count == 3


def lora(folder: Path, path: Path, parts: tuple[str, ...] = ("to_q", "to_k", "proj_mlp")) -> Path:
    """A LoRA of FLUX's transformer, as diffusers saves it."""
    transformer = plain(folder).transformer
    with torch.random.fork_rng():
        torch.manual_seed(3)
        transformer.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=list(parts)))
        for name, weight in transformer.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight)
    state = get_peft_model_state_dict(transformer)
    diffusers.FluxPipeline.save_lora_weights(
        path.parent, transformer_lora_layers=state, weight_name=path.name
    )
    return path


def test_a_lora_is_fused_and_leaves_the_base_as_it_was(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, file = folders("flux"), lora(folders("flux"), tmp_path / "mine.safetensors")
    networks = Networks(CPU)
    base = drawn(given(folder, guidance=3.5), networks=networks)
    fused = drawn(given(folder, guidance=3.5, lora=str(file), lora_scale=0.5), networks=networks)
    again = drawn(given(folder, guidance=3.5), networks=networks)
    pipe = plain(folder)
    pipe.load_lora_weights(tmp_path, weight_name=file.name)
    pipe.fuse_lora(lora_scale=0.5)
    assert apart(fused, by_script(pipe, guidance_scale=3.5)) < 1
    assert np.abs(fused.images.astype(int) - base.images).max() > 5
    assert (again.images == base.images).all()


def test_a_lora_of_which_a_key_stays_unused_is_refused(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, file = folders("flux"), lora(folders("flux"), tmp_path / "mine.safetensors")
    held, more = load_file(file), tmp_path / "more.safetensors"
    module = next(key for key in held if "lora_A" in key).removesuffix(".lora_A.weight")
    for name, said in (("elsewhere.x", "of none of transformer"), ("transformer.no.such", "keys")):
        others = {f"{name}.{half}.weight": held[f"{module}.{half}.weight"].clone()
                  for half in ("lora_A", "lora_B")}  # fmt: skip
        save_file(held | others, more)
        with pytest.raises(UsageError, match=f"more.safetensors: cannot be loaded .*{said}"):
            drawn(given(folder, lora=str(more)))
        if name == "elsewhere.x":  # found before anything is drawn
            with pytest.raises(UsageError, match=f"more.safetensors: cannot be loaded .*{said}"):
                opening.check(given(folder, lora=str(more)))
    opening.check(given(folder, lora=str(file)))
    torch.save(held, tmp_path / "mine.bin")
    with pytest.raises(UsageError, match="is a pickle, which is not read here"):
        drawn(given(folder, lora=str(tmp_path / "mine.bin")))


def test_a_stack_is_fused_in_its_order(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder, file = folders("flux"), lora(folders("flux"), tmp_path / "mine.safetensors")
    style = lora(folder, tmp_path / "style.safetensors", ("to_q", "proj_mlp"))
    stack = [{"lora": str(style), "scale": -0.5}]
    batch = drawn(given(folder, guidance=3.5, lora=str(file), lora_scale=0.5, stack=stack))
    pipe = plain(folder)
    for one in (file, style):
        pipe.load_lora_weights(tmp_path, weight_name=one.name, adapter_name=one.stem)
    pipe.set_adapters(["mine", "style"], [0.5, -0.5])
    assert apart(batch, by_script(pipe, guidance_scale=3.5)) < 1


def test_a_schedulers_configuration_may_be_changed(folders: Callable[[str], Path]) -> None:
    """As TDM's card draws SD3; the pipeline's own scheduler is there again for the next one."""
    folder, networks = folders("sd3"), Networks(CPU)
    before = drawn(given(folder, guidance=1.0), networks=networks)
    mine = given(folder, guidance=1.0, scheduler="dpm", scheduler_config=FLOW)
    pipe = plain(folder)
    own = pipe.scheduler.config
    pipe.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(own, **FLOW)
    assert apart(drawn(mine, networks=networks), by_script(pipe, guidance_scale=1.0)) < 1
    after = drawn(given(folder, guidance=1.0), networks=networks)
    assert (after.images == before.images).all()
    said = "scheduler_config.flow_shift: FlowMatchEulerDiscreteScheduler has none; valid: "
    with pytest.raises(UsageError, match=said):
        opening.check(given(folder, scheduler_config={"flow_shift": 6}))


def test_noise_levels_may_be_given(folders: Callable[[str], Path]) -> None:
    folder, levels = folders("sd3"), [1.0, 0.6]
    batch = drawn(given(folder, guidance=1.0, call={"sigmas": levels}))
    assert apart(batch, by_script(plain(folder), guidance_scale=1.0, sigmas=levels)) < 1
    usual = drawn(given(folder, 2, guidance=1.0, scheduler="flow_euler", spacing="trailing"))
    assert apart(usual, by_script(plain(folder), guidance_scale=1.0, sigmas=[1.0, 0.5])) < 1
    with pytest.raises(UsageError, match="sigmas: are 2, but it is drawn in 4 steps"):
        own_pipelines.check("contestants.mine", given(folder, 4, call={"sigmas": levels}))


def test_sd15_draws_by_its_own_call_where_a_suite_gives_one(tiny_base: Path) -> None:
    settings = given(tiny_base, guidance=3.0, call={})
    assert own_pipelines.is_own(settings) and not own_pipelines.is_own(given(tiny_base))
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tiny_base, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    assert apart(drawn(settings), by_script(pipe, guidance_scale=3.0)) < 1


@pytest.mark.parametrize("name", ["flux", "qwen", "sana"])
def test_real_pictures_go_through_its_vae(
    folders: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    """Qwen-Image's is one of videos, SANA's gives latents and no distribution."""
    real = [np.random.default_rng(i).integers(0, 256, (SIZE, SIZE, 3), np.uint8) for i in (0, 1)]
    for i, picture in enumerate(real):
        Image.fromarray(picture).save(tmp_path / f"{i:05d}.png")
    anchor = contestant.read(
        "vae_round_trip", {"base": str(folders(name)), "images": str(tmp_path)}, (1,)
    )
    batch = source.load(Row(anchor, None), PROMPTS, SIZE, None, Networks(CPU))(KEYS)
    vae = plain(folders(name)).vae
    x = to_unit(np.stack(real))
    with torch.no_grad():
        if name == "sana":
            there = vae.decode(vae.encode(x).latent).sample
        else:
            x = x[:, :, None] if name == "qwen" else x
            there = vae.decode(vae.encode(x).latent_dist.mode()).sample
        there = there[:, :, 0] if name == "qwen" else there
    theirs = (there.clamp(-1, 1) + 1).permute(0, 2, 3, 1).numpy() * 127.5
    assert apart(batch, theirs) < 1


def test_seconds_are_measured_with_random_weights(folders: Callable[[str], Path]) -> None:
    suite = replace(given(folders("flux"), guidance=3.5), source="random", weights="")
    batch = drawn(suite)
    assert batch.unet_forwards == 2 * len(KEYS) and batch.images.shape == (2, SIZE, SIZE, 3)
    assert (batch.images != drawn(given(folders("flux"), guidance=3.5)).images).any()


def test_parts_wait_off_the_device(folders: Callable[[str], Path]) -> None:
    """As diffusers offloads; on a CPU there is nothing to offload from."""
    for offload in ("model", "sequential"):
        pipe = mock.MagicMock()
        assert own_resident.on_device(pipe, torch.device("cuda", 1), offload) is pipe
        asked = getattr(pipe, f"enable_{offload}_cpu_offload")
        asked.assert_called_once_with(device=torch.device("cuda", 1))
        pipe.to.assert_not_called()
    with pytest.raises(UsageError, match="offload=model: keeps parts off a GPU"):
        Networks(CPU, "model")


def named(folder: Path, name: str, tmp_path: Path) -> Path:
    """The folder with another class in its model_index.json."""
    copy = tmp_path / name
    shutil.copytree(folder, copy)
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "_class_name": name}))
    return copy


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown": ("FluxNinePipeline", {}, "needs FluxNinePipeline, which diffusers .* does not have"),
    "no pipeline": ("FluxTransformer2DModel", {}, "needs FluxTransformer2DModel, which"),
    "of pictures": ("FluxImg2ImgPipeline", {}, "does not draw a picture of a prompt alone"),
    "of videos": ("WanPipeline", {}, "does not draw a picture of a prompt alone"),
    "argument": ("FluxPipeline", {"call": {"max_sequence": 3}}, "did you mean 'max_sequence_le"),
    "range": ("Kandinsky3Pipeline", {}, "whose tensors diffusers leaves in"),
    "eta": ("FluxPipeline", {"scheduler": "ddim", "eta": 0.5}, "eta=0.5: FluxPipeline takes none"),
    "vae": ("FluxPipeline", {"vae": "else"}, "keeps its VAE; valid: vae_precision="),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_drawn_is_refused_in_a_line(
    folders: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    kind, values, said = REFUSED[name]
    folder = named(folders("flux"), kind, tmp_path)
    with pytest.raises(UsageError, match=said) as error:
        identity.contestant(Row(given(folder, **values), 2), PROMPTS, Hashes())
    assert "\n" not in str(error.value) and "contestants.mine" in str(error.value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"guidance_scale": 3.5}, "contestants.mine.guidance says it"),
        ({"num_inference_steps": 4}, "contestants.mine.steps says it"),
        ({"output_type": "pil"}, "the benchmark's own"),
        ({"sigmas": {"a": 1}}, "must be a number, a text, true, false, null, or a list"),
    ],
)
def test_what_the_benchmark_gives_is_not_given_twice(call: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        given(Path("x"), call=call)


def test_keys_of_the_other_kind_of_base_are_refused(tiny_base: Path) -> None:
    for values, said in (
        ({"guidance": 0.5}, "guidance=0.5: must be 1 or more"),
        ({"scheduler": "flow_euler"}, "scheduler=flow_euler: is of flows"),
        ({"scheduler_config": {"shift": 3}}, "goes with a base that draws by its own call"),
    ):
        with pytest.raises(UsageError, match=said):
            identity.contestant(Row(given(tiny_base, **values), 2), PROMPTS, Hashes())


def test_everything_that_a_picture_depends_on_is_in_the_identity(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, file = folders("flux"), lora(folders("flux"), tmp_path / "mine.safetensors")
    other = lora(folder, tmp_path / "other.safetensors", ("to_q",))
    values: list[dict[str, Any]] = [
        {}, {"guidance": 3.5}, {"guidance": 3.0}, {"call": {"max_sequence_length": 256}},
        {"scheduler_config": {"shift": 2.0}}, {"scheduler": "flow_heun"}, {"steps": 4},
        {"lora": str(file)}, {"lora": str(file), "lora_scale": 0.125}, {"lora": str(other)},
        {"size": 128}, {"vae_precision": "fp32"},
    ]  # fmt: skip
    rows = [Row(made, made.steps[0]) for made in (given(folder, **one) for one in values)]
    found = [identity.contestant(row, PROMPTS, Hashes()) for row in rows]
    assert len({*found}) == len(values)
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert identity.contestant(Row(given(copy), 2), PROMPTS, Hashes()) == found[0]
    (copy / "tokenizer_2/chat_template.jinja").write_text("{{ x }}")
    assert identity.contestant(Row(given(copy), 2), PROMPTS, Hashes()) != found[0]


def test_a_plan_says_what_a_pipeline_does_not_let_us_set(folders: Callable[[str], Path]) -> None:
    def notes(name: str, **values: Any) -> list[str]:
        return list(own_pipelines.notes(given(folders(name), **values)))

    assert notes("flux") == ["guidance_scale is FluxPipeline's own, 3.5"]
    assert notes("flux", guidance=3.5) == []
    (unused,) = notes("klein", guidance=1.0)
    assert unused.startswith("Flux2KleinPipeline leaves guidance_scale unused")
    assert any("complex_human_instruction" in one for one in notes("sana"))
    assert not notes("sana", guidance=4.5, call={"complex_human_instruction": None})


def test_steps_may_differ_in_lora_and_call() -> None:
    """A LoRA at a number of steps stays on the pipeline; arguments are replaced one by one."""
    at = {"4": {"lora": "four", "call": {"b": None}}, "8": {"lora": "eight"}}
    values = {"pipeline": "p", "lora_scale": 0.125, "call": {"a": 1, "b": 2}, "at": at}
    like = {"lora": "mine", "like": "hyper"}
    four, eight, mine, _ = per_step.read_all(
        {"hyper": values, "mine": like}, (4, 8), SuiteDefaults("base")
    )
    assert (four.base, four.source, four.weights, four.lora_scale) == ("p", "lora", "four", 0.125)
    assert four.own.arguments == {"a": 1, "b": None} and eight.own.arguments == {"a": 1, "b": 2}
    assert (mine.base, mine.own) == ("base", four.own) and mine.lora_scale == 1


def test_memory_is_planned_by_the_headers_of_its_files(folders: Callable[[str], Path]) -> None:
    folder = folders("flux")
    held = memory.parameters(given(folder))
    parts = plain(folder).components
    counts = {name: sum(p.numel() for p in one.parameters())
              for name, one in parts.items() if isinstance(one, torch.nn.Module)}  # fmt: skip
    assert held is not None
    assert held["unet"] == counts["transformer"] and held["vae"] == counts["vae"]
    together, largest = (memory.weights(given(folder), held, how) for how in ("none", "model"))
    assert together == 4 * sum(held.values()) and largest == 4 * max(held.values())
