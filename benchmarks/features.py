"""Decode, resize and network of a folder of pictures against clean-fid and torch-fidelity:
`python -m benchmarks.features [n=500] [side=512] [workers=0]`.

Inception with random weights (the published ones are a download), the same for all, batches of
32, PNG. workers: clean-fid's loader processes; torch-fidelity takes as many as it likes. The last
column holds the largest difference of a feature against the largest feature: clean-fid resizes as
we do, torch-fidelity as TensorFlow did.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.contestants.source import Folder
from bench.metrics import extractor
from bench.metrics.networks.base import loaded
from bench.metrics.networks.inception import Inception, architecture
from bench.results.keys import Key
from benchmarks.measure import Row, publish, seconds

BATCH = 32
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main(arguments: list[str]) -> None:
    """Print and write the rows."""
    given = dict(word.split("=", 1) for word in arguments)
    n, side = int(given.get("n", 500)), int(given.get("side", 512))
    with tempfile.TemporaryDirectory() as place:
        folder, weights = Path(place) / "images", Path(place) / "inception.pth"
        make(folder, n, side)
        torch.manual_seed(0)
        torch.save(architecture().state_dict(), weights)
        inception = Inception(weights=str(weights))
        loaded(inception, DEVICE)  # before the clock starts, for all of them
        ours, found = seconds(lambda: features(folder, inception, n, side))
        rows = []
        for name, peer in (("clean-fid", clean_fid), ("torch-fidelity", torch_fidelity)):
            call = peer(folder, inception, int(given.get("workers", 0)))
            theirs, other = seconds(call)
            note = f"largest difference {np.abs(found - other).max() / np.abs(other).max():.1e}"
            what = f"features of {n} pictures of {side} px on {DEVICE}"
            rows.append(Row(what, ours, name, theirs, note))
        publish("features", rows)


def make(folder: Path, n: int, side: int) -> None:
    """PNG files of soft noise, about as heavy as drawn pictures."""
    from PIL import Image

    folder.mkdir()
    for index in range(n):
        small = np.random.default_rng(index).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        Image.fromarray(small).resize((side, side)).save(folder / f"{index:05d}.png")


def features(folder: Path, inception: Inception, n: int, side: int) -> np.ndarray:
    """As a run scores a folder of images: [n, 2048]."""
    read, seen_by = Folder(folder, side), extractor(inception.name, DEVICE)
    parts = []
    for start in range(0, n, BATCH):
        keys = [Key(index, "", 0) for index in range(start, min(n, start + BATCH))]
        parts.append(seen_by(read(keys).images, [""] * len(keys)))
    return np.concatenate(parts)


def clean_fid(folder: Path, inception: Inception, workers: int) -> Any:
    """clean-fid's loader and resizer in front of its blocks, which centre 0..255 at 128."""
    from cleanfid.fid import get_folder_features

    network = architecture()
    network.load_state_dict(torch.load(inception.weights, weights_only=True))
    network.fc = torch.nn.Identity()
    network = network.eval().to(DEVICE)
    return lambda: get_folder_features(
        str(folder), lambda x: network((x - 128) / 128), num_workers=workers,
        batch_size=BATCH, device=torch.device(DEVICE), mode="clean", verbose=False,
    )  # fmt: skip


def torch_fidelity(folder: Path, inception: Inception, workers: int) -> Any:
    """torch-fidelity's own pipeline and network, with the same weights."""
    from torch_fidelity.utils import create_feature_extractor, extract_featuresdict_from_input_id

    del workers
    options: dict[str, Any] = {"input1": str(folder), "batch_size": BATCH, "verbose": False,
                               "cuda": DEVICE == "cuda"}  # fmt: skip
    network = create_feature_extractor(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=inception.weights, **options
    )
    return lambda: extract_featuresdict_from_input_id(1, network, **options)["2048"].cpu().numpy()


if __name__ == "__main__":
    main(sys.argv[1:])
