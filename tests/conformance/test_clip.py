"""CLIP score, aesthetic head and PickScore against open_clip, transformers and their formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from bench import metrics
from bench.errors import UsageError
from bench.metrics import networks
from bench.metrics.networks.base import loaded
from bench.metrics.networks.clip import KNOWN, RESIZES, ClipNetwork, OpenClip
from bench.metrics.networks.pick import Pick
from hypersd.rewards import affine
from tests.conformance import seeded

SIDE, WIDTH, DIMENSIONS = 64, 64, 32
CONFIG: dict[str, Any] = {
    "embed_dim": DIMENSIONS,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": WIDTH, "patch_size": 16},
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": WIDTH, "heads": 1, "layers": 2,
    },
}  # fmt: skip
PREPROCESS = {"mean": [0.48145466, 0.4578275, 0.40821073],
              "std": [0.26862954, 0.26130258, 0.27577711],
              "interpolation": "bicubic", "resize_mode": "shortest"}  # fmt: skip


def local(folder: Path, quick_gelu: bool) -> Path:
    """An open_clip folder with made-up weights."""
    config = {**CONFIG, "quick_gelu": quick_gelu}
    state = seeded.state(open_clip.CLIP(**config).state_dict())
    save_file(state, folder / "open_clip_model.safetensors")
    about = {"model_cfg": config, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module", params=[True, False], ids=["QuickGELU", "GELU"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return local(tmp_path_factory.mktemp("clip"), request.param)


def theirs(folder: Path, images: np.ndarray, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """open_clip's own loader, preprocessing and tokenizer."""
    made, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    shown = torch.stack([preprocess(Image.fromarray(image)) for image in images])
    with torch.inference_mode():
        seen = made.eval().encode_image(shown, normalize=True)
        return seen.numpy(), made.encode_text(tokens, normalize=True).numpy()


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (200, 150)])
def test_embeddings_are_open_clips(model: Path, shape: tuple[int, int]) -> None:
    images, texts = seeded.pictures(4, *shape), list(seeded.PROMPTS)
    network: ClipNetwork = loaded(OpenClip(f"local-dir:{model}"))
    with torch.inference_mode():
        seen = network(torch.tensor(images), texts).numpy()
    expected, read = theirs(model, images, texts)
    # 8-bit resizing breaks some ties otherwise; without resizing all is equal.
    assert np.abs(seen - expected).max() < (1e-5 if shape == (SIDE, SIDE) else 2e-3)
    assert np.abs(network.embedded(texts) - read).max() < 1e-5


def test_embeddings_are_transformers(model: Path) -> None:
    """The same weights in the other library, its fused projections taken apart."""
    from transformers import CLIPConfig, CLIPModel

    held = json.loads((model / "open_clip_config.json").read_text())["model_cfg"]
    act = "quick_gelu" if held["quick_gelu"] else "gelu"
    shared = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 2,
              "num_attention_heads": 1, "hidden_act": act,
              "projection_dim": DIMENSIONS}  # fmt: skip
    other = CLIPModel(CLIPConfig(
        text_config={**shared, "bos_token_id": 49406, "eos_token_id": 49407, "vocab_size": 49408},
        vision_config={**shared, "image_size": SIDE, "patch_size": 16},
        projection_dim=DIMENSIONS,
    )).eval()  # fmt: skip
    network: ClipNetwork = loaded(OpenClip(f"local-dir:{model}"))
    other.load_state_dict(in_transformers_names(network.model.state_dict()))
    images, texts = seeded.pictures(3, SIDE, SIDE), list(seeded.PROMPTS)
    with torch.inference_mode():
        shown = network.prepared(torch.tensor(images))
        expected = other.get_image_features(pixel_values=shown).pooler_output
        read = other.get_text_features(input_ids=network.tokenizer(texts)).pooler_output
        seen = network(torch.tensor(images), [])
    assert torch.allclose(seen, nn.functional.normalize(expected, dim=-1), atol=1e-5)
    assert np.allclose(network.embedded(texts), nn.functional.normalize(read, dim=-1), atol=1e-5)


