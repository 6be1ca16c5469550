"""A checkpoint is whole or refused, the one before it survives whatever happens, and a stranger's file is only data."""
from __future__ import annotations

import copy
import errno
import io
import logging
import os
import pickle
import random
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import REPO, differences, small, steps, trainer_for

import gancli
from gancli import checkpoint, quarantine
from gancli.checkpoint import load_game, newest, read, save, steps_in
from gancli.errors import Busy, GanError, UserError
from gancli.quarantine import Damaged, check_savable
from gancli.runfolder import RunFolder

GONE = object()


@pytest.fixture(scope="module")
def state() -> dict:
    return steps(trainer_for(small("mlp")), 2).state_dict()


@pytest.fixture
def tree(state) -> dict:
    return copy.deepcopy(state)


def at(tree: dict, step: int) -> dict:
    return tree | {"progress": tree["progress"] | {"step": step}}


def damage(path: Path, how: str = "flip") -> None:
    """Writes a new file: last.pt may be a second name of the same bytes, and a test wants to damage one."""
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "flip":
        with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
            record = next(entry for entry in archive.infolist() if entry.filename.endswith("/data/0"))
        header = record.header_offset  # its name and padding have their lengths at 26 and 28; the numbers follow them
        lengths = [int.from_bytes(data[header + k:header + k + 2], "little") for k in (26, 28)]
        data[header + 30 + sum(lengths) + 5] ^= 1
    else:
        data = data[:int(how)]
    path.write_bytes(data)


# writing


def test_what_is_written_is_what_is_read(tree, tmp_path):
    path = save(tree, tmp_path, keep=1)
    assert path.name == "step-00000002.pt" and sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", path.name]
    assert differences(tree | {"format": 1, "version": gancli.__version__}, read(path)) == []
    assert (tmp_path / "last.pt").read_bytes() == path.read_bytes()


def test_keep_goes_by_number_and_not_by_text(tree, tmp_path):
    for step in (99999998, 99999999, 100000000, 100000001):  # one digit more: as text the larger sorts first
        save(at(tree, step), tmp_path, keep=3)
    assert [path.name for path in steps_in(tmp_path)] == ["step-100000001.pt", "step-100000000.pt", "step-99999999.pt"]
    (tmp_path / "step-mine.pt").write_bytes(b"")
    (tmp_path / "best.pt").write_bytes(b"")
    save(at(tree, 100000002), tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {"step-100000002.pt", "last.pt", "step-mine.pt", "best.pt"}


def test_a_damaged_future_does_not_push_out_the_present(tree, tmp_path):
    """After a fallback a higher number lies there; the new file must not be the one that keep=1 drops."""
    save(at(tree, 20), tmp_path, keep=1)
    damage(tmp_path / "step-00000020.pt")
    new = save(at(tree, 12), tmp_path, keep=1)
    assert new.exists() and newest(tmp_path)[1]["progress"]["step"] == 12


@pytest.mark.parametrize("moment", ["write", "fsync", "link", "first rename", "second rename"])
def test_a_kill_at_any_moment_leaves_a_sound_newest(tree, tmp_path, monkeypatch, moment):
    """A killed process runs no `finally`: its leftovers stay, and nobody may trip over them."""
    save(at(tree, 1), tmp_path, keep=1)

    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    done = {"write": 1, "fsync": 1, "link": 1, "first rename": 1, "second rename": 2}[moment]
    real_replace, calls = os.replace, []

    def replace(*args):
        calls.append(args)
        if len(calls) == {"first rename": 1, "second rename": 2}.get(moment):
            raise Killed
        return real_replace(*args)

    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    if moment == "write":
        monkeypatch.setattr(torch, "save", lambda _, file: (file.write(b"PK half"), killed()))
    monkeypatch.setattr(os, "replace", replace)
    if moment in ("fsync", "link"):
        monkeypatch.setattr(os, moment, killed)
    with pytest.raises(Killed):
        save(at(tree, 2), tmp_path, keep=1)
    monkeypatch.undo()
    assert any(tmp_path.glob(".tmp-*"))
    assert newest(tmp_path)[1]["progress"]["step"] == done
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(tmp_path, folder.checkpoints, ignore=lambda *_: ["run"])
    folder.open().close()
    assert not any(folder.checkpoints.glob(".tmp-*"))
    save(at(tree, 3), folder.checkpoints, keep=1)
    assert newest(folder.checkpoints)[1]["progress"]["step"] == 3


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_disk_without_fsync_or_links_serves(tree, tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "link", refuse)
    save(at(tree, 1), tmp_path, keep=1)
    save(at(tree, 2), tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "step-00000002.pt"}
    assert read(tmp_path / "last.pt")["progress"]["step"] == 2


@pytest.mark.parametrize("where", ["fsync", "write", "copy"])
def test_a_failed_write_is_an_oserror_and_the_old_file_stays(tree, tmp_path, monkeypatch, where):
    save(at(tree, 1), tmp_path, keep=1)
    tree["run"]["best"] = torch.zeros(10**6)  # more than a buffer holds, so that the write fails inside torch

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif where == "copy":
        monkeypatch.setattr(os, "link", full)
        monkeypatch.setattr(shutil, "copyfileobj", full)
    else:  # torch's writer calls us back; its own complaint about the position must not hide the reason
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limit[1]))
    try:
        with pytest.raises(OSError) as caught:
            save(at(tree, 2), tmp_path, keep=1)
    finally:
        if where == "write":
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.errno == (errno.EFBIG if where == "write" else errno.ENOSPC)
    monkeypatch.undo()
    assert newest(tmp_path)[1]["progress"]["step"] == 1
    assert not list(tmp_path.glob(".tmp-step*"))


