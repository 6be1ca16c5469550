"""What the tests of gan translate share: runs of a few steps, a command line, images.

The command line runs in this process. `runs` and `gan` become fixtures where they are used:
`runs = pytest.fixture(scope="module")(translate_helpers.runs)`.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import shutil
from pathlib import Path

import numpy as np
from helpers import DOMAINS, PAIRS, TINY, ending, frozen, small, steps, trainer_for
from PIL import Image

from gancli.checkpoint import save
from gancli.cli import main
from gancli.config import compose as config
from gancli.config.arguments import quote_value
from gancli.config.hints import parse_override

STYLE = (
    f"dataset.path={DOMAINS}",
    "perceptual=squeezenet_style",
    "model.width=4",
    "model.generator.blocks=2",
)
FREE = (
    "model.hole=free",
    "dataset.holes=boxes",
    "model.width=4",
    "model.generator.bottleneck=16",
    "dataset.resolution=16",
    "+dataset@dataset.of=digits",
    "dataset.channels=1",
)
DEEP = (
    "model.generator.downs=3",
    "model.generator.noisy=false",
    "model.generator.norm=batch",
    "model.width=4",
    f"dataset.path={PAIRS}",
    "model.discriminator.layers=1",
    "dataset.channels=4",
)


def saved(path: Path, config: dict, *, n: int = 2) -> None:
    (path / "checkpoints").mkdir(parents=True)
    save(steps(trainer_for(config), n).state_dict(), path / "checkpoints", keep=1)


def runs(tmp_path_factory) -> Path:
    """Runs of a few steps: noisy pairs, two ways, grey x2, holes in the middle and anywhere, any
    style, alpha, and none of these.
    """
    root = tmp_path_factory.mktemp("runs")
    for name in ("pix2pix", "cyclegan", "srgan", "inpaint", "mlp"):
        saved(root / name, small(name))
    saved(root / "pose", small("pose", "model.generator.norm=instance"))
    saved(root / "free", frozen("model=inpaint", *FREE, *TINY))
    saved(root / "alpha", frozen("model=pix2pix", *DEEP, *TINY))
    saved(root / "style", frozen("model=styletransfer", *STYLE, *TINY), n=0)
    saved(
        root / "ring",
        frozen(
            "model=mlp",
            "dataset=ring",
            "model.generator.hidden=[8]",
            "model.discriminator.hidden=[8]",
            *TINY,
        ),
        n=0,
    )
    return root


compose = config.compose


@functools.cache
def composed() -> config.Composed:
    return compose("translate", [], missing=True)


def quick_compose(name: str, argv: list[str], *, missing: bool) -> config.Composed:
    """Without Hydra where only values change: it would take half of the time of these tests."""
    cfg = copy.deepcopy(composed().cfg)
    for word in argv:
        override = parse_override(quote_value(word))
        if override.key_or_group not in cfg:
            return compose(name, argv, missing=missing)
        cfg[override.key_or_group] = override.value()
    return dataclasses.replace(composed(), cfg=cfg)


def gan(runs, tmp_path, monkeypatch, capsys):
    """Runs gan translate on a run by its name, in an empty folder. -> code, stdout, stderr"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "compose", quick_compose)

    def call(run: str, *argv: str):
        capsys.readouterr()
        code = main(["translate", f"ckpt={runs / run}", *argv])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        return code, captured.out, captured.err

    return call


def noise(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    """(width, height)"""
    rng = np.random.default_rng(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = rng.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def put(path: str, image: Image.Image | bytes, **options) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        Path(path).write_bytes(image)
    else:
        image.save(path, **options)
    return path


def files(folder: str | Path = "out") -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def make(gan, run: str, *argv: str) -> dict[str, bytes]:
    """-> the files that a successful call wrote"""
    shutil.rmtree("out", ignore_errors=True)
    code, out, err = gan(run, "out=out", *argv)
    assert code == 0 and ending(out), err
    return files()


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)
