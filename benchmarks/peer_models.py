"""Small random models in the folder layout of SD1.5 and of SDXL, and pictures, for a peer's script.

Their UNet has the shapes base's channels (SDXL's with its own kind of blocks and conditions), for
64 px and latents of 4x16x16. Texts are 77 tokens long, a length that diffusers' scripts have fixed.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from hypersd.shapes.captions import caption
from hypersd.shapes.render import render
from hypersd.shapes.scenes import sample_scene
from hypersd.shapes.weights import weights_path

LENGTH, WIDTH, SIZES = 77, 128, 32  # tokens, width of a text encoder, width of one of SDXL's sizes
SDXL = {
    "addition_embed_type": "text_time", "addition_time_embed_dim": SIZES,
    "projection_class_embeddings_input_dim": 6 * SIZES + WIDTH, "cross_attention_dim": 2 * WIDTH,
    "transformer_layers_per_block": (1, 1, 2), "use_linear_projection": True,
}  # fmt: skip


def make_model(folder: Path, sdxl: bool) -> Path:
    """A pipeline folder, its weights random (seed 0)."""
    source = Path(weights_path("base"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel.load_config(source / "unet") | (SDXL if sdxl else {})
        vae = AutoencoderKL.load_config(source / "vae")
        parts = {
            "unet": UNet2DConditionModel.from_config(unet),
            "vae": AutoencoderKL.from_config(vae),
            "text_encoder": _text(source, CLIPTextModel),
            "tokenizer": CLIPTokenizer.from_pretrained(
                source / "tokenizer", model_max_length=LENGTH
            ),
            "scheduler": DDIMScheduler.from_pretrained(source / "scheduler"),
        }
        second = _text(source, CLIPTextModelWithProjection) if sdxl else None
    if sdxl:
        more = {"text_encoder_2": second, "tokenizer_2": parts["tokenizer"]}
        StableDiffusionXLPipeline(**parts, **more).save_pretrained(folder)
    else:
        StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        ).save_pretrained(folder)
    return folder


def _text(source: Path, kind: Any) -> Any:
    config = CLIPTextConfig.from_pretrained(source / "text_encoder", architectures=[kind.__name__],
                                            max_position_embeddings=LENGTH)  # fmt: skip
    return kind(config).eval()


def make_pictures(folder: Path, count: int) -> Path:
    """Scenes of the embedded world as a Hugging Face image folder: NNNNN.png, metadata.jsonl."""
    folder.mkdir(parents=True)
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as lines:
        for i in range(count):
            scene, name = sample_scene("train", i), f"{i:05d}.png"
            Image.fromarray(render(scene)).save(folder / name)
            lines.write(json.dumps({"file_name": name, "text": caption(scene)}) + "\n")
    return folder


def make_shard(pictures: Path, path: Path) -> Path:
    """The same pictures as a webdataset tar: NNNNN.png, NNNNN.txt."""
    with tarfile.open(path, "w") as shard:
        for line in (pictures / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            text = (pictures / row["file_name"]).with_suffix(".txt")
            text.write_text(row["text"], encoding="utf-8")
            for member in (pictures / row["file_name"], text):
                shard.add(member, member.name)
            text.unlink()
    return path
