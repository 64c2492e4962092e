"""Noise that a scheduler draws: the same with every version of torch, and the images' own.

In half precision older versions (2.11) draw from another stream than in fp32, with tails that end
at 3.3 deviations; newer ones draw in fp32 and round, as is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
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


class OwnNoise(DrawnWhole):
    """The same, and what is drawn without a generator (FlowMatchLCM of SD3 and FLUX, whose
    pipelines hand it none) is a function of the images' seeds: rows in turn from `generators`, one
    per image.

    Inside it, ValueError for noise whose rows are not of these images.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.generators = generators

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """torch's own, but for `torch.randn` and `torch.randn_like`."""
        given = dict(kwargs or {})
        if given.get("generator") is None and func is torch.randn_like:
            like = args[0] if args else given["input"]
            return self._rows(like.shape, like.dtype, like.device)
        if given.get("generator") is None and func is torch.randn:
            shape = given.get("size") or (args[0] if isinstance(args[0], tuple | list) else args)
            dtype = given.get("dtype") or torch.get_default_dtype()
            return self._rows(torch.Size(shape), dtype, given.get("device"))
        return super().__torch_function__(func, types, args, kwargs)

    def _rows(self, shape: torch.Size, dtype: torch.dtype, device: Any) -> Tensor:
        """Noise of the shape [B, ...]; each row, or several in turn, of an image's own."""
        if len(shape) == 0 or shape[0] % len(self.generators):
            raise ValueError(f"{len(self.generators)} images share noise of shape {[*shape]}")
        each = (shape[0] // len(self.generators), *shape[1:])
        wide = torch.float32 if dtype in HALF else dtype
        rows = [torch.randn(each, generator=g, device=g.device, dtype=wide)
                for g in self.generators]  # fmt: skip
        return torch.cat(rows).to(device=device, dtype=dtype)