class Books:
    """A logbook and a display that want nothing."""

    def scalars(self, *_): ...
    def picture(self, *_): ...
    def guard(self, _, write): ...
    def update(self, *_, **__): ...


def full_disk(trainer, folder, monkeypatch, *, until: int) -> None:
    real = os.fsync

    def fsync(handle):
        if trainer.progress.step <= until:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    trainer.train(folder=folder, logbook=Books(), display=Books())


def test_a_disk_full_for_a_while_costs_no_step(tmp_path, monkeypatch, caplog):
    setup = small("mlp", "trainer.steps=6", "trainer.save_every=2")
    folder = RunFolder(tmp_path).open()
    trainer = trainer_for(setup)
    with caplog.at_level(logging.WARNING, "gancli"):
        full_disk(trainer, folder, monkeypatch, until=4)
    assert [record.getMessage().split(" could")[0] for record in caplog.records] == ["step 2", "step 4"]
    assert all("disk is full" in record.getMessage() for record in caplog.records)
    tree = newest(folder.checkpoints)[1]
    whole = steps(trainer_for(setup), 6).state_dict()
    assert differences(whole | {"format": 1, "version": gancli.__version__}, tree) == []


def test_a_disk_full_at_the_end_is_code_75_and_the_old_one_stays(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path).open()
    steps(first := trainer_for(small("mlp", "trainer.steps=4", "trainer.save_every=2")), 2)
    first.save(folder, last=False)
    with pytest.raises(Busy, match="disk is full") as caught:
        full_disk(first, folder, monkeypatch, until=99)
    assert caught.value.code == 75
    monkeypatch.undo()
    assert newest(folder.checkpoints)[1]["progress"]["step"] == 2


# reading what was damaged


@pytest.mark.parametrize("share", [0, 1, 100, 0.5, 0.9999, -1])
def test_a_file_cut_short_is_damaged(tree, tmp_path, share):
    path = save(tree, tmp_path, keep=1)
    size = path.stat().st_size
    damage(path, str(int(size * share) if 0 < share < 1 else size - 1 if share < 0 else share))
    with pytest.raises(Damaged, match="is damaged"):
        read(path)


def test_a_flipped_bit_is_noticed_though_torch_does_not(tree, tmp_path):
    path = save(tree, tmp_path, keep=1)
    good = torch.load(path, weights_only=True)
    damage(path, "flip")
    bad = torch.load(path, weights_only=True)
    assert len(differences(good, bad)) == 1, "torch itself loads the altered number"
    with pytest.raises(Damaged, match="checksum"):
        read(path)


def test_any_damaged_byte_is_refused_or_harmless(tree, tmp_path):
    """Every byte of the headers, the directory and the pickle, and some of the rest: a sentence or the very same data."""
    path = save(tree, tmp_path, keep=1)
    sound, good = read(path), path.read_bytes()
    rng = torch.Generator().manual_seed(0)
    for _ in range(250):
        places = torch.randint(len(good), (3,), generator=rng).tolist()
        places[0] = len(good) - 1 - places[0] % 6000  # the directory at the end
        data = bytearray(good)
        data[places[_ % 2]] ^= 1 << int(torch.randint(8, (1,), generator=rng))
        path.write_bytes(data)
        try:
            assert differences(sound, read(path)) == []
        except UserError as error:
            assert isinstance(error, Damaged), f"byte {places[_ % 2]}: {error}, and no older file would be tried"


