"""A checkpoint is whole or refused, and the one before it survives whatever happens to
the newest.
"""

from __future__ import annotations

import copy
import errno
import io
import logging
import os
import resource
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from helpers import differences, small, steps, trainer_and_monitor, trainer_for

import gancli
from gancli import checkpoint
from gancli.checkpoint import FORMAT, list_steps, load_game, read, read_newest, save
from gancli.errors import TemporaryFailure, UserError
from gancli.evaluation.watchdog import build_watch
from gancli.files import safe_load
from gancli.files.safe_load import Damaged
from gancli.run.folder import RunFolder
from gancli.run.loaded import LoadedModel
from gancli.run.loop import Loop


@pytest.fixture(scope="module")
def state() -> dict:
    return steps(trainer_for(small("mlp")), 2).state_dict()


@pytest.fixture
def tree(state) -> dict:
    return copy.deepcopy(state)


def at(tree: dict, step: int) -> dict:
    return tree | {"progress": tree["progress"] | {"step": step}}


def damage(path: Path, how: str = "flip") -> None:
    """Writes a new file: last.pt may be a second name of the same bytes, and a test wants to damage
    one.
    """
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "flip":
        with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
            record = next(
                entry for entry in archive.infolist() if entry.filename.endswith("/data/0")
            )
        header = (
            record.header_offset
        )  # its name and padding have their lengths at 26 and 28; the numbers follow them
        lengths = [int.from_bytes(data[header + k : header + k + 2], "little") for k in (26, 28)]
        data[header + 30 + sum(lengths) + 5] ^= 1
    else:
        data = data[: int(how)]
    path.write_bytes(data)


# writing


def test_what_is_written_is_what_is_read(tree, tmp_path):
    path = save(tree, tmp_path, keep=1)
    assert path.name == "step-00000002.pt" and sorted(p.name for p in tmp_path.iterdir()) == [
        "last.pt",
        path.name,
    ]
    assert differences(tree | {"format": FORMAT, "version": gancli.__version__}, read(path)) == []
    assert (tmp_path / "last.pt").read_bytes() == path.read_bytes()


