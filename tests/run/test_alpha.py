"""Images with alpha: no part of a run counts the colours that nobody sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import train_helpers
from helpers import differences, small, steps, trainer_and_monitor, trainer_for
from PIL import Image
from train_helpers import sound

from gancli.evaluation.probing import view
from gancli.games.gan import GAN

gan = pytest.fixture(train_helpers.gan)
RGBA = ("dataset.channels=4", "augment=ada", "augment.p=0.5")


def blend(image: Image.Image) -> np.ndarray:
    """What a viewer shows of an image over black: (H,W,3)."""
    ground = Image.new("RGBA", image.size, "black")
    return np.asarray(Image.alpha_composite(ground, image).convert("RGB"))


def hide(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N,4,H,W) whose upper half is hidden, with the one and with other colours there."""
    images = images.clone()
    images[:, 3, : images.shape[2] // 2] = -1
    other = images.clone()
    other[:, :3, : images.shape[2] // 2] *= -1
    return images, other


def test_a_discriminator_that_learned_over_white_is_asked_over_white():
    noise = torch.rand(4, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one, other = hide(noise)
    for white in (True, False):
        word = f"augment.over_white={str(white).lower()}"
        game = trainer_for(small("dcgan", *RGBA, word)).game.eval()
        with torch.no_grad():
            (_, first), (_, second) = (view(game, x, None) for x in (one, other))
        assert torch.equal(first, second) == white


def test_diversity_is_what_is_seen(monkeypatch):
    """Samples that differ below full transparency alone are all alike."""
    trainer, monitor = trainer_and_monitor(small("dcgan", *RGBA))
    x = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    two = torch.cat([x, -x])
    seen = torch.cat([two[:, :3], torch.ones_like(two[:, 3:])], 1)
    hidden = torch.cat([two[:, :3], -torch.ones_like(two[:, 3:])], 1)
    for pair, different in ((seen, True), (hidden, False)):

        def sample(inputs, generator, pair=pair):
            return pair.repeat_interleave(len(inputs["z"]) // 2, 0)

        monkeypatch.setattr(trainer.game, "sample", sample)
        found = monitor.measure_diversity(trainer.game, trainer.game.generator)
        assert (found["watch/diversity"] > 0) == different


def test_a_run_over_white_resumes_to_the_bit():
    config = small("dcgan", *RGBA, "augment.over_white=true")
    whole = steps(trainer_for(config), 4).state_dict()
    half = trainer_for(config)
    half.load_state_dict(steps(trainer_for(config), 2).state_dict())
    assert differences(whole, steps(half, 2).state_dict()) == []
    plain = small("dcgan", *RGBA)
    assert differences(whole, steps(trainer_for(plain), 4).state_dict()), "it makes a difference"


def test_written_samples_hide_nothing_and_look_as_they_are(gan, monkeypatch):
    """The file of a sample shows what the generator made, with white where nothing is seen."""
    words = ("dataset.path=drawings", "dataset.resolution=16", "dataset.holdout=0")
    rng = np.random.default_rng(0)
    Path("drawings").mkdir()
    for k in range(8):
        pixels = rng.integers(0, 256, (16, 16, 4), dtype=np.uint8)
        pixels[:8, :, 3] = 0
        Image.fromarray(pixels).save(f"drawings/{k}.png")
    run = ("model=dcgan", "model.width=4", "trainer.steps=1", "trainer.batch_size=4")
    sound(gan("train", *run, "dataset=folder", *words, "augment=over_white", "hydra.run.dir=run"))
    real = GAN.sample

    def sample(self, inputs, generator, **options):
        made = real(self, inputs, generator, **options)
        made[:, 3, :5] = -1
        return made

    monkeypatch.setattr(GAN, "sample", sample)
    sound(gan("sample", "ckpt=run", "n=2", "out=out"))
    image = Image.open("out/000000.png")
    pixels = np.asarray(image)
    assert image.mode == "RGBA" and (pixels[:5, :, 3] == 0).all() and pixels[5:, :, 3].min() > 0
    assert (pixels[:5, :, :3] == 255).all() and (pixels[5:, :, :3] != 255).any()
    assert (blend(image)[:5] == 0).all(), "and a viewer shows nothing there"
    grid = np.asarray(Image.open("out/grid.png"))
    assert (grid[grid[..., 3] == 0] == (255, 255, 255, 0)).all() and (grid[..., 3] == 0).any()
