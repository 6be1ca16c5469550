"""Makes the zoo: trains its generators, keeps the small part of each that samples, and its page.

For example

    python -m gancli.commands.zoo sngan_digits mlp_ring
    python -m gancli.commands.zoo all runs=outputs/zoo-runs
    python -m gancli.commands.zoo

A finished run is not run again, and one that was stopped goes on. The same recipe and seed give the
same file on the same machine with the same torch. Without names only the page is made anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.commands.gallery import name_cell, read_sessions, run_cell
from gancli.config.folders import find_conf_dir
from gancli.config.measured import describe_values
from gancli.errors import UserError
from gancli.files import atomic, shell
from gancli.files.zoo import INDEX, PREFIX, Entry, find_zoo_folder, read_zoo
from gancli.render.messages import say

if TYPE_CHECKING:
    from torch import Tensor

    from gancli.checkpoint import Loaded, Tree
    from gancli.game import Batch

SEED = 0
MOST_BYTES = 300_000  # of one file
MOST_CHANGED = 0.02  # mean change of samples by half precision, relative to their spread
COMPARED = 64  # samples for that
DRAWN = 40  # samples of a picture, where each has a tile of its own
LARGE = 16  # the same, where a tile is no picture of few pixels


@dataclass(frozen=True)
class Recipe:
    """How one file is made.

    Attributes:
        about: What it makes, in words.
        words: What is typed behind `gan train`, but for the seed.
        try_it: What to type to see what is special about it, behind `gan`; "" where samples are
            enough.
    """

    about: str
    words: tuple[str, ...]
    try_it: str = ""


RECIPES = {
    "cgan_digits": Recipe(
        "handwritten digits by class, of the model that `gan train` trains, but narrower",
        ("model.generator.width=24", "model.generator.max_width=48"),
        "sample ckpt=zoo/cgan_digits label=7 interpolate=8",
    ),
    "dcgan_digits": Recipe(
        "handwritten digits without labels, of DCGAN with a spectrally normalised discriminator",
        (
            "experiment=dcgan_digits_small",
            "model.generator.width=16",
            "model.generator.max_width=64",
        ),
    ),
    "enhance_digits": Recipe(
        "removes noise from handwritten digits",
        ("experiment=enhance_digits_small",),
        "evaluate ckpt=zoo/enhance_digits n=100",
    ),
    "infogan_digits": Recipe(
        "handwritten digits of InfoGAN, whose code tells most digits apart, found without labels",
        (
            "experiment=infogan_digits_small",
            "model.generator.width=13",
            "model.generator.max_width=52",
        ),
        "sample ckpt=zoo/infogan_digits sweep=code0",
    ),
    "inpaint_digits": Recipe(
        "fills holes in handwritten digits, as a context encoder does",
        ("experiment=inpaint_digits_small", "model.width=8"),
        "evaluate ckpt=zoo/inpaint_digits n=100",
    ),
    "mlp_ring": Recipe(
        "points near eight Gaussians on a ring, of a fully connected pair",
        ("experiment=mlp_ring",),
    ),
    "sngan_digits": Recipe(
        "handwritten digits by class, of SNGAN with a projection discriminator",
        ("experiment=sngan_digits_small", "model.generator.width=9"),
        "sample ckpt=zoo/sngan_digits per_class=4",
    ),
    "srgan_digits": Recipe(
        "enlarges handwritten digits from 8 to 32 pixels, of a narrow SRGAN",
        ("experiment=srgan_digits_small",),
        "evaluate ckpt=zoo/srgan_digits n=64",
    ),
    "stylegan2_digits": Recipe(
        "handwritten digits by class, of StyleGAN2, whose styles can be mixed and truncated",
        ("experiment=stylegan2_digits_small",),
        "sample ckpt=zoo/stylegan2_digits mix=coarse",
    ),
    "textgan_names": Recipe(
        "given names, letter by letter, of an LSTM",
        ("experiment=textgan_names_small", "model.hidden=160"),
        "sample ckpt=zoo/textgan_names temperature=0.7",
    ),
    "wavegan_sines": Recipe(
        "series of five sines of 24 steps, of a WaveGAN",
        ("experiment=wavegan_sines_small",),
    ),
}


def main(argv: Sequence[str]) -> int:
    """Makes the files that are named, and the page.

    Raises:
        UserError: A word is no name of a recipe, or a file turns out too large.
    """
    names: list[str] = []
    runs = Path("outputs/zoo-runs")
    for word in argv:
        if word.startswith("runs="):
            runs = Path(word.removeprefix("runs="))
        elif word in RECIPES:
            names.append(word)
        elif word == "all":
            names += RECIPES
        else:
            raise UserError(f"there is no recipe {word}", f"give {', '.join(RECIPES)} or all")
    docs = find_conf_dir().parent / "docs"
    for name in names:
        keep_entry(build_file(name, runs, docs))
    atomic.write_text(docs / "zoo.md", write_page(read_zoo()))
    say(f"done: {docs / 'zoo.md'}")
    return 0


def keep_entry(entry: Entry) -> None:
    """Puts an entry in the place of the older one of its name; entries without a recipe go."""
    entries = {old["name"]: old for old in read_zoo() if old["name"] in RECIPES}
    entries[entry["name"]] = entry
    rows = [entries[name] for name in sorted(entries)]
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    atomic.write_text(find_zoo_folder() / INDEX, text + "\n")


def build_file(name: str, runs: Path, docs: Path) -> Entry:
    """Trains one recipe, unless that is done, and writes its file and its picture.

    Args:
        name: Of the recipe.
        runs: The folder of the runs.
        docs: The folder of the page.

    Raises:
        UserError: The run did not come to its end, or the file is too large.
    """
    from gancli import checkpoint
    from gancli.modality import make_modality

    recipe = RECIPES[name]
    run_cell(recipe.words, SEED, runs)
    folder = runs / name_cell(recipe.words) / f"seed-{SEED}"
    source = checkpoint.load_game(str(folder))
    steps = source.tree["config"]["trainer"]["steps"]
    if source.tree["progress"]["step"] < steps:
        raise UserError(f"{folder} has not come to its end", f"gan train resume={folder}")
    half, content = choose_precision(source)
    if len(content) > MOST_BYTES:
        raise UserError(f"{name} takes {len(content):,} bytes", f"at most {MOST_BYTES:,}")
    path = find_zoo_folder() / f"{name}.pt"
    atomic.write(path, lambda file: file.write(content))
    draw_picture(path, folder, docs / "zoo" / f"{name}.png")
    config = source.tree["config"]
    modality = make_modality(config["dataset"])
    sessions = read_sessions(folder)
    size = config["dataset"]["resolution"]
    pair = (size, size) if isinstance(size, int) else size
    return {
        "name": name,
        "about": recipe.about,
        "item": modality.describe_item(pair, config["dataset"]["channels"]),
        "words": list(recipe.words),
        "seed": SEED,
        "steps": steps,
        "cpu_s": round(sum(each["cpu_s"] for each in sessions), 1),
        "parameters": sum(p.numel() for p in source.generator.parameters()),
        "bytes": len(content),
        "half": half,
        "values": measure_file(path),
        "sha256": hashlib.sha256(content).hexdigest(),
        "torch": source.tree["run"]["torch"],
        "date": max((each["date"] for each in sessions), default=""),
    }


def choose_precision(source: Loaded) -> tuple[bool, bytes]:
    """Chooses half precision where samples stay the same, as far as can be seen.

    Returns:
        Whether it is half, and the file.
    """
    content = pack(source.tree, half=True)
    exact = draw_items(source)
    changed = (draw_items(unpack(content, source.path)) - exact).abs().mean() / exact.std()
    say(f"half precision changes samples by {changed:.2%} of their standard deviation")
    if changed <= MOST_CHANGED:
        return True, content
    return False, pack(source.tree, half=False)


def pack(tree: Tree, *, half: bool) -> bytes:
    """Writes the file of the generator alone."""
    import torch

    from gancli.checkpoint import keep_generator

    file = io.BytesIO()
    torch.save(keep_generator(tree, half=half), file)
    return file.getvalue()


def unpack(content: bytes, path: Path) -> Loaded:
    """Loads such a file; path: of the run, for messages."""
    from gancli.checkpoint import load_game

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        file.write_bytes(content)
        return load_game(str(file))


def draw_items(loaded: Loaded) -> Tensor:
    """Draws items (N,C,H,W) as the network makes them: the classes in turn, or out of noise."""
    import torch

    from gancli.inference import sampling

    if loaded.game.directions:
        with torch.no_grad():
            return loaded.game.sample(draw_sources(loaded), loaded.generator).float()
    classes = [str(name) for name in loaded.tree["data"]["classes"]]
    label = sampling.choose_labels(loaded.game, COMPARED, label=None, classes=classes)
    inputs = sampling.draw_inputs(loaded.game, COMPARED, seed=SEED, label=label, options={})
    batches = sampling.generate(loaded.game, loaded.generator, inputs, seed=SEED, given=None)
    return torch.cat([batch.float() for batch in batches])


def draw_sources(loaded: Loaded) -> Batch:
    """Draws noise for a game that translates, in the shapes of its data."""
    import torch

    from gancli.data.base import pair

    data = loaded.tree["config"]["dataset"]
    noise = torch.Generator().manual_seed(SEED)
    found = {}
    for key, value in loaded.game.example(
        COMPARED, data["channels"], pair(data["resolution"])
    ).items():
        drawn = torch.rand(value.shape, generator=noise)
        found[key] = drawn.round() if key == "mask" else 2 * drawn - 1
    return found


def draw_picture(path: Path, folder: Path, picture: Path) -> None:
    """Draws what a file makes; of one that translates, the run's own picture is copied.

    Args:
        path: The file.
        folder: Its run.
        picture: The picture to write.
    """
    from gancli.checkpoint import load_game
    from gancli.commands import sample
    from gancli.modality import make_modality
    from gancli.run.folder import RunFolder

    picture.parent.mkdir(parents=True, exist_ok=True)
    loaded = load_game(str(path))
    if loaded.game.directions:
        newest = RunFolder(folder).find_newest_sample()
        assert newest is not None, "a run that came to its end has drawn samples"
        shutil.copyfile(newest, picture)
        return
    with tempfile.TemporaryDirectory() as out:
        modality = make_modality(loaded.tree["config"]["dataset"])
        n = modality.drawn or (DRAWN if modality.pixels else LARGE)
        sample.main([f"ckpt={path}", f"n={n}", f"out={out}", "device=cpu"])
        shutil.copyfile(Path(out) / "grid.png", picture)


def measure_file(path: Path) -> dict[str, float]:
    """Measures a file as `gan evaluate` does."""
    from gancli.run.measure import measure_checkpoint, read_evaluation_options

    found = measure_checkpoint(read_evaluation_options([f"ckpt={path}", "device=cpu"]))
    return {key: round(value, 4) for key, value in found.report.values.items()}


def write_page(entries: Sequence[Entry]) -> str:
    """Writes docs/zoo.md."""
    return "\n".join([*INTRODUCTION, *write_rows(entries), *ENDING]) + "\n"


INTRODUCTION = (
    "# The zoo: trained generators that come with the package",
    "",
    "Made by `python -m gancli.commands.zoo` of `gancli/zoo/zoo.json`: do not edit.",
    "",
    "Small generators that gancli has trained itself, on data that come with it or are drawn by",
    "formula. They need no download and no training: `zoo/NAME` stands wherever a run or a",
    "checkpoint may stand, and a path of that name on your disk comes first.",
    "",
    "```bash",
    "gan list zoo",
    "gan sample ckpt=zoo/stylegan2_digits mix=coarse",
    "gan sample ckpt=zoo/sngan_digits per_class=4 interpolate=8",
    "gan evaluate ckpt=zoo/sngan_digits n=200",
    "gan train experiment=mlp_ring init=zoo/mlp_ring trainer.steps=10",
    "```",
    "",
    "In Python, `gancli.load('zoo/sngan_digits').sample(16)`. What a command writes goes to",
    "`outputs/zoo/NAME`, unless `out=` says otherwise. The denoiser and the inpainter take images",
    "of your own: `gan translate ckpt=zoo/enhance_digits input=FOLDER`.",
    "",
    "Time is of one processor core for the training with its evaluations. The numbers are of the",
    "file itself, by `gan evaluate`: [metrics](metrics.md) says what they mean.",
    "",
)
ENDING = (
    "",
    "## What such a file cannot do",
    "",
    "A file holds the EMA generator alone, most of them in half precision, which the builder",
    "keeps only where samples do not change visibly. It has no discriminator, no optimizer and no",
    "curves, so `resume=`, `gan features`, `gan report`, `gan compare` and `ema=false` refuse it,",
    "and `gan evaluate` leaves out what the discriminator would say. With `init=zoo/NAME` the",
    "discriminator of the new run begins from random weights, and so does all of a generator whose",
    "names or shapes differ: the run says what it has taken.",
    "",
    "## How they are made",
    "",
    "`python -m gancli.commands.zoo NAME` trains a recipe of `gancli/commands/zoo.py`, keeps its",
    "generator, measures the file and draws its picture; `all` makes every one of them. The same",
    "recipe gives the same weights, bit for bit, on the same machine with the same torch; the file",
    "holds the run's config beside them, so its bytes follow what a version writes there.",
)


def write_rows(entries: Sequence[Entry]) -> Iterator[str]:
    """Writes a row for each file, a line at a time."""
    yield "| name | what it makes | size | time | what it reached | |"
    yield "|---|---|---|---|---|---|"
    for entry in entries:
        reached = describe_values({key: [value] for key, value in entry["values"].items()})
        words = shell.join(["gan", "train", *entry["words"], f"seed={entry['seed']}"])
        recipe = RECIPES[entry["name"]]
        more = f"; `gan {recipe.try_it}`" if recipe.try_it else ""
        size = f"{entry['parameters']:,} parameters, {entry['bytes'] / 1000:.0f} kB"
        yield (
            f"| `{PREFIX}{entry['name']}` | {entry['about']} ({entry['item']}){more}; "
            f"made by `{words}` | {size}{', fp16' if entry['half'] else ''} | "
            f"{entry['cpu_s']:.0f} s | {reached} | ![{entry['name']}](zoo/{entry['name']}.png) |"
        )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"{error.message}\n  {error.hint}")
