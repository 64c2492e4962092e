"""Small evaluators of the real classes under the ids that metrics name, and references for them.

A network whose shape its file says is small in its file. CLIPs that open_clip names are small in
`small_bench`. Inception is as large as it is, with random weights; it and LAION's head are pinned
by hash at an address: `words` names them on the hub, so that the lock under test pins them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

from bench.metrics.networks.clip import HPS, KNOWN
from bench.metrics.networks.inception import Inception, architecture
from bench.metrics.references import ReferenceFeatures
from bench.statistics.metrics import METRICS
from tests.conformance import seeded
from tests.hypersd.real_rewards import make_image_reward, make_laion
from tests.real.official import Files, files_of
from tests.real.small_bench import OPEN_CLIP
from tests.support import qwen

INCEPTION = "them/inception", "pt_inception.pth"
HEAD = "them/aesthetic", "linear.pth"
ALEXNET = "them/alexnet", "alexnet.pth"
TAGS = [("ViT-B-32", "openai"), ("ViT-L-14", "openai")]
HPSV3 = Path(seeded.__file__).parent / "goldens/hpsv3.json"
REFERENCE = "reference.safetensors"


def words(metrics: Sequence[str], *, made: bool = False) -> list[str]:
    """What a command line says of metrics: the files that an address pins, at the hub, and a
    reference that is there already, unless the run is to make its own."""
    found = [f"metrics.aesthetic.head=hf://{'/'.join(HEAD)}"] if "aesthetic" in metrics else []
    for name in ("lpips_teacher", "lpips_share"):
        found += [f"metrics.{name}.weights=hf://{'/'.join(ALEXNET)}"] if name in metrics else []
    for name in metrics:
        maker = METRICS[name].published
        if maker is not None and "reference" in maker.keys:
            found.append(f"metrics.{name}.weights=hf://{'/'.join(INCEPTION)}")
            if not made:
                found.append(f"metrics.{name}.reference={REFERENCE}")
    return found


def hub(folder: Path) -> dict[str, Files]:
    """The repositories of all evaluators of the suites on SD1.5 and SDXL."""
    folder.mkdir()
    made = make_image_reward(folder / "image_reward")
    owner, name = HPS["v2.1"].removeprefix("hf://").rsplit("/", 1)
    found = {
        INCEPTION[0]: {INCEPTION[1]: _pickled(_inception())},
        HEAD[0]: {HEAD[1]: make_laion(folder / "head.pth").read_bytes()},
        "yuvalkirstain/PickScore_v1": files_of(_pick(folder / "pick")),
        "THUDM/ImageReward": {"ImageReward.pt": (made / "ImageReward.pt").read_bytes()},
        "google-bert/bert-base-uncased": {"vocab.txt": (made / "vocab.txt").read_bytes()},
        owner: {name: _pickled(_clip(3))},
    }
    found |= _of_transformers(folder) | {ALEXNET[0]: {ALEXNET[1]: _pickled(_alexnet())}}
    for number, tag in enumerate(TAGS):
        found[KNOWN[tag].repo] = {"open_clip_pytorch_model.bin": _pickled(_clip(number))}
    return found


def write_reference(folder: Path, repos: dict[str, Files]) -> None:
    """`REFERENCE` in a folder: features of ten images that nobody made."""
    weights = folder / "inception.pth"
    weights.write_bytes(repos[INCEPTION[0]][INCEPTION[1]])
    features = np.random.default_rng(0).random((10, 2048), dtype=np.float32)
    seen_by = Inception(weights=str(weights)).identity
    ReferenceFeatures("nobody", seen_by, features).save(folder / REFERENCE)


def _of_transformers(folder: Path) -> dict[str, Files]:
    """DINOv2, the judge of `vqa` and `skills`, and HPSv3 with its base."""
    shapes = json.loads(HPSV3.read_text())["hpsv3"]["shapes"]
    made = files_of(qwen.make_hpsv3(folder / "hpsv3", shapes))
    dinov2 = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                          image_size=224, patch_size=14)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Dinov2Model(dinov2).save_pretrained(folder / "dinov2")
    return {
        "facebook/dinov2-large": files_of(folder / "dinov2"),
        "Qwen/Qwen3-VL-2B-Instruct": files_of(qwen.make_judge(folder / "judge")),
        "MizzenAI/HPSv3": {"HPSv3.safetensors": made.pop("HPSv3.safetensors")},
        "Qwen/Qwen2-VL-7B-Instruct": made,
    }


def _alexnet() -> dict[str, Any]:
    import torchvision

    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = torchvision.models.alexnet().features.state_dict()
    return {f"features.{name}": value.half() for name, value in state.items()}


def _inception() -> dict[str, Any]:
    """In half precision, which the hub sends in half the time."""
    state = seeded.state(architecture().state_dict())
    return {name: v.half() if v.is_floating_point() else v for name, v in state.items()}


def _clip(seed: int) -> dict[str, Any]:
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found: dict[str, Any] = open_clip.CLIP(**json.loads(json.dumps(OPEN_CLIP))).state_dict()
    return found


def _pickled(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _pick(folder: Path) -> Path:
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "projection_dim": 16}  # fmt: skip
    config = CLIPConfig(
        text_config={**shared, "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config={**shared, "image_size": 32, "patch_size": 16}, projection_dim=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    return folder
