"""One resident, frozen UNet and named LoRA adapters on it; whole copies where a method needs one.

Roles: "teacher" is the bare base; every other role is the adapter of that name, such as "student"
and "target" (an average of the student). Which role a forward pass plays is decided by a context
manager that toggles PEFT's `_active_adapter` and `_disable_adapters` and nothing else. PEFT's own
`set_adapter` and diffusers' `disable_adapters` also flip `requires_grad`, and a flip between
forward and backward gives a gradient of 0 without a word.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypersd.conditions import Text, keywords
from hypersd.critic import encode_all
from hypersd.errors import UsageError, nearest
from hypersd.passes import Passes
from hypersd.schedule import Schedule
from hypersd.solver import Network

STUDENT, TEACHER = "student", "teacher"
WEIGHT_NAME = "pytorch_lora_weights.safetensors"
UNET_NAME = "diffusion_pytorch_model.safetensors"
LEFT_ALONE = ("conv_in", "conv_out", "time_embedding", "add_embedding")


class Student:
    """A frozen UNet (diffusers' UNet2DConditionModel) and its adapters, the first one active.

    Each adapter is a LoRA of `rank` with alpha = rank (another alpha would be lost on export) on
    every linear and convolution but the first and last one and the shared time embedding, as
    SDXL-Lightning (arXiv 2402.13929, Sec. 3.7). All start equal: B = 0, so as the teacher.

    full: roles that are whole copies of the UNet instead, all weights trained, in `copies`.
    What is trained is fp32, whatever the base's precision.  recompute: gradient checkpointing.
    prediction: what the network of a role gives, by role, where that is not the schedule's.
    passes: counts them.
    """

    def __init__(
        self,
        unet: Any,
        schedule: Schedule,
        *,
        rank: int = 8,
        adapters: Sequence[str] = ("student",),
        full: Sequence[str] = (),
        seed: int = 0,
        recompute: bool = False,
        passes: Passes | None = None,
    ) -> None:
        self.unet, self.schedule, self.passes = unet, schedule, passes or Passes()
        self.prediction: dict[str, str] = {}
        self.adapters, self.role = tuple(adapters), (*adapters, TEACHER)[0]
        self.copies = {name: copy.deepcopy(unet).float().requires_grad_(True) for name in full}
        unet.requires_grad_(False)
        targets = adaptable(unet)
        for name in self.adapters:
            with torch.random.fork_rng(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                torch.manual_seed(seed)
                config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
                unet.add_adapter(config, adapter_name=name)
        self._layers: list[Any] = [m for m in unet.modules() if isinstance(m, BaseTunerLayer)]
        for name in self.adapters:
            for parameter in self.parameters(name):
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)
        self._play(self.role)
        if recompute:
            self.enable_checkpointing()

    @contextmanager
    def using(self, role: str) -> Iterator[None]:
        """Within it the UNet plays `role`; afterwards, also after an error, its former role.

        Raises UsageError for a role there is no adapter for.
        """
        if role not in (TEACHER, *self.adapters):
            raise UsageError(f"no role {role!r}; {nearest(role, (TEACHER, *self.adapters))}")
        former = self.role
        self._play(role)
        try:
            yield
        finally:
            self._play(former)

    def predict(self, role: str, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """eps of a role: x [B, C, H, W], t [B], text of B samples -> like x, at least fp32."""
        own = self.copies.get(role)
        with nullcontext() if own is not None else self.using(role):
            unet = self.unet if own is None else own
            given = keywords(text, unet.dtype)
            output = unet(x.to(unet.dtype), t, **given, return_dict=False)[0]
        self.passes.count("unet", output)
        return self.schedule.eps_from_output(output, x, t, self.prediction.get(role))

    def features(self, role: str, x: Tensor, t: Tensor, text: Text) -> list[Tensor]:
        """What the resident UNet's down blocks and its middle give in a role, fp32 at least."""
        with self.using(role):
            found = encode_all(self.unet, x, t, text)
        self.passes.count("encoder", found[-1])
        return found

    def network(self, role: str) -> Network:
        """`predict` of one role, as a function of (x, t, text)."""
        return lambda x, t, text: self.predict(role, x, t, text)

    def parameters(self, name: str) -> list[nn.Parameter]:
        """A role's parameters by its name, in a fixed order: what an optimizer is given."""
        if name in self.copies:
            return list(self.copies[name].parameters())
        mark = f".{name}."
        return [p for key, p in self.unet.named_parameters() if "lora_" in key and mark in key]

    @torch.no_grad()
    def average(self, name: str, rate: float, source: str = "student") -> None:
        """name <- rate name + (1 - rate) source, parameter by parameter: of a low-rank pair, each
        factor by itself."""
        pairs = zip(self.parameters(name), self.parameters(source), strict=True)
        for average, parameter in pairs:
            average.lerp_(parameter, 1.0 - rate)

    @torch.no_grad()
    def load(self, name: str, folder: Path) -> None:
        """Give a role the weights that `export` wrote; a whole copy also takes an adapter's, added
        to its own.

        Raises UsageError where the file is missing, damaged or of another shape.
        """
        own = self.copies.get(name)
        try:
            if own is not None and (folder / UNET_NAME).is_file():
                own.load_state_dict(load_file(folder / UNET_NAME))
            elif own is not None:
                _merge(own, _adapter_state(folder))
            else:
                _fill(self.unet, _adapter_state(folder), name)
        except (OSError, SafetensorError, RuntimeError, ValueError) as error:
            raise UsageError(f"weights in {folder}: {str(error).splitlines()[0]}") from None

    def enable_checkpointing(self) -> None:
        """Recompute activations in backward, each segment in the role it had in forward."""

        def run(module: nn.Module, *inputs: Any) -> Any:
            return checkpoint(module, *inputs, use_reentrant=False, context_fn=self._contexts)

        self.unet.enable_gradient_checkpointing(run)
        for own in self.copies.values():
            own.enable_gradient_checkpointing()

    def export(
        self, folder: Path, name: str = "student", dtype: torch.dtype = torch.float16
    ) -> Path:
        """Write an adapter so that `StableDiffusionPipeline.load_lora_weights(folder)` reads it, or
        a whole copy so that `UNet2DConditionModel.from_pretrained(folder)` does."""
        if name in self.copies:
            unet = copy.deepcopy(self.copies[name]).to("cpu", dtype)
            unet.register_to_config(_name_or_path="")  # where the base lay is no part of an export
            unet.save_pretrained(folder)
            return folder / UNET_NAME
        state = get_peft_model_state_dict(self.unet, adapter_name=name)
        state = {key: value.detach().to("cpu", dtype) for key, value in state.items()}
        StableDiffusionPipeline.save_lora_weights(
            folder, unet_lora_layers=state, weight_name=WEIGHT_NAME
        )
        return folder / WEIGHT_NAME

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self.using(self.role)

    def _play(self, role: str) -> None:
        self.role = role
        for layer in self._layers:
            layer._disable_adapters = role == TEACHER
            if role != TEACHER:
                layer._active_adapter = [role]


def _adapter_state(folder: Path) -> dict[str, Tensor]:
    state = load_file(folder / WEIGHT_NAME)
    if not state:
        raise ValueError(f"{WEIGHT_NAME} is empty")
    return {key.removeprefix("unet."): value for key, value in state.items()}


def _fill(unet: Any, state: dict[str, Tensor], name: str) -> None:
    """Load an adapter's state. Raises ValueError for keys that the UNet does not have."""
    found = set_peft_model_state_dict(unet, state, adapter_name=name)
    wrong = [key for key in found.unexpected_keys if "lora_" in key]
    if wrong:
        raise ValueError(f"not of this base: {wrong[0]}")


def add_adapter_to(unet: Any, folder: Path, weight: float = 1.0) -> None:
    """Add an exported adapter, times `weight`, to a UNet's own weights.

    Raises UsageError where the file is missing, damaged or of another base.
    """
    try:
        _merge(unet, _adapter_state(folder), weight)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UsageError(f"weights in {folder}: {str(error).splitlines()[0]}") from None


def _merge(unet: Any, state: dict[str, Tensor], weight: float = 1.0) -> None:
    rank = next(len(value) for key, value in state.items() if "lora_A" in key)
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=adaptable(unet)))
    _fill(unet, state, "default")
    unet.fuse_lora(lora_scale=weight)
    unet.unload_lora()
    unet.requires_grad_(True)


def adaptable(unet: nn.Module) -> list[str]:
    """The names of the linear layers and convolutions that an adapter is put on."""
    return [
        name
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and name.split(".")[0] not in LEFT_ALONE
    ]
