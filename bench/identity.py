"""Contestant identity: a hash of everything an image depends on besides prompt and seed.

Base and weights by sha256, scheduler with all its settings, steps, guidance, precision. It needs
no torch, so that a plan can say what is cached. A recipe stands for the weights it will give.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench import catalogue, hub, hub_lock
from bench.errors import UsageError
from bench.hub import NotFetched, Reference
from bench.keys import digest
from bench.prompts import PromptSet
from bench.settings import Row, Settings
from hypersd.trust import refuse_code

WEIGHT_FILES = {
    "lora": "pytorch_lora_weights.safetensors",
    "unet": "diffusion_pytorch_model.safetensors",
}
LORA_FILE = WEIGHT_FILES["lora"]
IMAGE_SUFFIXES = (".png", ".jpg", ".webp")


class Hashes:
    """sha256 of files, remembered in one file by path, size and times of change (of the content,
    which a copy can carry over from another file, and of the file itself, which it cannot)."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._new = False
        self._known: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            held = json.loads(memory.read_text())
            if held["digest"] == digest(held["files"]):
                self._known = held["files"]

    def file(self, path: Path) -> str:
        """The sha256 of a file's bytes. Raises UsageError where it cannot be read."""
        try:
            status = path.stat()
            name = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
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
            held = {"digest": digest(self._known), "files": self._known}
            beside.write_text(json.dumps(held, indent=0))
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


def remote(name: str) -> Reference | None:
    """The hub's repository or file that weights are called by; None for all that is here."""
    return None if name.startswith("shapes/") else hub.reference(name)


def references(settings: Settings) -> list[Reference]:
    """All that a contestant needs of the hub: its base or pipeline, and its weights' file."""
    if settings.source in ("images", "real", "shuffled_captions", "random"):
        return []
    base = remote(settings.base)
    own = remote(settings.weights) if settings.source in WEIGHT_FILES else None
    own = own and _in_repository(own, settings.source)
    return [reference for reference in (base, own) if reference is not None]


def _in_repository(reference: Reference, source: str) -> Reference:
    return replace(reference, path=reference.path or WEIGHT_FILES[source])


