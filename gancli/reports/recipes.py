"""Which model to train on data of one's own: rules, and what was measured where they come from."""

from __future__ import annotations

import math
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.config.folders import find_conf_dir
from gancli.config.measured import (
    describe_measured,
    find_experiment,
    read_forecasts,
    read_measured,
)
from gancli.errors import UserError
from gancli.files.npz import holds_images
from gancli.files.paths import suggest_neighbours

if TYPE_CHECKING:
    import numpy as np

    from gancli.data.files import Files

# the data set that reads a file of one's own, by its ending; else it is a folder or a zip file
READ_BY = {".csv": "series", ".ts": "series", ".npz": "series", ".txt": "text"}
# names of the arrays of an .npz that say what it holds, as the data sets' own readers know them
RECORDED = {".wav", ".mp3", ".flac", ".ogg", ".m4a"}  # of which .wav is read, and others are named
SOUNDS = {"samples", "audio", "waves", "recordings"}
RATES = {"rate", "sample_rate", "sr"}
RATE_IN_NAME = re.compile(r"(\d+(?:\.\d+)?)[ _-]?(k?)hz", re.IGNORECASE)
GUESSED_RATE = 16_000  # samples a second, where neither the file nor its name says it
LEAST_RATE = 4_000
MOST_SAMPLES = 4_096  # of a recording that a short run learns: spectrograms of 64 x 64
NINE_TENTHS = 0.9  # of the recordings, as dataset.length=auto holds whole
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".npy"}
BESIDE = ("", ".md")  # of folders, and of files that say what lies there
LOOKED_AT = 200  # files of a folder, to say what it holds
HEADERS = 64  # images whose size is read, evenly spread
DECODED = 16  # of them, to see whether they have colours
SMALL_SIDE = 32  # pixels, at which that shows
FEW = 2_000  # images; with fewer the discriminator soon knows them by heart
VERY_FEW = 100
LEAST_EACH = 20  # images a class, on average, or labels say little
LEAST_STEPS_EACH = 150  # steps a class; with fewer, smaller images teach more
UNEVEN = 4  # times as many images of the commonest class as of the rarest
FLAT = 2  # levels of 255 between neighbours
# In the share of flat places: facades have 0.28 and their label maps 0.66
MUCH_FLATTER = 0.2
MOST_SIDE = 64  # pixels that a short run can learn on a CPU
GPU_SIDE = 128
STRIP = 2  # times as long as they are wide, or more: their middle square shows little
MOST_AREA = 2  # squares of the longest side that a strip may cover
LEAST_STRIP = 16  # pixels of the shorter side: with fewer a network has one step from end to end
ALIKE = 1.25  # times as long as the most usual image, for its width: a rectangle suits both
GALLERY = "docs/gallery.md"
MEASURED = "docs/measured.md"
OWN = "docs/own-images.md"
ROUNDED = 50  # steps are multiples of this
WITH_ALPHA = ("RGBA", "LA", "PA")  # modes
GREY = ("1", "L", "LA", "F")  # and those of more bits, whose names begin with I
WHITE = "augment.over_white=true"
SINKING_ADAM = (  # for colours, over a run of any length
    *("optimizer=adam_b05", "optimizer.g.lr=4e-4", "optimizer.d.lr=4e-4"),
    *("optimizer.g.schedule=linear", "optimizer.d.schedule=linear"),
    *("optimizer.g.final=0.1", "optimizer.d.final=0.1"),
)
NEAREST = "model.generator.upsampling=nearest"
# For what has an alpha channel: either word alone gained little
DRAWN = (WHITE, NEAREST)
SEEN_OVER_WHITE = (
    "; the discriminator sees them over white, since colours that nobody sees give fakes away, and "
    "pixels doubled by their nearest neighbour leave no lattice in flat colours"
)
EXPECTED_DRAWN = (
    "smooth shapes in all colours on transparent ground: few can be named after 1,600 steps of 32 "
    "on 1,000 emoji of 64 pixels (fd_squeezenet 3,153), one of three after 5,450 (1,974), half "
    f"after 10,000 (1,787), faces and people among them ({OWN})"
)


