"""Contestant identity: a hash of everything an image depends on besides prompt and seed.

Base and weights by sha256, scheduler with all its settings, steps, guidance, precision. It needs
no torch, so that a plan can say what is cached. A recipe stands for the weights it will give.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Iterable
from pathlib import Path

from bench.errors import UsageError
from bench.keys import digest
from bench.prompts import PromptSet
from bench.settings import Row, Settings

PRECISION = "fp32"
LORA_FILE = "pytorch_lora_weights.safetensors"
IMAGE_SUFFIXES = (".png", ".jpg", ".webp")


class Hashes:
    """sha256 of files, remembered in one file by path, size and time of change."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._new = False
        try:
            self._known: dict[str, str] = json.loads(memory.read_text())
        except (OSError, ValueError):
            self._known = {}

    def file(self, path: Path) -> str:
        """The sha256 of a file's bytes. Raises UsageError where it cannot be read."""
        try:
            status = path.stat()
            name = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
            if name not in self._known:
                with path.open("rb") as file:
                    self._known[name] = hashlib.file_digest(file, "sha256").hexdigest()
                self._new = True
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None
        return self._known[name]

    def files(self, paths: Iterable[Path], root: Path) -> str:
        """One hash of several files' names (below root) and contents."""
        return digest({str(path.relative_to(root)): self.file(path) for path in sorted(paths)})

    def remember(self) -> None:
        """Write what was learned, for the next run; a cache that cannot be written is no error."""
        if not self._new:
            return
        beside = self._memory.with_name(self._memory.name + ".writing")
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(self._known, indent=0))
            beside.replace(self._memory)
        except OSError:
            pass


def weights_path(name: str) -> Path:
    """Where weights lie: `shapes/<name>` are shipped ones, all else is a path.

    Raises UsageError for an unknown shipped name, with the nearest one.
    """
    if not name.startswith("shapes/"):
        return Path(name)
    from hypersd.shapes.weights import weights_path as shipped

    return Path(shipped(name.removeprefix("shapes/")))


def found(where: str, name: str) -> Path:
    """The existing file or folder of weights. Raises UsageError where there is none."""
    path = weights_path(name)
    if not path.exists():
        raise UsageError(f"{where}={name}: no such file or folder")
    return path


def contestant(row: Row, prompts: PromptSet, hashes: Hashes) -> str:
    """The identity of a row's contestant. Raises UsageError where files are missing or damaged."""
    return digest(parts(row, prompts, hashes))


def parts(row: Row, prompts: PromptSet, hashes: Hashes) -> list[object] | dict[str, object]:
    """What a contestant's identity is a hash of, so that a check can say what changed in it.

    Raises UsageError where files are missing or damaged.
    """
    settings = row.settings
    where = f"contestants.{settings.key}"
    if settings.source == "images":
        return ["images", image_files_hash(where, Path(settings.weights), hashes)]
    if settings.source == "real":
        return ["real", *_world(prompts)]
    if settings.source == "shuffled_captions":
        return ["shuffled_captions", *_world(prompts), len(prompts.texts)]
    if settings.source == "vae_round_trip":
        vae = _folder(base_folder(where, settings) / "vae", hashes)
        return ["vae_round_trip", *_world(prompts), vae, PRECISION]
    return {
        "base": _folder(base_folder(where, settings), hashes),
        "weights": _weights(where, settings, hashes),
        "lora_scale": settings.lora_scale,
        "sampling": dataclasses.asdict(settings.sampling),
        "steps": row.steps,
        "precision": PRECISION,
    }


def base_folder(where: str, settings: Settings) -> Path:
    """The pipeline folder a contestant stands on. Raises UsageError where it is none."""
    word = "pipeline" if settings.source == "pipeline" else "base"
    folder = found(f"{where}.{word}", settings.base)
    if not (folder / "model_index.json").is_file():
        raise UsageError(f"{where}.{word}={settings.base}: no pipeline folder (model_index.json)")
    return folder


def weight_file(where: str, settings: Settings) -> Path:
    """The one file of a LoRA's or a UNet's weights. Raises UsageError where there is none."""
    path = found(f"{where}.{settings.source}", settings.weights)
    if path.is_file():
        return path
    names = (LORA_FILE,) if settings.source == "lora" else ("diffusion_pytorch_model.safetensors",)
    candidates = [path / name for name in names if (path / name).is_file()]
    if not candidates:
        raise UsageError(f"{where}.{settings.source}={settings.weights}: holds no {names[0]}")
    return candidates[0]


def _weights(where: str, settings: Settings, hashes: Hashes) -> object:
    if settings.source == "recipe":
        return ["recipe", training(settings, hashes)]
    if settings.source in ("lora", "unet"):
        path = weight_file(where, settings)
        whole(path)
        return [settings.source, hashes.file(path)]
    return [settings.source]


def training(settings: Settings, hashes: Hashes) -> str:
    """What a recipe's training is called in the cache: a hash of recipe, seed and base.

    Raises UsageError for an unknown recipe or a base that is not there.
    """
    from hypersd import recipe

    plan = recipe.load(settings.weights)
    base = plan.base if "/" in plan.base else f"shapes/{plan.base}"
    folder = found(f"recipe {plan.name}: base", base)
    return digest([plan.identity, plan.seed, _folder(folder, hashes)])[:16]


def _folder(folder: Path, hashes: Hashes) -> str:
    """A hash of a model folder: weights, configurations and vocabularies, whatever its place."""
    kinds = ("*.safetensors", "*.json", "*.txt")
    paths = [path for kind in kinds for path in folder.rglob(kind)]
    if not paths:
        raise UsageError(f"{folder}: holds no model")
    for path in paths:
        if path.suffix == ".safetensors":
            whole(path)
    return hashes.files(paths, folder)


def whole(path: Path) -> None:
    """Refuse a safetensors file that is cut off or no such file, by its header alone.

    Raises UsageError.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            size = path.stat().st_size
            header = json.loads(file.read(length)) if length <= size else {}
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        intact = bool(ends) and 8 + length + max(ends) == size
    except (struct.error, ValueError, AttributeError, KeyError, TypeError):
        intact = False
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    if not intact:
        raise UsageError(f"{path}: damaged, not a whole safetensors file")


def image_file(folder: Path, index: int) -> Path | None:
    """The picture of a prompt in a folder of images, `<index:05d>.png|jpg|webp`, or None."""
    candidates = (folder / f"{index:05d}{suffix}" for suffix in IMAGE_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def image_files_hash(where: str, folder: Path, hashes: Hashes) -> str:
    """One hash of a folder's pictures. Raises UsageError where there is no folder."""
    if not folder.is_dir():
        raise UsageError(f"{where}.images={folder}: no such folder")
    paths = [p for p in folder.iterdir() if p.suffix in IMAGE_SUFFIXES and p.stem.isdigit()]
    return digest({path.stem: hashes.file(path) for path in sorted(paths)})


def _world(prompts: PromptSet) -> list[object]:
    from hypersd.shapes.pictures import WORLD_VERSION

    return ["shapes", WORLD_VERSION, prompts.split]