def in_transformers_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    made = {"logit_scale": state["logit_scale"],
            "visual_projection.weight": state["visual.proj"].T,
            "text_projection.weight": state["text_projection"].T}  # fmt: skip
    for side, ours in (("text_model", ""), ("vision_model", "visual.")):
        for n in range(2):
            layer, old = f"{side}.encoder.layers.{n}", f"{ours}transformer.resblocks.{n}"
            for kind in ("weight", "bias"):
                parts = state[f"{old}.attn.in_proj_{kind}"].chunk(3)
                for name, part in zip("qkv", parts, strict=True):
                    made[f"{layer}.self_attn.{name}_proj.{kind}"] = part
                made[f"{layer}.self_attn.out_proj.{kind}"] = state[f"{old}.attn.out_proj.{kind}"]
                made[f"{layer}.mlp.fc1.{kind}"] = state[f"{old}.mlp.c_fc.{kind}"]
                made[f"{layer}.mlp.fc2.{kind}"] = state[f"{old}.mlp.c_proj.{kind}"]
                for norm in "12":
                    made[f"{layer}.layer_norm{norm}.{kind}"] = state[f"{old}.ln_{norm}.{kind}"]
    for kind in ("weight", "bias"):
        made[f"text_model.final_layer_norm.{kind}"] = state[f"ln_final.{kind}"]
        made[f"vision_model.pre_layrnorm.{kind}"] = state[f"visual.ln_pre.{kind}"]
        made[f"vision_model.post_layernorm.{kind}"] = state[f"visual.ln_post.{kind}"]
    made["text_model.embeddings.token_embedding.weight"] = state["token_embedding.weight"]
    made["text_model.embeddings.position_embedding.weight"] = state["positional_embedding"]
    made["vision_model.embeddings.class_embedding"] = state["visual.class_embedding"]
    made["vision_model.embeddings.patch_embedding.weight"] = state["visual.conv1.weight"]
    position = state["visual.positional_embedding"]
    made["vision_model.embeddings.position_embedding.weight"] = position
    return made


@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.1), ("bf16", 0.8)])
def test_in_half_precision_a_score_is_the_same_but_for_a_part_of_the_margin(
    model: Path, precision: str, most: float
) -> None:
    plain, half = (OpenClip(f"local-dir:{model}", precision=p) for p in ("fp32", precision))
    images, texts = torch.tensor(seeded.pictures(4, 200, 150)), list(seeded.PROMPTS)
    with torch.inference_mode():
        seen = [loaded(one)(images, []).numpy() for one in (plain, half)]
    lengths = np.linalg.norm(seen[1], axis=-1)
    assert lengths == pytest.approx(1, abs=1e-6)
    scores = [100 * (s * loaded(n).embedded(texts)).sum(axis=-1)
              for n, s in zip((plain, half), seen, strict=True)]  # fmt: skip
    assert 0 < np.abs(scores[1] - scores[0]).max() < most


def test_precision_is_a_part_of_the_name_and_the_identity(model: Path) -> None:
    plain, half = (OpenClip(f"local-dir:{model}", precision=p) for p in ("fp32", "fp16"))
    assert plain == OpenClip(f"local-dir:{model}") and "precision" not in plain.identity
    assert half.identity == f"{plain.identity};precision=fp16"
    assert networks.by_name(half.name) == half
    with pytest.raises(UsageError, match="precision=fp61; did you mean 'fp16'"):
        _ = OpenClip(f"local-dir:{model}", precision="fp61").identity


def test_a_text_is_cut_where_it_has_more_than_77_tokens(model: Path) -> None:
    network: ClipNetwork = loaded(OpenClip(f"local-dir:{model}"))
    texts = [*seeded.PROMPTS, "word " * 75, "word " * 76]
    assert network.cut(texts) == [False, False, False, True, False, True]


def test_known_weights_are_those_of_open_clips_table() -> None:
    for (name, tag), known in KNOWN.items():
        held = open_clip.pretrained.get_pretrained_cfg(name, tag)
        assert held["hf_hub"] == f"{known.repo}/"
        assert bool(held.get("quick_gelu")) == known.quick_gelu
        assert (held["mean"], held["std"], held["resize_mode"]) == (
            known.mean, known.std, known.resize,
        )  # fmt: skip


def test_pictures_are_prepared_as_open_clips_table_says_of_every_model() -> None:
    """CLIPA, MobileCLIP and PE are bilinear, the others bicubic."""
    picture = seeded.pictures(1, 200, 150)
    of_hub = [(name, tag, held) for name, tag in open_clip.list_pretrained()
              if (held := open_clip.get_pretrained_cfg(name, tag)).get("hf_hub")]  # fmt: skip
    shown: dict[tuple[Any, ...], str] = {}
    for name, tag, held in of_hub:
        network = OpenClip(name.removesuffix("-quickgelu"), tag)
        assert network.tag is not None and network.tag.mean == tuple(held["mean"])
        shown[held["resize_mode"], held["interpolation"]] = network.preparation
    assert {interpolation for _, interpolation in shown} >= {"bicubic", "bilinear"}
    for (mode, interpolation), preparation in shown.items():
        prepared = RESIZES[preparation](torch.tensor(picture).permute(0, 3, 1, 2), SIDE)
        transform = open_clip.image_transform(
            SIDE, is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3, resize_mode=mode,
            interpolation=interpolation,
        )  # fmt: skip
        off = 255 * (prepared - transform(Image.fromarray(picture[0]))).abs()
        assert off.max() < 1.01 and off.mean() < 0.01  # a tie in 8 bits here and there


def test_openais_weights_get_quick_gelu_whatever_the_models_name(tmp_path: Path) -> None:
    """open_clip 3 builds ViT-B-32 with GELU for them, and only warns."""
    assert OpenClip("ViT-B-32", "openai").quick_gelu
    assert OpenClip("ViT-B-32-quickgelu", "openai").about == OpenClip("ViT-B-32").about
    assert not OpenClip("ViT-H-14", "laion2b_s32b_b79k").quick_gelu
    with pytest.raises(UsageError, match="were not trained with QuickGELU"):
        _ = OpenClip("ViT-H-14-quickgelu", "laion2b_s32b_b79k").quick_gelu