def kind(folder: Path) -> str:
    """The class of a pipeline, as its model_index.json says."""
    try:
        return str(json.loads((folder / "model_index.json").read_text())["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{folder}: its model_index.json is damaged") from None


def variant(folder: Path, precision: str) -> str | None:
    """ "fp16" where a pipeline is to be loaded from half precision files, otherwise None."""
    names = [path.name for path in (folder / "unet").glob("*.safetensors")]
    half = [name for name in names if ".fp16" in name]
    return "fp16" if half and (precision == "fp16" or len(half) == len(names)) else None


def wanted_variant(precision: str) -> str | None:
    """The variant that is taken from the hub, where a repository has it."""
    return "fp16" if precision == "fp16" else None


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
        return ["real", *_real(where, settings, prompts, hashes)]
    if settings.source == "shuffled_captions":
        return ["shuffled_captions", *_real(where, settings, prompts, hashes), len(prompts.texts)]
    if settings.source == "vae_round_trip":
        vae = _folder(base_folder(where, settings) / "vae", hashes)
        return ["vae_round_trip", *_real(where, settings, prompts, hashes), vae, settings.precision]
    own_size = {} if settings.size is None else {"size": settings.size}
    if settings.source == "random":
        return {
            **own_size,
            "random weights": _shape(where, settings, hashes),
            "sampling": dataclasses.asdict(settings.sampling),
            "steps": row.steps,
            "precision": settings.precision,
        }
    return {
        **own_size,
        "base": _base(where, settings, hashes),
        "weights": _weights(where, settings, hashes),
        "lora_scale": settings.lora_scale,
        "sampling": dataclasses.asdict(settings.sampling),
        "steps": row.steps,
        "precision": settings.precision,
    }


def shape(where: str, settings: Settings) -> str:
    """What a network with random weights is shaped like: a family, or a pipeline folder here.

    Raises UsageError for a base on the hub whose shape is not known.
    """
    there = remote(settings.base)
    if there is None:
        return str(base_folder(where, settings))
    family = catalogue.family(there.repo)
    if family is None:
        raise UsageError(f"{where}.base={settings.base}: its shape is not known; give a folder")
    return family


def _shape(where: str, settings: Settings, hashes: Hashes) -> str:
    """The same for a copy of a folder."""
    found = shape(where, settings)
    return found if remote(settings.base) else _folder(Path(found), hashes)


def base_folder(where: str, settings: Settings) -> Path:
    """The pipeline folder a contestant stands on. Raises UsageError where it is none."""
    word = "pipeline" if settings.source == "pipeline" else "base"
    there = remote(settings.base)
    if there is not None:
        which = wanted_variant(settings.precision)
        snapshot = hub.cached_pipeline(there.repo, there.revision, which)
        if snapshot is None:
            raise NotFetched(f"{where}.{word}={settings.base}: is not fetched yet")
        refuse_code(snapshot)
        return snapshot
    folder = found(f"{where}.{word}", settings.base)
    if not (folder / "model_index.json").is_file():
        raise UsageError(f"{where}.{word}={settings.base}: no pipeline folder (model_index.json)")
    refuse_code(folder)
    return folder


def weight_file(where: str, settings: Settings) -> Path:
    """The one file of a LoRA's or a UNet's weights. Raises UsageError where there is none."""
    there = remote(settings.weights)
    if there is not None:
        one = _in_repository(there, settings.source)
        cached = hub.cached(one.repo, one.path, one.revision)
        if cached is None:
            raise NotFetched(f"{where}.{settings.source}={settings.weights}: is not fetched yet")
        return cached
    path = found(f"{where}.{settings.source}", settings.weights)
    if path.is_file():
        return path
    name = WEIGHT_FILES[settings.source]
    if not (path / name).is_file():
        raise UsageError(f"{where}.{settings.source}={settings.weights}: holds no {name}")
    return path / name


def _weights(where: str, settings: Settings, hashes: Hashes) -> object:
    if settings.source == "recipe":
        return ["recipe", training(settings, hashes)]
    if settings.source in ("lora", "unet"):
        path = weight_file(where, settings)
        whole(path)
        sha256, there = hashes.file(path), remote(settings.weights)
        if there is not None:
            one = _in_repository(there, settings.source)
            hub_lock.check(one.repo, one.revision, one.path, path.stat().st_size, sha256)
        return [settings.source, sha256]
    return [settings.source]


def training(settings: Settings, hashes: Hashes) -> str:
    """What a recipe's training is called in the cache: a hash of recipe, seed and base.

    Raises UsageError for an unknown recipe or a base that is not there.
    """
    from hypersd import recipe

    plan = recipe.load(settings.weights)
    base = plan.base if "/" in plan.base else f"shapes/{plan.base}"
    return digest([plan.identity, plan.seed, _trained_from(plan.name, base, hashes)])[:16]


def _trained_from(recipe: str, base: str, hashes: Hashes) -> str:
    """What a recipe starts from: a hash of a folder here, repository and full commit of the hub's
    (a training fetches other files of it than a run does)."""
    there = remote(base)
    if there is None:
        return _folder(found(f"recipe {recipe}: base", base), hashes)
    index = hub.cached(there.repo, "model_index.json", there.revision)
    if index is None:
        raise NotFetched(f"recipe {recipe}: base={base}: is not fetched yet")
    return f"{there.repo}@{index.parent.name}"


def _base(where: str, settings: Settings, hashes: Hashes) -> str:
    """A hash of the pipeline that a contestant stands on. Of the hub's only the files that are
    loaded count: what else lies in its cache is chance."""
    folder, there = base_folder(where, settings), remote(settings.base)
    if there is None:
        return _folder(folder, hashes)
    names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    names = hub.pipeline_files(names, wanted_variant(settings.precision))
    for name in names:
        size, sha256 = (folder / name).stat().st_size, hashes.file(folder / name)
        hub_lock.check(there.repo, there.revision, name, size, sha256)
    return hashes.files((folder / name for name in names), folder)


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
    """Refuse a safetensors file that is cut off or no such file, by its header alone; a pickle is
    only read when it is loaded.

    Raises UsageError.
    """
    if path.suffix in hub_lock.WEIGHTS[1:]:
        return
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            size = path.stat().st_size
            header = json.loads(file.read(length)) if length <= size else {}
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        intact = bool(ends) and 8 + length + max(ends) == size
    except (struct.error, ValueError, AttributeError, KeyError, TypeError, RecursionError):
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


def _real(where: str, settings: Settings, prompts: PromptSet, hashes: Hashes) -> list[object]:
    """What an anchor's pictures are: photographs and their preparation, or the world's scenes."""
    if not settings.weights:
        return _world(prompts)
    return ["images", image_files_hash(where, Path(settings.weights), hashes), "bicubic, middle"]


def _world(prompts: PromptSet) -> list[object]:
    from hypersd.shapes.pictures import WORLD_VERSION

    return ["shapes", WORLD_VERSION, prompts.split]
