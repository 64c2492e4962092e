"""The base model: a text-conditioned UNet in SD1.5's form, with its text encoder and tokenizer.

epsilon-prediction, scaled_linear 0.00085-0.012, 1000 steps, 10 % of captions dropped. The text
encoder is trained with the UNet, so nothing has to be downloaded first.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from hypersd.loop import Task
from hypersd.pictures import to_unit
from hypersd.recipe import Recipe
from hypersd.shapes.layout import LayoutHead, labels, layout_loss
from hypersd.shapes.pictures import odds, pictures, texts
from hypersd.shapes.spec_head import SpecHead, spec_labels, spec_loss
from hypersd.whole_files import written_whole

TEXT_LENGTH = 32
START, END = "<|startoftext|>", "<|endoftext|>"
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
DROPPED = 0.1  # share of captions replaced by the empty one


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIPTokenizer over the captions' words: byte-pair merges learned from 4,000 captions.

    The same ids every time: the trainer numbers letters that end a word in the order of a hash
    table, so they are numbered again here. Weights of one numbering read another one wrongly.
    """
    bpe = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        show_progress=False,
        special_tokens=[START, END],
        end_of_word_suffix="</w>",
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789,.'-"),
    )
    bpe.train_from_iterator(texts("train", 0, 4000, with_style=True), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    bpe.model.save(str(folder))
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    vocab.write_text(
        json.dumps(_renumbered(json.loads(vocab.read_bytes()), merges)), encoding="utf-8"
    )
    return CLIPTokenizer(str(vocab), str(merges), model_max_length=TEXT_LENGTH)


def _renumbered(vocabulary: dict[str, int], merges: Path) -> dict[str, int]:
    """Special tokens, then single letters in their own order, then what merges make, in order."""
    made = [
        "".join(line.split(" ")) for line in merges.read_text(encoding="utf-8").splitlines()[1:]
    ]
    letters = sorted(set(vocabulary) - {START, END} - set(made))
    return {token: i for i, token in enumerate([START, END, *letters, *made])}


def build_text_encoder(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPTextModel:
    """An untrained text encoder with the tokenizer's own special ids (a wrong end id would pool
    at position 0 without a word)."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=width,
    )
    return CLIPTextModel(config)


def build_unet(widths: list[int], text_width: int) -> UNet2DConditionModel:
    """An untrained UNet on 16x16x4 latents; attention at 8x8 and 4x4."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=tuple(widths),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=12,
    )


def token_ids(tokenizer: Any, captions: list[str]) -> Tensor:
    """[B, TEXT_LENGTH] int64, padded and truncated as the pipeline does it."""
    options = {"padding": "max_length", "truncation": True, "max_length": TEXT_LENGTH}
    ids: Tensor = tokenizer(captions, return_tensors="pt", **options).input_ids
    return ids


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Any, batch: int = 100) -> Tensor:
    """uint8 [N, 64, 64, 3] -> scaled means of their latents [N, 4, 16, 16], fp16."""
    parts = []
    for i in range(0, len(images), batch):
        mean = vae.encode(to_unit(images[i : i + batch])).latent_dist.mean
        parts.append((mean * vae.config.scaling_factor).half())
    return torch.cat(parts)


def noise_weight(acp: Tensor) -> Tensor:
    """How much the squared error of the predicted noise counts: v-prediction's weight SNR + 1 on
    the picture, at most 5 as in min-SNR (Hang et al. 2023, arXiv 2303.09556), divided by the SNR;
    at most 10, so that the last steps, where a picture is a tiny part of the noise, do not reign.
    """
    snr = acp / (1 - acp)
    return ((snr + 1).clamp(max=5.0) / snr).clamp(max=10.0)


