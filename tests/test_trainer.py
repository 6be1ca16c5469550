"""What the loss of a user's game may return is said in the words of the contract."""

from __future__ import annotations

import pytest
import train_helpers
from train_helpers import TINY, sound

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("loss", "the loss of phase g returns no pair"),
        ("None", "the loss of phase g returns no pair"),
        ("(loss.item(), logs)", "the loss of phase g is no scalar tensor but float"),
        ("(loss * torch.ones(4), logs)", "the loss of phase g is no scalar tensor but (4,)"),
        ("(loss.detach(), logs)", "does not depend on what it updates: g"),
        ('(loss, {"adv": loss.item()})', "logs adv as no scalar tensor"),
        ('(loss, {"adv": loss.detach() * torch.ones(3)})', "logs adv as no scalar tensor"),
    ],
)
def test_a_loss_that_is_none_is_explained(returned, words, gan, package):
    mine = package(f"""
        class Mine(GAN):
            def g_loss(self, batch):
                loss, logs = super().g_loss(batch)
                return {returned}
        """)
    done = sound(gan("train", *TINY, f"model._target_={mine}.Mine", "trainer.steps=2"), 2)
    assert words in done.err
