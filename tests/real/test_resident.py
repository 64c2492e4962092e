"""One base in memory for all contestants: whatever was in it before, each has the weights of a
fresh load, to the bit, and afterwards nothing of it is left."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bench.cli import main
from bench.contestants import pipelines
from bench.contestants.pipelines import PRECISIONS, Networks
from bench.errors import UsageError
from bench.suite import contestant
from bench.suite.contestant import ContestantSettings
from hypersd.hashes import Hashes
from hypersd.lora import merging, reader

CPU = torch.device("cpu")
PARTS = ("unet", "text_encoder", "text_encoder_2", "vae")
Wanted = tuple[str, str, float]  # source, file, scale of a LoRA
CONTESTANTS: list[Wanted] = [
    ("base", "", 1.0),
    ("lora", "peft.safetensors", 1.0),
    ("lora", "peft.safetensors", 0.5),
    ("lora", "kohya.safetensors", 1.0),
    ("lora", "text.safetensors", 1.0),
    ("lora", "text.safetensors", -1.0),
    ("unet", "unet.safetensors", 1.0),
]
STORED = ("fp32", "fp16")  # what the base's files are
EXAMPLES = settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def bases(tiny_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same pipeline with files in fp32, and with only half precision ones."""
    half = tmp_path_factory.mktemp("half") / "base"
    whole = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, dtype=torch.float16)
    whole.save_pretrained(half, variant="fp16")
    return {"fp32": tiny_sdxl, "fp16": half}


def asked(wanted: Wanted, base: Path, files: Path, precision: str) -> tuple[Any, Path | None]:
    """The settings of a contestant, and its file."""
    kind, name, scale = wanted
    own = {} if kind == "base" else {kind: str(files / name)}
    made = contestant.read("mine", {"base": str(base), **own}, (1,))
    made = replace(made, precision=precision, lora_scale=scale)
    return made, files / name if name else None


def weights(pipe: Any) -> dict[str, torch.Tensor]:
    """All weights by name, as copies."""
    return {
        f"{part}.{name}": value.clone()
        for part in PARTS
        for name, value in getattr(pipe, part).state_dict().items()
    }


def fresh(wanted: Wanted, base: Path, stored: str, files: Path, precision: str) -> Any:
    """diffusers' own load of the base; a LoRA is added to a UNet in fp32, and rounded once."""
    kind, name, scale = wanted
    variant = "fp16" if stored == "fp16" else None
    pipe = StableDiffusionXLPipeline.from_pretrained(
        base, dtype=PRECISIONS[precision], variant=variant, add_watermarker=False
    )
    pipe.vae.float()
    if kind == "unet":
        pipe.unet.load_state_dict(load_file(files / name))
    elif kind == "lora":
        pipe.unet = UNet2DConditionModel.from_pretrained(base / "unet", variant=variant).float()
        networks = {part: getattr(pipe, part) for part in PARTS[:3]}
        merging.merge(reader.read(files / name), networks, scale)
        pipe.unet.to(PRECISIONS[precision])
    return weights(pipe)


@pytest.fixture(scope="module")
def expected(bases: dict[str, Path], sdxl_files: Path) -> Callable[..., Any]:
    """`fresh` of a contestant, of files, at a precision; made once."""
    made: dict[Any, Any] = {}

    def of(wanted: Wanted, stored: str, precision: str) -> Any:
        key = wanted, stored, precision
        if key not in made:
            made[key] = fresh(wanted, bases[stored], stored, sdxl_files, precision)
        return made[key]

    return of


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        value.dtype == other[name].dtype and torch.equal(value, other[name])
        for name, value in one.items()
    )


@EXAMPLES
@given(
    st.lists(st.sampled_from(CONTESTANTS), min_size=2, max_size=6),
    st.sampled_from(STORED),
    st.sampled_from(sorted(PRECISIONS)),
)
def test_each_has_the_weights_of_a_fresh_load_whatever_was_before_it(
    bases: dict[str, Path],
    sdxl_files: Path,
    expected: Callable[..., Any],
    order: list[Wanted],
    stored: str,
    precision: str,
) -> None:
    networks = Networks(CPU)
    for wanted in order:
        mine, file = asked(wanted, bases[stored], sdxl_files, precision)
        found = weights(networks.pipeline(mine, file))
        assert same(found, expected(wanted, stored, precision)), wanted


def test_no_file_of_the_base_is_written_to(tiny_sdxl: Path, sdxl_files: Path) -> None:
    """Its weights are mapped into memory, where a LoRA is merged."""
    before = Hashes().folder(tiny_sdxl)
    networks = Networks(CPU)
    for wanted in CONTESTANTS[1:5]:
        networks.pipeline(*asked(wanted, tiny_sdxl, sdxl_files, "fp32"))
    assert Hashes().folder(tiny_sdxl) == before


def test_another_number_of_steps_touches_nothing(tiny_sdxl: Path, sdxl_files: Path) -> None:
    networks = Networks(CPU)
    for wanted in CONTESTANTS:
        mine, file = asked(wanted, tiny_sdxl, sdxl_files, "fp32")
        pipe = networks.pipeline(mine, file)
        touched = [value._version for value in pipe.unet.parameters()]
        again = networks.pipeline(replace(mine, steps=(8,)), file)
        assert again is pipe, wanted
        assert [value._version for value in pipe.unet.parameters()] == touched, wanted