def test_keep_goes_by_number_and_not_by_text(tree, tmp_path):
    for step in (
        99999998,
        99999999,
        100000000,
        100000001,
    ):  # one digit more: as text the larger sorts first
        save(at(tree, step), tmp_path, keep=3)
    assert [path.name for path in list_steps(tmp_path)] == [
        "step-100000001.pt",
        "step-100000000.pt",
        "step-99999999.pt",
    ]
    (tmp_path / "step-mine.pt").write_bytes(b"")
    (tmp_path / "best.pt").write_bytes(b"")
    save(at(tree, 100000002), tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {
        "step-100000002.pt",
        "last.pt",
        "step-mine.pt",
        "best.pt",
    }


def test_a_damaged_future_does_not_push_out_the_present(tree, tmp_path):
    """After a fallback a higher number lies there; the new file must not be the one that keep=1
    drops.
    """
    save(at(tree, 20), tmp_path, keep=1)
    damage(tmp_path / "step-00000020.pt")
    new = save(at(tree, 12), tmp_path, keep=1)
    assert new.exists() and read_newest(tmp_path)[1]["progress"]["step"] == 12


@pytest.mark.parametrize("moment", ["write", "fsync", "link", "first rename", "second rename"])
def test_a_kill_at_any_moment_leaves_a_sound_newest(tree, tmp_path, monkeypatch, moment):
    """A killed process runs no `finally`: its leftovers stay, and nobody may trip over them."""
    save(at(tree, 1), tmp_path, keep=1)

    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    done = {"write": 1, "fsync": 1, "link": 1, "first rename": 1, "second rename": 2}[moment]
    real_replace = os.replace
    calls = []

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
    assert read_newest(tmp_path)[1]["progress"]["step"] == done
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(tmp_path, folder.checkpoints, ignore=lambda *_: ["run"])
    folder.open().close()
    assert not any(folder.checkpoints.glob(".tmp-*"))
    save(at(tree, 3), folder.checkpoints, keep=1)
    assert read_newest(folder.checkpoints)[1]["progress"]["step"] == 3


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
    tree["run"]["best"] = torch.zeros(
        10**6
    )  # more than a buffer holds, so that the write fails inside torch

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif where == "copy":
        monkeypatch.setattr(os, "link", full)
        monkeypatch.setattr(shutil, "copyfileobj", full)
    else:
        # torch's writer calls us back; its own complaint about the position must not hide the
        # reason
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
    assert read_newest(tmp_path)[1]["progress"]["step"] == 1
    assert not list(tmp_path.glob(".tmp-step*"))


class Loggers:
    """A logbook and a display that want nothing."""

    def add_scalars(self, *_): ...
    def add_picture(self, *_): ...
    def guard(self, _, write): ...
    def note(self, *_): ...
    def update(self, *_, **__): ...


def loop_of(trainer, monitor, folder) -> Loop:
    return Loop(
        trainer, monitor, build_watch(trainer), folder=folder, logbook=Loggers(), display=Loggers()
    )


def full_disk(loop, monkeypatch, *, until: int) -> None:
    real = os.fsync

    def fsync(handle):
        if loop.progress.step <= until:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    loop.run()


def test_a_disk_full_for_a_while_costs_no_step(tmp_path, monkeypatch, caplog):
    setup = small("mlp", "trainer.steps=6", "trainer.save_every=2")
    folder = RunFolder(tmp_path).open()
    loop = loop_of(*trainer_and_monitor(setup), folder)
    with caplog.at_level(logging.WARNING, "gancli"):
        full_disk(loop, monkeypatch, until=4)
    assert [record.getMessage().split(" could")[0] for record in caplog.records] == [
        "step 2",
        "step 4",
    ]
    assert all("disk is full" in record.getMessage() for record in caplog.records)
    tree = read_newest(folder.checkpoints)[1]
    whole = steps(trainer_for(setup), 6).state_dict()
    assert differences(whole | {"format": FORMAT, "version": gancli.__version__}, tree) == []


def test_a_disk_full_at_the_end_is_code_75_and_the_old_one_stays(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path).open()
    first, monitor = trainer_and_monitor(small("mlp", "trainer.steps=4", "trainer.save_every=2"))
    steps(first, 2)
    loop = loop_of(first, monitor, folder)
    loop.save(last=False)
    with pytest.raises(TemporaryFailure, match="disk is full") as caught:
        full_disk(loop, monkeypatch, until=99)
    assert caught.value.code == 75
    monkeypatch.undo()
    assert read_newest(folder.checkpoints)[1]["progress"]["step"] == 2


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


def test_a_record_marked_as_a_folder_is_damage(tree, tmp_path):
    path = save(tree, tmp_path, keep=1)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b".data/serialization_id"))
    data[entry + 38] ^= 0x10  # of its attributes: no checksum counts them
    path.write_bytes(data)
    with pytest.raises(Damaged, match="is marked as a folder"):
        read(path)


def test_any_damaged_byte_is_refused_or_harmless(tree, tmp_path):
    """Every byte of the headers, the directory and the pickle, and some of the rest: a sentence or
    the very same data.
    """
    path = save(tree, tmp_path, keep=1)
    sound = read(path)
    good = path.read_bytes()
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
            assert isinstance(error, Damaged), (
                f"byte {places[_ % 2]}: {error}, and no older file would be tried"
            )


def test_the_newest_sound_one_serves_and_the_message_says_so(tree, tmp_path, caplog):
    for step in (1, 2, 3):
        save(at(tree, step), tmp_path, keep=3)
    damage(tmp_path / "last.pt", "100")
    damage(tmp_path / "step-00000003.pt")
    path, found = read_newest(tmp_path)
    assert path.name == "step-00000002.pt" and found["progress"]["step"] == 2
    said = [record.getMessage() for record in caplog.records]
    assert (
        len(said) == 2
        and "last.pt is damaged" in said[0]
        and "step-00000003.pt is damaged" in said[1]
    )
    assert all(line.endswith("trying the one before") for line in said)
    (tmp_path / "last.pt").unlink()
    assert read_newest(tmp_path)[0].name == "step-00000002.pt"


