"""Contestant identity: a hash of everything an image depends on besides prompt and seed.

Base and weights by sha256, scheduler with all its settings, steps, guidance, precision. It needs
no torch, so that a plan can say what is cached. A recipe stands for the weights that it will train.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from bench.contestants import files, own_pipelines, unets, vaes
from bench.errors import UsageError
from bench.results import hub
from bench.results.hub import HUB
from bench.results.pictures import image_files
from bench.suite.contestant import ContestantSettings, Row
from bench.suite.prompts import PromptSet
from hypersd.hashes import Hashes, digest, model_files
from hypersd.hub import parts_of, pipeline_files, wanted_variant
from hypersd.hub_client import NotFetched
from hypersd.picture_files import VERSION

STORED = {"fp8": "float8_e4m3fn, LoRAs beside it"}  # what weights are kept as, in their networks


def contestant(row: Row, prompts: PromptSet, hashes: Hashes) -> str:
    """The identity of a row's contestant. Raises UsageError where files are missing or damaged."""
    return digest(parts(row, prompts, hashes))


def check_unchanged(row: Row, prompts: PromptSet, hashes: Hashes, was: str) -> None:
    """Raise UsageError where a contestant's files are not those that `was` is the identity of."""
    if contestant(row, prompts, hashes) != was:
        raise UsageError(f"contestants.{row.settings.key}: its files have changed since the run "
                         "began; start it again, what is done is kept")  # fmt: skip


def parts(row: Row, prompts: PromptSet, hashes: Hashes) -> list[object] | dict[str, object]:
    """The parts that a contestant's identity hashes, so that a check can name what changed.

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
        vae = _folder(files.base_folder(where, settings) / "vae", hashes)
        other = vaes.parts(where, settings, hashes)
        return ["vae_round_trip", *_real(where, settings, prompts, hashes), vae, settings.precision,
                *([other] if other else [])]  # fmt: skip
    own: dict[str, object] = {} if settings.size is None else {"size": settings.size}
    if settings.storage:
        own["storage"] = STORED[settings.storage]
    if settings.compiled:
        own["compiled"] = True
    if settings.source == "random":
        own |= {"vae_precision": settings.vae_precision} if settings.vae_precision else {}
        own |= {"own call": _given(settings)} if own_pipelines.is_own(settings) else {}
        return {
            **own,
            "random weights": _shape(where, settings, hashes),
            "sampling": dataclasses.asdict(settings.sampling),
            "steps": row.steps,
            "precision": settings.precision,
        }
    own_pipelines.check(where, settings)
    if own_pipelines.is_own(settings):
        return own | _own(row, hashes)
    unets.check(where, settings)
    if unets.takes_guidance(settings):
        own["guidance"] = "an input of the network"
    own |= vaes.parts(where, settings, hashes)
    if settings.stack:
        own["stack"] = _stack(where, settings, hashes)
    return {
        **own,
        "base": _base(where, settings, hashes),
        "weights": _weights(where, settings, hashes),
        "lora_scale": settings.lora_scale,
        "sampling": dataclasses.asdict(settings.sampling),
        "steps": row.steps,
        "precision": settings.precision,
    }


def _own(row: Row, hashes: Hashes) -> dict[str, object]:
    """Those of a base that draws by its own call."""
    settings, where = row.settings, f"contestants.{row.settings.key}"
    return {
        "base": _base(where, settings, hashes),
        "weights": _weights(where, settings, hashes),
        **({"stack": _stack(where, settings, hashes)} if settings.stack else {}),
        **({"drawn": "one at a time"} if own_pipelines.is_drawn_alone(settings) else {}),
        "lora_scale": settings.lora_scale,
        "own call": _given(settings),
        "sampling": dataclasses.asdict(settings.sampling),
        "steps": row.steps,
        "precision": settings.precision,
        "vae_precision": settings.vae_precision,
    }


def _given(settings: ContestantSettings) -> dict[str, object]:
    """What a pipeline's own call and its scheduler are given, beside steps and size."""
    given = settings.own
    return {"guidance": given.guidance, **given.arguments, "scheduler": given.scheduler_config}


def shape(where: str, settings: ContestantSettings) -> str:
    """The shape of a network with random weights: a family, or a pipeline folder on this machine.

    Raises UsageError for a base on the hub whose shape is not known.
    """
    there = files.remote(settings.base)
    if there is None:
        return str(files.base_folder(where, settings))
    family = hub.family(there.repo)
    if family not in own_pipelines.OUR_SAMPLERS:
        raise UsageError(f"{where}.base={settings.base}: its shape is not known; give a folder")
    return str(family)


