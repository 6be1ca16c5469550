"""The monitor of games from images to images: its numbers in closed form, its pictures, and that
looking changes nothing.
"""

from __future__ import annotations

import pytest
import torch
from evaluation_helpers import metrics_of
from helpers import CPU, small, steps, trainer_and_monitor, trainer_for
from same_helpers import Same, cyclegan

from gancli.evaluation.monitor import Monitor
from gancli.evaluation.paired import PairMonitor, iterate_batches, make_monitor, measure
from gancli.metrics.settings import best_key, better
from gancli.metrics.ssim import ssim
from gancli.render.grids import to_uint8


def judged(model: str, *overrides: str):
    return trainer_and_monitor(small(model, "metrics=fast", *overrides))


def test_a_game_gets_the_judge_that_suits_it():
    assert isinstance(judged("enhance")[1], PairMonitor) and type(judged("mlp")[1]) is Monitor


def test_a_generator_that_changes_nothing_is_as_good_as_the_source():
    trainer, monitor = judged("enhance")
    game = trainer.game
    game.generator = Same()
    values = monitor.measure(game, Same()).values
    assert values["psnr"] == values["psnr_source"] and values["ssim"] == values["ssim_source"]
    noisy, clean = next(
        iterate_batches(monitor.held, ("a", "b"), 4, resolution=16, device=CPU, seed=0)
    ).values()
    error = ((noisy - clean) * 127.5).square().mean((1, 2, 3))
    assert values["psnr"] == pytest.approx(
        (10 * (255**2 / error).log10()).mean().item(), abs=0.35
    ), "new draws of the same noise"


def test_a_perfect_generator():
    trainer, monitor = judged("enhance", "dataset.noise=1e-6")
    report = monitor.measure(trainer.game, Same())
    assert "psnr" not in report.values and report.skipped["psnr"].startswith("it is inf")
    assert report.values["ssim"] == pytest.approx(1)


def test_the_mean_of_the_targets_is_a_baseline_for_pairs():
    trainer, monitor = judged("pix2pix")
    values = monitor.measure(trainer.game, trainer.ema).values
    names = {f"{key}{ending}" for key in ("psnr", "ssim") for ending in ("", "_source", "_mean")}
    assert names | {"psnr_y"} == set(values)
    train = torch.cat(
        [
            batch["b"]
            for batch in iterate_batches(
                monitor.train, ("a", "b"), 500, resolution=16, device=CPU, seed=1
            )
        ]
    )
    held = torch.cat(
        [
            batch["b"]
            for batch in iterate_batches(
                monitor.held, ("a", "b"), 500, resolution=16, device=CPU, seed=1
            )
        ]
    )
    error = ((train.mean(0) - held) * 127.5).square().mean((1, 2, 3))
    assert values["psnr_mean"] == pytest.approx(
        (10 * (255**2 / error).log10()).mean().item(), abs=0.1
    )
    average = to_uint8(train.mean(0, keepdim=True)).expand_as(held)
    assert values["ssim_mean"] == pytest.approx(ssim(average, to_uint8(held)), abs=0.02)


def test_two_domains_are_compared_as_sets_and_by_what_comes_back():
    trainer, monitor = judged("cyclegan")
    report = monitor.measure(trainer.game, trainer.ema)
    assert {"swd", "cycle"} <= set(report.values) and "psnr" not in report.values
    same = cyclegan(resolution=16, channels=3)
    assert monitor.measure(same, same.generator).values["cycle"] == 0


def test_two_domains_whose_held_out_images_are_pairs_are_compared_as_pairs_too():
    data = ("dataset=outlined", "dataset.apart=true", "dataset.path=null", "dataset.channels=1")
    _, monitor = judged("cyclegan", *data, "+dataset@dataset.of=digits")
    same = cyclegan(resolution=16)
    values = monitor.measure(same, same.generator).values
    assert values["psnr"] == values["psnr_source"] and values["ssim"] == values["ssim_source"]
    assert {"psnr_mean", "ssim_mean", "swd", "cycle"} <= set(values)


def test_the_picture_has_a_row_for_each_source():
    trainer, monitor = judged("srgan")
    picture = monitor.draw_samples(trainer.game, trainer.ema, columns=10).picture
    assert picture.size == (
        3 * 50 + 2,
        4 * 50 + 2,
    )  # 4 held-out images, source, output, target; 48 pixels and a gap each
    trainer, monitor = judged("cyclegan")
    assert monitor.draw_samples(trainer.game, trainer.ema, columns=10).picture.width == 6 * 50 + 2


def test_outputs_that_are_all_alike_are_noticed():
    trainer, monitor = judged("enhance")
    flat = Same()
    flat.weight.data.zero_()
    assert monitor.measure_diversity(trainer.game, flat)["watch/diversity"] == 0
    assert monitor.measure_diversity(trainer.game, Same())["watch/diversity"] == pytest.approx(
        1, abs=0.3
    )


def test_looking_does_not_change_training():
    setup = small("pix2pix", "metrics=fast")
    one = trainer_for(setup)
    other, monitor = trainer_and_monitor(setup)
    for trainer, look in ((one, False), (other, True)):
        for _ in range(2):
            steps(trainer, 1)
            if look:
                monitor.measure(trainer.game, trainer.ema)
                monitor.draw_samples(trainer.game, trainer.ema, columns=4)
                monitor.measure_diversity(trainer.game, trainer.ema)
    states = one.game.state_dict(), other.game.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_looking_leaves_the_global_generator_alone():
    """The U-Net's dropout draws from it, when it looks as when it trains."""
    trainer, monitor = judged("pix2pix")
    for look in (
        lambda: monitor.measure_diversity(trainer.game, trainer.ema),
        lambda: monitor.draw_samples(trainer.game, trainer.ema, columns=4),
        lambda: monitor.measure(trainer.game, trainer.ema),
    ):
        before = torch.get_rng_state()
        look()
        assert torch.equal(torch.get_rng_state(), before)


def test_without_held_out_images_those_of_the_training_serve():
    trainer, monitor = judged("enhance", "dataset.holdout=0")
    assert (
        monitor.held is None
        and monitor.measure(trainer.game, trainer.ema).protocol["split"] == "train"
    )


def test_the_number_of_images_is_bounded_and_the_protocol_names_the_seed_that_was_used():
    trainer, monitor = judged("enhance", "metrics.n=10", "dataset.holdout=14")
    report = measure(
        game=trainer.game,
        generator=trainer.ema,
        train=monitor.train,
        held=monitor.held,
        spec=monitor.spec,
        dataset=monitor.config.dataset,
        seed=7,
        device=CPU,
    )
    assert report.protocol["n_fake"] == 10
    assert report.protocol["seed"] == 7 != monitor.config.seed
    assert (
        len(
            make_monitor(
                trainer.game,
                train=monitor.train,
                held=monitor.held,
                config=monitor.config,
                device=CPU,
            ).few["a"]
        )
        == 8
    )


def test_which_way_is_better():
    assert (better("psnr"), better("ssim"), better("lpips_distance"), better("cycle")) == (
        "max",
        "max",
        "min",
        "min",
    )
    assert best_key(metrics_of(), {"psnr": 20.0, "psnr_mean": 12.0, "ssim": 0.5}) == ("psnr", "max")
