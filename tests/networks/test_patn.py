"""PATN: two streams, exact counts, and a discriminator of residual blocks."""

from __future__ import annotations

import pytest
import torch
from helpers import frozen

from gancli.config.build import build_game
from gancli.networks.patn import PATN, AttentionBlock, ResNetDiscriminator


def count(module):
    return sum(p.numel() for p in module.parameters())


def count_encoder(channels, width):
    return 49 * channels * width + 9 * width**2 * (2 + 8) + 2 * width * (1 + 2 + 4)


def count_patn(width, blocks, channels, pose_channels):
    wide = 4 * width
    first = 4 * 9 * wide**2 + 3 * 2 * wide
    later = (2 + 4 + 2) * 9 * wide**2 + 2 * 2 * wide + 2 * 2 * wide
    end = 9 * width**2 * (8 + 2) + 2 * width * (2 + 1) + 49 * width * channels + channels
    encoders = count_encoder(channels, width) + count_encoder(2 * pose_channels, width)
    return encoders + first + (blocks - 1) * later + end


def test_exact_counts_at_the_papers_size():
    with torch.device("meta"):
        patn = PATN(
            channels_in=3, channels_out=3, pose_channels=18, width=64, blocks=9, resolution=64
        )
        critics = [ResNetDiscriminator(channels=3 + other) for other in (3, 18)]
    assert count(patn) == count_patn(64, 9, 3, 18) == 41_365_763, "41.36 million in the paper"
    residual = 2 * 9 * 256**2 + 2 * 2 * 256
    assert [count(critic) for critic in critics] == [
        count_encoder(channels, 64) + 3 * residual for channels in (6, 21)
    ]
    assert [count(critic) for critic in critics] == [3_930_368, 3_977_408]


def test_exact_counts_of_the_default():
    with torch.device("meta"):
        game = build_game(frozen("model=pose"), trust=None)
    assert count(game.generator) == count_patn(32, 3, 3, 3) == 3_248_323
    patch = 16 * (6 * 32 + 32 * 64 + 64 * 128 + 128) + 32 + 2 * (64 + 128) + 1
    assert {name: count(critic) for name, critic in game.discriminator.items()} == {
        "appearance": patch,
        "shape": patch,
    }


def test_the_gate_decides_where_the_picture_changes():
    torch.manual_seed(0)
    block = AttentionBlock(4, first=True, norm="none", dropout=0.0)
    x = torch.randn(2, 4, 8, 8)
    p = torch.randn(2, 4, 8, 8)
    moved, told = block(x, p)
    gate = block.poses(p)
    assert torch.allclose(moved, x + block.picture(x) * torch.sigmoid(gate))
    assert torch.equal(told, torch.cat([gate, moved], 1))
    with torch.no_grad():
        block.poses[-1].bias.fill_(-1e4)
    assert torch.equal(block(x, p)[0], x), "a shut gate leaves the picture as it is"
    with pytest.raises(RuntimeError):
        AttentionBlock(4, first=False, norm="none", dropout=0.0)(x, p)


def test_the_output_depends_on_the_picture_and_on_both_poses():
    torch.manual_seed(0)
    patn = PATN(channels_in=3, channels_out=3, pose_channels=2, resolution=16, width=4, blocks=2)
    source = torch.randn(2, 3, 16, 16)
    pose = torch.randn(2, 4, 16, 16)
    made = patn(source, pose)
    assert made.shape == source.shape and made.abs().max() <= 1
    for changed in ((source + 1 * (source > 0), pose), (source, pose.roll(1, 3))):
        assert not torch.allclose(patn(*changed), made)
    half = pose.clone()
    half[:, :2] += torch.randn(2, 2, 16, 16)
    assert not torch.allclose(patn(source, half), made)
    with pytest.raises(ValueError, match="takes 16x16 only"):
        patn(torch.zeros(1, 3, 32, 32), torch.zeros(1, 4, 32, 32))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="the paper's: 64, 18, 2, 9, 0.5"):
        PATN(channels_in=3, channels_out=3, pose_channels=3, resolution=16, blocks=0)
    with pytest.raises(ValueError, match="paper's width 64"):
        ResNetDiscriminator(channels=6, downs=9)
    scores = ResNetDiscriminator(channels=6, width=4, blocks=1)(torch.zeros(2, 6, 16, 16))
    assert scores.shape == (2, 16, 4, 4), "every number of the last map is a score"