def test_the_newest_sound_one_serves_and_the_message_says_so(tree, tmp_path, caplog):
    for step in (1, 2, 3):
        save(at(tree, step), tmp_path, keep=3)
    damage(tmp_path / "last.pt", "100")
    damage(tmp_path / "step-00000003.pt")
    path, found = newest(tmp_path)
    assert path.name == "step-00000002.pt" and found["progress"]["step"] == 2
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and "last.pt is damaged" in said[0] and "step-00000003.pt is damaged" in said[1]
    assert all(line.endswith("trying the one before") for line in said)
    (tmp_path / "last.pt").unlink()
    assert newest(tmp_path)[0].name == "step-00000002.pt"


def test_all_damaged_is_one_error_with_reasons_and_nothing_is_deleted(tree, tmp_path):
    for step in (1, 2):
        save(at(tree, step), tmp_path, keep=3)
    for path in tmp_path.iterdir():
        damage(path, "1000")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"no checkpoint can be used: .*last\.pt.*step-00000002\.pt.*step-00000001\.pt") as caught:
        newest(tmp_path)
    assert caught.value.code == 2 and sorted(tmp_path.iterdir()) == before


def test_an_empty_folder_and_no_folder_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.open_checkpoint(str(tmp_path))
    with pytest.raises(UserError, match="does not exist"):
        checkpoint.open_checkpoint(str(tmp_path / "nothing"))
    for odd in ("a" * 5000, "~nobody-of-that-name/x", "a\0b"):
        with pytest.raises(UserError, match="does not exist"):
            checkpoint.open_checkpoint(odd)


def test_a_live_run_may_replace_the_file_while_it_is_read(tree, tmp_path, monkeypatch):
    path = save(tree, tmp_path, keep=1)
    real = quarantine.check_archive

    def check_and_lose(*args, **kwargs):
        real(*args, **kwargs)
        path.unlink()

    monkeypatch.setattr(quarantine, "check_archive", check_and_lose)
    assert read(path)["progress"]["step"] == 2


# hostile files: built by hand, never by `save`


def changed(tree: dict, where: str | tuple, value: object) -> dict:
    tree = copy.deepcopy(tree) | {"format": 1, "version": "0.1.0"}
    *parents, last = where.split("/") if isinstance(where, str) else where
    node = tree
    for part in parents:
        node = node[part]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return tree


def write(tree: object, path: Path) -> Path:
    torch.save(tree, path)
    return path


def refuse(path: Path, *, seconds: float = 2.0, **options) -> UserError:
    """Loads a file that must be refused: in a sentence, with code 2, soon."""
    started = time.perf_counter()
    with pytest.raises(GanError) as caught:
        load_game(str(path), **options)
    assert time.perf_counter() - started < seconds
    assert caught.value.code == 2
    assert "\n" not in caught.value.message and 10 < len(caught.value.message) < 1000
    return caught.value


G, D = "config/model/generator", "config/model/discriminator"
STRANGERS = {
    "os.system": "may not be built", "subprocess.Popen": "may not be built", "pathlib.Path": "may not be built",
    "builtins.open": "may not be built", "torch.load": "may not be built", "torch.hub.load": "may not be built",
    "torch.nn.Linear": "may not be built", "gancli.checkpoint.Loaded": "may not be built",
    "gancli.losses.penalties.torch.load": "no module", "gancli.games.gan.BoundCritic": "only reachable through it",
    "gancli.networks.dcgan.nn": "not a class", "gancli.networks.dcgan.up": "not a class",
    "gancli.losses.penalties.Tensor": "only reachable through it", "torch.optim.lr_scheduler.StepLR": "may not be built",
    "hydra.utils.instantiate": "code of hydra's", "numpy.load": "code of numpy's", "evil_package.Net": "code of evil_package's",
    "open": "does not name a class", "gancli.networks.dcgan.": "does not name a class", "../evil.Net": "does not name a class",
    "${oc.env:HOME}.x": "does not name a class", "a." * 10**5 + "b": "does not name a class", 7: "does not name a class",
    None: "does not name a class",
}


