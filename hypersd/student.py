"""One resident, frozen UNet with named LoRA adapters; whole copies where a method needs them.

Roles: "teacher" is the bare base; every other role is the adapter of that name, such as "student"
and "target" (an average of the student). A context manager chooses the role of a forward pass. It
toggles PEFT's `_active_adapter` and `_disable_adapters` and nothing else. PEFT's own `set_adapter`
and diffusers' `disable_adapters` also flip `requires_grad`, and a flip between forward and backward
gives a gradient of 0 without a word.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypersd import unet_files, unet_inputs
from hypersd.bases import Family
from hypersd.bases.unet import UnetFamily
from hypersd.conditions import Text
from hypersd.errors import FileError, UsageError, nearest, refused_as
from hypersd.lora import merging, reader
from hypersd.lora.forms import UNET
from hypersd.lora.reader import WEIGHT_NAME, Layer
from hypersd.passes import Passes
from hypersd.schedule import Schedule
from hypersd.seeded import seeded
from hypersd.solver import Network

STUDENT, TEACHER = "student", "teacher"
UNET_NAME = "diffusion_pytorch_model.safetensors"


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
        family: type[Family] = UnetFamily,
        *,
        rank: int = 8,
        adapters: Sequence[str] = ("student",),
        full: Sequence[str] = (),
        seed: int = 0,
        recompute: bool = False,
        passes: Passes | None = None,
    ) -> None:
        self.unet, self.schedule, self.passes = unet, schedule, passes or Passes()
        self.family = family
        self.prediction: dict[str, str] = {}
        self.adapters, self.role = tuple(adapters), (*adapters, TEACHER)[0]
        if full and family.part != UNET:
            raise UsageError(
                f"options.full=true: not on a base of kind {family.name}; valid: false"
            )
        self.copies = {name: copy.deepcopy(unet).float().requires_grad_(True) for name in full}
        unet.requires_grad_(False)
        targets = family.adaptable(unet)
        for name in self.adapters:
            with seeded(seed), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")
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
        """Inside the block the UNet plays `role`; afterwards, also after an error, its former role.

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
        """The schedule's prediction of a role, such as eps: x [B, C, H, W], t [B], text of B
        samples -> like x, at least fp32."""
        own = self.copies.get(role)
        with nullcontext() if own is not None else self.using(role):
            unet = self.unet if own is None else own
            output = self.family.call(unet, x, t, text)
        self.passes.count("unet", output)
        return self.schedule.prediction(output, x, t, self.prediction.get(role))

    def features(self, role: str, x: Tensor, t: Tensor, text: Text) -> list[Tensor]:
        """Outputs of the resident UNet's down blocks and middle block in a role, at least fp32."""
        with self.using(role):
            found = self.family.features(self.unet, x, t, text)
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
        """Give a role the weights that `export` wrote, or a LoRA of any form; a whole copy takes a
        LoRA, too, added to its own.

        Raises UsageError where the file is missing, damaged or of another shape, and for an adapter
        where it is a DoRA or of a higher rank.
        """
        own = self.copies.get(name)
        if own is not None and (folder / UNET_NAME).is_file():
            _load_whole(own, folder)
        elif own is not None:
            add_adapter_to(own, folder)
        else:
            with refused_as(f"weights in {folder}"):
                self._fill(name, reader.read(reader.find(folder)))

    def _fill(self, name: str, layers: Sequence[Layer]) -> None:
        """Make an adapter, whose alpha is its rank, of layers of any alpha and at most its rank."""
        wrapped = {key: module for key, module in self.unet.named_modules()
                   if isinstance(module, BaseTunerLayer)}  # fmt: skip
        networks = dict.fromkeys((self.family.part, UNET), wrapped)  # UNET: where none is named
        pairs = merging.targets(layers, networks, "the network's layers that are trained")
        for layer, module in pairs:
            rank = len(module.lora_A[name].weight)
            if layer.magnitude is not None or layer.rank > rank:
                what = f"of rank {layer.rank}" if layer.magnitude is None else "a DoRA"
                raise FileError(f"{layer.module} is {what}; valid: a LoRA of at most rank {rank}")
        for module in wrapped.values():
            module.lora_B[name].weight.zero_()
        for layer, module in pairs:
            # B is 0 in the columns that are left over, so their rows of A may stay as they began:
            # 0 in both would get no gradient.
            down, up = module.lora_A[name].weight, module.lora_B[name].weight
            down[: layer.rank] = layer.down.to(down).view(layer.rank, *down.shape[1:])
            up[:, : layer.rank] = (layer.scale * layer.up.float()).view(len(up), -1, *up.shape[2:])

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
        self.family.save_lora(folder, state, WEIGHT_NAME)
        return folder / WEIGHT_NAME

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self.using(self.role)

    def _play(self, role: str) -> None:
        self.role = role
        for layer in self._layers:
            layer._disable_adapters = role == TEACHER
            if role != TEACHER:
                layer._active_adapter = [role]


def _load_whole(unet: Any, folder: Path) -> None:
    """Its own weights from a folder of diffusers, whose configuration must want the same."""
    config = folder / "config.json"
    if config.is_file():
        given = unet_inputs.all_of(unet.config)
        unet_inputs.refuse_others(config, unet_inputs.read(config), given)
    with refused_as(f"weights in {folder}"):
        held = unet_files.weights_for(unet, folder / UNET_NAME, "the base's configuration")
    unet.load_state_dict(held)


def add_adapter_to(network: Any, folder: Path, weight: float = 1.0, part: str = UNET) -> None:
    """Add a LoRA, times `weight`, to a network's own weights.  part: what a pipeline calls it.

    Raises UsageError where the file is missing, damaged or of another base.
    """
    with refused_as(f"weights in {folder}"):
        networks = dict.fromkeys((part, UNET), network)  # UNET: where none is named
        merging.merge(reader.read(reader.find(folder)), networks, weight)
