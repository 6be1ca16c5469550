"""People of one's own in poses: folders of pictures and of pose images, or one file of arrays."""

from __future__ import annotations

import logging
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Self

import numpy as np
import torch

from gancli.data.base import ORDER_SEED, Decoded, Source, digest_of, is_count, ordered, require
from gancli.data.decode import BadImage, Decoder, File, open_image, resize_all, to_channels
from gancli.data.draws import permutation
from gancli.data.files import Files, decode_files, list_skipped
from gancli.data.folder import listing, measure, say_passed_over
from gancli.data.posed import People
from gancli.errors import UserError

log = logging.getLogger("gancli.data")
LAYOUT = (
    "pictures/PERSON/POSE.png, and poses/POSE.png (of everybody) or poses/PERSON/POSE.png; or an "
    ".npz of images (people,poses,H,W,3) and pose (poses,H,W)"
)


class PosedDecoder(Decoder):
    """A picture and the image of its pose -> (C+P,h,w) uint8. BadImage where they do not fit."""

    def __init__(self, size: tuple[int, int], channels: int, pose_channels: int):
        super().__init__(size, channels)
        # Notes are about pictures: nobody minds that a pose image loses its colour.
        self.poses = Decoder(size, pose_channels)

    def __call__(self, file: File | tuple[File, File]) -> np.ndarray:
        """Returns the channels of the picture, then those of the pose."""
        assert isinstance(file, tuple), "a picture has its pose beside it"
        sizes = []
        for name in file:
            with open_image(name) as image:
                sizes.append(image.size)
        if sizes[0] != sizes[1]:
            raise BadImage(
                "it measures {}x{} pixels, and the image of its pose {}x{}".format(
                    *sizes[0], *sizes[1]
                )
            )
        return np.concatenate([super().__call__(file[0]), self.poses(file[1])])


@dataclass(frozen=True)
class Table:
    """Who is in each picture, and in which pose: (N,) int64 each, and how many of both there are.

    Attributes:
        person: Numbers of people.
        pose: Numbers of poses.
    """

    person: np.ndarray
    pose: np.ndarray

    def count_people(self) -> int:
        """Counts the people."""
        return int(self.person.max()) + 1

    def count_poses(self) -> int:
        """Counts the poses."""
        return int(self.pose.max()) + 1

    def shares_poses(self) -> bool:
        """Says whether people stand in the same poses, by name; else each is new in any case."""
        return 2 * self.count_poses() <= len(self.pose)


