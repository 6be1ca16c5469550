"""init=: a new run from the weights of another, and the blocks of its discriminator that stay."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
import train_helpers
from helpers import SMALL, differences, frozen
from PIL import Image
from train_helpers import QUIET, TINY, last, sound, train_once

from gancli import checkpoint
from gancli.checkpoint import keep_generator
from gancli.config.build import build_game
from gancli.errors import UserError
from gancli.game import children
from gancli.games.freezing import freeze_discriminator, list_blocks
from gancli.run.initialise import Source, is_small, open_source, take_average, take_weights

gan = pytest.fixture(train_helpers.gan)
CGAN = (
    *("model=cgan", *SMALL["cgan"], *QUIET, "dataset.limit=30", "metrics=none"),
    "watch.action=off",
)


QUICK = ("cgan", "cogan", "cyclegan", "lapgan", "stylegan2", "wavegan")  # the rest is full


def make_photos(*, classes: int, side: int) -> None:
    """Writes a folder of coloured images, a sub-folder for each class."""
    for k in range(classes):
        folder = Path(f"photos/{k}")
        folder.mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (side, side), (60 * k, 40 * i, 90)).save(folder / f"{i}.png")


def make_source(name: str, *more: str) -> Source:
    """A source as if a run of this model had ended with random weights, its EMA beside them."""
    setup = frozen(f"model={name}", *SMALL[name], *more)
    game = build_game(setup, trust=None)
    ema = {key: torch.full_like(value, 2) for key, value in game.generator.state_dict().items()}
    tree = {"game": game.state_dict(), "ema": ema, "config": setup, "progress": {"step": 9}}
    return Source("run", Path("run/last.pt"), "00", tree, game)


def test_a_run_starts_from_another_and_its_average_from_that_ones(gan):
    sound(gan("train", *TINY, "trainer.steps=3", "ema.rampup=null", "hydra.run.dir=old"))
    old = last("old")
    done = sound(gan("train", *TINY, "init=old", "trainer.steps=1", "hydra.run.dir=new", "seed=5"))
    assert "init: weights of old/checkpoints/last.pt, a GAN of MLPGenerator at step 3" in done.out
    assert "generator: 4 of 4 tensors" in done.out and "not taken" not in done.out
    new = last("new")
    assert "ema.rampup=null: the EMA generator starts from that of the file" in done.out
    assert new["config"]["init"]["path"] == "old" and len(new["config"]["init"]["digest"]) == 64
    assert new["progress"]["step"] == 1 and new["optimizers"]["g"]["state"][0]["step"] == 1
    for part in ("game", "ema"):
        name = next(key for key in new[part] if key.endswith("net.0.weight"))
        moved = (new[part][name] - old[part][name]).abs().max()
        assert 0 < moved < 1e-3, part
    assert (new["game"]["generator.net.0.weight"] - new["ema"]["net.0.weight"]).abs().max() > 1e-4


def test_the_digest_is_of_the_bytes_that_were_read(gan, monkeypatch):
    """A source that is replaced while it is read is read again; one that never rests is told."""
    train_once(gan, *TINY, "trainer.steps=1", folder="old")
    file = Path("old/checkpoints/last.pt")
    first = file.read_bytes()
    torch.save(torch.load(file) | {"version": "later"}, "other.pt")
    later = Path("other.pt").read_bytes()
    real = checkpoint.read
    writes = [later]

    def read_and_replace(path: Path) -> checkpoint.Tree:
        tree = real(path)
        if writes:
            path.with_suffix(".new").write_bytes(writes.pop())
            path.with_suffix(".new").replace(path)
        return tree

    monkeypatch.setattr(checkpoint, "read", read_and_replace)
    source = open_source("old", trust=())
    assert source.tree["version"] == "later"
    assert source.digest == hashlib.sha256(later).hexdigest()
    writes += [first, later] * 2
    with pytest.raises(UserError, match="was written anew each of the 3 times"):
        open_source("old", trust=())


def test_a_run_that_goes_on_reads_its_source_no_more(gan):
    train_once(gan, *TINY, "trainer.steps=1", folder="old")
    sound(gan("train", *TINY, "init=old", "trainer.steps=2", "hydra.run.dir=new"))
    Path("old").rename("gone")
    sound(gan("train", "resume=new", "trainer.steps=3"))
    sound(gan("sample", "ckpt=new", "n=2"))
    done = sound(gan("train", "resume=new", "init=gone", "trainer.steps=4"), 2)
    assert "init.path is 'old' in new, 'gone' here" in done.err


@pytest.mark.full
def test_the_same_source_is_the_same_run_to_resume_auto(gan):
    train_once(gan, *TINY, "trainer.steps=1", folder="old")
    auto = ("train", *TINY, "init=old", "resume=auto")
    sound(gan(*auto, "trainer.steps=1"))
    assert "goes on from step 1" in sound(gan(*auto, "trainer.steps=2")).out
    sound(gan("train", "resume=old", "trainer.steps=2"))
    assert "init.digest" in sound(gan(*auto, "trainer.steps=3")).out


def test_other_classes_channels_and_sizes(gan):
    sound(gan("train", *CGAN, "trainer.steps=1", "hydra.run.dir=old"))
    make_photos(classes=3, side=16)
    new = ("dataset=folder", "dataset.path=photos", "dataset.resolution=16", "init=old")
    done = sound(gan("train", *CGAN, *new, "trainer.steps=1", "hydra.run.dir=new"))
    assert "generator: 11 of 13 tensors, 536 of 13,912 parameters" in done.out
    shapes = "(4, 6, 4, 4) here, (4, 11, 4, 4) in the file"
    assert f"discriminator.body.0.weight ({shapes})" in done.out
    assert "ema.rampup=null" not in done.out, "an average of random layers must forget them"
    config = last("new")["config"]
    assert config["dataset"]["classes"] == 3 and config["dataset"]["channels"] == 3


@pytest.mark.parametrize("name", ["stylegan2", "r3gan", "stylegan"])
def test_layers_of_another_resolution_are_matched_by_their_level(name):
    source = make_source(name)
    setup = frozen(f"model={name}", *SMALL[name], "dataset.resolution=32")
    game = build_game(setup, trust=None)
    taken = take_weights(game, source)
    small = [key.partition(".")[2] for key in taken.names.values() if "discriminator" in key]
    large = [key.partition(".")[2] for key in taken.names if "discriminator" in key]
    blocks = {"stylegan2": "blocks", "r3gan": "stages", "stylegan": "blocks"}[name]
    found = {
        (own.split(".")[1], there.split(".")[1])
        for own, there in zip(large, small, strict=True)
        if own.startswith(f"{blocks}.")
    }
    more = {"stylegan2": 1, "r3gan": 2, "stylegan": 0}[name]  # levels that the number counts
    assert found and all(int(own) - int(there) == more for own, there in found)


def test_the_finest_layers_of_a_dcgan_are_those_of_another_resolution():
    """Its widths are counted from the image on, so its layers are too."""
    small = ("model.width=4", "model.max_width=16")
    source = make_source("dcgan", "dataset.resolution=16", *small)
    setup = frozen("model=dcgan", *SMALL["dcgan"], "dataset.resolution=32", *small)
    taken = take_weights(build_game(setup, trust=None), source)
    assert "generator.net.3.weight" not in taken.names, "16 to 8 channels are a level of their own"
    for own, there in ((6, 3), (9, 6)):
        name = f"generator.net.{own}.weight"
        assert taken.names[name] == f"generator.net.{there}.weight"
    assert taken.shares["discriminator"].taken > 0


def test_of_a_generator_alone_only_the_generator_is_asked_for():
    source = make_source("mlp")
    names = [name for name in source.tree["game"] if name.startswith("generator.")]
    source.tree["game"] = {name: source.tree["game"][name] for name in names}
    alone = take_weights(make_source("mlp").game, source)
    alone.shares["discriminator"].parameters *= 1000
    assert not is_small(alone, source), "the whole generator, and nothing else is in the file"
    alone.shares["generator"].taken_parameters = 0
    assert is_small(alone, source)


def test_the_average_takes_that_of_the_file():
    source = make_source("mlp")
    game = build_game(frozen("model=mlp", *SMALL["mlp"]), trust=None)
    taken = take_weights(game, source)
    take_average(game.generator, taken, source)
    assert all((value == 2).all() for value in game.generator.state_dict().values())


def test_what_nobody_moves_starts_anew():
    """An image pool, averages of a loss and the state of augmentation are no weights."""
    lecam = ("+penalty@loss.penalties.lecam=lecam", "augment=ada")
    source = make_source("cgan", *lecam)
    for key, value in source.tree["game"].items():
        if key.startswith(("adversarial.", "augment.")):
            value.fill_(7)
    game = build_game(frozen("model=cgan", *SMALL["cgan"], *lecam), trust=None)
    taken = take_weights(game, source)
    assert set(taken.shares) == {"generator", "discriminator"}
    assert not any(
        (value == 7).any()
        for key, value in game.state_dict().items()
        if key.startswith(("adversarial.", "augment."))
    )


def test_nothing_that_fits_is_refused(gan):
    train_once(gan, *TINY, "trainer.steps=1", folder="old")
    done = sound(gan("train", *CGAN, "init=old", "trainer.steps=1"), 2)
    assert "no weight of old/checkpoints/last.pt fits this model" in done.err
    assert "it holds a GAN of MLPGenerator at step 1" in done.err
    assert not Path("outputs").exists()


def test_what_is_no_source_is_told_before_the_data(gan):
    done = sound(gan("train", *TINY, "init=nowhere"), 2)
    assert "init=nowhere: there is no such run folder or .pt file" in done.err
    assert "init= names no run" in sound(gan("train", *TINY, "init="), 2).err
    done = sound(gan("train", *TINY, "init=zoo/digits"), 2)
    assert "the zoo has no zoo/digits" in done.err
    Path("bad.pt").write_bytes(b"PK no archive")
    assert "bad.pt" in sound(gan("train", *TINY, "init=bad.pt"), 2).err
    done = sound(gan("train", *TINY, "init.freeze_d=1"), 2)
    assert "without init= they are random" in done.err


def test_a_file_with_the_generator_alone_gives_all_of_it(gan):
    train_once(gan, *TINY, "trainer.steps=1", folder="old")
    torch.save(keep_generator(last("old"), half=False), "alone.pt")
    asked = ("train", *TINY, "init=alone.pt", "trainer.steps=1")
    done = sound(gan(*asked, "hydra.run.dir=new"))
    assert "generator: 4 of 4 tensors" in done.out and "discriminator: 0 of" in done.out
    assert "no place here" not in done.out
    done = sound(gan(*asked, "init.freeze_d=1"), 2)
    assert "alone.pt does not have: discriminator." in done.err
    assert "this file holds the generator alone" in done.err


def test_weights_that_are_not_finite_are_refused_with_their_name(gan):
    train_once(gan, *TINY, "trainer.steps=1", folder="old")
    tree = last("old")
    tree["ema"]["net.0.weight"][0, 0] = float("nan")
    torch.save(tree, "spoilt.pt")
    done = sound(gan("train", *TINY, "init=spoilt.pt", "hydra.run.dir=new"), 2)
    assert "spoilt.pt holds weights that are not finite: 'net.0.weight'" in done.err
    assert not Path("new").exists()


def test_a_strangers_file_runs_nothing(gan):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (Path("pwned"),))

    torch.save({"format": 2, "evil": Evil()}, "evil.pt")
    done = sound(gan("train", *TINY, "init=evil.pt"), 2)
    assert "nothing of it was run" in done.err and not Path("pwned").exists()


# FreezeD


def test_blocks_are_listed_from_the_image_on():
    def names(name: str) -> list[str]:
        game = build_game(frozen(f"model={name}", *SMALL[name]), trust=None)
        return [block for block, _ in list_blocks(children(game.discriminator)[0])]

    assert names("stylegan2") == [*("from_rgb", "blocks.0", "blocks.1", "conv", "dense", "out")]
    assert names("stylegan") == ["blocks.1", "blocks.0", "conv", "dense", "score"]
    assert names("r3gan") == ["from_rgb", "stages.0", "stages.1", "pool", "out"]
    assert names("cgan") == ["body.0", "body.3", "out"], "a normalisation belongs to its layer"
    assert names("biggan")[:2] == ["body.0", "body.1"]


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.full)
        for name in sorted(SMALL)
    ],
)
def test_every_model_can_freeze_its_first_block(name):
    game = build_game(frozen(f"model={name}", *SMALL[name]), trust=None)
    if game.discriminator is None:
        with pytest.raises(ValueError, match="has no discriminator"):
            freeze_discriminator(game, 1)
        return
    blocks = list_blocks(children(game.discriminator)[0])
    covered = {id(p) for _, parts in blocks for part in parts for p in part.parameters()}
    assert covered == {id(p) for p in children(game.discriminator)[0].parameters()}
    assert freeze_discriminator(game, 1)
    assert any(not p.requires_grad for p in game.discriminator.parameters())
    with pytest.raises(ValueError, match="at least one must learn"):
        freeze_discriminator(game, 100)


def test_frozen_blocks_do_not_move_and_a_resumed_run_keeps_them(gan):
    wgan = (*CGAN, "loss=wgan", "loss.n_critic=1", "optimizer=rmsprop_wgan")
    sound(gan("train", *wgan, "trainer.steps=1", "hydra.run.dir=old"))
    new = ("train", *wgan, "init=old", "init.freeze_d=2", "seed=1", "loss.clip=0.001")
    done = sound(gan(*new, "trainer.steps=2", "hydra.run.dir=new"))
    assert "init.freeze_d=2: body.0, body.3 of the discriminator (" in done.out
    assert "do not move; out do" in done.out
    sound(gan("train", "resume=new", "trainer.steps=4"))
    sound(gan(*new, "trainer.steps=4", "hydra.run.dir=whole"))
    old = last("old")
    ends = last("new")
    for part in ("game", "ema", "optimizers"):
        assert differences(ends[part], last("whole")[part]) == []
    for key, value in ends["game"].items():
        if key.endswith(("weight", "bias")) and key.startswith("discriminator.body"):
            assert torch.equal(value, old["game"][key]), "not even by the clip"
    assert not torch.equal(
        ends["game"]["discriminator.out.weight"], old["game"]["discriminator.out.weight"]
    )


def test_too_many_blocks_are_refused_and_random_ones_too(gan):
    sound(gan("train", *CGAN, "trainer.steps=1", "hydra.run.dir=old"))
    done = sound(gan("train", *CGAN, "init=old", "init.freeze_d=3"), 2)
    assert "DCGANDiscriminator has 3 blocks" in done.err and "give at most 2" in done.err
    make_photos(classes=10, side=16)
    rgb = ("dataset=folder", "dataset.path=photos", "dataset.resolution=16")
    done = sound(gan("train", *CGAN, *rgb, "init=old", "init.freeze_d=1"), 2)
    assert "would keep 1 tensors of the discriminator random" in done.err


def test_a_file_cannot_freeze_what_is_no_number():
    with pytest.raises(UserError, match="does not fit"):
        build_game(frozen("model=mlp", *SMALL["mlp"]) | {"init": {"freeze_d": "4"}}, trust=None)