@dataclass(frozen=True)
class Facts:
    """What a quick look at data of one's own shows.

    Attributes:
        path: As typed.
        layout: images, pairs, domains, series, text, audio or posed.
        words: That choose the data set.
        n: Images; 0 where they are not counted.
        size: Their most usual (width, height); (0, 0) where it is not known.
        mode: Their most usual mode, as Pillow calls it.
        classes: Sub-folders that are labels; 0 without.
        notes: What else there is to say.
        each: Images of the rarest and of the commonest class; (0, 0) without labels.
        alike: Whether nearly all have about the shape of `size`.
        opaque: Whether few images with an alpha channel hide anything by it.
    """

    path: str
    layout: str
    words: tuple[str, ...]
    n: int = 0
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    classes: int = 0
    notes: tuple[str, ...] = ()
    each: tuple[int, int] = (0, 0)
    alike: bool = True
    opaque: bool = False

    @property
    def strips(self) -> bool:
        """Whether they are far longer than wide, or wider than long."""
        return self.layout == "images" and max(self.size) >= STRIP * min(self.size) > 0

    @property
    def labelled(self) -> bool:
        """Whether there are classes, and enough images of each on average to learn them."""
        return self.classes > 1 and self.n >= LEAST_EACH * self.classes

    @property
    def transparent(self) -> bool:
        """Whether they have alpha that hides something, as drawings without ground do."""
        return self.mode in WITH_ALPHA and not self.opaque

    @property
    def grey(self) -> bool:
        """Whether they have one channel beside alpha, as scans and written characters do."""
        return self.mode in GREY or self.mode.startswith("I")

    @property
    def uneven(self) -> bool:
        """Whether a class is so rare that a run would seldom meet it."""
        return self.labelled and self.each[1] >= UNEVEN * self.each[0] > 0


@dataclass(frozen=True)
class Recipe:
    """A command for data of one's own, but for the number of its steps.

    Attributes:
        name: In words.
        words: What is typed behind `gan train`.
        batch: Items a step.
        steps: Of the run that was measured, or as many images as that.
        least: Steps below which there is little to see.
        expected: What can be expected, and where that comes from.
        why: For these data.
        experiment: The bundled experiment of this kind, which may have been measured meanwhile.
        stages: Keys that count steps of a first stage, with their shares of the run.
        sinking: Shares of the run between which the learning rates sink; () for none.
        sinkers: The players whose rates do.
    """

    name: str
    words: tuple[str, ...]
    batch: int
    steps: int
    least: int
    expected: str
    why: str
    experiment: str = ""
    stages: tuple[tuple[str, float], ...] = ()
    sinking: tuple[float, ...] = ()
    sinkers: tuple[str, ...] = ("g", "d")

    def expect(self) -> str:
        """Says what can be expected, with what was measured of the bundled experiment."""
        entry = find_experiment(read_measured(), self.experiment)
        if entry is None:
            return self.expected
        said = describe_measured(entry, read_forecasts())
        return f"{self.expected}; experiment={self.experiment} of this kind: {said}, {MEASURED}"

    def command(self, steps: int) -> list[str]:
        """Gives the words behind `gan train` for so many steps."""
        words = [*self.words, f"trainer.steps={steps}"]
        words += [f"{key}={round(share * steps)}" for key, share in self.stages]
        if self.sinking:
            kimg = steps * self.batch / 1000
            start, end = (round(share * kimg, 3) for share in self.sinking)
            for player in self.sinkers:
                words += [
                    f"optimizer.{player}.start_kimg={start:g}",
                    f"optimizer.{player}.end_kimg={end:g}",
                ]
        return words


def leave_out_replaced(words: Sequence[str], typed: Sequence[str]) -> list[str]:
    """Leaves out the options of a recipe's augmentation where another one is typed."""
    if not any(word.startswith("augment=") for word in typed):
        return list(words)
    return [word for word in words if not word.startswith("augment.")]


def choose_set(path: str) -> str:
    """Chooses the data set that reads a lone path, by its ending or by what lies in it."""
    root = Path(path).expanduser()
    if root.suffix.lower() == ".npz" and root.is_file():
        chosen = choose_array_set(list_arrays(root))
        return f"dataset={'folder' if chosen == 'series' and holds_images(root) else chosen}"
    endings = list_endings(root)
    if (endings or {root.suffix.lower()}) & RECORDED and not endings & PICTURES:
        return "dataset=audio"
    if endings <= {*READ_BY, *BESIDE}:  # a table beside pictures of any kind is about these
        for ending in sorted(endings & READ_BY.keys()):
            return f"dataset={READ_BY[ending]}"
    if root.is_dir() and are_people(root):
        return "dataset=posed"
    return f"dataset={READ_BY.get(root.suffix.lower(), 'folder')}"


def choose_words(path: str) -> list[str]:
    """Chooses the words that read a lone path: the data set, the path, and a rate it may need."""
    path = find_lone_arrays(path)
    chosen = choose_set(path)
    rate, _ = find_rate(Path(path)) if chosen == "dataset=audio" else ("", "")
    return [chosen, f"dataset.path={path}", *([rate] if rate else [])]


def choose_array_set(names: set[str]) -> str:
    """Chooses the data set that reads an .npz, by the names of its arrays."""
    if names & SOUNDS or names & RATES:
        return "audio"
    if {"images", "pose"} <= names:
        return "posed"
    return "series"