def test_of_a_file_the_models_name_says_which_activation(tmp_path: Path) -> None:
    (tmp_path / "tiny-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path)
    weights = local(tmp_path, False) / "open_clip_model.safetensors"
    for name, activation in (("tiny-clip-quickgelu", "QuickGELU"), ("tiny-clip", "GELU")):
        network: ClipNetwork = loaded(OpenClip(name, str(weights)))
        kinds = {type(module).__name__ for module in network.model.modules()}
        assert activation in kinds
        assert not {"QuickGELU", "GELU"} - {activation} & kinds


def test_unknown_names_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no open_clip model 'ViT-B-23'.*'ViT-B-32'"):
        _ = OpenClip("ViT-B-23", "some_tag").tag
    with pytest.raises(UsageError, match="has no weights 'laion3b'"):
        _ = OpenClip("ViT-H-14", "laion3b").tag
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="not the weights of ViT-B-32"):
        loaded(OpenClip("ViT-B-32", str(tmp_path / "a.safetensors")))


class Mlp(nn.Module):
    """LAION's predictor v2 (improved-aesthetic-predictor, simple_inference.py): its layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2),
            nn.Linear(128, 64), nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1),
        )  # fmt: skip


def test_laions_head_is_exactly_its_affine_map() -> None:
    mlp = Mlp(768).eval()
    mlp.load_state_dict(seeded.state(mlp.state_dict()))
    x = nn.functional.normalize(torch.tensor(seeded.array("x", (50, 768))), dim=-1)
    with torch.inference_mode():
        expected = mlp.layers(x)[:, 0]
    found = affine.of_layers(mlp.state_dict())(x)
    assert torch.allclose(found, expected, atol=2e-6)


def test_a_head_with_activations_is_no_affine_map(tmp_path: Path) -> None:
    state = {f"layers.{n}.weight": torch.zeros(1, 1) for n in (0, 3, 6, 9, 11)}
    torch.save(state, tmp_path / "relu.pth")
    (tmp_path / "clip.pt").write_bytes(b"weights")
    settings = {"head": str(tmp_path / "relu.pth"), "weights": str(tmp_path / "clip.pt")}
    rated = metrics.metric("aesthetic", settings, published=True)
    with pytest.raises(
        UsageError, match=r"relu\.pth: .*head of linear layers at \(0, 2, 4, 6, 7\)"
    ):
        rated.evaluate(np.zeros((2, 1), np.float32), ["", ""], [0, 1])


@pytest.fixture(scope="module")
def pick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in PickScore's format."""
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
              "num_attention_heads": 4, "hidden_act": "gelu", "projection_dim": 32}  # fmt: skip
    config = CLIPConfig(
        text_config={**shared, "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config={**shared, "image_size": 64, "patch_size": 16}, projection_dim=32,
    )  # fmt: skip
    model = CLIPModel(config)
    model.load_state_dict(seeded.state(model.state_dict()))
    model.logit_scale.data.fill_(np.log(100.0))
    folder = tmp_path_factory.mktemp("pick")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.1), ("bf16", 0.8)])
def test_pick_in_half_precision_is_the_same_but_for_rounding(
    pick: Path, precision: str, most: float
) -> None:
    images, texts = torch.tensor(seeded.pictures(4, 200, 150)), list(seeded.PROMPTS)
    scores = []
    for one in ("fp32", precision):
        network = loaded(Pick(str(pick), precision=one))
        with torch.inference_mode():
            scores.append((network(images, []).numpy() * network.embedded(texts)).sum(axis=-1))
    assert 0 < np.abs(scores[1] - scores[0]).max() < most


def test_pick_is_the_model_cards_formula(pick: Path) -> None:
    """PickScore_v1's card: logit_scale.exp() * (text_embs @ image_embs.T), both normalised."""
    from transformers import CLIPImageProcessor, CLIPModel

    images, texts = seeded.pictures(4, 90, 130), list(seeded.PROMPTS)
    network = loaded(Pick(str(pick)))
    model = CLIPModel.from_pretrained(pick).eval()
    processor = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=64)
    shown = processor([Image.fromarray(i) for i in images], return_tensors="pt").pixel_values
    with torch.inference_mode():
        seen = nn.functional.normalize(model.get_image_features(shown).pooler_output, dim=-1)
        ids = open_clip.tokenize(texts)
        read = nn.functional.normalize(model.get_text_features(ids).pooler_output, dim=-1)
        expected = (model.logit_scale.exp() * (read @ seen.T)).diagonal()
        ours = (network(torch.tensor(images), texts) * network.embedded(texts)).sum(dim=-1)
    assert torch.allclose(ours, expected, atol=0.05)  # of about 20; resizing differs by a level
