"""A base that stays in memory while LoRAs come and go, against a fresh fp32 UNet for each row:
`python -m benchmarks.resident [width=1] [precision=fp16] [rank=64]`.

Made here with random weights: SDXL's UNet, its channels divided by `width` (1: the real size, 7 GB
of disk; 2 or 5), stored in fp16, and two LoRAs of all its linear layers and convolutions. Both ways
make the networks of six rows on the CPU, each LoRA at three numbers of steps, in a process of their
own, and must arrive at the same weights. Bytes are the most that the process had at once beyond its
imports, files that are mapped into memory left out: the system takes those back when it likes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

WAYS = ("ours", "a fresh fp32 UNet")
ROWS = ("first",) * 3 + ("second",) * 3
GB = 1e9


def main(arguments: list[str]) -> None:
    """Make the files, measure both ways, print and write the rows."""
    from benchmarks.measure import Row, publish

    given = {"width": "1", "precision": "fp16", "rank": "64"}
    given |= dict(word.split("=", 1) for word in arguments)
    with tempfile.TemporaryDirectory() as name:
        parameters = make_files(Path(name), int(given["width"]), int(given["rank"]))
        ours, theirs = (measured(Path(name), way, given["precision"]) for way in WAYS)
    same = "the same" if ours["weights"] == theirs["weights"] else "DIFFERENT"
    what = f"{parameters / 1e6:,.0f} million weights, {given['precision']}"
    most = f"at most {ours['bytes'] / GB:.2f} GB against {theirs['bytes'] / GB:.2f}; {same} weights"
    publish("resident", [
        Row(f"{label}, {what}", sum(ours["seconds"][:count]), WAYS[1],
            sum(theirs["seconds"][:count]), most)
        for label, count in ((f"networks of {len(ROWS)} rows", len(ROWS)), ("of the first", 1))
    ])  # fmt: skip


def measured(folder: Path, way: str, precision: str) -> dict[str, Any]:
    """{"seconds": of each row, "bytes": the most, "weights": sha256} of one way."""
    words = [sys.executable, "-m", "benchmarks.resident", "way", way, str(folder), precision]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def make_files(folder: Path, width: int, rank: int) -> int:
    """A base's pipeline and two LoRAs; the number of the UNet's weights."""
    from accelerate import init_empty_weights
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    from bench.contestants.random_weights import fill_randomly
    from benchmarks.peer_models import make_model
    from hypersd.bases import UNETS
    from hypersd.lora.merging import plain

    config = UNETS["sdxl"].published["unet"]
    scaled = ("block_out_channels", "attention_head_dim")
    narrow = {key: [max(1, count // width) for count in config[key]] for key in scaled}
    make_model(folder / "base", sdxl=True)
    with init_empty_weights():
        unet = UNet2DConditionModel(**{**config, **narrow})
    fill_randomly(unet.eval(), "unet", torch.float16, torch.device("cpu"))
    for path in (folder / "base" / "unet").iterdir():
        path.unlink()
    unet.save_pretrained(folder / "base" / "unet", variant="fp16", max_shard_size="100GB")
    rng = torch.Generator().manual_seed(0)
    for name in set(ROWS):
        save_file(dict(_layers(plain(unet), rank, rng)), folder / f"{name}.safetensors")
    return sum(one.numel() for one in unet.parameters())


def _layers(
    modules: dict[str, Any], rank: int, rng: torch.Generator
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, module in modules.items():
        outputs, *inputs = module.weight.shape
        shapes = {"A": (rank, *inputs), "B": (outputs, rank, *(1 for _ in inputs[1:]))}
        for half, shape in shapes.items():
            value = torch.randn(shape, generator=rng) * 0.02
            yield f"unet.{name}.lora_{half}.weight", value.half()


def one_way(way: str, folder: Path, precision: str) -> None:
    """Make the networks of all rows, and print what `measured` gives."""
    from bench.contestants.pipelines import PRECISIONS, Networks
    from bench.suite import contestant
    from hypersd.bases import load

    load(folder / "base", torch.float16, "fp16")  # for its imports
    networks, seconds, unet, base = Networks(torch.device("cpu")), list[float](), None, None
    with most_bytes() as most:
        for name in ROWS:
            file, began = folder / f"{name}.safetensors", time.perf_counter()
            words = {"base": str(folder / "base"), "lora": str(file)}
            settings = contestant.read(name, words, (1,), contestant.SuiteDefaults("", precision))
            if way == "ours":
                unet = networks.pipeline(settings, file).unet
            else:
                base = base or load(folder / "base", PRECISIONS[precision], "fp16")
                unet = None  # the one before
                unet = fresh(folder, file, PRECISIONS[precision])
            seconds.append(time.perf_counter() - began)
    del base
    digest = hashlib.sha256()
    assert unet is not None
    for value in unet.state_dict().values():
        digest.update(value.flatten().view(torch.uint8).numpy())
    print(json.dumps({"seconds": seconds, "bytes": most[0], "weights": digest.hexdigest()}))


def fresh(folder: Path, file: Path, precision: torch.dtype) -> Any:
    """The base's UNet read in fp32, a LoRA added to it, and all of it rounded."""
    from diffusers import UNet2DConditionModel

    from hypersd.lora import merging, reader

    kind: Any = UNet2DConditionModel
    unet = kind.from_pretrained(folder / "base" / "unet", variant="fp16").float()
    merging.merge(reader.read(file), {"unet": unet})
    return unet.to(dtype=precision).to(memory_format=torch.channels_last)


@contextmanager
def most_bytes() -> Iterator[list[int]]:
    """After it, the most memory of this process within it that is no file's."""
    before, most, over = _anonymous(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            most[0] = max(most[0], _anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon:")))


if __name__ == "__main__":
    if sys.argv[1:2] == ["way"]:
        one_way(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        main(sys.argv[1:])
