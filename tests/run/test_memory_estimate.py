"""What a plan says of memory: counts of the real classes, and cards of 24, 16, 12 and 8 GB."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.cli import read
from bench.results import hub
from bench.run import hardware, memory, metric_identities
from bench.run.hardware import Device, Fit, Machine
from bench.run.memory import PARAMETERS, UNET, VAE
from hypersd.bases import UNETS

GB, GIB = 1e9, 2**30


class Attention(TorchFunctionMode):
    """Attention as its fused kernels have it: nothing but what goes in and comes out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


class Alive(TorchDispatchMode):
    """The most bytes that tensors made here had at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.sizes:
                    self.sizes[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.gone, storage._cdata)
        return made

    def gone(self, which: int) -> None:
        self.now -= self.sizes.pop(which)


def peak(run: Callable[[], Any]) -> int:
    alive = Alive()
    with torch.inference_mode(), Attention(), alive:
        run()
    return alive.peak


@pytest.mark.parametrize(("family", "size"), [("sdxl", 1024), ("sd15", 512)])
def test_parameters_and_activations_are_those_of_the_published_classes(
    family: str, size: int
) -> None:
    networks: Any = UNETS[family].networks()
    counts = {part: sum(p.numel() for p in net.parameters()) for part, net in networks.items()}
    text = sum(count for part, count in counts.items() if part.startswith("text"))
    assert PARAMETERS[family] == {"unet": counts["unet"], "vae": counts["vae"], "text": text}

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device="meta")

    side, width = size // 8, networks["unet"].config.cross_attention_dim
    added = {"text_embeds": empty(1, 1280), "time_ids": empty(1, 6)} if family == "sdxl" else None
    alive = peak(lambda: networks["vae"].eval().decode(empty(1, 4, side, side)))
    assert alive == pytest.approx(4 * VAE * size**2, rel=0.01)
    alive = peak(lambda: networks["unet"].eval()(
        empty(1, 4, side, side), empty(), empty(1, 77, width), added_cond_kwargs=added
    ))  # fmt: skip
    assert alive == pytest.approx(4 * UNET[family] * size**2, rel=0.01)


@pytest.mark.parametrize(
    ("model", "source"),
    [("ViT-B-32", "timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors"),
     ("ViT-L-14", "timm/vit_large_patch14_clip_224.openai/open_clip_model.safetensors"),
     ("ViT-H-14", "xswu/HPSv2/HPS_v2.1_compressed.pt")],
)  # fmt: skip
def test_an_evaluator_is_as_large_as_its_class(model: str, source: str) -> None:
    with torch.device("meta"):
        network = open_clip.CLIP(**open_clip.get_model_config(model))
    count = sum(p.numel() for p in network.parameters())
    assert hub.of_source(f"hf://{source}")[0] == pytest.approx(4 * count, rel=0.01)


def fitted(kind: str, memory: float, *words: str) -> Fit:
    suite = read(["suite=sdxl_1step", *words]).suite
    assert suite is not None
    suite = metric_identities.on_device(suite, kind)
    device = Device(kind, "a card", round(memory))
    machine = Machine(gpu=lambda: device if kind == "cuda" else None)
    chosen = "cpu" if kind == "cpu" else "auto"
    judges = metric_identities.network_bytes(suite)
    return hardware.fit(machine, suite.contestants, chosen, suite.size, None, [], judges)


def test_what_fits_on_which_card() -> None:
    """SDXL: UNet, text encoders and VAE 7.1 GB, decoding 4.3; the metrics' networks in fp16, 6."""
    large, middle, small, tiny = (fitted("cuda", gib * GIB) for gib in (24, 16, 11.7, 8))
    assert large.resident and not large.missing and not large.notes
    assert large.memory is not None and 17 * GB < large.memory < 20 * GB
    for card in (middle, small):
        assert not card.resident and not card.missing
        assert card.memory is not None and 12 * GB < card.memory < 12.5 * GB
    assert tiny.missing and "vae_precision=bf16" in tiny.missing[0]
    assert not fitted("cuda", 10 * GIB, "vae_precision=bf16").missing
    assert fitted("cuda", 10 * GIB).missing
    scores = ("clip", "aesthetic", "hps", "image_reward", "pick")
    plain = fitted("cuda", 80 * GIB, *(f"metrics.{name}.precision=fp32" for name in scores))
    assert plain.memory is not None and plain.memory - large.memory == pytest.approx(
        6 * GB, rel=0.01
    )
    assert not fitted("cuda", 24 * GIB, *(f"metrics.{n}.precision=fp32" for n in scores)).resident


def test_the_largest_run_that_was_measured() -> None:
    """Full size on a CPU, fp32, 1024 px: 18.9 GB at its peak."""
    suite = read(["suite=sdxl_smoke", "random_weights=true", "precision=fp32"]).suite
    assert suite is not None
    found = memory.need(suite.contestants[:1], [], 1024, 1)
    assert found is not None and found.together == pytest.approx(18.9 * GB, rel=0.01)


def test_a_lora_takes_no_second_unet() -> None:
    """Merged into the one that is there: on a CPU, too, a LoRA in fp32 fits where the base does."""
    words = ["suite=sdxl_1step", "precision=fp32"]
    suite = read(words).suite
    assert suite is not None
    by_key = {one.key: one for one in suite.contestants}
    alone, lora, unet = (
        memory.need([by_key[key]], [], 1024, 1) for key in ("teacher", "lcm", "hyper_sd_unet")
    )
    assert alone is not None and lora is not None and unet is not None
    assert lora.weights == unet.weights == alone.weights


def test_a_folder_is_as_large_as_its_files(tiny_base: Path, tmp_path: Path) -> None:
    """Files of half precision beside whole ones are the same weights once more."""
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    suite = read(["suite=sdxl_1step", f"base={folder}"]).suite
    assert suite is not None
    found = memory.parameters(suite.contestants[0])
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert found is not None and found["unet"] == unet.stat().st_size // 4
    shutil.copy(unet, unet.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert memory.parameters(suite.contestants[0]) == found
