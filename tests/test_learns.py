"""Slow: it learns.

A ring of 8 Gaussians keeps 8 modes, and digits are recognised as the class they were asked for.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from gancli.cli import main
from gancli.data.builtin import CrispDigits
from gancli.inference.sampling import draw_inputs, generate

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
@pytest.mark.parametrize("loss", ["non_saturating", "lsgan", "r1", "rpgan_r1r2"])
def test_ring_of_eight(loss, tmp_path):
    from gancli.checkpoint import load_game

    run = str(tmp_path / "run")
    assert (
        main(
            [
                "train",
                "experiment=mlp_ring",
                f"loss={loss}",
                "trainer.steps=3000",
                "trainer.device=cpu",
                f"hydra.run.dir={run}",
            ]
        )
        == 0
    )
    loaded = load_game(run)
    points = torch.cat(
        list(
            generate(loaded.game, loaded.generator, draw_inputs(loaded.game, 2500, seed=0), seed=0)
        )
    ).flatten(1)
    angles = torch.arange(8) * 2 * math.pi / 8
    distance, mode = torch.cdist(points, torch.stack([angles.cos(), angles.sin()], 1)).min(1)
    good = distance < 3 * 0.01  # high-quality: within three standard deviations
    assert len(mode[good].unique()) == 8
    assert good.float().mean() > 0.25


@pytest.mark.timeout(1200)
def test_digits_of_the_default_run_are_recognised(tmp_path):
    svm = pytest.importorskip("sklearn.svm")

    from gancli.checkpoint import load_game

    run = str(tmp_path / "run")
    assert (
        main(["train", "trainer.device=cpu", "trainer.precision=fp32", f"hydra.run.dir={run}"]) == 0
    )
    loaded = load_game(run)
    label = torch.arange(10).repeat_interleave(100)
    images = torch.cat(
        list(
            generate(
                loaded.game,
                loaded.generator,
                draw_inputs(loaded.game, 1000, seed=0, label=label),
                seed=0,
            )
        )
    )
    digits = CrispDigits().load()
    real = digits.images.float() / 127.5 - 1
    judge = svm.SVC().fit(small(real), digits.labels.numpy())
    assert judge.score(small(real), digits.labels.numpy()) > 0.98
    assert judge.score(small(images), label.numpy()) >= 0.9


def small(images):
    return torch.nn.functional.interpolate(images, size=10, mode="area").flatten(1).numpy()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("loss", ["wgan_gp"])
def test_a_dcgan_makes_digits_within_the_default_budget(loss, tmp_path):
    run = str(tmp_path / "run")
    argv = ["model=dcgan", f"loss={loss}", "trainer.device=cpu", "trainer.precision=fp32"]
    assert main(["train", *argv, f"hydra.run.dir={run}"]) == 0
    report = json.loads(Path(run, "evaluation.json").read_text())
    assert report["step"] == 3000
    assert report["values"]["fd_self"] <= 6  # smears: 85
    assert report["values"]["modes"] == 10
    assert report["values"]["kl"] < 0.2


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["enhance", "inpaint", "pix2pix", "cyclegan", "srgan", "esrgan"])
def test_translated_digits_are_far_above_the_copied_source_and_the_mean_image(name, tmp_path):
    run = str(tmp_path / "run")
    words = [f"experiment={name}_digits_small", "trainer.device=cpu", f"hydra.run.dir={run}"]
    assert main(["train", *words]) == 0
    values = json.loads(Path(run, "evaluation.json").read_text())["values"]
    for ending in ("source", "mean"):
        assert values["psnr"] > values[f"psnr_{ending}"] + 5
        assert values["ssim"] > values[f"ssim_{ending}"] + 0.2


@pytest.mark.timeout(900)
def test_a_compiled_generator_trains_resumes_and_samples(tmp_path):
    run = str(tmp_path / "run")
    common = [
        "trainer.compile=true",
        "trainer.device=cpu",
        "model.width=4",
        "loss=wgan_gp",
        f"hydra.run.dir={run}",
    ]
    assert main(["train", *common, "trainer.steps=6"]) == 0
    assert main(["train", f"resume={run}", "trainer.steps=7"]) == 0
    assert main(["sample", f"ckpt={run}", "n=2", f"out={tmp_path / 'images'}"]) == 0
