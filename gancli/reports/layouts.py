"""What a folder of images may be besides single ones: pairs, or two domains; for which models."""

from __future__ import annotations

import re
from pathlib import Path

from gancli.data import seams
from gancli.data.files import Files
from gancli.data.folder import listing
from gancli.data.pairs import NEARLY
from gancli.errors import UserError
from gancli.files import shell

SIDES = (("A", "B"), ("a", "b"))  # names of two folders that belong together
ALSO = "simgan and styletransfer take them too"


def find_layouts(path: str, files: Files) -> list[str]:
    """Tells of each layout that is recognised, with the command that trains on it."""
    root = Path(path).expanduser()
    found = look_at_folders(path, root)
    if not found and (root / "train").is_dir():
        found = look_at_folders(path, root / "train")
        if not found:
            files = listing(str(root / "train"))
    if not found and are_side_by_side(files):
        found = [f"pairs side by side, as it seems: {format_command('pix2pix', path)}"]
    return found


def find_command(path: str, files: Files) -> list[str]:
    """Gives the words behind `gan train` for pairs or two domains; [] for single images."""
    for text in find_layouts(path, files):
        if command := re.search(r": gan train (.*?)(?: \(|$)", text):
            return shell.split(command[1])
    return []


def format_command(model: str, path: str, *more: str) -> str:
    """Writes the command that trains a model on it."""
    return " ".join(
        shell.quote(word)
        for word in ("gan", "train", f"model={model}", f"dataset.path={path}", *more)
    )


def look_at_folders(path: str, root: Path) -> list[str]:
    """Recognises two folders of equal names as pairs, trainA and trainB or others as domains."""
    if all((root / name).is_dir() for name in ("trainA", "trainB")):
        held = [name for name in ("testA", "testB") if (root / name).is_dir()]
        beside = f"; {' and '.join(held)} are held out" if held else ""
        return [
            f"two domains, trainA and trainB{beside}: {format_command('cyclegan', path)} ({ALSO})"
        ]
    sides = find_sides(root)
    if sides is None:
        return []
    stems = []
    for name in sides:
        try:
            names = listing(str(root / name)).names
        except UserError:  # no image in it
            return []
        stems.append({str(Path(file).with_suffix("")) for file in names})
    first, second = sides
    named = (f"dataset.a={first}", f"dataset.b={second}")
    if 2 * len(stems[0] & stems[1]) >= min(map(len, stems)):
        pairs = format_command("pix2pix", path, *(() if sides == SIDES[0] else named))
        return [f"pairs in the folders {first} and {second}: {pairs}"]
    domains = format_command("cyclegan", path, *named)
    return [f"two domains, {first} and {second}, whose file names differ: {domains} ({ALSO})"]


def find_sides(root: Path) -> tuple[str, str] | None:
    """Finds the names of the two folders of pairs or domains, A and B or a and b."""
    return next((pair for pair in SIDES if all((root / name).is_dir() for name in pair)), None)


def are_side_by_side(files: Files) -> bool:
    """Do most images show two that belong together, side by side?"""
    images = seams.sample(files)
    wide = [image for image in images if abs(image.shape[1] / image.shape[0] - 2) <= NEARLY]
    return 2 * len(wide) > len(images) and seams.look_like_pairs(wide)
