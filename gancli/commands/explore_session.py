"""What stands behind the page of gan explore: pictures of picks, their commands, what is saved."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gancli.checkpoint import Loaded
from gancli.commands.checkpoint_verbs import read_value
from gancli.commands.endings import trust_words
from gancli.commands.sample import put
from gancli.commands.translate_files import save
from gancli.config.build import read_trust
from gancli.errors import UserError
from gancli.files import atomic, reading, shell
from gancli.game import Batch
from gancli.inference import explore, sampling
from gancli.inference.explore import Directions, Draw, Json, Model, Pick
from gancli.inference.explore_directions import find_directions, has_directions
from gancli.inference.tiling import find_translator, is_noisy
from gancli.modality import make_modality
from gancli.render.grids import save_png
from gancli.run.failures import explain_write_errors
from gancli.run.loaded import LoadedModel

SWEEP_STEPS = 10  # values of a continuous code, as in gan sample
LATENT_FORMAT = 1  # of projected.pt, which gan sample reads
PICKS = "picks.json"
NAME = re.compile(r"pick-(\d{3,})\.")


@dataclass(frozen=True)
class Shown:
    """What the page shows of a pick.

    Attributes:
        picture: The file, as it may be downloaded.
        words: What it is, in a line.
        command: The command that makes it again; "" where there is none before it is saved.
        sound: A WAV file, of a model of sound.
        text: Lines, of a model of text.
    """

    picture: Path
    words: str
    command: str
    sound: Path | None = None
    text: str = ""


def describe_checkpoint(loaded: Loaded) -> str:
    """Says in a line which checkpoint it is."""
    return f"step {loaded.tree['progress']['step']:,} of {loaded.path}"


class Session:
    """A checkpoint, the picks that were saved, and a lock: one picture is made at a time.

    Attributes:
        model: What makes pictures of picks.
        out: Where picks are saved; made with the first.
        shown: A folder of this process alone for what the page shows.
        beside: Suffixes of what lies beside the picture of an item: a sound, a text.
    """

    def __init__(self, loaded: Loaded, *, options: Mapping[str, Any], out: Path, shown: Path):
        self.loaded = loaded
        self.options = options
        self.out = out
        self.shown = shown
        self.translated = LoadedModel(loaded)
        self.modality = make_modality(loaded.tree["config"]["dataset"])
        self.channels = int(loaded.tree["config"]["dataset"]["channels"])
        self.model = Model(loaded.game, loaded.generator, self.translated.classes)
        self.count = 0
        self.directions: dict[object, Directions] = {}
        # The generator's noise is drawn from torch's global generator, which is seeded for each
        # picture: two at a time would draw each other's.
        self.lock = threading.Lock()
        self.beside: tuple[str, ...] = ()

    @property
    def saved(self) -> str:
        """Counts what was saved: "", "1 pick", "2 picks"."""
        return f"{self.count} pick{'s' * (self.count != 1)}" if self.count else ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names every class or attribute that can be asked for."""
        names = self.model.classes
        return tuple(names[k] if k < len(names) else str(k) for k in range(self.model.game.classes))

    def refuse_unfit(self) -> None:
        """Refuses a checkpoint of which a page would show nothing, and looks at what it makes.

        Raises:
            UserError: One item alone shows nothing.
        """
        if self.modality.drawn is not None:
            raise UserError(
                f"this checkpoint's model makes {self.modality.noun}, and one of them alone shows "
                "nothing",
                self.write_command(["n=1000"]),
            )
        if not self.modality.pixels:
            item = explore.make_item(self.model, Draw(seed=0), self.find_directions)
            self.beside = tuple(self.modality.extra(item[None]))

    def write_command(self, words: list[str], *, command: str = "sample") -> str:
        """Writes a command line about this checkpoint, to be pasted into a shell."""
        options = self.options
        more = [] if options["ema"] else ["ema=false"]
        more += [] if options["device"] == "auto" else [f"device={options['device']}"]
        more += trust_words(read_trust(options["trust"]))
        return shell.join(["gan", command, f"ckpt={options['ckpt']}", *words, *more])

    def list_words(self, draw: Draw) -> list[str]:
        """Lists the words of gan sample that make a draw."""
        words = ["n=1", f"seed={draw.seed}"]
        if isinstance(draw.label, int):
            words.append(write_label(self.classes[draw.label]))
        elif draw.label is not None:
            words.append(f"label=[{','.join(f'{value:g}' for value in draw.label)}]")
        return words + [f"{key}={write_value(value)}" for key, value in draw.options.items()]

    def find_command(self, pick: Pick) -> str:
        """Finds the command that makes the same picture; "" where a saved latent is needed."""
        if isinstance(pick, Draw) and not pick.codes:
            return self.write_command(self.list_words(pick))
        return ""

    def find_directions(self, draw: Draw) -> Directions:
        """Finds the directions of a draw's class, once."""
        key = draw.label
        if key not in self.directions:
            self.directions[key] = find_directions(self.model, draw)
        return self.directions[key]

    def has_directions(self) -> bool:
        """Are there directions to move along?"""
        return self.modality.pixels and has_directions(self.model)

    def show(self, pick: Pick) -> Shown:
        """Makes the picture of a pick, or finds the one that was made before."""
        name = hashlib.sha256(repr(pick).encode()).hexdigest()[:24]
        path = self.shown / f"{name}.png"
        sound = path.with_suffix(".wav")
        text = path.with_suffix(".txt")
        if not path.exists():
            with self.lock:
                item = explore.make_item(self.model, pick, self.find_directions)
            for suffix, content in self.modality.extra(item[None]).items():
                path.with_suffix(suffix).write_bytes(content)
            self.write_picture(item, path)
        return Shown(
            path,
            self.describe(pick),
            self.find_command(pick),
            sound if sound.exists() else None,
            text.read_text().rstrip("\n") if text.exists() else "",
        )

    def write_picture(self, item: Tensor, path: Path) -> None:
        """Writes what shows an item (C,H,W): of an image the PNG that gan sample writes."""
        if self.modality.pixels and self.modality.suffix(self.channels) == ".png":
            self.modality.write(item, path)
        else:
            save_png(self.modality.picture(item[None], None, columns=1), path)

    def sweep(self, draw: Draw, name: str) -> tuple[Path, str]:
        """Draws all values of one input side by side: the file, and the command that makes it."""
        plain = Draw(seed=draw.seed, label=draw.label, options=draw.options)
        with self.lock:
            items = explore.sweep_input(self.model, plain, name, SWEEP_STEPS)
        key = hashlib.sha256(repr((plain, name)).encode()).hexdigest()[:24]
        path = self.shown / f"sweep-{key}.png"
        save_png(self.modality.picture(items, None, columns=len(items)), path)
        return path, self.write_command([*self.list_words(plain), f"sweep={name}"])

    def describe(self, pick: Pick) -> str:
        """Says in a line what a pick is."""
        if isinstance(pick, Draw):
            words = [f"seed {pick.seed}"]
            if isinstance(pick.label, int):
                words.append(f"class {self.classes[pick.label]}")
            elif pick.label is not None:
                pairs = zip(self.classes, pick.label, strict=True)
                words.append("+".join(name for name, value in pairs if value) or "no attribute")
            words += [f"{key} {write_value(value)}" for key, value in pick.options.items()]
            words += [f"{name} {value:g}" for name, value in pick.codes.items()]
            return ", ".join(words)
        if isinstance(pick, explore.Between):
            ends = f"({self.describe(pick.first)}) to ({self.describe(pick.second)})"
            return f"{pick.share:.0%} of the way from {ends}"
        layers = ""
        if pick.layers is not None:
            layers = f" in layers {pick.layers[0]}-{pick.layers[1] - 1}"
        if isinstance(pick, explore.Mixed):
            return f"{self.describe(pick.of)}; styles of ({self.describe(pick.other)}){layers}"
        moves = [f"{k + 1}: {step:+g}" for k, step in enumerate(pick.amounts) if step]
        return f"{self.describe(pick.of)}; directions {', '.join(moves) or 'none'}{layers}"

    def save(self, pick: Pick) -> tuple[str, str]:
        """Saves a pick: its picture, its latent where there is no other command, and its numbers.

        Returns:
            The name of the picture, and the command that makes it again.

        Raises:
            UserError: The folder cannot be written.
        """
        with self.lock:
            inputs = explore.make_inputs(self.model, pick, self.find_directions)
            draw = explore.find_draw(pick)
            item = explore.make_items(self.model, inputs, draw)[0]
        entry = explore.describe_pick(pick, self.model.classes)

        def write(stem: Path) -> tuple[Path, str]:
            path = stem.with_suffix(".png")
            self.write_picture(item, path)
            self.write_values(item, inputs, stem)
            command = self.find_command(pick)
            if not command:
                latent = stem.with_suffix(".pt")
                write_latent(inputs, latent)
                command = self.write_command([f"latent={latent}", *self.list_latent_words(draw)])
            return path, command

        return self.add(entry, write)

    def write_values(self, item: Tensor, inputs: Batch, stem: Path) -> None:
        """Writes what holds the values of an item, where a picture of it does not."""
        for name, content in (
            self.modality.export(item[None], inputs.get("label")) if self.modality.files else {}
        ).items():
            atomic.write(stem.with_suffix(Path(name).suffix), functools.partial(put, content))
        if not self.modality.files and self.modality.suffix(self.channels) != ".png":
            self.modality.write(item, stem.with_suffix(self.modality.suffix(self.channels)))

    def list_latent_words(self, draw: Draw) -> list[str]:
        """Lists what gan sample needs beside a latent: the seed and options of the noise."""
        still = sampling.hold_still(self.model.game)
        given = sampling.pick_values(self.model.game, draw.options, explore.Stage.SAMPLE)
        # With a latent gan sample holds the noise fixed unless it is told otherwise.
        drawn = {
            option.name: option.default
            for option in self.model.game.sampling_options()
            if option.name in still and option.default is not None
        }
        words = [f"{key}={write_value(value)}" for key, value in (drawn | given).items()]
        return [f"seed={draw.seed}", *words]

    def add(self, entry: Json, write: Callable[[Path], tuple[Path, str]]) -> tuple[str, str]:
        """Writes the files of an entry under the next free name, and adds it to picks.json."""
        with explain_write_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            entries = read_entries(self.out / PICKS)
            numbers = [
                int(match[1]) for path in self.out.iterdir() if (match := NAME.match(path.name))
            ]
            path, command = write(self.out / f"pick-{max(numbers, default=-1) + 1:03d}")
            entries.append({"file": path.name, **entry, "command": command})
            text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
            atomic.write(self.out / PICKS, functools.partial(put, text.encode()))
        self.count += 1
        return path.name, command

    def needs_seed(self, direction: str) -> bool:
        """Does a translation differ from seed to seed?"""
        return is_noisy(find_translator(self.model.game, self.loaded.generator, direction))

    def translate(
        self, source: str, *, direction: str, seed: int, extras: Mapping[str, str]
    ) -> tuple[Path, str]:
        """Translates a picture.

        Args:
            source: The file.
            direction: "ab", or "ba" for the way back.
            seed: Of the generator's noise.
            extras: Further files, by the names of gan translate: mask, style, pose, poses.

        Returns:
            The file, and the command that makes it of the same source.

        Raises:
            UserError: The picture cannot be used.
        """
        files = {"new_pose" if key == "poses" else key: path for key, path in extras.items()}
        assert direction in ("ab", "ba")
        way = "ab" if direction == "ab" else "ba"
        with self.lock:
            canvas = self.translated.translate(
                source,
                direction="ab" if way == "ab" else "ba",
                seed=seed,
                mask=files.get("mask"),
                style=files.get("style"),
                pose=files.get("pose"),
                new_pose=files.get("new_pose"),
            )
        key = hashlib.sha256(repr((source, direction, seed, extras)).encode()).hexdigest()[:24]
        folder = self.shown / key
        folder.mkdir(exist_ok=True)
        path = folder / f"{Path(source).stem}.png"
        save(canvas, path)
        words = [f"input={Path(source).name}"]
        words += [f"{name}={Path(file).name}" for name, file in extras.items()]
        words += [] if direction == "ab" else ["direction=ba"]
        words += [f"seed={seed}"] if seed else []
        return path, self.write_command(words, command="translate")

    def save_translation(self, picture: str, command: str) -> tuple[str, str]:
        """Saves what a picture became, beside its command."""
        content = Path(picture).read_bytes()

        def write(stem: Path) -> tuple[Path, str]:
            path = stem.with_suffix(".png")
            atomic.write(path, functools.partial(put, content))
            return path, command

        return self.add({}, write)


def write_label(name: str) -> str:
    """Writes a class as gan sample takes it: so that Hydra gives the very name back."""
    plain = f"label={name}"
    read = read_value(plain)
    if type(read) in (str, int) and str(read) == name:
        return plain
    from hydra.core.override_parser.types import Quote, QuotedString

    # 01 would become 1, and null nothing.
    return f"label={QuotedString(name, Quote.single).with_quotes()}"


def write_value(value: object) -> str:
    """Writes the value of an option as a command line takes it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def write_latent(inputs: Batch, path: Path) -> None:
    """Writes inputs (1,...) as gan sample latent= reads them."""
    tree = {
        "format": LATENT_FORMAT,
        "inputs": {key: value.clone() for key, value in inputs.items()},
        "planes": [],
    }
    atomic.write(path, lambda file: torch.save(tree, file))


def read_entries(path: Path) -> list[Json]:
    """Reads what was saved earlier; raises UserError for a file that is something else."""
    found = reading.read_json(path) if path.exists() else []
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise UserError(f"{path} is no list of picks", "move it away, or give another out=")
    return found
