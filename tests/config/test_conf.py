"""Every YAML option composes, passes the gates and builds; its first line says what it is."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from helpers import TEST_DATA, frozen, some_by_default
from omegaconf import OmegaConf

from gancli.config.build import build, build_game, read_signature
from gancli.config.compose import compose
from gancli.config.folders import find_conf_dir, list_options, read_description
from gancli.config.hints import find_nearest
from gancli.config.published import read_published
from gancli.config.validate import validate
from gancli.data.base import Source
from gancli.errors import Problems
from gancli.game import Game
from gancli.games.heads import Head
from gancli.losses.penalties import Penalty

CONF = list_options([find_conf_dir()])
NEEDS_PATH = {"folder"}
TRANSLATES = {
    "pix2pix",
    "bicyclegan",
    "cyclegan",
    "srgan",
    "esrgan",
    "inpaint",
    "enhance",
    "simgan",
    "styletransfer",
}
TRANSLATED = {
    "paired": "pix2pix",
    "unpaired": "cyclegan",
    "superres": "srgan",
    "masked": "inpaint",
    "degraded": "enhance",
    "outlined": "pix2pix",
}  # by whom
OF_FILES = {
    "pix2pix_facades",
    "pix2pix_facades64",
    "cyclegan_horse2zebra",
    "cyclegan_horse2zebra64",
    "srgan_photos_x4",
    "esrgan_photos_x4",
    "inpaint_paris",
}
OF_SERIES = {"wavegan_italypower_small", "wavegan_gunpoint_small"}
OF_SOUND = {"dcgan_fsdd_small"}
RECORDINGS = [
    "dataset.path=nowhere",
    "dataset.rate=4000",
    "dataset.length=256",
    "dataset.resolution=[256,1]",
    "dataset.classes=2",
    "dataset.holdout=0",
    "dataset.hop=null",
    "dataset.bin_mean=null",
    "dataset.bin_deviation=null",
]
FILES = [
    "dataset.path=nowhere",
    "dataset.resolution=128",
    "dataset.channels=3",
    "dataset.holdout=2",
]


def overrides_for(group: str, option: str) -> list[str]:
    if group == "penalty":
        return [f"+penalty@loss.penalties.{option}={option}"]
    if group == "head":
        return [f"+head@model.heads.{option}={option}"]
    if group == "model" and option in TRANSLATES:
        return [f"model={option}", *FILES]
    if group == "experiment" and option in OF_FILES:
        return [
            f"experiment={option}",
            *FILES[::3],
            "dataset.channels=3",
            *(["perceptual=none"] if "srgan" in option else []),
        ]
    if group == "loss" and option == "none":
        return ["model=pix2pix", "loss=none", *FILES]
    if group == "perceptual":
        return ["model=enhance", f"perceptual={option}", *FILES]
    if group == "dataset" and option in TRANSLATED:
        return [f"model={TRANSLATED[option]}", f"dataset={option}", *FILES]
    if group == "dataset" and option in ("figures", "posed"):
        people = [*FILES, "dataset.pose_channels=1"] if option == "posed" else []
        return [f"dataset={option}", "model=pose", *people]
    if group == "dataset" and option == "incomplete":
        return [f"dataset={option}", "model=ambient", *FILES, "dataset.classes=0"]
    if group == "model" and option == "ambient":
        return [f"model={option}", *FILES, "dataset.classes=0"]
    if (group == "dataset" and option == "series") or option in OF_SERIES:
        file = Path(inspect.getfile(Source)).parent / "sunspots.csv"
        model = ["model=mlp"] if group == "dataset" else []
        return [f"{group}={option}", *model, f"dataset.path={file}"]
    if option in OF_SOUND:
        size = ["dataset.resolution=[64,64]", "dataset.hop=64", "dataset.bin_mean=[0]"]
        return [f"{group}={option}", *RECORDINGS, *size, "dataset.bin_deviation=[1]"]
    if group == "dataset" and option == "audio":
        return [f"dataset={option}", "model=mlp", *RECORDINGS]
    if group == "dataset" and option == "text":
        file = Path(inspect.getfile(Source)).parent / "names.txt"
        return [f"dataset={option}", "model=mlp", f"dataset.path={file}"]
    if group == "dataset":
        given = (
            [
                "dataset.path=nowhere",
                "dataset.resolution=32",
                "dataset.channels=3",
                "dataset.classes=2",
                "dataset.holdout=0",
            ]
            if option in NEEDS_PATH
            else []
        )
        return [f"dataset={option}", "model=mlp", *given]
    if (group, option) == ("optimizer", "textgan"):  # it has a player more
        return ["optimizer=textgan", "model=textgan"]
    if (group, option) == ("optimizer", "muon"):  # it moves linear layers, which DCGAN lacks
        return ["optimizer=muon", "model=mlp"]
    return [f"{group}={option}"]


def options_to_compose() -> list:
    """Every option of every group; of the experiments most are full, composed elsewhere as well."""
    plain = [
        (group, option)
        for group in CONF
        for option in CONF[group]
        if group not in ("metrics", "logger", "experiment")
    ]
    names = some_by_default(CONF["experiment"], of=4)
    return [
        *plain,
        *(pytest.param("experiment", *name.values, marks=name.marks) for name in names),
    ]


@pytest.mark.parametrize(("group", "option"), options_to_compose())
def test_option(group, option):
    """One composition serves all that holds of every option: its first line says what it is,
    whatever a user may set of its parts stands in the YAML, and it passes the gates and builds.
    """
    words = read_description(CONF[group][option])
    assert (len(words) > 15 and words[0].isupper()) or words[0].isdigit(), words
    cfg = compose("train", overrides_for(group, option)).cfg
    if group in COMPLETE:
        tree = OmegaConf.to_container(cfg, resolve=False)
        parts = tree["model"] if group == "model" else tree | {"model": None, "optimizer": None}
        assert not {target for target, lacking in unsaid(parts).items() if lacking - GIVEN}
    config = validate(cfg).plain()
    with torch.device("meta"):
        game = build_game(config, trust=None)
    assert isinstance(game, Game)
    assert isinstance(build(config["dataset"], where="dataset", trust=None), Source)
    if group == "penalty":
        assert isinstance(game.adversarial.penalties[option], Penalty)
    if group == "head":
        assert isinstance(game.heads[option], Head)


def test_a_frozen_config_is_plain_and_free_of_auto():
    config = frozen("model=dcgan", "loss=wgan_gp")

    def walk(tree):
        if isinstance(tree, dict):
            for key, value in tree.items():
                assert isinstance(key, str)
                if key not in ("workers", "cache", "threads"):  # each machine decides them anew
                    walk(value)
        elif isinstance(tree, list):
            for item in tree:
                walk(item)
        else:
            assert tree is None or type(tree) in (int, float, bool, str), tree
            assert tree != "auto" and not str(tree).startswith("${")

    walk(
        {key: part for key, part in config.items() if key != "metrics"}
    )  # what can be measured is known only when it is
    assert config["model"]["discriminator"]["norm"] == "layer"
    assert frozen("model=dcgan")["model"]["discriminator"]["norm"] == "batch"
    assert "width" not in config["model"], "it only fed the networks"


def test_who_wins():
    chosen = frozen("loss=wgan")["optimizer"]
    assert chosen["g"]["_target_"] == "torch.optim.Adam" and chosen["d"]["lr"] == 5e-4
    chosen = frozen("loss=wgan", "optimizer=rmsprop_wgan")["optimizer"]
    assert chosen["g"]["_target_"] == "torch.optim.RMSprop" and chosen["d"]["lr"] == 5e-5
    assert frozen("loss=wgan_gp")["optimizer"]["g"]["betas"] == [0.0, 0.9]
    # At 1e-3, the default, DCGAN's discriminator wins this game at once.
    assert frozen("loss=saturating")["optimizer"]["d"]["lr"] == 5e-4
    # At 1e-3 the MLP's generator makes one image of all latents for a third of a default run.
    assert frozen("loss=ragan")["optimizer"]["d"]["lr"] == 2e-3
    esrgan = compose("train", ["model=esrgan"]).cfg
    assert esrgan.optimizer.d.lr == 2e-4, "the model wins over its loss"
    # Relativistic pairing without penalties smooths its one target; R3GAN's loss is the paper's.
    assert frozen("loss=rpgan")["loss"]["real_target"] == 0.9
    assert frozen("loss=rpgan_r1r2")["loss"]["real_target"] == 1.0


@pytest.mark.parametrize(
    ("loss", "rates"),
    [
        ("non_saturating", (5e-4, 1e-3)),
        ("dragan", (1e-3, 1e-3)),
        ("rpgan", (5e-4, 2e-3)),
        ("rpgan_r1r2", (5e-4, 1e-3)),
        ("wgan", (1e-3, 5e-4)),
    ],
)
def test_a_loss_chooses_the_rates_that_its_short_runs_learn_with(loss, rates):
    optimizers = frozen("model=mlp", f"loss={loss}")["optimizer"]
    assert (optimizers["g"]["lr"], optimizers["d"]["lr"]) == rates


def test_rates_of_wgan_gp_sink_to_the_papers_unless_a_model_or_the_user_chooses_others():
    for player in ("g", "d"):
        spec = frozen("model=dcgan", "loss=wgan_gp")["optimizer"][player]
        keys = ("lr", "schedule", "start_kimg", "end_kimg", "final")
        assert [spec[key] for key in keys] == [1e-3, "linear", 50, 500, 0.2]
        paper = frozen("model=wgan_resnet")["optimizer"][player]
        assert paper == frozen("loss=wgan_gp", "optimizer=adam_b0")["optimizer"][player]
        assert (paper["lr"], paper["schedule"]) == (2e-4, "constant")
    typed = frozen("loss=wgan_gp", "optimizer=adam_wgan_gp")["optimizer"]["g"]
    assert (typed["lr"], typed["betas"]) == (1e-4, [0.5, 0.9])


def test_shapes_follow_the_data():
    config = frozen("model=cgan", "dataset=cifar100")
    assert (
        config["model"]["generator"]["classes"] == 100
        and config["model"]["generator"]["channels"] == 3
    )


@pytest.mark.skipif(not (TEST_DATA / "cifar10-lite").exists(), reason="GANCLI_TEST_DATA is missing")
def test_a_folder_is_scanned_before_the_config_is_frozen():
    config = frozen("dataset=folder", f"dataset.path={TEST_DATA / 'cifar10-lite' / 'test'}")
    assert config["dataset"]["resolution"] == 32 and config["dataset"]["channels"] == 3
    assert config["model"]["generator"]["classes"] == 10


# how the files are written

# The first part of a name where it is no key of a model, and the model that it stands for
PUBLISHED = {
    "sngan_projection": "sngan",
    "stylegan2_ada": "stylegan2",
}
ON_FILES = {  # the images that dataset.path names, for data sets that are a kind of folder
    "celebahq1024",
    "facades",
    "ffhq1024",
    "ffhq256",
    "fsdd",
    "gunpoint",
    "horse2zebra",
    "imagenet128",
    "italypower",
    "mnist_edges",
    "paris",
    "photos",
}
RENAMED = {
    "sndcgan_small": "sndcgan_digits_small",
    "biggan_small": "biggan_digits_small",
    "contrad_small": "contrad_digits_small",
    "stylegan_small": "stylegan_digits_small",
    "ring": "mlp_ring",
    "grid": "mlp_grid",
    "stacked_mnist": "dcgan_stacked_mnist",
    "srgan_x4": "srgan_photos_x4",
    "esrgan_x4": "esrgan_photos_x4",
    "stylegan2_auto64": "stylegan2_ada_folder64",
}


@pytest.mark.parametrize("name", CONF["experiment"])
def test_an_experiment_has_its_own_name_numbers_and_length(name):
    """One composition serves the three: named after its model and data, published numbers that no
    other experiment lends it, and a length that does not follow the loss.
    """
    models = dict.fromkeys(CONF["model"]) | PUBLISHED
    first = max((key for key in models if name.startswith(f"{key}_")), key=len, default=None)
    assert first, f"{name} does not begin with a model"
    composed = compose("train", [f"experiment={name}"], missing=True)
    assert composed.choices["model"] == (models[first] or first)
    rest = name.removeprefix(f"{first}_")
    data = [key for key in {*CONF["dataset"], *ON_FILES} if rest.startswith(key)]
    assert data, f"{name} does not say what it trains on"

    files = CONF["experiment"]
    settings = yaml.safe_load(text_of(files[name]))
    bases = [
        entry
        for entry in settings["defaults"]
        if isinstance(entry, str) and entry in files and read_published(files[entry])
    ]
    assert not bases or "published" in settings, f"{name} would inherit those of {bases}"
    published = composed.cfg.published
    assert (published is None) == (not read_published(files[name]))
    assert published is None or not name.endswith("_small")
    assert not re.search(r"\[[SCP][],/]", text_of(files[name]).splitlines()[1]), "write marks out"

    trainer = composed.cfg.trainer
    assert trainer.get("epochs") or (
        not OmegaConf.is_interpolation(trainer, "steps") and type(trainer.steps) is int
    )


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_the_old_name_of_an_experiment_is_answered_with_the_new_one(old, new):
    assert find_nearest(old, CONF["experiment"])[0] == new
    with pytest.raises(Problems) as caught:
        compose("train", [f"experiment={old}"])
    assert f"did you mean '{new}'" in caught.value.problems[0][1]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def lines_of(path: Path) -> list[str]:
    """The lines that say something, without indentation and comments."""
    lines = [line.split(" #")[0].strip() for line in text_of(path).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def bases_of(path: Path) -> list[Path]:
    """The files whose names begin with `_` that a file of a group extends."""
    entries = (yaml.safe_load(text_of(path)) or {}).get("defaults", [])
    names = [entry.partition("@")[0] for entry in entries if isinstance(entry, str)]
    return [path.with_name(f"{name}.yaml") for name in names if name != "_self_" and name[0] == "_"]


def depth_of(path: Path) -> int:
    return max((1 + depth_of(base) for base in bases_of(path)), default=0)


def test_a_file_speaks_of_its_own_group_unless_its_first_line_says_that_it_is_global():
    """One idiom: `override /optimizer@_global_.optimizer: adam`; a header is for experiments."""
    for path in find_conf_dir().glob("*/*.yaml"):
        group = path.parent.name
        settings = yaml.safe_load(text_of(path)) or {}
        several = set(settings) - {"defaults", group}
        leaves_out = group in settings and settings[group] is None
        if "@package" in text_of(path):
            assert text_of(path).startswith("# @package _global_\n"), path
            assert group == "experiment" or several or leaves_out, f"{path} needs no header"
        else:
            assert group != "experiment", path


def test_bases_are_two_levels_at_most_and_all_serve():
    extended = set()
    for path in find_conf_dir().glob("*/*.yaml"):
        assert depth_of(path) <= 2, path
        extended |= set(bases_of(path))
    bases = set(find_conf_dir().glob("*/_*.yaml"))
    # The bases of a player's optimizer are taken twice, as _schedule@g and _schedule@d.
    assert extended == bases


def test_files_share_their_bases_instead_of_copying():
    """Below a quarter of all lines stand in a run of two or more that another file has too.

    It was 59 % before the bases.
    """
    found = {path: lines_of(path) for path in find_conf_dir().rglob("*.yaml")}
    pairs: dict[tuple[str, str], set[Path]] = {}
    for path, lines in found.items():
        for pair in itertools.pairwise(lines):
            pairs.setdefault(pair, set()).add(path)
    copied = 0
    for lines in found.values():
        marks = set()
        for i, pair in enumerate(itertools.pairwise(lines)):
            if len(pairs[pair]) > 1:
                marks |= {i, i + 1}
        copied += len(marks)
    assert copied < 0.25 * sum(len(lines) for lines in found.values())


GIVEN = {"loss", "augment", "perceptual"}  # by the groups of these names
# Groups of parts whose options give all that their classes take
COMPLETE = {"augment", "dataset", "head", "loss", "model", "penalty", "perceptual"}
WITHOUT = {
    # ContraD knows no labels; its networks are SNDCGAN's, which can.
    "gancli.networks.sndcgan.SNDCGANGenerator": {"classes", "conditional"},
    "gancli.networks.sndcgan.SNDCGANDiscriminator": {"classes", "conditional"},
}


def unsaid(node: object) -> dict[str, set[str]]:
    """target -> what it takes and the config does not say, of all targets in a tree."""
    found: dict[str, set[str]] = {}
    if isinstance(node, dict):
        target = node.get("_target_")
        if target and not target.startswith("torch."):
            lacking = set(read_signature(target)) - set(node) - WITHOUT.get(target, set())
            found |= {target: lacking} if lacking else {}
        for value in node.values():
            found |= unsaid(value)
    return found


OF_PAPERS = {  # experiments give these values; a model's own file has others
    "Growing.fade_kimg": 600.0,
    "Growing.stable_kimg": 600.0,
    "LatentUNet.downs": 8,
    "StyleGAN.fade_kimg": 600.0,
    "StyleGAN.stable_kimg": 600.0,
    "StyleGAN2Discriminator.channel_base": 32768,
    "StyleGAN2Generator.channel_base": 32768,
    "UNetGenerator.downs": 8,
}
OF_OLD_RUNS = {  # what a run does that was made before there was a key
    "ContextEncoder.overlap": 0.0,
    "Inpainting.overlap": 0.0,
}
OF_BASES = {"TextGAN.mle_steps": 0}  # a base class begins with the adversarial game at once
OF_PARTS = {  # a base class, of which users derive classes of their own, changes nothing
    "CIFAR10.flip": False,
    "CIFAR100.flip": False,
    "CelebA.flip": False,
    "LSUN.flip": False,
    "LeCam.start": 0,
    "Masked.overlap": 0.0,  # as in older runs
    "STL10.flip": False,
}


def given_values(node: object) -> Iterator[tuple[str, str, object]]:
    """(target, key, value) of all targets in a tree."""
    if isinstance(node, dict):
        target = node.get("_target_")
        if target and not target.startswith("torch."):
            yield from ((target, key, value) for key, value in node.items())
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for item in items:
        yield from given_values(item)


def values_of(group: str) -> dict[tuple[str, str], list[object]]:
    """(target, key) -> the values that the options of a group give."""
    trees: list[object] = []
    for option in CONF[group]:
        if group in ("head", "penalty"):  # below a name in another group
            trees.append(yaml.safe_load(text_of(CONF[group][option])))
            continue
        part = compose("train", overrides_for(group, option), missing=True).cfg[group]
        if part is not None:
            # A loss may have a schedule that only a whole run works out.
            trees.append(OmegaConf.to_container(part, resolve=group in ("model", "dataset")))
    values: dict[tuple[str, str], list[object]] = {}
    for target, key, value in given_values(trees):
        values.setdefault((target, key), []).append(value)
    return values


def third_values(values: dict[tuple[str, str], list[object]]) -> dict[str, object]:
    """Class.key -> its default in Python, where no YAML gives that value."""
    third = {}
    for (target, key), known in values.items():
        parameter = read_signature(target).get(key)
        if parameter is None or key in ("classes", "channels", "resolution"):
            continue  # the last three follow the data
        default = parameter.default
        if default in (parameter.empty, None, "auto") or "auto" in known:
            continue
        if (list(default) if isinstance(default, tuple) else default) not in known:
            third[f"{target.rpartition('.')[2]}.{key}"] = default
    return third


@pytest.mark.full  # it composes every option of seven groups
def test_a_default_in_python_is_a_value_that_a_yaml_gives(monkeypatch):
    """Python's default serves a user's own YAML and runs made before; it is never a third value."""
    monkeypatch.delenv("GANCLI_DATA", raising=False)
    groups = ("model", "loss", "dataset", "augment", "perceptual", "head", "penalty")
    values: dict[tuple[str, str], list[object]] = {}
    for group in groups:
        for place, known in values_of(group).items():
            values.setdefault(place, []).extend(known)
    assert third_values(values) == OF_PAPERS | OF_OLD_RUNS | OF_BASES | OF_PARTS
    # Below conf/hydra stand Hydra's own parts, whose keys are not ours.
    files = [yaml.safe_load(text_of(path)) for path in find_conf_dir().glob("*/*.yaml")]
    assert {target for target, _, _ in given_values(files)} == {target for target, _ in values}