@pytest.mark.parametrize("where", [G, "config/loss"])
@pytest.mark.parametrize("target", STRANGERS, ids=lambda target: str(target)[:40])
def test_no_target_of_a_file_runs(tree, tmp_path, monkeypatch, target, where):
    """The canary: a package that writes a file when it is imported lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_package.py").write_text("open('canary', 'w')\nclass Net: pass\n")
    found = changed(tree, f"{where}/_target_", target)
    error = refuse(write(found, tmp_path / "x.pt"))
    assert STRANGERS[target] in error.message
    assert not (tmp_path / "canary").exists() and "evil_package" not in sys.modules


def test_trust_of_one_package_is_not_trust_of_another(tree, tmp_path):
    for target in ("os.system", "torch.load", "gancli.checkpoint.Loaded", "hydra.utils.instantiate"):
        path = write(changed(tree, f"{G}/_target_", target), tmp_path / "x.pt")
        refuse(path, trust=("os", "torch", "gancli", "mine"))


CANARY = "gancli-canary"


class RunsCode:
    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


class Stranger:
    pass


@pytest.mark.parametrize("what", [RunsCode(), Stranger(), Path("x"), io.BytesIO(), slice(1), print],
                         ids=lambda what: type(what).__name__)
def test_a_pickle_with_more_than_data_is_refused_and_does_not_run(tree, tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    try:
        path = write(changed(tree, "run/best", what), tmp_path / "x.pt")
    except (TypeError, pickle.PicklingError, AttributeError):
        pytest.skip("cannot even be pickled")
    error = refuse(path)
    assert "more than tensors and plain data" in error.message and not isinstance(error, Damaged)
    assert not (tmp_path / CANARY).exists()


def test_a_bare_pickle_and_another_archive_are_no_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(RunsCode()))
    torch.save({"a": RunsCode()}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    (tmp_path / "text.pt").write_text("<html>404</html>")
    (tmp_path / "folder.pt").mkdir()
    for name in ("bare.pt", "old.pt", "other.pt", "text.pt", "folder.pt"):
        refuse(tmp_path / name)
    assert not (tmp_path / CANARY).exists()


def nested(n: int) -> list:
    value: list = []
    for _ in range(n):
        value = [value]
    return value


def shared(n: int, leaf: object) -> list:
    """2**n entries out of n lists."""
    value = [leaf]
    for _ in range(n):
        value = [value, value]
    return value


CYCLE: list = []
CYCLE.append(CYCLE)
DRIFT = {"_target_": "gancli.losses.penalties.ScoreDrift", "weight": 1.0}
MAXOUT = {"_target_": "gancli.networks.mlp.Maxout", "pieces": 2}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SPARSE = torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (10**12,))
ODD = {
    "10^9 channels": (f"{G}/channels", 10**9, "does not hold the networks"),
    "10^12 wide": (f"{G}/z_dim", 10**12, "does not hold the networks"),
    "10^30 wide": (f"{G}/z_dim", 10**30, "model.generator|builds no game"),
    "10^5000 wide": (f"{G}/z_dim", 10**5000, "."),
    "negative": (f"{G}/z_dim", -5, "negative dimension"),
    "huge resolution": (f"{G}/resolution", 10**9, "overflow"),
    "empty resolution": (f"{G}/resolution", [], "builds no game"),
    "huge maxout": (f"{D}/pieces", 10**9, "does not hold the networks"),
    "2,000 layers": (f"{G}/hidden", [16] * 2000, "does not hold the networks"),
    "100,000 layers": (f"{G}/hidden", [16] * 10**5, "holds more"),
    "2^23 entries": (f"{G}/hidden", shared(23, 1), "holds more"),
    "a cycle": (f"{G}/hidden", CYCLE, "nested deeper"),
    "40 deep": ("run/best", nested(40), "nested deeper"),
    "interpolation": ("config/model/latent", "${oc.env:HOME}", r"\$\{oc.env:HOME\}"),
    "interpolated output": (f"{G}/output", "${model.latent}", r"\$\{model.latent\}"),
    "text for a number": (f"{G}/z_dim", "100", "z_dim"),
    "fraction for a whole": (f"{G}/z_dim", 1.5, "z_dim"),
    "yes for a number": (f"{G}/z_dim", True, "z_dim"),
    "a list for a network": (G, [1, 2], "generator"),
    "a network for a list": (f"{G}/hidden", MAXOUT, "hidden"),
    "a network for a loss": ("config/loss", MAXOUT, "is no AdversarialLoss"),
    "a reader for a loss": ("config/loss", {"_target_": "gancli.data.folder.Zip", "path": "/etc/passwd"}, "loss"),
    "a data set for augment": ("config/augment", {"_target_": "gancli.data.builtin.Digits"}, "is no Module"),
    "an optimizer for a critic": (D, {"_target_": "torch.optim.SGD", "params": [], "lr": 0.1}, "discriminator"),
    "a network for a game": ("config/model", MAXOUT, "is no Game"),
    "a penalty for penalties": ("config/loss/penalties", DRIFT, "penalties"),
    "an odd schedule": ("config/loss/penalties", {"x": DRIFT | {"weight": {"foo": 1.0}}}, "."),
    "an odd name": ("config/loss/penalties", {"a.b": DRIFT}, "builds no"),
    "an unknown key": (f"{G}/\x1b[31m", 1, "takes no"),
    "a key of another type": (f"{G}/hidden", {1: 2}, "hidden"),
    "no config": ("config", None, "lacks config"),
    "no model": ("config/model", "mlp", "lacks config.model"),
    "no data set": ("config/dataset", GONE, "lacks config.dataset"),
    "no average": ("ema", GONE, "lacks ema"),
    "an empty game": ("game", {}, "does not hold the networks"),
    "a list of weights": ("game", [], "lacks game"),
    "numbers for weights": ("game", {"a": 1}, "does not hold the networks"),
    "progress of text": ("progress/step", "ten", "lacks progress.step"),
    "classes that are none": ("data/classes", 7, "lacks data.classes"),
    "newer": ("format", 2, r"has format 2, this gancli .* reads 1"),
    "no format": ("format", GONE, "not a checkpoint"),
    "a tensor for a format": ("format", torch.zeros(3), "not a checkpoint"),
    "a set": ("run/best", {1, 2}, "holds a set"),
    "bytes": ("run/best", bytearray(b"x"), "."),
    "a counter": ("run/best", Counter("a"), "holds a Counter"),
    "a sparse giant": ("game/x", SPARSE, "holds a Tensor of a kind"),
    "a meta giant": ("game/x", torch.empty(10**12, device="meta"), "holds a Tensor of a kind"),
    "a stretched giant": ("game/x", torch.zeros(1).expand(10**12), "larger than the file"),
    "many stretched ones": ("game/x", [torch.zeros(1).expand(10**5)] * 100, "larger than the file"),
}


SLOW = ("2,000 layers", "2^23 entries")  # a second on an idle machine


@pytest.mark.parametrize("name", ODD)
def test_what_no_run_could_have_written_is_refused(tree, tmp_path, name):
    where, value, message = ODD[name]
    error = refuse(write(changed(tree, where, value), tmp_path / "x.pt"), seconds=5.0 if name in SLOW else 2.0)
    assert re.search(message, error.message), error.message


def places(tree: object, path: tuple = ()):
    yield path
    if isinstance(tree, dict):
        for key in tree:
            yield from places(tree[key], (*path, key))


def test_one_odd_value_anywhere_is_a_sentence_or_harmless(tree, tmp_path):
    """A random place of the file, a random value that does not belong there."""
    values = [None, -1, 10**400, float("nan"), "", "\x1b[2J", [], [1], {}, {1: 2}, (1, 2), MAXOUT, {"_target_": 5}, torch.zeros(3),
              torch.zeros(0), torch.zeros(2, dtype=torch.complex64), GONE]
    rng = random.Random(0)
    spots = [path for path in places(tree | {"format": 1, "version": ""}) if path]
    for _ in range(150):
        path, value = rng.choice(spots), rng.choice(values)
        file = write(changed(tree, path, value), tmp_path / "x.pt")
        try:
            load_game(str(file))
        except GanError as error:
            assert error.code == 2, (path, value)


def test_a_key_too_many_is_named(tree, tmp_path):
    error = refuse(write(changed(tree, "ema/more", 1), tmp_path / "x.pt"))
    assert "'more': config nothing, file 1" in error.message


def test_things_that_are_no_mapping(tmp_path):
    for value in ([1, 2], torch.zeros(3), None, "x", {}):
        assert "not a checkpoint" in refuse(write(value, tmp_path / "x.pt")).message


def test_shapes_that_differ_from_the_config_are_named(tree, tmp_path):
    tree["game"] = {key: value[:1] if value.ndim else value for key, value in tree["game"].items()}
    error = refuse(write(tree | {"format": 1, "version": ""}, tmp_path / "x.pt"))
    assert "'generator.net.0.weight': config (16, 100), file (1, 100)" in error.message
    assert "6 tensors differ" in error.message and error.message.count("file (1") == 3, "the first three"


def test_an_average_of_another_shape_is_refused_too(tree, tmp_path):
    tree["ema"] = {key: value[:1] if value.ndim else value for key, value in tree["ema"].items()}
    error = refuse(write(tree | {"format": 1, "version": ""}, tmp_path / "x.pt"))
    assert "'net.0.weight': config (16, 100), file (1, 100)" in error.message


def repacked(source: Path, target: Path, *, method: int = zipfile.ZIP_STORED, replace: dict[str, bytes] | None = None) -> Path:
    """The same archive, written anew; replace: by the end of a record's name."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for entry in old.infolist():
            other = next((data for end, data in (replace or {}).items() if entry.filename.endswith(end)), None)
            new.writestr(entry.filename, old.read(entry) if other is None else other)
    return target