def list_arrays(file: Path) -> set[str]:
    """Lists the names of the arrays of an .npz; none of what is no such file."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy").lower() for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return set()


def find_rate(file: Path) -> tuple[str, str]:
    """Finds the word that gives the rate of an .npz of sound, and why; "" where it says it."""
    if file.suffix.lower() != ".npz" or list_arrays(file) & RATES:
        return "", ""
    stated = RATE_IN_NAME.search(file.stem)
    if stated:
        rate = round(float(stated[1]) * (1000 if stated[2] else 1))
        why = f"{file.name} holds no rate: its name says {rate:,} samples a second"
    else:
        rate = GUESSED_RATE
        why = f"{file.name} holds no rate: {rate:,} samples a second is a guess, type the real one"
    return f"dataset.file_rate={rate}", why


def are_people(root: Path) -> bool:
    """Says whether a folder holds people in poses: pictures/PERSON/POSE.png, and poses of these."""
    pictures, poses = root / "pictures", root / "poses"
    people = [place for place in islice(pictures.glob("*"), LOOKED_AT) if place.is_dir()]
    return bool(people) and any(file.suffix.lower() in PICTURES for file in poses.rglob("*"))


def list_endings(folder: Path) -> set[str]:
    """Lists the endings of the first files of a folder and of those in it; none of a file."""
    if not folder.is_dir():
        return set()
    files = (*islice(folder.glob("*"), LOOKED_AT), *islice(folder.glob("*/*"), LOOKED_AT))
    return {file.suffix.lower() for file in files}


def look_at(path: str, words: Sequence[str] = ()) -> Facts:
    """Looks at data of one's own: names, and the headers of a few images.

    Args:
        path: A folder, a zip file, or a file of series or text.
        words: What else is typed, of which dataset.label and dataset.split count.

    Raises:
        UserError: There is nothing of the kind.
    """
    path = find_lone_arrays(path)
    root = Path(path).expanduser()
    if not root.exists():
        raise UserError(
            f"dataset.path={path}: there is no such file or folder",
            suggest_named(path) or suggest_neighbours(root),
        )
    chosen = choose_set(path)
    option = chosen.removeprefix("dataset=")
    if option == "audio":
        return look_at_recordings(path)
    if option != "folder":
        return Facts(path=path, layout=option, words=(chosen, f"dataset.path={path}"))
    return look_at_images(path, words)


def suggest_named(name: str) -> str:
    """Says that a word names a data set where it does, which needs no path; "" for others."""
    known = name.isidentifier() and (find_conf_dir() / "dataset" / f"{name}.yaml").is_file()
    return f"{name} is a data set by name: gan train dataset={name}" if known else ""


def read_typed(words: Sequence[str], key: str) -> str | list[str]:
    """Reads the value of a key among typed words, "auto" where none gives it."""
    typed = [word.partition("=")[2] for word in words if word.partition("=")[0] == key]
    value = typed[-1] if typed else "auto"
    if value.startswith("["):
        return [name.strip() for name in value.strip("[]").split(",")]
    return value


def find_lone_arrays(path: str) -> str:
    """Finds the .npz that is all that a folder holds; else gives the path as it is."""
    root = Path(path).expanduser()
    if list_endings(root) - {*BESIDE} != {".npz"}:
        return path
    found = [file for file in root.glob("*") if file.suffix.lower() == ".npz"]
    return str(Path(path) / found[0].name) if len(found) == 1 else path


def look_at_recordings(path: str) -> Facts:
    """Looks at recordings: how many, of which classes, how long; headers alone of WAV files.

    Raises:
        UserError: There are none.
    """
    from gancli.data.audio import class_names, find_recordings

    given, why = find_rate(Path(path))
    found = find_recordings(path, rate=int(given.partition("=")[2]) if given else None)
    words = [word for word in ("dataset=audio", f"dataset.path={path}", given) if word]
    notes = [why] if why else []
    n = len(found.recordings)
    if n:
        rate = Counter(one.rate for one in found.recordings).most_common(1)[0][0]
        seconds = sorted(one.frames / one.rate for one in found.recordings)
        long = seconds[math.ceil(NINE_TENTHS * n) - 1]
        lower = lower_rate(rate, long)
        if lower < rate:
            words.append(f"dataset.rate={lower}")
            notes.append(
                f"nine of ten are {long:.1f} s or shorter, at {rate:,} samples a second: a short "
                f"run learns fewer, so dataset.rate={lower} (leave it out for all of them)"
            )
    classes = len(class_names(found))
    return Facts(path, "audio", tuple(words), n, classes=classes, notes=tuple(notes))


def lower_rate(rate: int, seconds: float) -> int:
    """Halves a rate until so many seconds are few enough samples, or speech would be lost."""
    while rate * seconds > MOST_SAMPLES and rate // 2 >= LEAST_RATE:
        rate //= 2
    return rate


def look_at_images(path: str, typed: Sequence[str] = ()) -> Facts:
    """Looks at a folder or zip file of images, see `look_at`."""
    from gancli.data.folder import listing, really_transparent
    from gancli.reports.layouts import find_command

    split = read_typed(typed, "dataset.split")
    files = listing(path, label=read_typed(typed, "dataset.label"), split=str(split))
    command = find_command(path, files)
    # The rest of the remarks a run makes itself
    parts = [f"{path}: {text}" for text in files.remarks if files.left_out and "parts" in text]
    notes = () if command else tuple(parts)
    rows = [k * len(files) // min(len(files), HEADERS) for k in range(min(len(files), HEADERS))]
    found = [(row, read_header_of(files, row)) for row in rows]
    headers = [header for _, header in found if header]
    sizes = Counter(size for size, _ in headers)
    modes = Counter(mode for _, mode in headers)
    size = sizes.most_common(1)[0][0] if sizes else (0, 0)
    mode = modes.most_common(1)[0][0] if modes else ""
    # Attributes are nothing that the models of these recipes take
    classes = len(files.classes) if files.labels is not None and files.labels.ndim == 1 else 0
    if command:
        layout = "pairs" if command[0] == "model=pix2pix" else "domains"
        chosen = tuple(command[1:])
        if layout == "pairs" and read_typed(typed, "dataset.direction") == "auto":
            direction, why = choose_direction(path, files)
            chosen += direction
            notes += why
        return Facts(path, layout, chosen, len(files), size, mode, 0, notes)
    words: tuple[str, ...] = ("dataset=folder", f"dataset.path={path}")
    each = count_extremes(files)
    # As a run decides whether it keeps the channel
    alphas = [row for row, header in found if header and header[1] in WITH_ALPHA]
    opaque = bool(alphas) and 2 * really_transparent(files, alphas) <= len(headers)
    near = sum(n for other, n in sizes.items() if is_like(other, size))
    asked = read_typed(typed, "dataset.channels")
    if mode == "RGB" and asked == "auto" and hold_no_colour(files, [row for row, _ in found]):
        mode = "L"
        words += ("dataset.channels=1",)
        notes += (
            "no colour was seen in them, so they are learned as grey; dataset.channels=3 keeps "
            "three channels",
        )
    return Facts(
        path,
        "images",
        words,
        len(files),
        size,
        mode,
        classes,
        notes,
        each,
        alike=near >= NINE_TENTHS * len(headers),
        opaque=opaque,
    )


def hold_no_colour(files: Files, rows: Sequence[int]) -> bool:
    """Tells whether images of three channels are grey all the same, as many scans are kept.

    Args:
        files: Of the images.
        rows: Of which up to `DECODED` are decoded, evenly spread.
    """
    from gancli.data.decode import BadImage, Decoder, loses_colour

    decode = Decoder((SMALL_SIDE, SMALL_SIDE), 3)
    found: list[bool] = []
    for row in rows[:: max(1, len(rows) // DECODED)]:
        try:
            found.append(loses_colour(decode(files.read_one(row)), 1))
        except (BadImage, OSError, ValueError):
            continue
        if found[-1]:
            return False
    return bool(found)


def is_like(size: tuple[int, int], usual: tuple[int, int]) -> bool:
    """Tells whether an image (width, height) has about the shape of another one."""
    ratio = size[0] * usual[1] / (size[1] * usual[0])
    return 1 / ALIKE <= ratio <= ALIKE


def choose_direction(path: str, files: Files) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Chooses which image of each pair is the source: the flatter one, as maps and outlines are.

    Args:
        path: Of the pairs.
        files: Of pairs side by side.

    Returns:
        The word that says it, and why; none where the left images, or those of A, are the source,
        as they are without a word.
    """
    from gancli.data import seams
    from gancli.data.folder import listing
    from gancli.reports.layouts import find_sides

    root = Path(path).expanduser()
    named = find_sides(root)
    if named is None and (root / "train").is_dir():
        root = root / "train"
        named = find_sides(root)
    if named is not None:
        names = (f"those of {named[0]}", f"those of {named[1]}")
        sides = [seams.sample(listing(str(root / name))) for name in named]
    else:
        names = ("the left images", "the right images")
        wide = seams.sample(files)
        sides = [
            [image[:, : image.shape[1] // 2] for image in wide],
            [image[:, -(image.shape[1] // 2) :] for image in wide],
        ]
    if not all(sides):
        return (), ()
    first, second = (sum(map(measure_flatness, side)) / len(side) for side in sides)
    if second - first < MUCH_FLATTER:
        return (), ()
    why = (
        f"{names[1]} are flatter, as label maps, plans and outlines are, so they are translated "
        f"into {names[0]}; dataset.direction=ab is the other way round"
    )
    return ("dataset.direction=ba",), (why,)


def measure_flatness(image: np.ndarray) -> float:
    """Measures the share of places of a grey image (h,w) whose neighbour is nearly equal."""
    return float((abs(image[:, 1:] - image[:, :-1]) <= FLAT).mean())


def count_extremes(files: Files) -> tuple[int, int]:
    """Counts the images of the rarest and of the commonest class; (0, 0) without classes."""
    if files.labels is None or files.labels.ndim != 1:
        return 0, 0
    counts = Counter(files.labels.tolist())
    return min(counts.values()), max(counts.values())


def read_header_of(files: Files, row: int) -> tuple[tuple[int, int], str] | None:
    """Reads size and mode of one image; None where that fails."""
    from gancli.data.decode import BadImage, open_image
    from gancli.data.stacks import is_array, read_header

    try:
        file = files.read_one(row)
        if is_array(file):
            header = read_header(file)
            return (header.size[1], header.size[0]), header.mode
        with open_image(file) as image:
            return image.size, "RGBA" if "transparency" in image.info else image.mode
    except (BadImage, OSError, ValueError):
        return None


def list_recipes(facts: Facts, *, gpu: bool = False) -> list[Recipe]:
    """Lists what to train on such data, the best first, where there is time for it.

    Args:
        facts: Of the data.
        gpu: There is a GPU, so larger networks and images are within reach.
    """
    if facts.layout == "images":
        return list_image_recipes(facts, gpu=gpu)
    return {
        "pairs": list_pair_recipes,
        "domains": list_domain_recipes,
        "series": list_series_recipes,
        "text": list_text_recipes,
        "audio": list_audio_recipes,
        "posed": list_pose_recipes,
    }[facts.layout](facts)


def choose_side(facts: Facts, *, most: int) -> int:
    """Chooses the resolution: the images' own, up to `most`, that halves down to 4 to 7 pixels."""
    limit = min(min(facts.size) or most, most)
    sides = [base * 2**times for base in range(4, 8) for times in range(1, 8)]
    return max((side for side in sides if side <= limit), default=8)


def choose_rectangle(facts: Facts, *, most: int) -> tuple[int, int]:
    """Chooses the (width, height) at which strips are learned.

    Of the heights (of tall ones: widths) that halve down to 4 to 7 pixels, the largest at which the
    whole length is no more pixels than `MOST_AREA` squares of `most`; where none is, the middle.
    """
    shorter, longer = sorted(facts.size)
    limit = min(shorter, most)
    area = MOST_AREA * most**2
    sides = [base * 2**times for base in range(4, 8) for times in range(1, 8)]
    fitting = [side for side in sides if side <= limit] or [min(sides)]
    whole = [side for side in fitting if side >= LEAST_STRIP and side**2 * longer <= area * shorter]
    side = max(whole, default=min((s for s in fitting if s >= LEAST_STRIP), default=max(fitting)))
    unit = 2 ** ((side // 4).bit_length() - 1)
    length = min(side * longer // shorter, area // side) // unit * unit
    return (length, side) if facts.size[0] > facts.size[1] else (side, length)


def choose_resolutions(facts: Facts, *, most: int) -> list[tuple[int, int]]:
    """Chooses the sizes (width, height) at which images are learned, the best first."""
    if facts.strips and facts.alike:
        best, quick = (choose_rectangle(facts, most=side) for side in (most, 32))
        return [best, quick] if min(quick) < min(best) else [best]
    side = choose_side(facts, most=most)
    return [(side, side), (32, 32)] if side > 32 else [(side, side)]


def name_size(size: tuple[int, int]) -> str:
    """Names a size (width, height) for people: 64, or 376x16."""
    width, height = size
    return str(width) if width == height else f"{width}x{height}"


def set_resolution(size: tuple[int, int]) -> str:
    """Gives the word for a size (width, height), which holds the height first."""
    width, height = size
    return f"dataset.resolution={width if width == height else f'[{height},{width}]'}"


def list_image_recipes(facts: Facts, *, gpu: bool) -> list[Recipe]:
    """Lists recipes for single images, the best first, and then what is lighter."""
    sizes = choose_resolutions(facts, most=GPU_SIDE if gpu else MOST_SIDE)
    # Balanced draws show those of a rare class as often as if all classes were as small
    few = (facts.each[0] * facts.classes if facts.uneven else facts.n) < FEW
    why = describe_images(facts, few=few)
    plain = describe_classes if facts.labelled else describe_convolutions
    if gpu:
        recipes = [describe_styles(facts, size, few=few, gpu=True, why=why) for size in sizes]
    else:
        recipes = [plain(facts, size, few=few, why=why) for size in sizes]
    if len(sizes) > 1:
        recipes[1] = replace(recipes[1], why=f"{recipes[1].why}; with fewer pixels it is quicker")
    if gpu:
        recipes.append(plain(facts, sizes[-1], few=few, why=why))
    else:
        recipes.append(describe_styles(facts, sizes[-1], few=few, gpu=False, why=why))
    # What thousands of digits reach says nothing of them
    if facts.n < VERY_FEW or (facts.strips and facts.alike):
        return [replace(recipe, experiment="") for recipe in recipes]
    return recipes


def count_images(n: int) -> str:
    """Says how many images there are."""
    return f"{n:,} image{'' if n == 1 else 's'}"


def describe_images(facts: Facts, *, few: bool) -> str:
    """Says what there is of images, and what that asks for."""
    said = count_images(facts.n)
    if facts.labelled:
        said += f" of {facts.classes} classes"
    if facts.uneven:
        said += (
            f", {facts.each[0]:,} to {facts.each[1]:,} each, so dataset.balance=true draws all "
            "equally often"
        )
    if few:
        said += ", so few that augmentation must keep the discriminator from learning them"
    elif facts.classes < 2:
        said += " without labels"
    if facts.strips and facts.alike:
        said += "; they are strips, which are learned as such and not as their middle squares"
    elif facts.strips:
        said += "; many are strips, whose middle squares are learned, since their shapes differ"
    if facts.classes > 1 and not facts.labelled:
        said += (
            f"; its {facts.classes} classes are not used, since below {LEAST_EACH} images a class "
            "labels teach little"
        )
    return said


def describe_convolutions(facts: Facts, size: tuple[int, int], *, few: bool, why: str) -> Recipe:
    """Describes a narrow DCGAN, which shows many times as many images a minute as the others."""
    words = (
        *("model=dcgan", *facts.words, set_resolution(size), "model.width=32"),
        *SINKING_ADAM,
        "augment=diffaug_color_translation",
        *(DRAWN if facts.transparent else ()),
        "trainer.batch_size=32",
    )
    if facts.transparent:
        expected = EXPECTED_DRAWN
        why += SEEN_OVER_WHITE
    else:
        expected = (
            "things of one kind with their parts in place: faces with eyes, mouths and hair in all "
            "colours, fd_squeezenet 2,708 after 2,500 steps of 32, 1,307 after 5,250 and 884 after "
            f"10,000 on 2,500 drawn faces of 64 pixels ({OWN})"
        )
    return Recipe(
        name=f"DCGAN at {name_size(size)} pixels",
        words=words,
        batch=32,
        steps=2500,
        least=500,
        expected=expect_of_images(facts, expected, few=few),
        why=f"{why}; plain convolutions learn from four times as many images a minute as "
        "StyleGAN2, which decides in a short run; DiffAugment keeps the discriminator from winning",
        experiment="dcgan_digits_small",
        sinking=(0.5, 1.0),
    )


def choose_view(facts: Facts, *, few: bool) -> tuple[str, ...]:
    """Chooses what the discriminator of a large model sees: few images often changed, none hidden.

    Colours that nobody sees give fakes away, whatever the augmentation.
    """
    if not few:
        return ("augment=over_white",) if facts.transparent else ()
    return ("augment=ada", WHITE) if facts.transparent else ("augment=ada",)


def describe_classes(facts: Facts, size: tuple[int, int], *, few: bool, why: str) -> Recipe:
    """Describes a narrow CGAN with projection: plain convolutions that are told the class."""
    if facts.grey:
        batch, sinking = 16, (0.4, 1.0)
        expected = (
            "classes that one can read where images are simple: class accuracy 0.93 and fd_self "
            "0.49 on 5,000 scanned digits of 28 pixels after 8,000 steps of 16, 0.86 and 1.01 on "
            "4,000 pieces of clothing, 0.42 and 0.77 on 47 characters, 20 drawings of each, at 32 "
            f"pixels after 12,000 ({OWN})"
        )
    else:
        # With the default's rates the discriminator of photographs ends at chance level
        batch, sinking = 32, (0.5, 1.0)
        expected = (
            "rows of classes that one can tell apart, rough: on 5,000 photographs of 10 classes at "
            "32 pixels class accuracy 0.44 after 5,000 steps of 32 and 0.49 after 12,000, other "
            f"photographs have 0.54 ({OWN})"
        )
    if facts.transparent:
        why += SEEN_OVER_WHITE
    return Recipe(
        name=f"CGAN at {name_size(size)} pixels, by class",
        words=(
            *("model=cgan_projection", *facts.words, set_resolution(size), "model.width=32"),
            "model.conditional=true",
            *(("dataset.balance=true",) if facts.uneven else ()),
            *(() if facts.grey else SINKING_ADAM),
            *((NEAREST,) if facts.transparent or not facts.grey else ()),
            "augment=diffaug_color_translation",
            *((WHITE,) if facts.transparent else ()),
            f"trainer.batch_size={batch}",
        ),
        batch=batch,
        steps=8000,
        least=min(8000, LEAST_STEPS_EACH * max(facts.classes, 10)),
        expected=expect_of_images(facts, expected, few=few),
        why=f"{why}; plain convolutions that are told the class see many times as many images a "
        "minute as StyleGAN2, which decides in a short run; DiffAugment keeps the discriminator "
        "from winning",
        experiment="cgan_digits_small" if facts.grey else "",
        sinking=sinking,
    )


def expect_of_images(facts: Facts, expected: str, *, few: bool) -> str:
    """Says what can be expected, less where there are few images."""
    if facts.n < VERY_FEW:
        verb = "is" if facts.n == 1 else "are"
        return (
            f"little more than copies: {count_images(facts.n)} {verb} too few to learn a kind from"
        )
    if facts.strips and facts.alike:
        expected = "colours and shapes in their places along each strip; strips were not measured"
    return f"{expected}; with fewer images less" if few else expected


def describe_styles(
    facts: Facts, size: tuple[int, int], *, few: bool, gpu: bool, why: str
) -> Recipe:
    """Describes a narrow StyleGAN2, as it was measured on drawn faces and on photographs."""
    labelled = facts.labelled
    widths = (
        ("model.channel_base=8192", "model.channel_max=256")
        if gpu
        else (
            *("model.z_dim=64", "model.w_dim=64"),
            *("model.channel_base=1024", "model.channel_max=64"),
        )
    )
    batch = 32 if labelled or gpu or size[0] * size[1] <= 32**2 else 16
    words = (
        *("model=stylegan2", *facts.words, set_resolution(size), *widths),
        "model.generator.mapping_layers=2",
        *(
            (
                *("model.conditional=true", "model.discriminator.mapping_layers=2"),
                *("model.r1_gamma=0.3", "model.pl_weight=0", "model.mixing=0"),
                "ema.half_life_kimg=5",
            )
            if labelled
            else ("model.r1_gamma=0.5", "model.pl_weight=0.1")
        ),
        *(("dataset.balance=true",) if facts.uneven else ()),
        *choose_view(facts, few=few),
        f"trainer.batch_size={batch}",
    )
    if labelled:
        expected = (
            "rows of classes one can tell apart, rough: class accuracy 0.525 on 5,000 photographs "
            f"of 10 classes at 32 pixels after 3,000 steps of 32 ({GALLERY})"
        )
    else:
        expected = (
            "things of one kind (faces, emoji) with their parts in place, rough in detail: "
            "fd_squeezenet 4,111 after 1,500 steps of 16 on drawn faces of 64 pixels, 6,975 after "
            f"750 ({GALLERY})"
        )
    return Recipe(
        name=f"StyleGAN2 at {name_size(size)} pixels" + (", by class" if labelled else ""),
        words=words,
        batch=batch,
        steps=3000 if labelled else 24_000 // batch,
        least=1000 if labelled else 12_000 // batch,
        expected=expect_of_images(facts, expected, few=few),
        why=f"{why}; styles, R1 and a moving average take longer for an image than plain "
        "convolutions, and learn classes and fine detail",
        experiment="stylegan2_digits_small",
    )


def list_pair_recipes(facts: Facts) -> list[Recipe]:
    """Lists recipes for pairs: pix2pix in small, and the paper's way."""
    side = 64 if min(facts.size, default=0) >= 48 else 32
    turned = "dataset.direction=ba" in facts.words  # of which a note tells
    other = "" if turned else " (dataset.direction=ba translates the other way)"
    words = (
        *("model=pix2pix", *facts.words, f"dataset.resolution={side}"),
        *(f"dataset.load_size={side * 9 // 8}", "model.width=32"),
        # Noise that stays on blurs what is made, and patches of a quarter of the image are the
        # paper's: 70 of 256 pixels
        *("model.generator.noisy=false", "model.generator.dropout=0"),
        "model.discriminator.layers=1",
        "augment=diffaug_color_translation",
        *("optimizer.g.lr=1e-3", "optimizer.g.schedule=linear", "optimizer.g.final=0.1"),
        "trainer.batch_size=2",
    )
    return [
        Recipe(
            name=f"pix2pix at {side} pixels, pixels first",
            words=words,
            batch=2,
            steps=2200,
            least=1000,
            expected=(
                "outputs with parts in their places, such as rows of windows: soft after 1,929 of "
                "2,200 steps of 2 on facades of 64 pixels (PSNR 14.8 dB and SSIM 0.35, the mean "
                "photo 14.3 dB and 0.12), with frames and cross-bars after 6,850 (14.5 dB and "
                f"0.34), walls of one colour ({OWN})"
            ),
            why="pairs: each source has its target, so pixels teach first and a discriminator of "
            f"small patches adds detail; it sees them moved and coloured, or few pairs are soon "
            f"known by heart{other}",
            experiment="pix2pix_facades64",
            stages=(("model.warmup", 0.25),),
            sinking=(0.5, 1.0),
            sinkers=("g",),
        )
    ]


def list_domain_recipes(facts: Facts) -> list[Recipe]:
    """Lists recipes for two domains: CycleGAN in windows, or in small whole images."""
    words = ("experiment=cyclegan_horse2zebra64", *facts.words)
    whole = (
        *("model=cyclegan", *facts.words, "dataset.resolution=32", "dataset.load_size=36"),
        *("model.width=32", "model.generator.ab.downs=1", "model.generator.ab.blocks=3"),
        *("model.discriminator.a.layers=2", "trainer.batch_size=4"),
    )
    why = "two domains without pairs: each is translated into the other and back again"
    return [
        Recipe(
            name="CycleGAN on windows of 64 pixels",
            words=words,
            batch=2,
            steps=10_000,
            least=3000,
            expected=(
                "textures of the other domain on some images: 22 of 120 test horses became zebras "
                f"to a classifier after 10,000 steps of 2, one of the first 60 after 3,500 "
                f"({GALLERY})"
            ),
            why=why,
            experiment="cyclegan_horse2zebra64",
            sinking=(0.7, 1.0),
        ),
        Recipe(
            name="CycleGAN on whole images of 32 pixels",
            words=whole,
            batch=4,
            steps=2000,
            least=500,
            expected="colours of the other domain; textures need larger windows and an hour or "
            "more (not measured)",
            why=f"{why}; small, since there is little time",
        ),
    ]


def list_series_recipes(facts: Facts) -> list[Recipe]:
    """Lists recipes for series: a narrow WaveGAN, which reached more than RCGAN and TimeGAN."""
    words = (
        *("model=wavegan", *facts.words, "optimizer=adam_b0_quick", "model.width=32"),
        *("model.kernel=9", "model.discriminator.phase_shuffle=0", "model.conditional=auto"),
        *("loss.n_critic=2", "trainer.batch_size=64", "trainer.precision=fp32"),
    )
    return [
        Recipe(
            name="WaveGAN, narrow",
            words=words,
            batch=64,
            steps=5000,
            least=2000,
            expected=(
                "series that a recurrent judge hardly tells from real ones: 0.012 (0 is no "
                "difference, 0.5 the most) on sunspots after 4,000 steps, 0.011 on sines after "
                f"5,000 ({GALLERY})"
            ),
            why="series: one-dimensional convolutions reached more in a minute than RCGAN and "
            "TimeGAN in several",
            experiment="wavegan_sines_small",
            sinking=(50 / 320, 1.0),
        )
    ]


def list_text_recipes(facts: Facts) -> list[Recipe]:
    """Lists recipes for text: likelihood first, then relaxed draws."""
    words = (
        *("model=textgan", *facts.words, "model.hidden=192"),
        *("optimizer.g.lr=1e-4", "optimizer.d.lr=1e-3", "optimizer.mle.lr=5e-3"),
        *("ema.half_life_kimg=20", "trainer.batch_size=128"),
    )
    return [
        Recipe(
            name="TextGAN, an LSTM: likelihood first, then relaxed draws",
            words=words,
            batch=128,
            steps=3000,
            least=2500,
            expected=(
                "lines whose pairs of letters are as often as in the data: js2 0.009, 0.008 for "
                "as many training names, on names, after 3,000 steps of likelihood and 1,500 of "
                f"the game; lines of words need far more ({GALLERY})"
            ),
            why="text: likelihood teaches most of it, and the discriminator comes after",
            experiment="textgan_names_small",
            stages=(("model.mle_steps", 2 / 3),),
        )
    ]


def list_pose_recipes(facts: Facts) -> list[Recipe]:
    """Lists recipes for people in poses: narrow, and pixels first."""
    words = (
        *("model=pose", *facts.words, "dataset.resolution=64", "model.width=16"),
        *("model.adversarial_weight=0.1", "optimizer.g.lr=1e-3", "trainer.batch_size=16"),
    )
    return [
        Recipe(
            name="people moved into other poses, at 64 pixels",
            words=words,
            batch=16,
            steps=1600,
            least=800,
            expected="the same person in the pose that was asked for, rough in detail: measured on "
            f"drawn figures of 64 pixels ({GALLERY})",
            why="people in several poses, with an image of each pose",
            experiment="pose_figures_small",
            stages=(("model.warmup", 0.75),),
        )
    ]


def list_audio_recipes(facts: Facts) -> list[Recipe]:
    """Lists recipes for recordings: a DCGAN on spectrograms, as spoken digits were measured."""
    words = (
        *("model=dcgan", *facts.words, "dataset.spectrogram=true", "dataset.floor=1e-3"),
        *("dataset.normalise=true", "model.width=16", "model.conditional=auto"),
        *("optimizer.g.lr=4e-4", "optimizer.d.lr=4e-4"),
        *("trainer.batch_size=32", "trainer.precision=fp32"),
    )
    return [
        Recipe(
            name="DCGAN on spectrograms" + (", by class" if facts.classes > 1 else ""),
            words=words,
            batch=32,
            steps=2000,
            least=1000,
            expected="sounds of the data's kind, with noise: spoken digits at 4,000 samples a "
            "second of class accuracy 0.64 to 0.75 in 2,000 steps of 32 "
            f"(experiment=dcgan_fsdd_small, {GALLERY})",
            why="recordings: an image model of spectrograms learns sooner than one of waves",
            experiment="dcgan_fsdd_small",
        )
    ]
