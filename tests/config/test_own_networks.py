"""A network of the user's own that its game cannot use is refused in the words of its code."""

from __future__ import annotations

import pytest
import train_helpers
from train_helpers import TINY, sound

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))

NETWORKS = """
    from torch import nn
    class Makes(nn.Module):
        def __init__(self, *, channels=1, size=8):
            super().__init__()
            self.z_dim, self.classes = 4, 0
            self.net = nn.Sequential(
                nn.Linear(4, channels * size * size), nn.Unflatten(1, (channels, size, size))
            )
        def forward(self, z, label=None):
            return self.net(z)
    class Nameless(Makes):
        def __init__(self):
            super().__init__()
            del self.z_dim
    class Pair(Makes):
        def forward(self, z, label=None):
            return self.net(z), z
    class Unlabelled(Makes):
        def forward(self, z):
            return self.net(z)
    class Judges(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(64, 1)
        def trunk(self, x, label=None):
            return x.flatten(1)
        def head(self, h, label=None):
            return self.net(h)
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(64, 1)
        def forward(self, x, label=None):
            return self.net(x.flatten(1))
    class Headless(Plain):
        def trunk(self, x, label=None):
            return x.flatten(1)
    class Blind(Judges):
        def trunk(self, x):
            return x.flatten(1)
    class Reads(GAN):  # what is absent is read while the game is built
        def __init__(self, **base):
            super().__init__(**base)
            self.encoder = nn.Linear(64, self.generator.z_dim)
    """
WORDS = ("dataset.resolution=8", *TINY[3:])


def choose(package, **parts):
    """The model of a user's file: a GAN of these networks."""
    mine = package(NETWORKS)
    game = f"{mine}.{parts['game']}" if "game" in parts else "gancli.games.gan.GAN"
    made = parts.get("generator", "Makes")
    name, _, keys = made.partition(" ")
    generator = f"{{_target_: {mine}.{name}{keys and ', ' + keys}}}"
    judge = parts.get("discriminator", "Judges")
    text = f"# Mine\n_target_: {game}\ngenerator: {generator}\n"
    text += f"discriminator: {{_target_: {mine}.{judge}}}\nheads: {{}}\n"
    return text


@pytest.fixture
def train(gan, package, tmp_path):
    def run(command="train", *words, **parts):
        conf = tmp_path / "my_conf" / "model"
        conf.mkdir(parents=True, exist_ok=True)
        (conf / "mine.yaml").write_text(choose(package, **parts))
        flags = ("--config-dir", "my_conf", "model=mine", *WORDS, "trainer.steps=1", *words)
        return gan(command, *flags)

    return run


MISTAKES = [
    (
        {"discriminator": "Plain"},
        "model.discriminator: Plain has no method trunk(x, label) and no head(features, label)",
        "gancli.game.Game, which asks for neither",
    ),
    (
        {"discriminator": "Headless"},
        "model.discriminator: Headless has no method head(features, label)",
        "features to scores",
    ),
    (
        {"generator": "Nameless"},
        "model.generator: Nameless has no attribute z_dim",
        "write self.z_dim = z_dim in Nameless.__init__",
    ),
    (
        {"generator": "Unlabelled"},
        "Unlabelled.forward(z) takes no label, and the game calls forward(z, label)",
        "write forward(self, z, label=None) in Unlabelled",
    ),
    (
        {"discriminator": "Blind"},
        "model.discriminator: Blind.trunk(x) takes no label, and the game calls trunk(x, label)",
        "write trunk(self, x, label=None) in Blind",
    ),
    (
        {"generator": "Makes size: 16"},
        "model.generator: Makes makes images (N,1,16,16), and the data are (N,1,8,8)",
        "resolution: ${dataset.resolution}",
    ),
    (
        {"generator": "Makes channels: 3"},
        "model.generator: Makes makes images (N,3,8,8), and the data are (N,1,8,8)",
        "channels: ${dataset.channels}",
    ),
]


@pytest.mark.parametrize("command", ["train", "check"])
@pytest.mark.parametrize(("parts", "message", "hint"), MISTAKES)
def test_a_network_that_the_game_cannot_use_is_refused(train, command, parts, message, hint):
    done = sound(train(command, **parts), 2)
    said = " ".join(done.err.split())
    assert message in said and hint in said


def test_what_the_games_constructor_reads_is_asked_for_before(train):
    said = sound(train(generator="Nameless", game="Reads"), 2).err
    assert "Nameless has no attribute z_dim" in said


def test_heads_ask_for_the_width_of_the_features(train):
    said = sound(train("train", "+head@model.heads.rotation=rotation"), 2).err
    assert "Judges has no attribute feature_dim" in said


def test_images_are_a_tensor(train):
    assert "Pair gives a tuple, and no tensor" in sound(train(generator="Pair"), 2).err


def test_networks_that_fit_train(train):
    sound(train(), 0)
    sound(train(game="Reads"), 0)