def test_all_damaged_is_one_error_with_reasons_and_nothing_is_deleted(tree, tmp_path):
    for step in (1, 2):
        save(at(tree, step), tmp_path, keep=3)
    for path in tmp_path.iterdir():
        damage(path, "1000")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(
        UserError,
        match=r"no checkpoint can be used: .*last\.pt.*step-00000002\.pt.*step-00000001\.pt",
    ) as caught:
        read_newest(tmp_path)
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
    real = safe_load.check_archive

    def check_and_lose(*args, **kwargs):
        real(*args, **kwargs)
        path.unlink()

    monkeypatch.setattr(safe_load, "check_archive", check_and_lose)
    assert read(path)["progress"]["step"] == 2


# what a good file gives


def test_a_loaded_game_is_frozen_and_has_the_asked_generator(state, tmp_path):
    path = save(state, tmp_path, keep=1)
    averaged = load_game(str(path))
    trained = load_game(str(path), ema=False)
    assert differences(averaged.generator.state_dict(), state["ema"]) == []
    assert differences(trained.generator.state_dict(), trained.game.generator.state_dict()) == []
    assert differences(averaged.generator.state_dict(), trained.generator.state_dict())
    assert not averaged.generator.training and not any(
        p.requires_grad for p in averaged.game.parameters()
    )
    assert averaged.game.progress.step == 2


def test_tied_weights_are_no_claim_too_large(state, tmp_path):
    """Stored once, listed twice."""
    tree = copy.deepcopy(state)
    tree["run"]["best"] = tree["game"]
    read(save(tree, tmp_path, keep=1))


def test_a_rollback_may_ask_for_a_checkpoint_of_before(tree, tmp_path):
    for step in (2, 4, 6):
        save(at(tree, step), tmp_path, keep=3, best=step == 6)

    def step_read(until: int | None) -> int:
        return checkpoint.read_best(tmp_path, until=until)["progress"]["step"]

    assert step_read(None) == 6 and step_read(6) == 6
    assert step_read(5) == 4 and step_read(4) == 4, "the best is of later"
    assert step_read(1) == 6, "nothing is left of then"
    (tmp_path / "best.pt").unlink()
    assert step_read(1) == 2, "the oldest is the nearest to it"
    damage(tmp_path / "step-00000004.pt")
    assert step_read(5) == 2


@pytest.fixture
def alone(tree, tmp_path) -> Path:
    """A file of the generator alone, in half precision."""
    whole = read(save(tree, tmp_path, keep=1))
    path = tmp_path / "alone.pt"
    torch.save(checkpoint.keep_generator(whole, half=True), path)
    return path


def test_a_generator_alone_is_whole_again_but_for_rounding(tree, alone, tmp_path):
    loaded = load_game(str(alone))
    assert loaded.game.discriminator is None and not loaded.game.judges_images
    for name, value in tree["ema"].items():
        found = loaded.generator.state_dict()[name]
        assert found.dtype is torch.float32
        rounded = value.half().float() if value.ndim > 1 else value
        assert torch.equal(found, rounded), name
    assert alone.stat().st_size < (tmp_path / "last.pt").stat().st_size / 4


def test_a_generator_alone_says_what_it_has_not(alone):
    with pytest.raises(UserError, match="the EMA generator alone: ema=false needs the trained one"):
        load_game(str(alone), ema=False)
    with pytest.raises(UserError, match="no training can go on from that"):
        checkpoint.check_resumable(read(alone), alone)
    with pytest.raises(UserError, match=r"features\(\) needs the discriminator"):
        LoadedModel(load_game(str(alone))).features([])


@pytest.mark.parametrize("change", [{"exported": 1}, {"exported": []}, {"game": {"x": 1}}])
def test_a_file_that_claims_another_part_is_refused(alone, change):
    torch.save(torch.load(alone) | change, alone)
    with pytest.raises(UserError, match=r"does not hold the networks|and has more"):
        load_game(str(alone))


@pytest.mark.parametrize("name", ["net.0.weight", "more"])
def test_a_generator_alone_must_be_that_of_its_config(alone, name):
    found = torch.load(alone)
    found["ema"][name] = torch.zeros(3)
    torch.save(found, alone)
    with pytest.raises(UserError, match="does not hold the networks of its config"):
        load_game(str(alone))
