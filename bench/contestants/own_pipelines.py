"""Bases that draw by their own call: any diffusers pipeline from text to image.

A base of SD1.5's or SDXL's classes is drawn by `bench.contestants.sampler`. Any other one
(FLUX, SD3, SANA, Qwen-Image, Z-Image, ...) is called as its own users call it, with the benchmark's
noise, and this module says what its call takes. diffusers is imported for its signature alone; a
suite on no such base never does.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bench.contestants import files
from bench.errors import UsageError, nearest
from bench.results import hub
from bench.results.hub import HUB
from bench.suite.contestant import ANCHORS, FLOWS, ContestantSettings
from bench.suite.own_call import OURS
from hypersd.hub import INDEX
from hypersd.hub_client import NotFetched, Unreachable

OUR_SAMPLERS = {  # by the names of kinds in suites/hub/published.yaml
    "sd15": ("StableDiffusionPipeline", "LatentConsistencyModelPipeline"),
    "sdxl": ("StableDiffusionXLPipeline",),
}
CLASSES = tuple(name for names in OUR_SAMPLERS.values() for name in names)
"""The pipelines that our sampler draws."""
OF_OTHERS = ("Img2Img", "Inpaint", "ControlNet", "Control", "Edit", "Fill", "Upscale", "Depth2Img",
             "Prior", "Decoder", "Video", "Redux", "Layered")  # fmt: skip
OF_FLOWS = (*FLOWS, "scm")  # schedulers that our sampler has not
MOVES = ("num_frames", "audio_length_in_s", "audio_end_in_s", "video")  # arguments of other media
OTHER_RANGE = ("IFPipeline", "Kandinsky3Pipeline", "KandinskyCombinedPipeline",
               "KandinskyV22CombinedPipeline")  # fmt: skip
"""Pipelines whose tensors are pixels in [-1, 1], where all others' are in [0, 1]."""
ALONE = ("CogView4Pipeline", "Kandinsky5T2IPipeline")
"""Pipelines that read the padding of shorter prompts as text: beside a longer one, another
picture."""
SETTABLE = {
    "generator": "the noise is its own: pictures are no function of the seed",
    "num_inference_steps": "the number of steps is its own",
    "guidance_scale": "it has no guidance",
    "height": "the size is its own",
}
"""What a call may lack, and what that means."""


def is_own(settings: ContestantSettings) -> bool:
    """Whether its base draws by its own call, as far as that is known without fetching."""
    if not settings.steps or settings.source in (*ANCHORS, "images"):
        return False
    return settings.own.is_asked or of_other_class(settings)


def of_other_class(settings: ContestantSettings) -> bool:
    """Whether its base is none that our sampler draws: by what suites/hub/published.yaml says of
    its repository, or by its model_index.json."""
    there = files.remote(settings.base)
    kind = hub.family(there.repo) if there is not None else None
    if kind is not None:
        return kind not in OUR_SAMPLERS
    name = class_name(settings)
    return name is not None and name not in CLASSES


def is_drawn_alone(settings: ContestantSettings) -> bool:
    """Whether its pipeline draws one picture at a time, since others would change it."""
    return is_own(settings) and class_name(settings) in ALONE


def is_known(settings: ContestantSettings) -> bool:
    """Whether it is known before its base is fetched how that draws."""
    there = files.remote(settings.base)
    return (
        settings.own.is_asked
        or class_name(settings) is not None
        or there is None
        or hub.family(there.repo) is not None
    )


def class_name(settings: ContestantSettings) -> str | None:
    """diffusers' class of its base; None where its model_index.json is not here, or damaged."""
    found = _of_index(settings, "_class_name")
    return None if found is None else str(found)


def _of_index(settings: ContestantSettings, name: str) -> Any:
    """What its base's model_index.json says of a name; None where it is not here, or damaged."""
    there = files.remote(settings.base)
    try:
        path = HUB.cached(there.file(INDEX)) if there else files.weights_path(settings.base) / INDEX
        return json.loads(path.read_bytes()).get(name) if path else None
    except (UsageError, OSError, ValueError, AttributeError):
        return None