class TeacherTask(Task):
    """Predict the noise: squared error weighted by `noise_weight`; beside it `layout_loss` on the
    features that leave the first up block and `spec_loss` on the pooled text. A `loop.Task`.

    data: n, vae (folder of the trained autoencoder), often (relation: how many times as often its
    scenes are drawn).  options: widths, text_width, text_layers,
    layout and spec (weights of those losses), guidance (for the previews); text (folder of a text
    encoder that begins trained, see `hypersd.shapes.reader`), or, to train a teacher on, init (its
    exported folder).
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device, options = recipe, device, recipe.options
        self.vae_folder = Path(recipe.data["vae"])
        self.vae = AutoencoderKL.from_pretrained(self.vae_folder, dtype=torch.float32).eval()
        self.tokenizer = build_tokenizer(Path(tempfile.mkdtemp()))
        self.text, self.unet = (part.to(device) for part in self._networks(options))
        self.head = LayoutHead(options["widths"][-1]).to(device)
        self.unet.up_blocks[0].register_forward_hook(self._keep)
        self.reader = SpecHead(self.text.config.hidden_size).to(device)
        self.modules: dict[str, nn.Module] = {
            "unet": self.unet, "text": self.text, "head": self.head, "reader": self.reader,
        }  # fmt: skip
        self.scheduler = DDIMScheduler(
            **SCHEDULE, clip_sample=False, set_alpha_to_one=False, timestep_spacing="trailing"
        )
        self.latents, self.ids, self.layouts = self._data(recipe.data["n"])
        self.specs = torch.from_numpy(spec_labels("train", 0, recipe.data["n"]))
        self.odds = odds("train", 0, recipe.data["n"], recipe.data.get("often", {}))
        self.empty = token_ids(self.tokenizer, [""])[0]

    def _networks(self, options: dict[str, Any]) -> tuple[CLIPTextModel, UNet2DConditionModel]:
        """Untrained ones, or those of a trained teacher that is trained on."""
        if "init" in options:
            init, kept = Path(options["init"]), {"dtype": torch.float32}
            text = CLIPTextModel.from_pretrained(init / "text_encoder", dtype=torch.float32)
            return text, UNet2DConditionModel.from_pretrained(init / "unet", **kept)
        if "text" in options:
            text = CLIPTextModel.from_pretrained(options["text"], dtype=torch.float32)
        else:
            text = build_text_encoder(self.tokenizer, options["text_width"], options["text_layers"])
        return text, build_unet(options["widths"], text.config.hidden_size)

    def _keep(self, module: nn.Module, inputs: Any, features: Tensor) -> None:
        self.features = features

    def _data(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, token ids and layouts of the first n training scenes, kept beside the
        autoencoder."""
        path = self.vae_folder.parent / f"teacher-data-{n}.pt"
        if not path.is_file():
            kept = {
                "latents": encode(self.vae, pictures("train", 0, n)),
                "ids": token_ids(self.tokenizer, texts("train", 0, n)).to(torch.int16),
                "layouts": torch.from_numpy(labels("train", 0, n)),
            }
            with written_whole(path) as beside:
                torch.save(kept, beside)
        kept = torch.load(path, weights_only=True)
        return kept["latents"], kept["ids"], kept["layouts"]

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [p for m in self.modules.values() for p in m.parameters()]}]

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        size = self.recipe.batch
        rows = torch.multinomial(self.odds, size, replacement=True, generator=rng)
        x0 = self.latents[rows].float().to(self.device)
        ids = self.ids[rows].long()
        dropped = torch.rand(size, generator=rng) < DROPPED
        ids[dropped] = self.empty
        eps = torch.randn(x0.shape, generator=rng).to(self.device)
        t = torch.randint(1000, (size,), generator=rng).to(self.device)
        x_t = self.scheduler.add_noise(x0, eps, t)
        text = self.text(ids.to(self.device))
        error = F.mse_loss(
            self.unet(x_t, t, text.last_hidden_state).sample.float(), eps, reduction="none"
        )
        plain = error.mean(dim=(1, 2, 3))
        acp = self.scheduler.alphas_cumprod.to(self.device)[t]
        denoising = (noise_weight(acp) * plain).mean()
        placing, scalars = layout_loss(self.head(self.features), self.layouts[rows].to(self.device))
        said = self.specs[rows][~dropped].to(self.device)
        reading, read = spec_loss(self.reader(text.pooler_output[~dropped.to(self.device)]), said)
        scalars |= {"mse": float(plain.mean().detach()), "layout": float(placing.detach())}
        weights = self.recipe.options
        loss = denoising + weights["layout"] * placing + weights["spec"] * reading
        return loss, scalars | read

    def pipeline(self) -> StableDiffusionPipeline:
        """The parts as the pipeline a user loads."""
        pipe = StableDiffusionPipeline(
            vae=self.vae, text_encoder=self.text, tokenizer=self.tokenizer, unet=self.unet,
            scheduler=self.scheduler, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def preview(self, path: Path) -> None:
        draw_preview(self.pipeline(), path, float(self.recipe.options["guidance"]))

    def export(self, out: Path) -> dict[str, Any]:
        counts = {
            "unet_parameters": sum(p.numel() for p in self.unet.parameters()),
            "text_parameters": sum(p.numel() for p in self.text.parameters()),
        }
        self.pipeline().to(torch.float16).save_pretrained(out, safe_serialization=True)
        self.pipeline().to(torch.float32)
        say_float32(out / "text_encoder" / "config.json")
        build_tokenizer(out / "tokenizer").save_pretrained(out / "tokenizer")
        shutil.copy(self.vae_folder / "config.json", out / "vae" / "config.json")
        return counts


def say_float32(config: Path) -> None:
    """Let the fp16 files load as fp32 with no argument: transformers goes by the config's dtype."""
    words = config.read_text(encoding="utf-8").replace('"float16"', '"float32"')
    config.write_text(words, encoding="utf-8")


@torch.no_grad()
def draw_preview(pipe: StableDiffusionPipeline, path: Path, guidance: float) -> None:
    """16 validation prompts at 25 steps, drawn as one PNG of two rows."""
    was = pipe.unet.training, pipe.text_encoder.training
    pipe.unet.eval(), pipe.text_encoder.eval()
    rng = torch.Generator().manual_seed(0)
    images = pipe(
        texts("validation", 0, 16), num_inference_steps=25, guidance_scale=guidance,
        generator=rng, output_type="np",
    ).images  # fmt: skip
    pipe.unet.train(was[0]), pipe.text_encoder.train(was[1])
    rows = [np.concatenate(list(images[i : i + 8]), axis=1) for i in (0, 8)]
    grid = np.concatenate(rows, axis=0)
    with written_whole(path) as beside:
        Image.fromarray((grid * 255).round().astype(np.uint8)).save(beside, "PNG")
