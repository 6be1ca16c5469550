"""BicycleGAN: two halves of a batch, an encoder that rests where latents are found again."""

from __future__ import annotations

import pytest
import torch
from helpers import PAIRS, frozen, small, trainer_and_monitor, trainer_for

from gancli.config.build import build_game
from gancli.errors import UserError
from gancli.evaluation.paired import compare_answers
from gancli.networks.bicyclegan import LatentEncoder, LatentUNet


def game_of(*overrides):
    torch.manual_seed(0)
    return build_game(small("bicyclegan", *overrides), trust=None)


def batch_of(n=4):
    rng = torch.Generator().manual_seed(0)
    return {key: torch.rand(n, 3, 16, 16, generator=rng) * 2 - 1 for key in "ab"}


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_exact_counts():
    with torch.device("meta"):
        sized = ["dataset.resolution=256", "dataset.channels=3", f"dataset.path={PAIRS}"]
        game = build_game(frozen("model=bicyclegan", *sized), trust=None)
    u_net = 16 * (11 * 64 + 72 * 128 + 136 * 256 + 264 * 512 + 4 * 520 * 512)
    u_net += 16 * (512 * 512 + 3 * 1024 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 3)
    biases = 64 + 128 + 256 + 5 * 512 + 4 * 512 + 256 + 128 + 64 + 3
    assert count(game.generator) == u_net + biases
    blocks = [(64, 128), (128, 192), (192, 256), (256, 256)]
    encoder = 3 * 64 * 16 + 64 + 2 * (256 * 8 + 8)
    encoder += sum(9 * a * a + a + 9 * a * b + b + a * b + b for a, b in blocks)
    assert count(game.encoder) == encoder
    assert {*game.players()} == {"g", "d", "e"} and len(game.discriminator) == 2


@pytest.mark.parametrize("inject", ["all", "input"])
def test_the_latent_reaches_what_is_made(inject):
    torch.manual_seed(0)
    network = LatentUNet(
        channels_in=3, channels_out=3, z_dim=3, inject=inject, width=4, downs=3
    ).eval()
    a = batch_of()["a"]
    one, other = (network(a, torch.full((4, 3), value)) for value in (-1.0, 1.0))
    assert one.shape == a.shape and not torch.equal(one, other)
    assert torch.equal(one, network(a, torch.full((4, 3), -1.0)))
    assert not torch.equal(network(a), network(a)), "without z it draws"


def test_the_encoder_rests_where_a_drawn_latent_is_found_again():
    game = game_of()
    image = batch_of()["b"].requires_grad_()
    game.find_latents(image).sum().backward()
    assert image.grad is not None and image.grad.any()
    assert all(p.grad is None for p in game.encoder.parameters())
    assert torch.equal(game.find_latents(image), game.encoder(image)[0])


def test_each_half_has_its_own_part():
    game = game_of()
    halves, fakes, terms = game.make_halves(batch_of(5))
    assert [len(halves[half]["a"]) for half in ("encoded", "random")] == [3, 2]
    assert fakes["encoded"].shape == (3, 3, 16, 16)
    mean, log_variance = game.encode(halves["encoded"]["b"])
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    kl = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    assert terms["kl"].item() == pytest.approx(kl.sum(1).mean().item(), abs=1e-5)


def test_the_loss_is_the_papers_sum():
    game = game_of()
    weights = (game.pixel_weight, game.kl_weight, game.latent_weight)
    assert weights == (10, 0.01, 0.5)
    with torch.no_grad():  # an untrained encoder says N(0,1), nearly, which no weight changes
        game.encoder.log_variance.bias.fill_(2.0)
    torch.manual_seed(1)
    total, logs = game.g_loss(batch_of())
    assert logs["kl"] > 1
    adversarial = logs["encoded_adv"] + logs["random_adv"]
    expected = adversarial + 10 * logs["pixel"] + 0.01 * logs["kl"] + 0.5 * logs["latent"]
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_one_discriminator_may_judge_both_halves():
    game = game_of("~model.discriminator.random")
    assert list(game.discriminator) == ["encoded"]
    for side in (game.d_loss, game.g_loss):
        assert side(batch_of())[0].isfinite()
    assert game.discriminator_of("random") == "encoded"


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="one image is too few"):
        game_of().d_loss(batch_of(1))
    with pytest.raises(UserError, match=r"takes latents of 3 numbers, the encoder finds 5"):
        game_of("model.encoder.z_dim=5")
    with pytest.raises(ValueError, match="8 pixels or more"):
        LatentEncoder(channels=3, resolution=4)


GOLDEN = (0.62797, 0.90344)


def test_a_golden_step():
    trainer = trainer_for(small("bicyclegan"))
    trainer.step()
    assert trainer.logs["d/adv"].item() == pytest.approx(GOLDEN[0], abs=2e-4)
    assert trainer.logs["g/latent"].item() == pytest.approx(GOLDEN[1], abs=2e-4)


def test_the_best_answer_and_how_far_answers_differ():
    rng = torch.Generator().manual_seed(0)
    target = torch.randint(0, 256, (3, 1, 16, 16), generator=rng, dtype=torch.uint8)
    far = (target.float() * 0.5).byte()
    same = compare_answers(torch.stack([far] * 4, 1), target)
    assert same["answers_dssim"] == pytest.approx(0, abs=1e-6)
    near = torch.stack([far, far, target.clone().bitwise_xor(1), far], 1)
    better = compare_answers(near, target)
    assert better["psnr_best"] == pytest.approx(48.13, abs=0.01)
    assert same["psnr_best"] < 20
    assert better["answers_dssim"] > 0


def test_answers_are_measured_where_a_generator_has_noise_alone():
    fast = ("metrics.items=[psnr,answers,lpips]", "metrics.n=10")
    for model, more, many in (
        ("bicyclegan", (), True),
        ("pix2pix", ("model.generator.dropout=0",), False),
    ):
        trainer, monitor = trainer_and_monitor(small(model, *fast, *more))
        report = monitor.measure(trainer.game, trainer.game.generator)
        assert ("psnr_best" in report.values) is many
        assert not many or report.values["psnr_best"] >= report.values["psnr"]
        assert "lpips" in report.skipped and "answers" not in report.skipped
