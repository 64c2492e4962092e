"""Golden values of packages whose pins do not live in the project's environment.

    python -m venv golden && . golden/bin/activate
    pip install torch torchvision hpsv2==1.2.0
    python -m tests.conformance.goldens.make hps > tests/conformance/goldens/hps.json

    pip install transformers==4.30.2 timm==0.6.13 fairscale==0.4.13 image-reward==1.5
    python -m tests.conformance.goldens.make image_reward > .../image_reward.json

    pip install --no-deps transformers==4.45.2 'tokenizers<0.21' hpsv3==1.0.0   # and what they need
    python -m tests.conformance.goldens.make hpsv3 | tail -n 1 > .../hpsv3.json

Networks are small, their weights and pictures made by `seeded.py` from names, so that the tests
hold the very same ones. hpsv2's wheel lacks its tokenizer's vocabulary
(`bpe_simple_vocab_16e6.txt.gz`): copy it from its repository into hpsv2/src/open_clip.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.conformance import seeded
from tests.conformance.goldens import qwen_words

SHAPES = {"square": (96, 96), "wide": (90, 150), "tall": (201, 77)}
HPS_CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "a", "red", "cube", "next", "to",
         "blue", "ball", "two", "dog", "##s", "play", "chess", "in", "the", "rain", "oil", "on",
         "can", "##vas", "cafe", "at", "dusk", "very", "long", "corridor", "with", "small",
         "green", "door", "its", "end"]  # fmt: skip
WIDTH, LAYERS, SIDE = 128, 2, 32


def pictures() -> dict[str, list[Image.Image]]:
    """By shape, one for each prompt."""
    return {
        name: [Image.fromarray(i) for i in seeded.pictures(len(seeded.PROMPTS), *shape)]
        for name, shape in SHAPES.items()
    }


def hps() -> dict[str, Any]:
    """hpsv2's `score`, line for line but for its loader: cosines by shape and prompt."""
    from hpsv2.src.open_clip import get_tokenizer
    from hpsv2.src.open_clip.model import CLIP
    from hpsv2.src.open_clip.transform import image_transform

    model = CLIP(**HPS_CONFIG, output_dict=True)
    model.load_state_dict(seeded.state(model.state_dict()))
    model.eval()
    # factory.create_model_and_transforms: is_train=False, resize_longest_max=True.
    preprocess_val = image_transform(64, is_train=False, resize_longest_max=True)
    tokenizer, found = get_tokenizer("ViT-H-14"), {}
    for name, images in pictures().items():
        found[name] = []
        for image, prompt in zip(images, seeded.PROMPTS, strict=True):
            with torch.no_grad():
                outputs = model(preprocess_val(image).unsqueeze(0), tokenizer([prompt]))
            logits = outputs["image_features"] @ outputs["text_features"].T
            found[name].append(float(torch.diagonal(logits)[0]))
    return found


def image_reward() -> dict[str, Any]:
    """ImageReward's own `score`, on a small BLIP of its own classes."""
    # Imported with the package, not used here: its trainer, and OpenAI's CLIP for other scorers.
    for unused in ("ImageReward.ReFL", "clip"):
        sys.modules[unused] = ModuleType(unused)
    from ImageReward.ImageReward import MLP, ImageReward, _transform
    from ImageReward.models.BLIP.med import BertConfig, BertModel
    from ImageReward.models.BLIP.vit import VisionTransformer
    from transformers import BertTokenizer

    vision = VisionTransformer(
        img_size=SIDE, patch_size=16, embed_dim=WIDTH, depth=LAYERS, num_heads=WIDTH // 64
    )
    text = BertModel(BertConfig(**text_config(), add_cross_attention=True, encoder_width=WIDTH),
                     add_pooling_layer=False)  # fmt: skip
    judge = ImageReward.__new__(ImageReward)
    torch.nn.Module.__init__(judge)
    vocabulary = Path("vocab.txt")
    vocabulary.write_text("\n".join(WORDS), encoding="utf-8")
    judge.device, judge.preprocess, judge.mlp = "cpu", _transform(SIDE), MLP(WIDTH)
    judge.blip = torch.nn.Module()
    judge.blip.visual_encoder, judge.blip.text_encoder = vision, text
    judge.load_state_dict(seeded.state(judge.state_dict()))
    judge.eval()
    judge.blip.tokenizer = BertTokenizer(str(vocabulary))
    judge.mean, judge.std = 0.16717362830052426, 1.0333394966054072
    shapes = {name: list(value.shape) for name, value in judge.state_dict().items()}
    scores = {
        name: [judge.score(p, i) for i, p in zip(images, seeded.PROMPTS, strict=True)]
        for name, images in pictures().items()
    }
    return {"shapes": shapes, "scores": scores}


TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip
VISION = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 14}
SECTIONS = [2, 1, 1]
# Qwen2-VL's own template, for one message of one picture and one text.
CHAT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>"
    "system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<|vision_start|>"
    "<|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% endif %}"
)


def hpsv3() -> dict[str, Any]:
    """hpsv3's own `reward`, mu and log sigma, on a small Qwen2-VL of its own class."""
    _without_trainers()
    from hpsv3.inference import HPSv3RewardInferencer
    from hpsv3.model.qwen2vl_trainer import Qwen2VLRewardModelBT
    from transformers import (
        Qwen2TokenizerFast,
        Qwen2VLConfig,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
    )

    marks = qwen_words.marks()
    qwen_words.tokenizer().save("tokenizer.json")
    words = Qwen2TokenizerFast(
        tokenizer_file="tokenizer.json", pad_token="<|endoftext|>", padding_side="right"
    )
    processor = Qwen2VLProcessor(Qwen2VLImageProcessor(), words, chat_template=CHAT)
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<|Reward|>"]})
    special = processor.tokenizer.convert_tokens_to_ids(["<|Reward|>"])
    config = Qwen2VLConfig(
        **TEXT, vocab_size=len(processor.tokenizer), vision_config=VISION,
        rope_scaling={"type": "mrope", "mrope_section": SECTIONS}, rope_theta=10_000.0, **marks,
    )  # fmt: skip
    config.pad_token_id = processor.tokenizer.pad_token_id
    model = Qwen2VLRewardModelBT(
        config, output_dim=2, reward_token="special", special_token_ids=special,
        rm_head_type="ranknet",
    ).eval()  # fmt: skip
    model.load_state_dict(seeded.state(model.state_dict()))
    judge = HPSv3RewardInferencer.__new__(HPSv3RewardInferencer)
    judge.model, judge.processor, judge.device = model, processor, "cpu"
    judge.use_special_tokens = True
    scores = {}
    for name, images in pictures().items():
        with torch.no_grad():
            scores[name] = judge.reward(images, list(seeded.PROMPTS)).tolist()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    return {"shapes": shapes, "scores": scores}


def _without_trainers() -> None:
    """What hpsv3 imports for its trainer, and not for scores."""
    for name, held in {"trl": ("RewardTrainer", "get_kbit_device_map", "get_quantization_config"),
                       "datasets": ("Dataset",), "fire": (), "deepspeed": ()}.items():  # fmt: skip
        module = ModuleType(name)
        for one in held:
            setattr(module, one, type(one, (), {}))
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules[name] = module


def text_config() -> dict[str, Any]:
    """ImageReward's med_config.json, smaller."""
    return {
        "vocab_size": len(WORDS), "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS, "num_attention_heads": WIDTH // 64, "hidden_act": "gelu",
        "max_position_embeddings": 64, "layer_norm_eps": 1e-12, "type_vocab_size": 2,
    }  # fmt: skip


def main(name: str) -> None:
    """Print the golden values as JSON, with the versions they were made with."""
    import torchvision

    made = {"hps": hps, "image_reward": image_reward, "hpsv3": hpsv3}[name]()
    versions = {m.__name__: m.__version__ for m in (torch, torchvision, np)}
    print(json.dumps({"versions": versions, name: made}))


if __name__ == "__main__":
    main(sys.argv[1])