def test_what_no_contestant_changes_stays_where_it_is(tiny_sdxl: Path, sdxl_files: Path) -> None:
    """Text encoders and VAE through a whole UNet and back, the UNet too from LoRA to LoRA."""
    networks = Networks(CPU)
    found = [
        networks.pipeline(*asked(wanted, tiny_sdxl, sdxl_files, "fp32")).components
        for wanted in CONTESTANTS
    ]
    for part in PARTS[1:]:
        assert all(one[part] is found[0][part] for one in found), part
    assert all(one["unet"] is found[0]["unet"] for one in found[:-1])
    assert found[-1]["unet"] is not found[0]["unet"]


def too_large(files: Path, folder: Path) -> Path:
    """A LoRA of which one layer in the middle makes a weight that is not finite."""
    state = load_file(files / "text.safetensors")
    key = sorted(key for key in state if key.startswith("unet.") and "lora_B" in key)[5]
    other = key.replace("lora_B", "lora_A")
    state[key], state[other] = torch.full_like(state[key], 1e30), state[other].sign() * 1e30
    save_file(state, folder / "large.safetensors")
    return folder / "large.safetensors"


@pytest.mark.parametrize("before", [CONTESTANTS[0], CONTESTANTS[4]])
def test_an_error_in_the_middle_of_a_merge_leaves_no_half_of_it(
    tiny_sdxl: Path,
    sdxl_files: Path,
    expected: Callable[..., Any],
    tmp_path: Path,
    before: Wanted,
) -> None:
    networks = Networks(CPU)
    mine, file = asked(before, tiny_sdxl, sdxl_files, "fp32")
    held = weakref.ref(networks.pipeline(mine, file).unet)
    large = too_large(sdxl_files, tmp_path)
    with pytest.raises(UsageError, match="is not finite with it"):
        networks.pipeline(replace(mine, source="lora", weights=str(large)), large)
    gc.collect()
    assert held() is None
    assert same(weights(networks.pipeline(mine, file)), expected(before, "fp32", "fp32"))


def test_so_does_memory_that_runs_out(
    tiny_sdxl: Path,
    sdxl_files: Path,
    expected: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks, merged, calls = Networks(CPU), merging.merged, list[int]()

    def full(*words: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 7:
            raise torch.OutOfMemoryError
        return merged(*words)

    monkeypatch.setattr(merging, "merged", full)
    mine, file = asked(CONTESTANTS[1], tiny_sdxl, sdxl_files, "fp32")
    with pytest.raises(torch.OutOfMemoryError):
        networks.pipeline(mine, file)
    base, _ = asked(CONTESTANTS[0], tiny_sdxl, sdxl_files, "fp32")
    found = weights(networks.pipeline(base, None))
    assert len(calls) == 7 and same(found, expected(CONTESTANTS[0], "fp32", "fp32"))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """(contestant, its UNet while somebody holds it), as a run loads them."""
    found: list[tuple[str, Any]] = []
    ask = Networks.pipeline

    def noted(self: Networks, mine: ContestantSettings, file: Path | None) -> Any:
        pipe = ask(self, mine, file)
        gc.collect()
        found.append((mine.key, weakref.ref(pipe.unet)))
        alive = {id(unet()) for _, unet in found if unet() is not None}
        assert alive == {id(pipe.unet)}, f"{mine.key}: another network is in memory"
        return pipe

    monkeypatch.setattr(Networks, "pipeline", noted)
    return found


def test_a_run_holds_one_network_and_none_when_the_last_row_is_drawn(
    held: list[tuple[str, Any]],
    bases: dict[str, Path],
    sdxl_files: Path,
    tiny_suite: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny_suite(
        f"""
  lcm: {{lora: {sdxl_files}/peft.safetensors, scheduler: lcm}}
  own: {{unet: {sdxl_files}/unet.safetensors, scheduler: lcm}}
  turbo: {{pipeline: {bases["fp16"]}, scheduler: euler}}
""",
        [1, 2],
    )
    from bench.run import finish

    summarise, left = finish.summarise, []

    def noted(*words: Any) -> Any:
        gc.collect()
        left.extend(key for key, unet in held if unet() is not None)
        return summarise(*words)

    monkeypatch.setattr(finish, "summarise", noted)
    assert main(["suite=tiny.yaml", "out=run", "device=cpu"]) == 0
    assert {key for key, _ in held} == {"lcm", "own", "turbo"} and left == []


def test_nothing_is_held_after_release(tiny_sdxl: Path, sdxl_files: Path) -> None:
    networks = Networks(CPU)
    for wanted in CONTESTANTS:
        pipe = networks.pipeline(*asked(wanted, tiny_sdxl, sdxl_files, "bf16"))
        parts = [weakref.ref(getattr(pipe, part)) for part in PARTS]
        del pipe
        networks.release()
        assert [part() for part in parts] == [None] * len(PARTS), wanted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_memory_of_a_gpu_is_given_back(tiny_sdxl: Path, sdxl_files: Path) -> None:
    before, networks = torch.cuda.memory_reserved(), Networks(pipelines.device_of("cuda"))
    networks.pipeline(*asked(CONTESTANTS[1], tiny_sdxl, sdxl_files, "fp16"))
    assert torch.cuda.memory_reserved() > before
    networks.release()
    assert torch.cuda.memory_reserved() == before
