"""Safe loading: an untrusted file is plain data, whole and of sane size, or it is refused.

Nothing in it ever runs.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from gancli.config.values import show
from gancli.errors import UserError, first_line
from gancli.files.reading import PLAIN, Unreadable, open_file, walk_nodes

ONLY_OURS = "use a file that gancli wrote"
LONGEST = 512  # bits of a whole number: longer ones are no floats, and Python cannot print them
PICKLES = (b"\x02", b"\x03", b"\x04", b"\x05")  # protocols, the second byte of a pickle
# of keys, leaves and containers together
MOST = 10**6
FOLDER = 0x10  # MS-DOS's mark, in the attributes of an archive's entry


class Damaged(UserError):
    """The file is incomplete or altered; an older one may serve."""


def load_plain(path: Path) -> object:
    """Reads what a .pt file holds: tensors, plain values and containers.

    Raises:
        Damaged: the file is broken.
        UserError: it holds more than that, or cannot be read.
    """
    try:
        file = open_file(path)
    except Unreadable as error:  # a pipe or a device: opening one may wait for ever
        raise Damaged(error.message, error.hint) from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "check the path after ckpt= or resume="
        ) from error
    with file:  # one handle for both reads: a live run may replace the file in between
        size = os.fstat(file.fileno()).st_size
        check_archive(file, path, size=size)
        file.seek(0)
        try:
            tree = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"{path} holds more than tensors and plain data, and nothing of it was run",
                "load only checkpoints that gancli wrote",
            ) from error
        except Exception as error:
            # What a file can make the reader raise has no end
            raise Damaged(f"{path} is damaged: {first_line(error)}") from error
    check_plain(tree, path, size=size)
    return tree


def check_archive(file: BinaryIO, path: Path, *, size: int) -> None:
    """Raises Damaged unless every record matches its checksum.

    torch itself does not notice a flipped bit.
    """
    start = file.read(2)
    file.seek(0)
    if start[:1] == b"\x80" and start[1:] in PICKLES:
        raise Damaged(
            f"{path} is a bare pickle, as NVIDIA's .pkl networks are: reading one runs the code "
            "that it names, so nothing of it was read",
            "docs/explore.md says what to do instead; ckpt= takes files that gancli wrote",
        )
    try:
        with zipfile.ZipFile(file) as archive:
            # torch stores without compression: more unpacked than packed is a zip bomb.
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise zipfile.BadZipFile("it would unpack to more than it is")
            for entry in archive.infolist():
                # torch's reader skips a folder and hands out memory that nobody has filled.
                if entry.is_dir() or entry.external_attr & FOLDER:
                    raise zipfile.BadZipFile(f"{entry.filename} is marked as a folder")
            broken = archive.testzip()
    except Exception as error:  # as above
        raise Damaged(f"{path} is damaged or no checkpoint: {first_line(error)}") from error
    if broken is not None:
        raise Damaged(f"{path} is damaged: {broken} does not match its checksum")


def check_plain(tree: object, where: Path | str, *, size: int) -> None:
    """Checks that a state is what a checkpoint may hold.

    Args:
        tree: the state.
        where: the file, for the message.
        size: bytes of the file.

    Raises:
        UserError: for anything else, and for tensors that claim more than the file holds.
    """
    claimed = 0
    for node in walk_nodes(tree, most=MOST, what="the checkpoint"):
        if isinstance(node, Tensor) and node.layout is torch.strided and node.device.type != "meta":
            claimed += node.numel() * node.element_size()
        elif type(node) not in PLAIN:
            raise UserError(
                f"{where} holds a {type(node).__name__} of a kind that no checkpoint may",
                "only dense tensors, numbers, strings, lists and mappings are saved and loaded",
            )
    if claimed > 4 * size:  # not once: tied weights are listed twice and stored once
        raise UserError(f"{where} claims tensors larger than the file holds", ONLY_OURS)


def check_size(config: dict) -> None:
    """Raises UserError for a config that is too large, or not plain values."""
    dataset = config.get("dataset")
    alphabet = dataset.get("alphabet") if isinstance(dataset, dict) else None
    if isinstance(dataset, dict) and isinstance(alphabet, list):
        # Words of a text, thousands, which become no layers.
        if not all(type(token) is str for token in alphabet):
            raise UserError("the checkpoint's config: dataset.alphabet holds no tokens", ONLY_OURS)
        config = config | {"dataset": dataset | {"alphabet": None}}
    # Each may become a layer, and building so many would take minutes.
    for node in walk_nodes(config, most=5000, what="the checkpoint's config"):
        if type(node) not in PLAIN:
            raise UserError(
                f"the checkpoint's config holds a {type(node).__name__}, not plain values",
                ONLY_OURS,
            )
        if type(node) is int and node.bit_length() > LONGEST:
            raise UserError("the checkpoint's config holds a number without end", ONLY_OURS)
        if isinstance(node, dict) and not isinstance(node.get("_target_", ""), str):
            raise UserError(
                f"the checkpoint's config: {show(node['_target_'])} does not name a class",
                ONLY_OURS,
            )


def check_savable(tree: dict) -> None:
    """Raises UserError for a state that could be written, but not read again.

    A user's module may hold anything.
    """
    check_size(tree["config"])
    check_plain(tree, "the state of the model", size=2**63)
