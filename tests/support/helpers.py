"""What several tests share: composed configs, small trainers, and comparison of checkpoints leaf by
leaf.
"""

from __future__ import annotations

import ast
import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from gancli.config.build import build, build_game
from gancli.config.compose import compose
from gancli.config.run_config import RunConfig
from gancli.config.validate import validate
from gancli.data.base import split
from gancli.data.stream import Stream
from gancli.evaluation.monitor import Monitor
from gancli.evaluation.paired import make_monitor
from gancli.modality import make_modality
from gancli.seeding import reseed, seed_of
from gancli.trainer import Trainer

REPO = Path(__file__).resolve().parents[2]
TEST_DATA = Path(os.environ.get("GANCLI_TEST_DATA", REPO.parent / "shared" / "data"))
CPU = torch.device("cpu")
OF_DIGITS = (
    "+dataset@dataset.of=digits",
    "dataset.resolution=16",
    "dataset.channels=1",
    "dataset.holdout=4",
)


def folders() -> tuple[str, str]:
    """Two folders made anew: 24 pairs side by side, and two domains; circles and their outlines, 16
    pixels, RGB.
    """
    root = Path(tempfile.mkdtemp(prefix="gancli-test-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for folder in ("pairs", "domains/trainA", "domains/trainB"):
        (root / folder).mkdir(parents=True)
    for k in range(24):
        sides = []
        for fill in ((40 + 8 * k, 90, 200), None):
            image = Image.new("RGB", (16, 16), (230, 230, 10 * k))
            ImageDraw.Draw(image).ellipse(
                [k % 5, k % 3, 9 + k % 7, 8 + k % 6], fill=fill, outline=(0, 0, 0)
            )
            sides.append(image)
        whole = Image.new("RGB", (32, 16))
        for x, side, name in zip((0, 16), sides, "AB", strict=True):
            whole.paste(side, (x, 0))
            side.save(root / f"domains/train{name}/{k:02d}.png")
        whole.save(root / f"pairs/{k:02d}.png")
    return str(root / "pairs"), str(root / "domains")


PAIRS, DOMAINS = folders()
SMALL = {
    "dcgan": ("model.width=4", "model.max_width=8", "dataset.resolution=16"),
    "cgan": ("model.width=4", "model.max_width=8", "dataset.resolution=16"),
    "cgan_projection": ("model.width=4", "model.max_width=8", "dataset.resolution=16"),
    "mlp": (
        "model.generator.hidden=[16]",
        "model.discriminator.hidden=[12]",
        "dataset.resolution=8",
    ),
    "sngan": ("model.width=4", "dataset.resolution=16"),
    "wgan_resnet": (
        "model.width=4",
        "dataset.resolution=16",
        "optimizer.d.clip=1",
    ),  # or SGD leaves the numbers
    "sagan": ("model.width=4", "dataset.resolution=16"),
    "sndcgan": ("model.width=4", "model.max_width=8", "dataset.resolution=16"),
    "biggan": ("model.width=2", "model.attention=8", "dataset.resolution=16"),
    "biggan_deep": ("model.width=4", "model.attention=8", "dataset.resolution=8"),
    "acgan": ("model.width=4", "model.max_width=8", "dataset.resolution=16"),
    "contragan": ("model.width=4", "model.heads.contragan.dim=8", "dataset.resolution=16"),
    "ssgan": ("model.width=4", "dataset.resolution=16"),
    "infogan": (
        "model.width=4",
        "model.max_width=8",
        "model.units=16",
        "model.q.units=8",
        "dataset.resolution=16",
    ),
    "contrad": (
        "model.width=4",
        "model.max_width=8",
        "model.hidden=16",
        "model.dim=8",
        "dataset.resolution=16",
    ),
    # They grow after steps 1 and 4, and after step 3.
    "pggan": (
        "model.z_dim=8",
        "model.channel_base=64",
        "model.channel_max=8",
        "model.stable_kimg=0.008",
        "model.fade_kimg=0.016",
        "dataset.resolution=16",
    ),
    "stylegan": (
        "model.z_dim=8",
        "model.w_dim=8",
        "model.mapping_layers=2",
        "model.channel_base=64",
        "model.channel_max=8",
        "model.stable_kimg=0.024",
        "model.fade_kimg=0.016",
        "dataset.resolution=16",
    ),
    "stylegan2": (
        "model.z_dim=8",
        "model.w_dim=8",
        "model.channel_base=64",
        "model.channel_max=8",
        "model.generator.mapping_layers=1",
        "model.discriminator.mapping_layers=1",
        "model.r1_every=2",
        "model.pl_every=2",
        "dataset.resolution=16",
    ),
    "r3gan": (
        "model.z_dim=8",
        "model.channel_base=32",
        "model.channel_max=8",
        "model.group=4",
        "model.blocks=1",
        "dataset.resolution=8",
    ),
    "lapgan": (
        "model.width=4",
        "model.generator.hidden=[16]",
        "model.discriminator.hidden=[12]",
        "dataset.resolution=16",
    ),
    "cogan": (
        "model.width=4",
        "model.max_width=8",
        "model.discriminator.width=4",
        "model.discriminator.units=12",
        "dataset.resolution=16",
    ),
    "pix2pix": (
        f"dataset.path={PAIRS}",
        "model.width=4",
        "model.generator.downs=3",
        "model.discriminator.layers=1",
    ),
    "bicyclegan": (
        f"dataset.path={PAIRS}",
        "model.width=4",
        "model.z_dim=3",
        "model.generator.downs=3",
        "model.discriminator.encoded.layers=1",
    ),
    "pose": (
        "dataset.people=8",
        "dataset.poses=4",
        "dataset.holdout=8",
        "dataset.resolution=16",
        "model.width=4",
        "model.generator.blocks=2",
        "model.discriminator.appearance.layers=1",
        "model.discriminator.shape.layers=1",
    ),
    "cyclegan": (
        f"dataset.path={DOMAINS}",
        "model.width=4",
        "model.generator.ab.blocks=1",
        "model.discriminator.a.layers=1",
        "model.pool=6",
    ),
    "srgan": (
        *OF_DIGITS,
        "dataset.scale=2",
        "model.width=4",
        "model.generator.blocks=1",
        "model.discriminator.levels=2",
        "model.discriminator.hidden=8",
        "model.warmup=2",
        "perceptual=none",
    ),
    "esrgan": (
        *OF_DIGITS,
        "dataset.scale=2",
        "model.width=4",
        "model.generator.blocks=1",
        "model.generator.growth=2",
        "model.discriminator.levels=2",
        "model.discriminator.hidden=8",
        "model.warmup=2",
        "perceptual=none",
    ),
    "ambient": (*OF_DIGITS, "model.width=4", "model.max_width=8", "model.z_dim=8"),
    "inpaint": (*OF_DIGITS, "model.width=4", "model.generator.bottleneck=16"),
    "enhance": (
        *OF_DIGITS,
        "model.width=4",
        "model.generator.blocks=1",
        "model.discriminator.layers=1",
    ),
    "wavegan": (
        "dataset.resolution=[8,1]",
        "dataset.channels=2",
        "model.width=4",
        "model.kernel=5",
    ),
    "textgan": (
        "dataset.length=6",
        "dataset.resolution=[6,1]",
        "dataset.alphabet=['',a,e,l,n]",
        "dataset.channels=5",
        "dataset.holdout=0",
        "model.hidden=6",
        "model.embed_dim=4",
        "model.mle_steps=2",
        "model.discriminator.embed_dim=4",
        "model.discriminator.filters=[3,3,3,3]",
    ),
    "textgan_conv": (
        "dataset.length=6",
        "dataset.resolution=[6,1]",
        "dataset.alphabet=['',a,e,l,n]",
        "dataset.channels=5",
        "dataset.holdout=0",
        "model.z_dim=4",
        "model.width=6",
        "model.blocks=1",
    ),
    "scratchgan": (
        "dataset.length=6",
        "dataset.resolution=[6,1]",
        "dataset.alphabet=['',a,e,l,n]",
        "dataset.channels=5",
        "dataset.holdout=0",
        "model.hidden=6",
        "model.mle_steps=2",
    ),
    "seqgan": (
        "dataset.n=40",
        "dataset.holdout=0",
        "dataset.resolution=[6,1]",
        "dataset.channels=5",
        "model.hidden=6",
        "model.embed_dim=4",
        "model.mle_steps=2",
        "model.d_steps=0",
        "model.rollouts=2",
        "model.discriminator.embed_dim=4",
        "model.discriminator.kernels=[1,2,3]",
        "model.discriminator.filters=[3,3,3]",
    ),
    "rcgan": (
        "dataset.resolution=[6,1]",
        "dataset.channels=2",
        "model.hidden=6",
    ),
    # Its stages begin after steps 2 and 3.
    "timegan": (
        "dataset.resolution=[6,1]",
        "dataset.channels=2",
        "model.hidden=4",
        "model.layers=2",
        "model.embedding_steps=2",
        "model.supervised_steps=1",
    ),
    "simgan": (
        f"dataset.path={DOMAINS}",
        "model.width=4",
        "model.generator.blocks=1",
        "model.discriminator.layers=1",
        "model.pool=6",
        "model.warmup=1",
    ),
}
TINY = (
    "trainer.batch_size=8",
    "metrics=none",
    "dataset.limit=30",
    "log.every=1000",
    "trainer.device=cpu",
    "trainer.precision=fp32",
)
DIGITS = {}


def frozen(*overrides: str) -> dict:
    """A config as `gan train` would freeze it, in its plain form, which a test may change."""
    return validate(compose("train", list(overrides)).cfg).plain()


@functools.cache
def parse_module(path: Path) -> ast.Module:
    """The syntax tree of a file, parsed once for all tests that read the sources."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def read_modules() -> dict[Path, str]:
    """The text of every module of gancli: only what names a word needs to be parsed to find it."""
    paths = sorted((REPO / "gancli").rglob("*.py"))
    return {path: path.read_text(encoding="utf-8") for path in paths}


def some_by_default(names: Iterable[str], *, of: int = 3) -> list:
    """Marks names as parameters: every third, say, in the default tier, the others full."""
    return [
        pytest.param(name, marks=() if k % of == 0 else pytest.mark.full)
        for k, name in enumerate(names)
    ]


def small(model: str, *overrides: str) -> dict:
    return frozen(f"model={model}", *SMALL[model], *TINY, *overrides)


def trainer_for(config: dict, *, rank: int = 0, world: int = 1) -> Trainer:
    """A trainer at step 0, as run/session.py builds it."""
    return trainer_and_monitor(config, rank=rank, world=world)[0]


def trainer_and_monitor(config: dict, *, rank: int = 0, world: int = 1) -> tuple[Trainer, Monitor]:
    """A trainer at step 0, and the monitor of its game."""
    run_config = RunConfig.from_plain(config)
    spec = config["dataset"]
    key = repr(spec)
    if key not in DIGITS:  # decoded once for all tests
        DIGITS[key] = split(
            build(spec, where="dataset", trust=None).load(),
            limit=spec["limit"],
            holdout=spec["holdout"],
        )
    train, held = DIGITS[key]
    stream = Stream(
        train,
        batch_size=config["trainer"]["batch_size"],
        seed=config["seed"],
        resolution=spec["resolution"],
        flip=spec["flip"],
        device=CPU,
        rank=rank,
        world=world,
        modality=make_modality(spec),
    )
    reseed(seed_of(config["seed"], "init"), CPU)
    game = build_game(config, trust=None)
    data = {"n": stream.n, "hash": train.digest, "classes": list(train.classes), "skipped": []}
    monitor = make_monitor(game, train=train, held=held, config=run_config, device=CPU)
    return Trainer(game, stream, config=run_config, device=CPU, data=data), monitor


def steps(trainer: Trainer, n: int) -> Trainer:
    for _ in range(n):
        trainer.step()
    trainer.read_flags(wait=True)
    return trainer


def leaves(tree: object, path: str = ""):
    """(path, leaf) pairs of a tree of dicts, lists and tuples."""
    if isinstance(tree, dict | list | tuple):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, tree


def differences(want: object, got: object) -> list[str]:
    """The paths at which two trees differ, in any bit."""
    want = dict(leaves(want))
    got = dict(leaves(got))
    paths = [path for path in want | got if path not in want or path not in got]
    return paths + [path for path in want.keys() & got.keys() if not same(want[path], got[path])]


def same(a: object, b: object) -> bool:
    return torch.equal(a, b) if torch.is_tensor(a) and torch.is_tensor(b) else a == b


def ending(out: str, folder: str = "out") -> str:
    """-> the command that the last line names; the line before names a file in `folder` to open,
    which is there.
    """
    done, command = out.rpartition("done: ")[2].splitlines()[:2]
    assert command.startswith("  gan "), out
    first = done.split(", and ")[0]
    assert os.path.isfile(first) and first.startswith(os.path.join(folder, "")), out
    return command.strip()