def look(contestants: Iterable[ContestantSettings]) -> None:
    """Fetch the model_index.json of bases on the hub that may draw by their own call, so that a
    plan knows their classes before many gigabytes are fetched; says nothing where it cannot."""
    for settings in contestants:
        there = files.remote(settings.base)
        unseen = there is not None and settings.steps and class_name(settings) is None
        if there is None or not unseen or hub.family(there.repo) in OUR_SAMPLERS:
            continue
        try:
            HUB.file(there.file(INDEX))
        except Unreachable:
            return
        except UsageError:  # said where it is planned to be fetched
            continue


def check(where: str, settings: ContestantSettings) -> None:
    """Refuse a pipeline that is not called with a prompt for a picture, an argument that it does
    not take, and keys that go with the other kind of base.

    Raises UsageError; says nothing of a base that is not here yet.
    """
    name = class_name(settings)
    if not is_own(settings):
        _check_sampled(where, settings)
        return
    if settings.compiled:
        raise UsageError(f"{where}: compile=true is of SD1.5 and SDXL; its base draws by its own "
                         "call; valid: without compile")  # fmt: skip
    if settings.storage:
        raise UsageError(f"{where}.storage={settings.storage}: its base draws by its own call; "
                         "valid: without storage, or offload=model")  # fmt: skip
    if settings.source == "unet":
        raise UsageError(f"{where}.unet={settings.weights}: its base draws by its own call; valid: "
                         "lora=, or a whole pipeline=")  # fmt: skip
    if settings.vae:
        raise UsageError(f"{where}.vae={settings.vae}: its base draws by its own call and keeps "
                         "its VAE; valid: vae_precision=")  # fmt: skip
    if name is None:
        return
    takes = arguments(where, settings.base, name)
    for argument in settings.own.arguments:
        if argument not in takes:
            known = nearest(argument, (one for one in takes if one not in OURS))
            raise UsageError(f"{where}.call.{argument}: {name} takes none; {known}")
    if settings.own.guidance is not None and "guidance_scale" not in takes:
        given = nearest("guidance_scale", (one for one in takes if one not in OURS))
        raise UsageError(f"{where}.guidance={settings.own.guidance:g}: {name} takes none; {given}")
    _check_sampling(where, settings, name, takes)
    _check_points(where, settings)


def _check_sampling(
    where: str, settings: ContestantSettings, name: str, takes: Mapping[str, Any]
) -> None:
    """Refuse settings of the scheduler that its pipeline would not hand on. takes: its call's
    arguments."""
    how = settings.sampling
    if how.eta and "eta" not in takes:
        raise UsageError(f"{where}.eta={how.eta:g}: {name} takes none, so its scheduler would not "
                         "get it; valid: eta=0")  # fmt: skip
    if how.timesteps is not None and "timesteps" not in takes:
        given = nearest("timesteps", (one for one in takes if one not in OURS))
        raise UsageError(f"{where}.timesteps: {name} takes none; {given}")
    if how.spacing is not None and how.scheduler in OF_FLOWS and "sigmas" not in takes:
        raise UsageError(f"{where}.spacing={how.spacing}: a flow's is given as sigmas, and {name} "
                         "takes none; valid: without spacing")  # fmt: skip


def _check_sampled(where: str, settings: ContestantSettings) -> None:
    guidance = settings.own.guidance
    if guidance is not None and guidance < 1:
        raise UsageError(f"{where}.guidance={guidance:g}: must be 1 or more (1 is none); valid "
                         "below it for a base that draws by its own call")  # fmt: skip
    if settings.sampling.scheduler in OF_FLOWS:
        raise UsageError(f"{where}.scheduler={settings.sampling.scheduler}: is of flows, which "
                         "draw by their own call; valid: another one, or call={}")  # fmt: skip
    if settings.own.scheduler_config:
        raise UsageError(f"{where}.scheduler_config: goes with a base that draws by its own call; "
                         "valid: scheduler, spacing, or call={}")  # fmt: skip


def _check_points(where: str, settings: ContestantSettings) -> None:
    """Refuse lists of noise levels that are not as many as the steps."""
    for name in ("sigmas", "timesteps"):
        points = settings.own.arguments.get(name)
        if isinstance(points, list) and settings.steps != (len(points),):
            drawn = " and ".join(map(str, settings.steps))
            raise UsageError(f"{where}.call.{name}: are {len(points)}, but it is drawn in {drawn} "
                             "steps; valid: as many as steps")  # fmt: skip