def test_records_that_overlap_are_refused(tree, tmp_path):
    path = save(tree, tmp_path, keep=1)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("big", bytes(10**6))
        for k in range(100):
            entry = copy.copy(archive.getinfo("big"))
            entry.filename = entry.orig_filename = f"again{k}"
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
        archive._didModify = True
    assert isinstance(refuse(path), Damaged)


def test_nesting_ten_thousand_deep_is_refused(tree, tmp_path):
    """Written as opcodes: the pickler itself could not go so deep."""
    path = write({"a": 1}, tmp_path / "x.pt")
    deep = b"\x80\x02" + b"]" * 10**4 + b"a" * (10**4 - 1) + b"."
    assert "nested deeper" in refuse(repacked(path, tmp_path / "deep.pt", replace={"data.pkl": deep})).message


def test_refusing_takes_little_memory(tree, tmp_path):
    """In a process whose address space may grow by 200 MB, which one allocation of what the file claims would exceed."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux")
    claims = {"sparse": ("game/x", SPARSE), "stretched": ("game/generator.net.0.weight", torch.zeros(1).expand(10**9)),
              "channels": (f"{G}/channels", 10**6)}
    paths = [write(changed(tree, *claim), tmp_path / f"{name}.pt") for name, claim in claims.items()]
    plain = write({"x": torch.zeros(10)}, tmp_path / "plain.pt")
    paths.append(repacked(plain, tmp_path / "bomb.pt", method=zipfile.ZIP_DEFLATED, replace={"/data/0": bytes(3 * 10**8)}))
    code = f"""
        import resource, time
        from gancli.checkpoint import load_game
        from gancli.errors import GanError
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
        for path in {[str(path) for path in paths]!r}:
            started = time.perf_counter()
            try:
                load_game(path)
            except GanError as error:
                print(error.code, time.perf_counter() - started < 2, error.message)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, cwd=REPO,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and all(line.startswith("2 True") for line in lines), done.stdout + done.stderr[-800:]
    assert "unpack to more than it is" in lines[3]