@dataclass(kw_only=True)
class OwnFigures(Source):
    """Pictures of people below `path`, and an image of the pose of each.

    A pair is two pictures of one person, drawn anew each time. Held out are new people in new
    poses; what shows new people in known poses, or known people in new ones, is then not used.

    Attributes:
        path: A folder with the folders that `pictures` and `poses` name, or an .npz file.
        pictures: PERSON/POSE.png in it.
        poses: POSE.png in it, of everybody, or PERSON/POSE.png.
        pose_channels: Of a pose image, 1 or 3.
        held_people: How many people are held out; auto: a tenth.
        held_poses: How many poses are held out; auto: a fifth, none where people share no poses.
        background: Its level in each channel, for silhouettes; None: each picture's border.
    """

    path: str
    pictures: str = "pictures"
    poses: str = "poses"
    pose_channels: int | str = "auto"
    held_people: int | str = "auto"
    held_poses: int | str = "auto"
    background: list[int] | None = None
    holdout: int | str = "auto"  # type: ignore[assignment]  # wider than the base's until scan

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.pose_channels in ("auto", 1, 3),
            f"dataset.pose_channels={self.pose_channels}",
            "1 of grey pose images, 3 of coloured ones, or auto",
        )
        for key, value in (("held_people", self.held_people), ("held_poses", self.held_poses)):
            require(
                value == "auto" or is_count(value, least=0),
                f"dataset.{key}={value}",
                "how many are held out, or auto",
            )
        require(not self.classes or self.classes == "auto", "people have no labels", "classes=0")
        n = self.channels if isinstance(self.channels, int) else None
        require(
            self.background is None
            or (
                all(is_count(level, least=0) and level <= 255 for level in self.background)
                and n in (None, len(self.background))
            ),
            f"dataset.background={self.background} is no colour of the pictures",
            "a level from 0 to 255 for each channel, or null",
        )

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        if "auto" not in (*self.declared().values(), self.pose_channels, self.holdout):
            return {}
        if self.is_array():
            images, pose, table = self.read_arrays()
            height, width = images.shape[2:]
            resolution: int | list[int] = height if height == width else [height, width]
            channels = images.shape[1]
            pose_channels = pose.shape[1]
        else:
            files, table = self.find_files()
            resolution, channels = measure(replace(files, read=lambda i: first_of(files, i)))
            _, pose_channels = measure(replace(files, read=lambda i: second_of(files, i)))
        found = self.fill(resolution=resolution, channels=channels, classes=0)
        if self.pose_channels == "auto":
            found["pose_channels"] = 1 if pose_channels < 3 else 3
        if self.holdout == "auto":
            found["holdout"] = len(self.split_table(table)[1])
        return found

    def settled(self) -> Self:
        """Returns a copy without "auto"."""
        return replace(self, **self.scan())

    def decoder(self) -> Decoder:
        """Returns what turns a picture and its pose into stored pixels."""
        return PosedDecoder(self.size(), self.known_channels(), self.known_pose_channels())

    def depth(self) -> int:
        """Returns the channels that are stored for a picture and its pose."""
        return self.known_channels() + self.known_pose_channels()

    def storage(self) -> tuple[str, ...]:
        """How many of the stored channels are those of the pose: 1 + 3 are not 3 + 1."""
        return (f"pose channels {self.known_pose_channels()}",)

    def known_pose_channels(self) -> int:
        """Returns the channels of a pose image; only a settled source knows them."""
        assert isinstance(self.pose_channels, int), "settled() fills in what is auto"
        return self.pose_channels

    def is_array(self) -> bool:
        """Says whether `path` is one file of arrays."""
        return self.path.lower().endswith(".npz")

    def load(self) -> Decoded:
        """Decodes the pictures and their poses. Raises UserError."""
        source = self.settled()
        return source.load_arrays() if source.is_array() else source.load_files()

    def load_files(self) -> Decoded:
        """Decodes the files of the folders."""
        files, table = self.find_files()
        train, held = self.choose_rows(table)
        rows = np.concatenate([train, held])
        chosen = replace(
            files,
            names=[files.names[row] for row in rows],
            read=lambda i: files.read(int(rows[i])),
            sizes=[files.sizes[row] for row in rows],
            stamps=[files.stamps[row] for row in rows],
            tail=len(held),
        )
        say_passed_over(self.path, files)
        if files.refused:
            log.warning("%s: not used: %s", self.path, list_skipped(files.refused))
        decoded = decode_files(chosen, self)
        assert decoded.place is not None, "files have places"
        order = ordered(len(rows), len(held))
        return self.finish(decoded, table.person[rows[order[decoded.place.numpy()]]])

    def load_arrays(self) -> Decoded:
        """Reads the pictures of the file."""
        images, pose, table = self.read_arrays()
        train, held = self.choose_rows(table)
        rows = np.concatenate([train, held])
        # One pose for each picture, or one for each number of a pose.
        poses = pose[rows] if len(pose) == len(images) else pose[table.pose[rows]]
        stored = np.concatenate(
            [
                to_channels(resize_all(images[rows], self.size()), self.known_channels()),
                to_channels(resize_all(poses, self.size()), self.known_pose_channels()),
            ],
            1,
        )
        decoded = Decoded(
            images=torch.from_numpy(stored),
            # Some hundreds of pictures tell data sets apart; hashing all takes long.
            digest=digest_of([stored[:: max(1, len(stored) // 256)].tobytes(), repr(stored.shape)]),
            place=torch.arange(len(rows)),
        )
        return self.finish(decoded, table.person[rows])

    def finish(self, decoded: Decoded, person: np.ndarray) -> Decoded:
        """Sets pictures and poses apart, and says who is in each."""
        n = self.known_channels()
        background = None if self.background is None else tuple(self.background)
        return replace(
            decoded,
            images=decoded.images[:, :n].contiguous(),
            further={"pose": decoded.images[:, n:].contiguous()},
            people=People(person=torch.from_numpy(person), background=background),
        )

    def choose_rows(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Chooses what is trained on and what is held out. Raises UserError."""
        if self.holdout == 0:
            return np.arange(len(table.person)), np.arange(0)
        train, held = self.split_table(table)
        require(
            self.holdout == len(held),
            f"dataset.holdout={self.holdout}: new people in new poses are {len(held)} pictures",
            "dataset.holdout=auto; dataset.held_people=N dataset.held_poses=N choose how many",
        )
        log.info(
            "%s: %d pictures to train on, %d of new people in new poses held out, %d not used",
            self.path,
            len(train),
            len(held),
            len(table.person) - len(train) - len(held),
        )
        return train, held

    def split_table(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Splits pictures by person and pose: rows to train on, and rows of new people and poses.

        Raises UserError where nothing is left to train on.
        """
        people = table.count_people()
        poses = table.count_poses()
        held_people = people // 10 if self.held_people == "auto" else self.held_people
        held_poses = self.held_poses
        if held_poses == "auto":
            held_poses = poses // 5 if table.shares_poses() else 0
        assert isinstance(held_people, int) and isinstance(held_poses, int), "checked at the start"
        require(
            held_people < people and held_poses < poses,
            f"dataset.held_people={held_people} dataset.held_poses={held_poses} leave nothing of "
            f"{people} people in {poses} poses to train on",
            "hold out fewer",
        )
        new_person = find_last(people, held_people)[table.person]
        new_pose = find_last(poses, held_poses)[table.pose]
        if not held_people:
            return np.arange(len(table.person)), np.arange(0)
        if not held_poses:
            return np.flatnonzero(~new_person), np.flatnonzero(new_person)
        # Old people in new poses, and new people in old ones, are neither trained on nor held out.
        return np.flatnonzero(~new_person & ~new_pose), np.flatnonzero(new_person & new_pose)

    def find_files(self) -> tuple[Files, Table]:
        """Lists the pictures that have a pose. Raises UserError that names what is missing."""
        root = Path(self.path).expanduser()
        sides = [root / self.pictures, root / self.poses]
        require(root.is_dir(), f"dataset.path={self.path}: there is no such folder", LAYOUT)
        for side, key in zip(sides, ("pictures", "poses"), strict=True):
            there = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
            require(
                side.is_dir(),
                f"dataset.path={self.path}: there is no folder {side.name} in it"
                + (f" (folders: {', '.join(there[:6])})" if there else ""),
                f"the layout is {LAYOUT}; dataset.{key}=NAME names the folder",
            )
        pictures, poses = (listing(str(side)) for side in sides)
        stems = [PurePosixPath(name).with_suffix("") for name in pictures.names]
        alone = next((stem for stem in stems if len(stem.parts) < 2), None)
        require(
            alone is None,
            f"{sides[0]}/{alone}: the picture lies in no folder of a person",
            f"the layout is {LAYOUT}",
        )
        of_pose = {
            str(PurePosixPath(name).with_suffix("")): k for k, name in enumerate(poses.names)
        }
        # A pose for this picture alone comes before one that all people share.
        partner = [of_pose.get(str(stem), of_pose.get(stem.name)) for stem in stems]
        count = Counter(
            stem.parent for stem, pose in zip(stems, partner, strict=True) if pose is not None
        )
        lost = []
        kept = []
        for k, (stem, pose) in enumerate(zip(stems, partner, strict=True)):
            if pose is None:
                where = f"{self.poses}/{stem} and no {self.poses}/{stem.name}"
                lost.append((pictures.names[k], f"there is no {where}"))
            # A pair needs two pictures of one person.
            elif count[stem.parent] < 2:
                lost.append((pictures.names[k], "the only picture of its person"))
            else:
                kept.append((k, pose))
        if len(lost) > len(kept):
            raise UserError(
                f"most pictures of {sides[0]} cannot be paired: {list_skipped(lost)}",
                f"the layout is {LAYOUT}",
            )
        files = Files(
            names=[pictures.names[k] for k, _ in kept],
            read=lambda i: (pictures.read_one(kept[i][0]), poses.read_one(kept[i][1])),
            sizes=[pictures.sizes[k] + poses.sizes[pose] for k, pose in kept],
            # Shifted: equal times of picture and pose would make 0 of every pair.
            stamps=[pictures.stamps[k] ^ (poses.stamps[pose] << 1) for k, pose in kept],
            refused=(*pictures.refused, *poses.refused, *lost),
            passed_over=pictures.passed_over,
            two=True,
            origin=self.path,
        )
        return files, Table(
            person=number([str(stems[k].parent) for k, _ in kept]),
            pose=number([stems[k].name for k, _ in kept]),
        )

    def read_arrays(self) -> tuple[np.ndarray, np.ndarray, Table]:
        """Reads an .npz: pictures (N,C,H,W), poses (K or N,P,H,W), who and which. Raises UserError.

        Of K poses the picture's number says which one it shows.
        """
        path = Path(self.path).expanduser()
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"dataset.path={self.path}: {error}", f"the layout is {LAYOUT}"
            ) from error
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        images = arrays.get("images")
        pose = arrays.get("pose")
        require(
            images is not None
            and pose is not None
            and images.ndim == 5
            and images.dtype == pose.dtype == np.uint8
            and images.shape[4] in (1, 2, 3, 4)
            and 0 not in images.shape,
            f"{self.path}: it holds {shapes or 'nothing'}",
            "images (people,poses,H,W,3) and pose (poses,H,W) or (people,poses,H,W), of uint8",
        )
        assert images is not None and pose is not None
        people, poses, height, width, channels = images.shape
        # Without channels: grey.
        if pose.shape[-2:] == (height, width):
            pose = pose[..., None]
        require(
            pose.shape[:-1] in ((poses, height, width), (people, poses, height, width))
            and pose.shape[-1] in (1, 3),
            f"{self.path}: poses of shape {pose.shape} for pictures of shape {images.shape}",
            f"pose ({poses},{height},{width}), or ({people},{poses},{height},{width}); of colours "
            "with 3 channels behind",
        )
        who = arrays.get("character", np.arange(people))
        require(
            who.shape == (people,),
            f"{self.path}: character of shape {who.shape} for {people} people",
            f"({people},)",
        )
        return (
            images.reshape(-1, height, width, channels).transpose(0, 3, 1, 2),
            pose.reshape(-1, height, width, pose.shape[-1]).transpose(0, 3, 1, 2),
            Table(
                person=np.repeat(number([str(one) for one in who]), poses),
                pose=np.tile(np.arange(poses), people),
            ),
        )


def first_of(files: Files, index: int) -> File:
    """Reads the picture of a picture and its pose."""
    file = files.read(index)
    assert isinstance(file, tuple), "two files"
    return file[0]


def second_of(files: Files, index: int) -> File:
    """Reads the pose of a picture and its pose."""
    file = files.read(index)
    assert isinstance(file, tuple), "two files"
    return file[1]


def find_last(n: int, held: int) -> np.ndarray:
    """Marks the last `held` of n in a fixed order: (n,) bool. Of more held, these stay marked."""
    return np.argsort(permutation(n, ORDER_SEED)) >= n - held


def number(names: Sequence[str]) -> np.ndarray:
    """Numbers names in sorted order: (N,) int64."""
    index = {name: k for k, name in enumerate(sorted({*names}))}
    return np.array([index[name] for name in names], np.int64)