def arguments(where: str, base: str, name: str) -> dict[str, Any]:
    """The arguments of a pipeline's call with their defaults.

    Raises UsageError for a class that diffusers does not have, or that makes no picture of a
    prompt.
    """
    found = signature(name)
    if found is None:
        import diffusers

        raise UsageError(
            f"{where}: {base} needs {name}, which diffusers {diffusers.__version__} here does not "
            "have; valid: a diffusers that has it, or another pipeline"
        )
    if name in OTHER_RANGE:
        raise UsageError(f"{where}: {base} is a {name}, whose tensors diffusers leaves in [-1, 1]; "
                         "valid: images=FOLDER of what it drew")  # fmt: skip
    needs = [key for key, value in found.items() if value is inspect.Parameter.empty]
    if (
        "prompt" not in found
        or set(needs) - {"prompt"}
        or found.keys() & set(MOVES)
        or any(word in name for word in OF_OTHERS)
    ):
        raise UsageError(f"{where}: {base} is a {name}, which does not draw a picture of a prompt "
                         "alone; valid: a pipeline from text to image")  # fmt: skip
    return found


@cache
def signature(name: str) -> dict[str, Any] | None:
    """The same without a check; None where diffusers has no such pipeline."""
    import diffusers

    kind = getattr(diffusers, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, diffusers.DiffusionPipeline)):
        return None
    found = inspect.signature(kind.__call__).parameters.values()
    named = (one for one in found if one.name != "self" and one.kind is not one.VAR_KEYWORD)
    return {one.name: one.default for one in named}


def notes(settings: ContestantSettings) -> Iterator[str]:
    """What its pipeline does not let the benchmark set, and what it decides itself."""
    name = class_name(settings) if is_own(settings) else None
    takes = signature(name) if name else None
    if takes is None:
        return
    for argument, means in SETTABLE.items():
        if argument not in takes:
            yield f"{name} takes no {argument}: {means}"
    if settings.own.guidance is None and takes.get("guidance_scale") is not None:
        yield f"guidance_scale is {name}'s own, {takes['guidance_scale']:g}"
    if _of_index(settings, "is_distilled") and settings.own.guidance is not None:
        yield f"{name} leaves guidance_scale unused: the model is distilled (is_distilled)"
    if takes.get("complex_human_instruction") and not _gives(settings, "complex_human_instruction"):
        yield f"{name} puts complex_human_instruction before prompts; call can set it to null"
    if takes.get("use_pe") and not _gives(settings, "use_pe"):
        yield (f"{name} rewrites prompts by its prompt enhancer, as chance has it: pictures are no "
               "function of the seed; call can set use_pe to false")  # fmt: skip
    if settings.own.arguments.get("caption_upsample_temperature"):
        yield (f"{name} rewrites prompts, as chance has it (caption_upsample_temperature): "
               "pictures are no function of the seed")  # fmt: skip
    if name in ALONE:
        yield f"{name} reads padding as text: pictures are drawn one at a time"


def _gives(settings: ContestantSettings, argument: str) -> bool:
    return argument in settings.own.arguments


def calls_per_step(settings: ContestantSettings) -> int:
    """About how often the network is called in a step: twice where guidance is by two predictions.

    Guidance that the network takes as an input, as its configuration says, costs nothing.
    """
    name = class_name(settings)
    takes = (signature(name) if name else None) or {}
    given = settings.own.arguments
    real = given.get("true_cfg_scale", takes.get("true_cfg_scale"))
    if real is not None:
        return 2 if real > 1 and given.get("negative_prompt") is not None else 1
    guidance = settings.own.guidance
    guidance = takes.get("guidance_scale") if guidance is None else guidance
    if _of_index(settings, "is_distilled") or _is_an_input(settings):
        return 1
    return 2 if isinstance(guidance, int | float) and guidance > 1 else 1


def _is_an_input(settings: ContestantSettings) -> bool:
    """Whether its network takes the guidance: by its configuration, or by what is known of a base
    that was not fetched yet."""
    there = files.remote(settings.base)
    try:
        folder = files.base_folder(f"contestants.{settings.key}", settings)
        held = json.loads(Path(folder / "transformer/config.json").read_bytes())
        return bool(held.get("guidance_embeds"))
    except NotFetched:
        return there is not None and hub.takes_guidance(there.repo)
    except (UsageError, OSError, ValueError, AttributeError):
        return False
