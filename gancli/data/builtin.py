"""Data sets that have a name: the bundled digits, torchvision's, and LSUN."""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from gancli.data.arrays import decode_array
from gancli.data.base import Decoded, Source, require
from gancli.data.files import Files, decode_files
from gancli.errors import UserError, did_you_mean

DIGITS = tuple("0123456789")


@dataclass(kw_only=True)
class Digits(Source):
    """1,797 real handwritten digits by 13 people, 8x8 pixels in 17 steps of grey, bundled.

    From "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak (1998), UCI Machine
    Learning Repository, https://archive.ics.uci.edu/dataset/80, its test part, as scikit-learn
    carries it; CC BY 4.0, see LICENSE-digits.txt beside this file. Changed: stored as uint8 in one
    file; enlarged smoothly when loaded, with a margin of one of the 8x8 cells.
    """

    crisp: ClassVar[bool] = False

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        return self.fill(resolution=32, channels=1, classes=10)

    def load(self) -> Decoded:
        """Reads the bundled digits."""
        with np.load(Path(__file__).parent / "digits.npz", allow_pickle=False) as file:
            cells = file["images"]
            labels = file["labels"]
        # The strokes touch the edges of the 8x8 cells; without the margin they would look cut off.
        cells = np.pad(cells.astype(np.float32) * (255 / 16), ((0, 0), (1, 1), (1, 1)))
        return decode_array(
            cells[:, None],
            labels,
            DIGITS,
            self.settled(),
            name="crisp digits" if self.crisp else "digits",
            contain=True,
            crisp=self.crisp,
        )


@dataclass(kw_only=True)
class CrispDigits(Digits):
    """The same digits with strokes that have edges.

    A class of its own and no key: configs from before it was the default mean the smooth ones.
    """

    crisp = True


@dataclass(kw_only=True)
class Downloaded(Source):
    """The base of torchvision's sets that come as one array.

    Attributes:
        root: Where the files are or go.
        download: Whether they are fetched if missing.
    """

    root: str = "data"
    download: bool = True
    split: str = "train"
    native: ClassVar[tuple[int, int, int]]  # resolution, channels, classes
    drawing: ClassVar[bool] = False  # grey on black: bordered rather than cut in another format

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        resolution, channels, classes = self.native
        return self.fill(resolution=resolution, channels=channels, classes=classes)

    def fetch(self, sets: Any) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
        """Fetches (N,C,H,W) uint8, labels (N,) and their names; sets: torchvision.datasets."""
        raise NotImplementedError

    def load(self) -> Decoded:
        """Fetches and decodes the set. Raises UserError with what to do."""
        source = self.settled()
        pixels, labels, classes = from_torchvision(
            self.fetch, type(self).__name__, self.root, self.download
        )
        name = f"{type(self).__name__} {source.split}"
        return decode_array(pixels, labels, classes, source, name=name, contain=self.drawing)


def from_torchvision(make: Callable[[Any], Any], name: str, root: str, download: bool) -> Any:
    """Calls `make(torchvision.datasets)`.

    What goes wrong there becomes a UserError with what to do.
    """
    try:
        from torchvision import datasets  # 3 s, and needed nowhere else
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"torchvision cannot be imported: {error}",
            "install the release that belongs to this torch",
        ) from error
    try:
        return make(datasets)
    except Exception as error:
        # URLError, gdown's, zip, gzip and pickle errors: all of them mean missing or broken files
        for cause in (
            error,
            error.__context__,
        ):
            # Of a missing gdown torchvision makes a RuntimeError
            if isinstance(cause, ModuleNotFoundError):
                raise UserError(
                    f"{name} needs the package {cause.name}",
                    f"pip install 'gancli[{name.lower()}]'",
                ) from error
        tried = "could not be downloaded" if download else "dataset.download=false"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(":")
        raise UserError(
            f"{name}: its files are not complete under dataset.root={root} and {tried} ({reason})",
            f"put {PLACES[name]} under {Path(root).absolute()}, or point dataset.root at a folder "
            "that has them; dataset=digits needs no download",
        ) from error


