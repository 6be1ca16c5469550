"""Pose transfer: the losses as they are written, who judges, and own data of any shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import frozen, small, steps, trainer_and_monitor, trainer_for
from matrix_helpers import check_cell

from gancli.config.build import build_game
from gancli.errors import UserError
from gancli.games.pose import show_pose


def game_of(*overrides):
    torch.manual_seed(0)
    return build_game(small("pose", *overrides), trust=None)


def batch_of(n=4, poses=3):
    rng = torch.Generator().manual_seed(0)
    shapes = {"a": 3, "b": 3, "pose_a": poses, "pose_b": poses}
    batch = {key: torch.rand(n, c, 16, 16, generator=rng) * 2 - 1 for key, c in shapes.items()}
    return batch | {"front": (torch.rand(n, 1, 16, 16, generator=rng) > 0.5).float()}


def score(game, name, picture, batch):
    beside = batch["a" if name == "appearance" else "pose_b"]
    return game.discriminator[name](torch.cat([picture, beside], 1))


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_generators_loss_is_the_papers_sum(weight):
    game = game_of(f"model.foreground_weight={weight}", "model.pixel_weight=10")
    batch = batch_of()
    total, logs = game.g_loss(batch)
    fake = game.generator(batch["a"], torch.cat([batch["pose_a"], batch["pose_b"]], 1))
    adversarial = [
        F.softplus(-score(game, name, fake, batch)).mean() for name in ("appearance", "shape")
    ]
    difference = (fake - batch["b"]).abs()
    distance = (difference * (1 + weight * batch["front"])).mean()
    expected = 5 / 2 * sum(adversarial) + 10 * distance
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert logs["pixel"].item() == pytest.approx(difference.mean().item(), rel=1e-5)
    assert ("front" in logs) == (weight > 0)
    assert logs["shape_adv"].item() == pytest.approx(adversarial[1].item(), rel=1e-5)


def test_the_discriminators_losses_are_those_of_two_gans():
    game = game_of()
    batch = batch_of()
    total, _ = game.d_loss(batch)
    fake = game.make_fake(batch)
    expected = sum(
        F.softplus(-score(game, name, batch["b"], batch)).mean()
        + F.softplus(score(game, name, fake, batch)).mean()
        for name in ("appearance", "shape")
    )
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("judged", ["appearance", "shape"])
def test_one_discriminator_may_judge_alone(judged):
    game = game_of(f"model.judged={judged}")
    assert [*game.discriminator] == [*game.adversarial] == [judged]
    batch = batch_of()
    total, logs = game.g_loss(batch)
    fake = game.make_fake(batch)
    adversarial = F.softplus(-score(game, judged, fake, batch)).mean()
    assert total.item() == pytest.approx((5 * adversarial + 10 * logs["pixel"]).item(), rel=1e-5)


@pytest.mark.parametrize("words", [["model.judged=none"], ["loss=none"]])
def test_nobody_need_judge(words):
    setup = small("pose", *words, "model.foreground_weight=1")
    trainer = steps(trainer_for(setup), 2)
    assert trainer.game.discriminator is None and list(trainer.game.players()) == ["g"]
    assert {*trainer.logs} >= {"g/pixel", "g/front"}


def test_a_warm_up_has_pixels_alone():
    game = game_of("model.warmup=3", "model.foreground_weight=1")
    assert [(phase.name, phase.start, phase.stop) for phase in game.phases()] == [
        ("warmup", 0, 3),
        ("d", 3, None),
        ("g", 3, None),
    ]
    total, logs = game.distance_loss(batch_of())
    assert total.item() == pytest.approx((logs["pixel"] + logs["front"]).item(), rel=1e-5)


def test_what_does_not_fit_is_refused():
    for words, said in (
        (["~model.discriminator.shape"], "has no shape"),
        (["model.foreground_weight=-1"], "foreground_weight=-1"),
    ):
        with pytest.raises(UserError, match=said):
            game_of(*words)
    with pytest.raises(UserError, match="images out of images") as error:
        game_of().inputs(2, None)
    assert error.value.hint.startswith("gan translate")


def test_maps_of_joints_join_what_the_networks_see():
    game = game_of("dataset.maps=gaussians")
    assert game.generator.pose_channels == 13
    assert game.discriminator["shape"].body[0].in_channels == 3 + 13
    assert game.g_loss(batch_of(poses=13))[0].isfinite()
    assert game.draw_panels(batch_of(poses=13), game.generator)["pose"].shape == (4, 3, 16, 16)


def test_poses_are_shown_as_pictures_of_the_datas_channels():
    maps = torch.full((1, 13, 2, 2), -1.0)
    maps[0, 5, 0, 1] = 1
    for channels in (1, 2, 3, 4):
        shown = show_pose(maps, channels)
        assert shown.shape == (1, channels, 2, 2)
        assert shown[0, 0].tolist() == [[-1, 1], [-1, -1]]
        assert channels in (1, 3) or (shown[:, -1] == 1).all()


GOLDEN = (1.39927, 0.79417)


def test_a_golden_step():
    trainer = trainer_for(small("pose"))
    trainer.step()
    assert trainer.logs["d/adv"].item() == pytest.approx(GOLDEN[0], abs=2e-4)
    assert trainer.logs["g/pixel"].item() == pytest.approx(GOLDEN[1], abs=2e-4)


def test_an_evaluation_has_silhouettes_and_trivial_answers():
    trainer, monitor = trainer_and_monitor(small("pose", "metrics=fast", "metrics.n=10"))
    values = monitor.measure(trainer.game, trainer.game.generator).values
    assert {*values} >= {f"iou{end}" for end in ("", "_source", "_mean")}
    assert {*values} >= {f"ssim{end}" for end in ("", "_source", "_mean")}
    assert 0 < values["iou_source"] < 0.9
    assert {*monitor.draw_references(trainer.game)} == {"source", "source-pose", "new-pose"}
    joints = trainer_and_monitor(small("pose", "dataset.maps=gaussians"))
    assert {*joints[1].draw_references(joints[0].game)} == {"source"}


@pytest.mark.full
@pytest.mark.parametrize("loss", ["non_saturating", "wgan_gp"])
def test_own_pictures_of_any_shape_resume_exactly(tmp_path, loss):
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (6, 5, 20, 28, 1)).astype(np.uint8)
    np.savez(tmp_path / "own.npz", images=images, pose=images[0])
    words = ("dataset.load_size=[20,28]", "dataset.resolution=[16,24]", "dataset.flip=true")
    setup = frozen(
        "model=pose",
        "dataset=posed",
        f"dataset.path={tmp_path / 'own.npz'}",
        "dataset.held_people=1",
        *words,
        f"loss={loss}",
        "model.width=4",
        "model.generator.blocks=1",
        "model.foreground_weight=1",
        "model.discriminator.appearance.layers=1",
        "model.discriminator.shape.layers=1",
        "trainer.batch_size=8",
        "metrics=none",
        "trainer.device=cpu",
        "trainer.precision=fp32",
    )
    check_cell(setup, tmp_path)
