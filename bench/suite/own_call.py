"""What a suite gives to a pipeline that draws by its own call, as diffusers names the arguments:

schnell:
  pipeline: hf://black-forest-labs/FLUX.1-schnell
  steps: [4]
  guidance: 0                       # guidance_scale, as it is; left out: the pipeline's own
  call: {max_sequence_length: 256}  # further arguments of its __call__
  scheduler_config: {shift: 3.0}    # over its scheduler's own configuration
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.errors import UsageError

BY_NAME = ("call", "scheduler_config")
"""The keys whose values are mappings."""
OURS = {
    "prompt": "prompts",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "height": "size",
    "width": "size",
    "generator": "seeds",
    "latents": "seeds",
    "num_images_per_prompt": "seeds",
    "output_type": None,
    "return_dict": None,
}
"""Arguments that the benchmark gives, and the key of a suite that says what."""
PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class OwnCall:
    """guidance: as given; None: the pipeline's own default.  arguments: of its call, by name.
    scheduler_config: changes to the scheduler's configuration.  is_asked: `call` was given, so that
    an SD1.5 or SDXL, too, draws by its own call."""

    guidance: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    scheduler_config: dict[str, Any] = field(default_factory=dict)
    is_asked: bool = False


NOTHING_GIVEN = OwnCall()


def read(
    where: str,
    guidance: float | None,
    call: Mapping[str, Any] | None,
    scheduler_config: Mapping[str, Any] | None,
) -> OwnCall:
    """The keys of a contestant, checked as far as they can be without its pipeline.

    Raises UsageError for an argument that is the benchmark's, and a value that is no plain one.
    """
    for name in call or {}:
        if name in OURS:
            said = f"{where}.{OURS[name]} says it" if OURS[name] else "the benchmark's own"
            raise UsageError(f"{where}.call.{name}: {said}; valid: other arguments of the "
                             "pipeline's call")  # fmt: skip
    for key, values in zip(BY_NAME, (call, scheduler_config), strict=True):
        for name, value in (values or {}).items():
            if not _is_plain(value):
                raise UsageError(f"{where}.{key}.{name}: must be a number, a text, true, false, "
                                 "null, or a list of such")  # fmt: skip
    return OwnCall(guidance, dict(call or {}), dict(scheduler_config or {}), call is not None)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)
