"""A LoRA added to the networks' own weights: plain arithmetic, one module at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hypersd.errors import FileError, listed
from hypersd.lora.names import flat, written
from hypersd.lora.reader import Layer


def merged(weight: Tensor, layer: Layer, scale: float = 1.0) -> Tensor:
    """A weight with a layer's part in it, times `scale`: like the weight, at least fp32.

    Of a DoRA both the direction and its norm are of W + scale * BA, as PEFT scales one; LyCORIS and
    ComfyUI scale the whole difference instead. At scale 1 they agree.
    Source: Liu et al. 2024 (DoRA, arXiv 2402.09353), Eq. 5.
    """
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    up, down = (factor.to(weight).flatten(1) for factor in (layer.up, layer.down))
    total = torch.addmm(weight.flatten(1), up, down, alpha=scale * layer.scale).view(weight.shape)
    if layer.magnitude is None:
        return total
    others = [axis for axis in range(total.ndim) if axis != layer.axis]
    norm: Tensor = torch.linalg.vector_norm(total, dim=others, keepdim=True)
    return layer.magnitude.to(total).view(norm.shape) / norm * total


def merge(
    layers: Iterable[Layer], networks: Mapping[str, nn.Module | None], scale: float = 1.0
) -> bool:
    """Add a LoRA, times `scale`, to the weights of networks ("unet", ...) in place; returns whether
    any weight changed. A LoRA that does not fit changes nothing.

    Raises FileError where it names what a network has not, has another shape, or gives a weight
    that is not finite.
    """
    modules = {name: plain(own) for name, own in networks.items() if own is not None}
    return merge_into(targets(layers, modules), scale)


def merge_into(
    pairs: Iterable[tuple[Layer, Any]],
    scale: float = 1.0,
    originals: Mapping[Any, Tensor] | None = None,
) -> bool:
    """Merge one LoRA, as `merge_all`; whether any weight is another than the original."""
    return merge_all([(pairs, scale)], originals)[0]


@torch.no_grad()
def merge_all(
    loras: Iterable[tuple[Iterable[tuple[Layer, Any]], float]],
    originals: Mapping[Any, Tensor] | None = None,
) -> list[bool]:
    """Give each module the weight that LoRAs, each times its scale, make of the original one,
    summed in at least fp32 and rounded once to the module's precision; whether each changes any.

    Differences add up, as PEFT adds those of several adapters: that of a DoRA is to the original.
    originals: by module, in any precision, on any device; None: the weights that they have.
    Raises FileError for a weight that is not finite; modules before it are changed by then.
    """
    layers: dict[Any, list[tuple[int, Layer, float]]] = {}
    changed = []
    for place, (pairs, scale) in enumerate(loras):
        changed.append(False)
        for layer, module in pairs:
            layers.setdefault(module, []).append((place, layer, scale))
    for module, own in layers.items():
        original = module.weight if originals is None else originals[module]
        total = original = original.to(module.weight.device)
        for place, layer, scale in own:
            before, total = total, _added(total, original, layer, scale)
            changed[place] = changed[place] or not torch.equal(total, before.to(total))
        if not total.sum().isfinite():
            raise FileError(f"the weight of {own[-1][1].module} is not finite with it")
        module.weight.copy_(total)
    return changed


def _added(total: Tensor, original: Tensor, layer: Layer, scale: float) -> Tensor:
    """A weight with a further layer's part in it."""
    if layer.magnitude is None or total is original:
        return merged(total, layer, scale)
    return total + (merged(original, layer, scale) - original.to(total))


def plain(network: nn.Module) -> dict[str, Any]:
    """The linear layers and convolutions of a network, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def targets(
    layers: Iterable[Layer],
    networks: Mapping[str, Mapping[str, Any]],
    place: str = "this base's networks",
) -> list[tuple[Layer, Any]]:
    """Each layer and the module that it is for, of each network's modules with a `weight`.

    Raises FileError where one is not there (`place`: where that is), is meant twice, or has another
    shape.
    """
    layers = list(layers)
    names = {network: written(modules) for network, modules in networks.items()}
    where = [names.get(layer.network, {}).get(flat(layer.module)) for layer in layers]
    _refuse_strangers(layers, where, place)
    found: dict[tuple[str, str], tuple[Layer, Any]] = {}
    for layer, name in zip(layers, where, strict=True):
        assert name is not None
        if (layer.network, name) in found:
            raise FileError(f"{layer.network}: {name} is there twice; valid: each layer once")
        module = networks[layer.network][name]
        _check_shape(layer, module.weight.shape)
        found[layer.network, name] = layer, module
    return list(found.values())


def _refuse_strangers(layers: list[Layer], where: list[str | None], place: str) -> None:
    strangers = [f"{layer.network}: {layer.module}"
                 for layer, name in zip(layers, where, strict=True) if name is None]  # fmt: skip
    if strangers:
        raise FileError(f"{len(strangers)} of {len(layers)} layers are not in {place}: "
                        f"{listed(strangers)}; valid: a LoRA of these")  # fmt: skip


def _check_shape(layer: Layer, weight: torch.Size) -> None:
    """A 1x1 convolution and a linear layer are the same: either may be in the file."""
    own = [len(layer.up), *layer.down.shape[1:]]
    shape = list(weight) + [1] * (len(own) - len(weight))
    if own + [1] * (len(shape) - len(own)) != shape or layer.up.flatten(1).shape[1] != layer.rank:
        theirs, ours = (" x ".join(map(str, sizes)) for sizes in (own, weight))
        raise FileError(f"{layer.network}: {layer.module} is {theirs}, in this base {ours}; "
                        "valid: a LoRA of this base")  # fmt: skip
