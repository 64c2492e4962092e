"""Small networks of SDXL's classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tests.hypersd.real_models import WIDTH, make_tokenizer
from tests.support import models

Networks = dict[str, Any]


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """A UNet and both text encoders, which nobody changes."""
    tokenizer = make_tokenizer(tmp_path_factory.mktemp("words"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {
            "unet": models.sdxl_unet(8, WIDTH, WIDTH),
            "text_encoder": models.text_encoder(CLIPTextModel, tokenizer, WIDTH, layers=1),
            "text_encoder_2": models.text_encoder(
                CLIPTextModelWithProjection, tokenizer, WIDTH, layers=1
            ),
        }
