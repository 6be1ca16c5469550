"""Data sets with a name: the bundled digits, and torchvision's on real files or on files of their
layout.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import shutil
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.data import builtin
from gancli.data.base import pair, split
from gancli.data.builtin import (
    CIFAR10,
    CIFAR100,
    KMNIST,
    LSUN,
    MNIST,
    STL10,
    SVHN,
    CelebA,
    CrispDigits,
    Digits,
    FashionMNIST,
)
from gancli.errors import UserError

REAL = Path(os.environ.get("GANCLI_TEST_DATA", "../shared/data"))
RANDOM = np.random.RandomState(0)


# digits


def test_digits_are_ucis():
    datasets = pytest.importorskip("sklearn.datasets")
    with np.load(Path(builtin.__file__).parent / "digits.npz", allow_pickle=False) as file:
        images = file["images"]
        labels = file["labels"]
    reference = datasets.load_digits()
    assert (
        images.dtype == np.uint8
        and (images == reference.images).all()
        and (labels == reference.target).all()
    )


def test_digits_are_small_and_credited():
    folder = Path(builtin.__file__).parent
    assert (folder / "digits.npz").stat().st_size < 60_000
    text = (folder / "LICENSE-digits.txt").read_text()
    assert "CC BY 4.0" in text and "Alpaydin" in text and "Kaynak" in text


def test_digits_load_smoothly_at_32():
    decoded = Digits().load()
    assert decoded.images.shape == (1797, 1, 32, 32) and decoded.classes == tuple("0123456789")
    assert decoded.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    x = decoded.images.float()
    assert x.max() == 255 and x[:, :, 0].max() < 40 and x[:, :, :, 0].max() < 40  # black margins
    assert (
        x[:, :, :, 1:] - x[:, :, :, :-1]
    ).abs().max() < 130  # no blocks: those would jump by 255


@pytest.mark.parametrize("size", [16, 28, 32])
def test_crisp_digits_have_edges(size):
    soft = Digits(resolution=size).load()
    crisp = CrispDigits(resolution=size).load()
    assert share_between(crisp.images) < 0.75 * share_between(soft.images)
    assert torch.equal(crisp.labels, soft.labels) and crisp.digest != soft.digest
    ink = crisp.images.float().mean(dim=(1, 2, 3)) / soft.images.float().mean(dim=(1, 2, 3))
    assert 0.8 < ink.median() < 1.2 and ink.min() > 0.6 and ink.max() < 1.5, "none lost or filled"
    assert crisp.images[:, :, 0].max() < 120 and crisp.images[:, :, :, 0].max() < 120


def share_between(images: torch.Tensor) -> float:
    """The share of pixels, of those that are not black, that are neither dark nor bright."""
    lit = images > 20
    return (((images > 50) & (images < 205)).sum() / lit.sum()).item()


def test_crisp_digits_at_other_sizes_are_whole():
    shapes = [8, 64, [32, 64], [40, 24]]
    for resolution in shapes:
        images = CrispDigits(resolution=resolution, channels=3, limit=50).load().images
        assert images.shape == (50, 3, *pair(resolution))
        assert images[:, :, 0].max() < 120 and images[:, :, -1].max() < 120, "a digit was cut"
        assert (images.amax(dim=(1, 2, 3)) > 180).all()


@pytest.mark.parametrize(
    ("resolution", "shape"),
    [(16, (16, 16)), (64, (64, 64)), ([32, 64], (32, 64)), ([40, 24], (40, 24))],
)
def test_digits_at_any_size_are_whole(resolution, shape):
    images = Digits(resolution=resolution, channels=3, limit=50).load().images
    assert images.shape == (50, 3, *shape)
    assert images[:, :, 0].max() < 80 and images[:, :, -1].max() < 80, "a digit was cut"
    assert (images.amax(dim=(1, 2, 3)) > 180).all()


def test_digits_options():
    assert Digits(resolution="auto").scan() == {"resolution": 32, "channels": 1, "classes": 10}
    assert Digits(classes=0).load().labels is None
    train, held = split(Digits(limit=100, holdout=50).load(), limit=100, holdout=50)
    assert len(train) == 100 and len(held) == 50 and train.digest != held.digest
    whole, _ = split(Digits().load(), limit=100, holdout=50)
    assert torch.equal(train.images, whole.images) and torch.equal(train.labels, whole.labels)
    assert (
        Digits().load().digest
        == Digits(resolution=64).load().digest
        != Digits(classes=0).load().digest
    )
    with pytest.raises(UserError, match="10 classes, dataset.classes=5"):
        Digits(classes=5).load()


# the scans need no files


@pytest.mark.parametrize(
    ("source", "facts"),
    [
        (MNIST(), (28, 1, 10)),
        (FashionMNIST(), (28, 1, 10)),
        (KMNIST(), (28, 1, 10)),
        (CIFAR10(), (32, 3, 10)),
        (CIFAR100(), (32, 3, 100)),
        (STL10(), (96, 3, 10)),
        (STL10(split="unlabeled"), (96, 3, 0)),
        (SVHN(), (32, 3, 10)),
        (CelebA(), ([218, 178], 3, 2)),
        (LSUN(), (256, 3, 0)),
    ],
)
def test_what_a_set_declares_of_itself(source, facts):
    assert source.scan() == dict(zip(("resolution", "channels", "classes"), facts, strict=True))


# real files


@pytest.fixture(scope="module")
def mnist_root(tmp_path_factory):
    source = REAL / "mnist" / "MNIST" / "raw"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    root = tmp_path_factory.mktemp("mnist")
    (root / "MNIST" / "raw").mkdir(parents=True)
    for file in source.glob("*.gz"):
        shutil.copy(file, root / "MNIST" / "raw")
    return root


def test_real_mnist(mnist_root):
    decoded = MNIST(root=str(mnist_root), resolution=32).load()
    assert decoded.images.shape == (60000, 1, 32, 32) and decoded.classes == tuple("0123456789")
    assert decoded.labels[:5].tolist() == [5, 0, 4, 1, 9]
    test = MNIST(root=str(mnist_root), split="test", limit=500, holdout=100, download=False)
    part = test.load()
    assert part.images.shape == (600, 1, 28, 28) and part.digest != decoded.digest
    raw = gzip.decompress(
        (mnist_root / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").read_bytes()
    )[16:]
    pixels = np.frombuffer(raw, np.uint8).reshape(-1, 28, 28)
    train, held = split(part, limit=500, holdout=100)
    whole, _ = split(MNIST(root=str(mnist_root), split="test").load(), limit=500, holdout=100)
    assert (
        len(held) == 100
        and torch.equal(train.images, whole.images)
        and torch.equal(train.labels, whole.labels)
    )
    assert (pixels == train.images[0, 0].numpy()).all(axis=(1, 2)).any()


# files of the right layout, small


@pytest.fixture
def unchecked(monkeypatch):
    """torchvision compares md5 sums, which files made here cannot have."""
    from torchvision.datasets import celeba, cifar, stl10, svhn

    for module in (celeba, cifar, stl10, svhn):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: os.path.isfile(path))


def test_cifar(tmp_path, unchecked):
    pixels = RANDOM.randint(0, 256, (60, 3072), dtype=np.uint8)
    labels = RANDOM.randint(0, 10, 60).tolist()
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for k, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        (folder / name).write_bytes(
            pickle.dumps(
                {"data": pixels[10 * k : 10 * k + 10], "labels": labels[10 * k : 10 * k + 10]}
            )
        )
    names = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    decoded = CIFAR10(root=str(tmp_path)).load()
    assert torch.equal(decoded.images, torch.from_numpy(pixels[:50]).view(50, 3, 32, 32))
    assert decoded.labels.tolist() == labels[:50] and decoded.classes == tuple(names)
    assert len(CIFAR10(root=str(tmp_path), split="test").load()) == 10
    assert CIFAR10(root=str(tmp_path), resolution=16, channels=1).load().images.shape == (
        50,
        1,
        16,
        16,
    )


@pytest.mark.parametrize(
    ("part", "n", "labelled"),
    [
        ("train", 6, True),
        ("test", 5, True),
        ("unlabeled", 4, False),
        ("train+unlabeled", 10, False),
    ],
)
def test_stl10(tmp_path, unchecked, part, n, labelled):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = RANDOM.randint(0, 256, (15, 3, 96, 96), dtype=np.uint8)
    for name, rows in (
        ("train", slice(0, 6)),
        ("unlabeled", slice(6, 10)),
        ("test", slice(10, 15)),
    ):
        (folder / f"{name}_X.bin").write_bytes(pixels[rows].transpose(0, 1, 3, 2).tobytes())
        (folder / f"{name}_y.bin").write_bytes(bytes([1 + k % 10 for k in range(15)[rows]]))
    (folder / "class_names.txt").write_text(
        "airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n"
    )
    decoded = STL10(root=str(tmp_path), split=part).load()
    assert decoded.images.shape == (n, 3, 96, 96) and len(decoded.classes) == (
        10 if labelled else 0
    )
    if part == "train":
        assert torch.equal(
            decoded.images, torch.from_numpy(pixels[:6])
        ) and decoded.labels.tolist() == list(range(6))
    if not labelled:
        with pytest.raises(UserError, match="0 classes, dataset.classes=10"):
            STL10(root=str(tmp_path), split=part, classes=10).load()


def test_svhn(tmp_path, unchecked):
    scipy = pytest.importorskip("scipy.io")
    pixels = RANDOM.randint(0, 256, (32, 32, 3, 12), dtype=np.uint8)
    digits = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2])  # the original's label of a 0 is 10
    scipy.savemat(tmp_path / "train_32x32.mat", {"X": pixels, "y": digits[:, None]})
    decoded = SVHN(root=str(tmp_path), download=False).load()
    assert torch.equal(decoded.images, torch.from_numpy(pixels.transpose(3, 2, 0, 1).copy()))
    assert decoded.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]


def celeba_files(root: Path) -> Path:
    """Nine faces in the original layout: 5 train, 2 valid, 2 test; even ones smile."""
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{k:06}.jpg" for k in range(1, 10)]
    for k, name in enumerate(names, 1):
        Image.new("RGB", (178, 218), (20 * k,) * 3).save(folder / "img_align_celeba" / name)
    parts = [0] * 5 + [1] * 2 + [2] * 2
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{n} {p}\n" for n, p in zip(names, parts, strict=True))
    )
    (folder / "identity_CelebA.txt").write_text("".join(f"{n} 7\n" for n in names))
    for file, header, row in (
        ("list_bbox_celeba", "image_id x_1 y_1 width height", "1 2 3 4"),
        ("list_landmarks_align_celeba", "lefteye_x lefteye_y", "5 6"),
    ):
        (folder / f"{file}.txt").write_text(
            f"9\n{header}\n" + "".join(f"{n} {row}\n" for n in names)
        )
    rows = "".join(
        f"{n} {1 if k % 2 == 0 else -1:2d} {1 if k < 5 else -1:2d}\n"
        for k, n in enumerate(names, 1)
    )
    (folder / "list_attr_celeba.txt").write_text("9\nSmiling Male \n" + rows)
    return folder


def test_celeba(tmp_path, unchecked):
    folder = celeba_files(tmp_path)
    decoded = CelebA(root=str(tmp_path), resolution=64).load()
    assert decoded.images.shape == (5, 3, 64, 64) and decoded.classes == ("not Male", "Male")
    assert decoded.labels.tolist() == [1, 1, 1, 1, 0]
    assert [round(x) for x in decoded.images.float().mean(dim=(1, 2, 3)).tolist()] == pytest.approx(
        [20, 40, 60, 80, 100], abs=2
    )
    smiling = CelebA(root=str(tmp_path), attribute="Smiling", split="all").load()
    assert smiling.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0] and smiling.images.shape[-2:] == (
        218,
        178,
    )
    assert CelebA(root=str(tmp_path), classes=0).load().labels is None
    with pytest.raises(UserError, match="attribute=Smile") as caught:
        CelebA(root=str(tmp_path), attribute="Smile").load()
    assert "Smiling" in caught.value.hint
    (folder / "img_align_celeba" / "000002.jpg").unlink()
    with pytest.raises(UserError, match="1 of 5 pictures are missing"):
        CelebA(root=str(tmp_path)).load()


def test_lsun(tmp_path):
    lmdb = pytest.importorskip("lmdb", reason="the extra gancli[lsun]")
    folder = str(tmp_path / "church_outdoor_train_lmdb")
    with lmdb.open(folder, map_size=10_000_000) as database, database.begin(write=True) as writer:
        for k in range(150):
            file = io.BytesIO()
            Image.new("RGB", (64, 48), (k, k, k)).save(file, "WEBP", lossless=True)
            writer.put(f"{k:040x}".encode(), file.getvalue() if k != 3 else b"broken")
    source = LSUN(
        root=str(tmp_path), category="church_outdoor", resolution=32, channels=3, workers=3
    )
    decoded = source.load()
    assert (
        decoded.images[:, 0, 0, 0].tolist() == [k for k in range(150) if k != 3]
        and decoded.labels is None
    )
    assert decoded.skipped == ((f"{3:040x}", "not an image"),)
    assert (
        len(
            LSUN(
                root=str(tmp_path), category="church_outdoor", limit=20, holdout=5, resolution=32
            ).load()
        )
        == 25
    )
    with pytest.raises(UserError, match="there is no .*bedroom_train_lmdb"):
        LSUN(root=str(tmp_path)).load()


# what is missing


def test_missing_files_say_where_they_belong(tmp_path):
    with pytest.raises(
        UserError, match="MNIST: its files are not complete under dataset.root="
    ) as caught:
        MNIST(root=str(tmp_path), download=False).load()
    assert (
        "MNIST/raw/" in caught.value.hint
        and str(tmp_path) in caught.value.hint
        and "dataset=digits" in caught.value.hint
    )
    for source in (FashionMNIST, KMNIST, CIFAR10, CIFAR100, STL10, CelebA, SVHN):
        with pytest.raises(UserError, match=source.__name__):
            source(root=str(tmp_path), download=False).load()


def test_without_network(tmp_path, monkeypatch):
    import torchvision.datasets.utils as utils

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(utils, "_urlretrieve", unreachable)
    for source in (MNIST, CIFAR10, STL10, SVHN):
        with pytest.raises(UserError, match="could not be downloaded") as caught:
            source(root=str(tmp_path)).load()
        assert "dataset.root" in caught.value.hint


def test_missing_extras_are_named(tmp_path, monkeypatch, unchecked):
    for module in ("scipy.io", "scipy", "lmdb", "gdown"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "train_32x32.mat").write_bytes(b"x")
    for source, extra in (
        (SVHN(root=str(tmp_path), download=False), "svhn"),
        (LSUN(root=str(tmp_path)), "lsun"),
        (CelebA(root=str(tmp_path)), "celeba"),
    ):
        with pytest.raises(UserError, match="needs the package") as caught:
            source.load()
        assert caught.value.hint == f"pip install 'gancli[{extra}]'"


def test_a_torchvision_that_does_not_fit(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UserError, match="torchvision cannot be imported"):
        MNIST().load()


def test_torchvision_is_imported_only_to_load():
    code = (
        "import sys, gancli.data.builtin as b; b.MNIST().scan(); "
        "assert not {'torchvision', 'sklearn'} & set(sys.modules)"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_too_much_for_the_memory(monkeypatch):
    monkeypatch.setattr("gancli.data.cache.available_memory", lambda: 1_000_000)
    with pytest.raises(
        UserError, match="1797 images of 32x32 pixels, 1 channel take 1.8 MB"
    ) as caught:
        Digits().load()
    assert "dataset.limit" in caught.value.hint
    assert len(Digits(limit=100).load()) == 100