PLACES = {
    "MNIST": "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz",
    "CIFAR10": "cifar-10-python.tar.gz",
    "FashionMNIST": "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz",
    "KMNIST": "KMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz",
    "CIFAR100": "cifar-100-python.tar.gz",
    "STL10": "stl10_binary.tar.gz",
    "SVHN": "{train,test,extra}_32x32.mat",
    "CelebA": "celeba/{list_attr_celeba,identity_CelebA,list_bbox_celeba,"
    "list_landmarks_align_celeba,list_eval_partition}.txt "
    "and the folder celeba/img_align_celeba",
}


@dataclass(kw_only=True)
class MNIST(Downloaded):
    """Handwritten digits, 60,000 (train) and 10,000 (test), 28x28 grey. LeCun et al. 1998."""

    split: Literal["train", "test"] = "train"
    native = (28, 1, 10)
    drawing = True

    def fetch(self, sets: Any):
        """Returns pixels (N,1,28,28), labels and their names."""
        data = sets.MNIST(self.root, train=self.split == "train", download=self.download)
        return data.data.numpy()[:, None], data.targets.numpy(), DIGITS


@dataclass(kw_only=True)
class FashionMNIST(Downloaded):
    """Clothes, 60,000 (train) and 10,000 (test), 28x28 grey. Xiao et al. 2017."""

    split: Literal["train", "test"] = "train"
    native = (28, 1, 10)
    drawing = True

    def fetch(self, sets: Any):
        """Returns pixels (N,1,28,28), labels and their names."""
        data = sets.FashionMNIST(self.root, train=self.split == "train", download=self.download)
        return data.data.numpy()[:, None], data.targets.numpy(), as_names(data.classes)


@dataclass(kw_only=True)
class KMNIST(Downloaded):
    """Cursive hiragana, 60,000 (train) and 10,000 (test), 28x28 grey. Clanuwat et al. 2018."""

    split: Literal["train", "test"] = "train"
    native = (28, 1, 10)
    drawing = True

    def fetch(self, sets: Any):
        """Returns pixels (N,1,28,28), labels and their names."""
        data = sets.KMNIST(self.root, train=self.split == "train", download=self.download)
        return data.data.numpy()[:, None], data.targets.numpy(), as_names(data.classes)


@dataclass(kw_only=True)
class CIFAR10(Downloaded):
    """Photographs of 10 classes, 50,000 (train) and 10,000 (test), 32x32 RGB. Krizhevsky 2009."""

    split: Literal["train", "test"] = "train"
    native = (32, 3, 10)

    def fetch(self, sets: Any):
        """Returns pixels (N,3,32,32), labels and their names."""
        data = sets.CIFAR10(self.root, train=self.split == "train", download=self.download)
        return data.data.transpose(0, 3, 1, 2), np.array(data.targets), as_names(data.classes)


@dataclass(kw_only=True)
class CIFAR100(Downloaded):
    """Photographs of 100 classes, 50,000 (train) and 10,000 (test), 32x32 RGB. Krizhevsky 2009."""

    split: Literal["train", "test"] = "train"
    native = (32, 3, 100)

    def fetch(self, sets: Any):
        """Returns pixels (N,3,32,32), labels and their names."""
        data = sets.CIFAR100(self.root, train=self.split == "train", download=self.download)
        return data.data.transpose(0, 3, 1, 2), np.array(data.targets), as_names(data.classes)


@dataclass(kw_only=True)
class STL10(Downloaded):
    """Photographs of 10 classes, 96x96 RGB. Coates et al. 2011.

    5,000 (train), 8,000 (test) and 100,000 without labels.
    """

    split: Literal["train", "test", "unlabeled", "train+unlabeled"] = "train"
    native = (96, 3, 10)

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        return self.fill(resolution=96, channels=3, classes=0 if "unlabeled" in self.split else 10)

    def fetch(self, sets: Any):
        """Returns pixels (N,3,96,96), labels and their names."""
        data = sets.STL10(self.root, split=self.split, download=self.download)
        if "unlabeled" in self.split:
            return data.data, None, ()
        return data.data, data.labels, as_names(data.classes)


