"""The world's second base: a rectified flow by a transformer, in Stable Diffusion 3's form.

It shares autoencoder, text encoder, tokenizer and scenes with the first base; what is learned is
the velocity u = eps - x0, by an `SD3Transformer2DModel` on 16x16x4 latents: 64 patches, and the
text beside them.
Source: Esser et al. 2024 (arXiv 2403.03206), Eq. 5 and the logit-normal times of Sec. 3.1.

# Differs from Stable Diffusion 3: one text encoder stands for both CLIPs, there is no T5.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection

from hypersd.base import Base, load_base
from hypersd.bases.sd3 import Sd3
from hypersd.losses import squared_error
from hypersd.pictures import to_uint8
from hypersd.recipe import Recipe
from hypersd.sampler import sample_jumps
from hypersd.schedule import Schedule
from hypersd.shapes.data import load_dataset
from hypersd.shapes.pictures import texts
from hypersd.shapes.teacher import DROPPED, say_float32
from hypersd.solver import SolverGrid, guided
from hypersd.task import Task
from hypersd.validation import Count
from hypersd.whole_files import written_whole

STEPS = 25  # of previews
PREVIEWED = 16


@dataclass(frozen=True, kw_only=True)
class FlowOptions:
    """A recipe's `options`.

    folder: the first base, shipped weights by name or a pipeline's folder.  layers, heads, width:
    the transformer's blocks, attention heads and width of one.  shift: of the grid that it is drawn
    on.  guidance: for the previews.
    """

    folder: str = "base"
    layers: Count = 6
    heads: Count = 4
    width: Count = 32
    shift: Annotated[float, Field(gt=0, le=100)] = 1.0
    guidance: Annotated[float, Field(ge=1, le=100)] = 3.0


def text_encoder(base: Base) -> CLIPTextModelWithProjection:
    """The base's text encoder in SD3's form, which reads the last but one hidden states: with one
    more layer that adds nothing, so that these are its last ones, and a projection that changes
    nothing."""
    own = base.family.pipe.text_encoder
    config = type(own.config).from_dict(own.config.to_dict())
    layers = config.num_hidden_layers
    config.num_hidden_layers, config.projection_dim = layers + 1, config.hidden_size
    made = CLIPTextModelWithProjection(config)
    made.text_model.load_state_dict(own.state_dict(), strict=False)
    more = made.text_model.encoder.layers[layers]
    with torch.no_grad():
        for module in (more.self_attn.out_proj, more.mlp.fc2):
            module.weight.zero_(), module.bias.zero_()
        made.text_projection.weight.copy_(torch.eye(config.hidden_size))
    return made.eval().requires_grad_(False)


def build_transformer(base: Base, options: FlowOptions) -> SD3Transformer2DModel:
    """An untrained transformer on the base's latents."""
    channels, side, _ = base.family.latent_shape()
    text = 2 * int(base.family.pipe.text_encoder.config.hidden_size)
    width = options.heads * options.width
    return SD3Transformer2DModel(
        sample_size=side, patch_size=2, in_channels=channels, out_channels=channels,
        num_layers=options.layers, attention_head_dim=options.width,
        num_attention_heads=options.heads, caption_projection_dim=width,
        joint_attention_dim=text, pooled_projection_dim=text, pos_embed_max_size=side,
        qk_norm="rms_norm",
    )  # fmt: skip


def build_pipeline(base: Base, options: FlowOptions) -> StableDiffusion3Pipeline:
    """An untrained pipeline on the base's other parts."""
    text, parts = text_encoder(base).to(base.device), base.family.pipe.components
    parts["vae"].register_to_config(shift_factor=0.0)  # SD3's pipeline adds one
    return StableDiffusion3Pipeline(
        transformer=build_transformer(base, options).to(base.device), vae=parts["vae"],
        scheduler=FlowMatchEulerDiscreteScheduler(shift=options.shift),
        text_encoder=text, tokenizer=parts["tokenizer"],
        text_encoder_2=text, tokenizer_2=parts["tokenizer"],
        text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip


class FlowTask(Task):
    """Predict the velocity, squared error. A `hypersd.loop.Task`.

    data: as the world's (`hypersd.shapes.data`).  options: `FlowOptions`.
    """

    divides = True

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.options = recipe.read_options(FlowOptions)
        base = load_base(self.options.folder, device)
        self.data = load_dataset(recipe.data, base)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.family = Sd3(build_pipeline(base, self.options))
        self.network = self.family.network
        self.schedule = Schedule.from_config(self.family.pipe.scheduler.config)
        self.modules: dict[str, nn.Module] = {"unet": self.network}

    def groups(self) -> list[dict[str, Any]]:
        """The transformer's parameters."""
        return [{"params": list(self.network.parameters())}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The mean squared error of the velocity over the step's rows, 10 % of them without their
        captions; times t = sigmoid(z), z of N(0, 1)."""
        recipe, rows = self.recipe, self.share
        x0, captions = self.data.batch(step, recipe.batch, recipe.seed)
        dropped = torch.rand(recipe.batch, generator=rng) < DROPPED
        t = torch.randn(recipe.batch, generator=rng).sigmoid()
        eps = torch.randn(x0.shape, generator=rng)
        x0, eps, t = (v[rows].to(self.device) for v in (x0, eps, t))
        told = ["" if cut else text for text, cut in zip(captions, dropped.tolist(), strict=True)]
        with torch.no_grad():
            text = self.family.encode(told[rows])
        found = Sd3.call(self.network, self.schedule.diffuse(x0, eps, t), t, text)
        return squared_error(found, self.schedule.target(x0, eps)).mean(), {}

    @torch.no_grad()
    def draw(self, prompts: Sequence[str], steps: int, seed: int = 0) -> Tensor:
        """Pictures of prompts, [B, 3, H, W] about in [-1, 1], with the recipe's guidance."""
        z = torch.randn(len(prompts), *self.family.latent_shape(),
                        generator=torch.Generator().manual_seed(seed)).to(self.device)  # fmt: skip
        text, empty = self.family.encode(prompts), self.family.unconditional()
        timesteps = SolverGrid(steps, self.schedule.clock).inference(steps)
        latents = sample_jumps(
            lambda x, t: guided(self._predict, x, t, text, empty, self.options.guidance),
            z, timesteps, self.schedule,
        )  # fmt: skip
        return self.family.decode(latents)

    def _predict(self, x: Tensor, t: Tensor, text: Any) -> Tensor:
        return self.schedule.prediction(Sd3.call(self.network, x, t, text), x, t)

    def preview(self, path: Path) -> None:
        """Validation prompts at 25 steps, as one PNG of two rows."""
        images = to_uint8(self.draw(texts("validation", 0, PREVIEWED), STEPS))
        rows = [np.concatenate(list(half), axis=1) for half in np.split(images, 2)]
        with written_whole(path) as beside:
            Image.fromarray(np.concatenate(rows)).save(beside, "PNG")

    def export(self, out: Path) -> dict[str, Any]:
        """Write the pipeline, fp16; returns facts for the model card."""
        parts = self.family.pipe.components
        whole = StableDiffusion3Pipeline(**parts | {"transformer": copy.deepcopy(self.network)})
        whole.vae.register_to_config(_name_or_path="")  # where the base lay is no part of it
        whole.to(torch.float16).save_pretrained(out)
        whole.to(torch.float32)  # the parts that both have
        for encoder in ("text_encoder", "text_encoder_2"):
            say_float32(out / encoder / "config.json")
        return {"parameters": sum(p.numel() for p in self.network.parameters())}