# what a good file gives


def test_a_loaded_game_is_frozen_and_has_the_asked_generator(state, tmp_path):
    path = save(state, tmp_path, keep=1)
    averaged, trained = load_game(str(path)), load_game(str(path), ema=False)
    assert differences(averaged.generator.state_dict(), state["ema"]) == []
    assert differences(trained.generator.state_dict(), trained.game.generator.state_dict()) == []
    assert differences(averaged.generator.state_dict(), trained.generator.state_dict())
    assert not averaged.generator.training and not any(p.requires_grad for p in averaged.game.parameters())
    assert averaged.game.progress.step == 2


@pytest.mark.parametrize("weird", [np.float64(1), np.zeros(3), torch.float32, {1}, Path("x"), SPARSE], ids=lambda v: type(v).__name__)
def test_a_state_that_could_not_be_read_again_is_refused_before_it_is_written(tree, weird):
    check_savable(tree)
    tree["game"]["head._extra_state"] = weird
    with pytest.raises(UserError, match=f"the state of the model holds a {type(weird).__name__}"):
        check_savable(tree)


def test_tied_weights_are_no_claim_too_large(state, tmp_path):
    """Stored once, listed twice."""
    tree = copy.deepcopy(state)
    tree["run"]["best"] = tree["game"]
    read(save(tree, tmp_path, keep=1))