@dataclass(kw_only=True)
class SVHN(Downloaded):
    """House numbers, cropped digits, 32x32 RGB. Netzer et al. 2011.

    73,257 (train), 26,032 (test), 531,131 (extra).
    """

    split: Literal["train", "test", "extra"] = "train"
    native = (32, 3, 10)

    def fetch(self, sets: Any):
        """Returns pixels (N,3,32,32), labels and their names."""
        data = sets.SVHN(self.root, split=self.split, download=self.download)
        return data.data, data.labels, DIGITS


@dataclass(kw_only=True)
class CelebA(Source):
    """Faces of celebrities, 162,770 (train), 19,867 (valid), 19,962 (test), 178x218 JPEG.

    Liu et al. 2015.

    Labelled by one of its 40 attributes, 0 without it and 1 with it.
    """

    root: str = "data"
    download: bool = True
    split: Literal["train", "valid", "test", "all"] = "train"
    attribute: str = "Male"

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        return self.fill(resolution=[218, 178], channels=3, classes=2)

    def load(self) -> Decoded:
        """Decodes the pictures, labelled by the attribute. Raises UserError with what to do."""
        source = self.settled()
        folder = Path(self.root) / "celeba" / "img_align_celeba"
        data = from_torchvision(
            lambda sets: sets.CelebA(self.root, split=self.split, download=self.download),
            "CelebA",
            self.root,
            self.download,
        )
        attributes = [name for name in data.attr_names if name]
        require(
            self.attribute in attributes,
            f"dataset.attribute={self.attribute}: CelebA has no such attribute",
            did_you_mean(difflib.get_close_matches(self.attribute, attributes, n=3, cutoff=0)),
        )
        names = list(data.filename)
        missing = [name for name in names if not (folder / name).is_file()]
        require(
            not missing,
            f"CelebA: {len(missing)} of {len(names)} pictures are missing, as "
            f"{folder}/{missing[:1]}",
            "unpack img_align_celeba.zip there once more",
        )
        files = Files(
            names=names,
            read=lambda i: str(folder / names[i]),
            sizes=[(folder / name).stat().st_size for name in names],
            stamps=[0] * len(names),
            labels=data.attr[:, attributes.index(self.attribute)].numpy(),
            classes=(f"not {self.attribute}", self.attribute),
            origin=os.path.realpath(folder),
        )
        return decode_files(files, source)


@dataclass(kw_only=True)
class LSUN(Source):
    """Photographs of one kind of scene, shorter side 256. Yu et al. 2015.

    126,227 (churches) to 3,033,042 (bedrooms). It reads <root>/<category>_<split>_lmdb itself:
    torchvision's reader pickles an index into the working directory.
    """

    root: str = "data"
    category: str = "bedroom"
    split: Literal["train", "val"] = "train"

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        return self.fill(resolution=256, channels=3, classes=0)

    def load(self) -> Decoded:
        """Decodes the photographs. Raises UserError with what to do."""
        try:
            import lmdb
        except ModuleNotFoundError as error:
            raise UserError("LSUN needs the package lmdb", "pip install 'gancli[lsun]'") from error
        source = self.settled()
        path = Path(self.root) / f"{self.category}_{self.split}_lmdb"
        require(
            (path / "data.mdb").is_file(),
            f"LSUN: there is no {path}",
            f"dataset.root: the folder that holds {path.name} (from https://github.com/fyu/lsun, "
            "unpacked)",
        )
        with lmdb.open(str(path), readonly=True, lock=False, readahead=False) as database:
            with database.begin() as reader:
                keys = [bytes(key) for key in reader.cursor().iternext(keys=True, values=False)]

            def read(i: int) -> io.BytesIO:
                with database.begin() as reader:
                    # One for each read: a transaction belongs to one thread
                    return io.BytesIO(reader.get(keys[i]))

            # The sizes of three million values would mean reading 43 GB; the keys are hashes of the
            # pictures.
            files = Files(
                names=[key.decode() for key in keys],
                read=read,
                sizes=[0] * len(keys),
                stamps=[0] * len(keys),
                origin=os.path.realpath(path),
            )
            return decode_files(files, source)


def as_names(classes: list[str]) -> tuple[str, ...]:
    """Class names become folders in `gan sample per_class=N`: "T-shirt/top" would be two."""
    return tuple(name.replace("/", "-") for name in classes)
