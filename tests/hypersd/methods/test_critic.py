"""The critic: its trunk is the UNet's own first half, it learns, and it leaves the UNet alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional as F

from hypersd.bases.unet import UnetFamily
from hypersd.critic import Critic, encoder_of
from hypersd.losses import critic_loss, generator_loss


@pytest.fixture
def unet(tiny_base: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny_base, subfolder="unet").eval()


def inputs(count: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(count, 4, 16, 16, generator=rng)
    text = torch.randn(count, 24, 32, generator=rng)
    return x, torch.randint(1000, (count,), generator=rng), text


def test_the_trunk_gives_what_the_unets_middle_gives(unet: UNet2DConditionModel) -> None:
    seen = []
    hook = unet.mid_block.register_forward_hook(lambda module, args, out: seen.append(out))
    x, t, text = inputs()
    with torch.no_grad():
        unet(x, t, encoder_hidden_states=text)
        hook.remove()
        found = UnetFamily.features(encoder_of(unet), x, t, text)[-1]
    torch.testing.assert_close(found, seen[0], rtol=0, atol=0)
    assert unet.up_blocks is not None


@pytest.mark.parametrize("pair", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_it_learns_to_tell_two_kinds_apart(
    unet: UNet2DConditionModel, pair: bool, frozen: bool
) -> None:
    torch.manual_seed(0)
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    critic = Critic(unet, pair=pair, frozen=frozen)
    trunk = {key: value.clone() for key, value in critic.trunk.state_dict().items()}
    x, t, text = inputs()
    other = (x, t) if pair else (None, None)
    optimizer = torch.optim.AdamW(critic.trained(), lr=2e-3)
    losses = []
    for _ in range(15):
        loss = critic_loss(
            critic(x, t, text, *other), critic(0.5 * x + 0.3, t, text, *other)
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    moved = any(not torch.equal(critic.trunk.state_dict()[k], v) for k, v in trunk.items())
    assert moved is not frozen
    assert all(torch.equal(unet.state_dict()[key], value) for key, value in before.items())


def test_a_frozen_trunk_is_the_unet_itself(unet: UNet2DConditionModel) -> None:
    critic = Critic(unet, frozen=True)
    assert critic.trunk is unet
    assert [name for name, _ in critic.named_children()] == ["head"]


def test_a_pair_critic_wants_both_points(unet: UNet2DConditionModel) -> None:
    x, t, text = inputs()
    with pytest.raises(ValueError, match="x_t"):
        Critic(unet)(x, t, text)


def test_adversarial_losses_are_the_binary_cross_entropies() -> None:
    real, fake = torch.tensor([2.0, -1.0, 40.0]), torch.tensor([0.3, -5.0, 60.0])
    ones, zeros = torch.ones(3), torch.zeros(3)
    bce = F.binary_cross_entropy_with_logits
    expected = bce(real, ones, reduction="none") + bce(fake, zeros, reduction="none")
    torch.testing.assert_close(critic_loss(real, fake), expected)
    torch.testing.assert_close(generator_loss(fake), bce(fake, ones, reduction="none"))
