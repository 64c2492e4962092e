"""Noise that a scheduler draws, the same with every version of torch.

In half precision older versions (2.11) draw from another stream than in fp32, with tails that end
at 3.3 deviations; newer ones draw in fp32 and round, as is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

HALF = (torch.float16, torch.bfloat16)


class DrawnWhole(TorchFunctionMode):
    """Inside it, normal noise from a generator is drawn in fp32, and rounded to half precision
    where that is asked for."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """torch's own, but for `torch.randn`."""
        given = dict(kwargs or {})
        dtype = given.get("dtype")
        if func is torch.randn and dtype in HALF and given.get("generator") is not None:
            return func(*args, **{**given, "dtype": torch.float32}).to(dtype)
        return func(*args, **given)