def _shape(where: str, settings: ContestantSettings, hashes: Hashes) -> str:
    """The same for a copy of a folder."""
    found = shape(where, settings)
    return found if files.remote(settings.base) else _folder(Path(found), hashes)


def _weights(where: str, settings: ContestantSettings, hashes: Hashes) -> object:
    if settings.source == "recipe":
        return ["recipe", training(settings, hashes)]
    if settings.source in ("lora", "unet"):
        path = files.weight_file(where, settings)
        beside = files.read_beside(settings, path)
        is_own = own_pipelines.is_own(settings)
        return _file(settings.source, settings.weights, path, beside, hashes, any_form=is_own)
    return [settings.source]


def _stack(where: str, settings: ContestantSettings, hashes: Hashes) -> list[object]:
    """The LoRAs on top of a contestant, each with its scale."""
    paths = files.stacked_files(where, settings)
    is_own = own_pipelines.is_own(settings)
    return [
        [
            *_file("lora", one.lora, path, files.beside_lora(path), hashes, any_form=is_own),
            one.scale,
        ]
        for one, path in zip(settings.stack, paths, strict=True)
    ]


def _file(
    source: str, name: str, path: Path, beside: Sequence[Path], hashes: Hashes, *, any_form: bool
) -> list[object]:
    """A file of weights: its sha256, and that of what is read beside it. Raises UsageError for one
    that is damaged or of another source, and for another than was pinned.

    any_form: diffusers reads it, which knows more forms of LoRAs than this project.
    """
    files.whole(path)
    if not any_form:
        files.of_source(path, source)
    sha256, there = hashes.file(path), files.remote(name)
    if there is not None:
        HUB.lock.check(files.in_repository(there, source), path.stat().st_size, sha256)
    return [source, sha256, *([hashes.files(beside, path.parent)] if beside else [])]


def training(settings: ContestantSettings, hashes: Hashes) -> str:
    """The name of a recipe's training in the cache: a hash of recipe, seed, base, and of the files
    that the recipe names.

    Raises UsageError for an unknown recipe or a base that is not there.
    """
    from hypersd import inputs, recipe

    plan = recipe.load(settings.weights)
    base = plan.base if "/" in plan.base else f"shapes/{plan.base}"
    trained_from, read = _trained_from(plan.name, base, hashes), inputs.read(plan, hashes)
    return digest([plan.identity, plan.seed, trained_from, *([read] if read else [])])[:16]


def _trained_from(recipe: str, base: str, hashes: Hashes) -> str:
    """The base of a recipe: the hash of a folder, or repository and full commit on the hub; the
    recipe's precision chooses the files."""
    there = files.remote(base)
    if there is None:
        return _folder(files.found(f"recipe {recipe}: base", base), hashes)
    index = HUB.cached(there.file("model_index.json"))
    if index is None:
        raise NotFetched(f"recipe {recipe}: base={base}: is not fetched yet")
    return f"{there.repo}@{index.parent.name}"


def _base(where: str, settings: ContestantSettings, hashes: Hashes) -> str:
    """A hash of the pipeline that a contestant stands on. Of a hub repository only the loaded files
    count; other cached files are ignored."""
    folder, there = files.base_folder(where, settings), files.remote(settings.base)
    if there is None:
        return _folder(folder, hashes)
    names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    names = pipeline_files(names, wanted_variant(settings.precision), parts_of(folder))
    for name in names:
        size, sha256 = (folder / name).stat().st_size, hashes.file(folder / name)
        HUB.lock.check(there.file(name), size, sha256)
    return hashes.files((folder / name for name in names), folder)


def _folder(folder: Path, hashes: Hashes) -> str:
    """A hash of a model folder: weights, configurations and vocabularies, whatever its path."""
    paths = model_files(folder)
    for path in paths:
        if path.suffix == ".safetensors":
            files.whole(path)
    return hashes.files(paths, folder)


def image_files_hash(where: str, folder: Path, hashes: Hashes) -> str:
    """One hash of a folder's pictures. Raises UsageError where there is no folder."""
    if not folder.is_dir():
        raise UsageError(f"{where}.images={folder}: no such folder")
    return digest({path.stem: hashes.file(path) for path in image_files(folder)})


def _real(
    where: str, settings: ContestantSettings, prompts: PromptSet, hashes: Hashes
) -> list[object]:
    """The pictures of an anchor: photographs and their preparation, or the world's scenes."""
    if not settings.weights:
        return _world(prompts)
    pictures = image_files_hash(where, Path(settings.weights), hashes)
    return ["images", pictures, "bicubic, middle", VERSION]


def _world(prompts: PromptSet) -> list[object]:
    from hypersd.shapes.pictures import WORLD_VERSION

    return ["shapes", WORLD_VERSION, prompts.split]
