"""Files that others may have made: read within bounds, never waited for, never written through,
never shown raw.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import hostile
import pytest
import train_helpers
from omegaconf import OmegaConf
from PIL import Image
from train_helpers import TINY, sound, train_once

from gancli.errors import UserError
from gancli.files import atomic, reading
from gancli.render import messages

gan = pytest.fixture(train_helpers.gan)
REFUSED = {
    "bomb": "aliases written out",
    "merge bomb": "aliases written out",
    "deep flow": "nested more than 32 deep",
    "deep map": "is larger than",
    "deep block": "nested more than 32 deep",
    "half deep": "nested more than 32 deep",
    "binary": "not text in UTF-8",
    "utf16": "not text in UTF-8",
    "latin": "not text in UTF-8",
    "self": "holds itself",
    "undefined": "is no YAML",
    "tags": "is no YAML",
    "set": "holds a set",
    "binary tag": "holds a bytes",
    "interpolations": "too many interpolations",
    "long line": "is larger than",
    "bars": "nested more than 32 deep",
}


@pytest.mark.parametrize("name", REFUSED)
def test_yaml_that_is_too_much_or_none_is_refused_by_its_name(name, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(hostile.TEXTS[name])
    with pytest.raises(reading.Unreadable, match=REFUSED[name]) as caught, hostile.limited(5):
        reading.read_yaml(path)
    assert str(path) in caught.value.message and "\n" not in caught.value.message


def test_yaml_is_read_as_omegaconf_reads_it(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "a: 1e-3\nb: 2026-01-01\nc: 1_000\nd: .5\ne: 1e5\nf: on\ng: 0x1f\nh: ${a}\ni: [1.0, -2, "
        "~]\n"
        "j: .inf\nk: '7'\nl: 1:30\nm: 1.\n"
    )
    assert reading.read_yaml(path) == OmegaConf.to_container(OmegaConf.load(path))


def test_every_built_in_config_passes(tmp_path):
    from gancli.config.folders import find_conf_dir

    paths = reading.list_yaml_files(find_conf_dir())
    assert len(paths) > 100
    for path in paths:
        reading.read_yaml_text(path)


JSON_REFUSED = {
    "deep flow": "nested too deep",
    "deep map": "nested too deep",
    "half deep": "nested deeper",
    "binary": "UTF-8",
    "empty": "no JSON",
    "zeros": "no JSON",
    "keys": "no JSON",
}


@pytest.mark.parametrize("name", JSON_REFUSED)
def test_json_that_is_too_much_or_none_is_refused_by_its_name(name, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(hostile.TEXTS[name])
    with pytest.raises(reading.Unreadable, match=JSON_REFUSED[name]), hostile.limited(5):
        reading.read_json(path)


def test_numbers_that_are_none_become_null(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(
        '{"a": NaN, "b": -Infinity, "c": 1e999, "d": %s, "e": 1.5, "f": 7}' % ("9" * 5000)
    )
    want = {"a": None, "b": None, "c": None, "d": None, "e": 1.5, "f": 7}
    assert reading.read_json(path) == want


def test_lines_of_json_pass_over_what_is_none_and_end(tmp_path):
    path = tmp_path / "x.jsonl"
    good = b'{"step": 1}\n'
    path.write_bytes(good + b"[1]\n" + hostile.TEXTS["deep map"] + b"\n\xff\n" + good + b'{"st')
    assert [entry for _, entry in reading.read_json_lines(path)] == [{"step": 1}] * 2
    path.write_bytes(b"x\n" * 10**6)
    with pytest.raises(reading.Unreadable, match="other things than lines of JSON"):
        list(reading.read_json_lines(path))
    assert list(reading.read_json_lines(tmp_path / "none")) == []


def test_what_is_no_file_is_told_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "loop").symlink_to("loop")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    wanted = {
        "fifo": "is a pipe",
        "link": "is a pipe",
        "socket": "is a socket",
        "/dev/zero": "is a device",
        ".": "is a folder",
        "loop": "cannot be read",
    }
    with hostile.limited(5):
        for name, words in wanted.items():
            with pytest.raises(reading.Unreadable, match=words):
                reading.read_bytes(tmp_path / name, most=10)
    server.close()


# commands


@pytest.fixture
def run(gan) -> Path:
    return train_once(gan, *TINY, "trainer.steps=2", "log.every=1")


@pytest.mark.parametrize(
    "argv",
    [
        ["sample", "ckpt=fifo"],
        ["show", "fifo"],
        ["evaluate", "ckpt=fifo"],
        ["features", "ckpt=fifo"],
        ["project", "ckpt=run", "input=fifo"],
        ["project", "ckpt=run", "input=image.png", "weights=fifo", "lpips_heads=fifo"],
        ["translate", "ckpt=fifo", "input=image.png"],
        ["sample", "ckpt=run", "latent=fifo"],
        ["train", "resume=fifo"],
        ["report", "fifo"],
        ["compare", "fifo"],
        ["data", "fifo"],
        [
            *("evaluate", "ckpt=run", "metrics=fast"),
            *("metrics.features=squeezenet", "metrics.weights=fifo"),
        ],
        ["evaluate", "real=fifo", "fake=run/samples"],
        ["train", "dataset=folder", "dataset.path=fifo"],
        ["sample", "ckpt=/dev/zero"],
        ["project", "ckpt=run", "input=/dev/zero"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_pipe_or_a_device_is_refused_at_once(argv, run, capsys):
    os.mkfifo("fifo")
    Image.new("L", (8, 8)).save("image.png")
    (answer,) = hostile.run_commands([argv], capsys)
    assert not answer.problem and answer.seconds < 10, answer


def test_pipes_broken_links_and_loops_among_images_are_named(gan, tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for k in range(12):
        Image.new("RGB", (16, 16), (k, 90, 30)).save(folder / f"{k}.png")
    os.mkfifo(folder / "a-fifo.png")
    (folder / "a-link.png").symlink_to("a-fifo.png")
    (folder / "a-loop.png").symlink_to("a-loop.png")
    (folder / "a-device.png").symlink_to("/dev/zero")
    (folder / "sub" / "up").symlink_to(folder)
    with hostile.limited(20):
        done = sound(gan("data", "photos"))
    for name in ("a-fifo.png", "a-link.png", "a-loop.png", "a-device.png"):
        assert name in done.out, done.out
    assert "a pipe (FIFO), not an image file" in done.out


@pytest.mark.parametrize(
    "name", ["bomb", "merge bomb", "deep flow", "deep block", "interpolations"]
)
@pytest.mark.parametrize("subcommand", ["train", "list", "show", "check"])
def test_a_config_folder_is_bounded_before_hydra_reads_it(name, subcommand, gan):
    Path("my/model").mkdir(parents=True)
    Path("my/model/mine.yaml").write_bytes(b"# A model of mine\n" + hostile.TEXTS[name])
    os.mkfifo("my/model/fifo.yaml")
    Path("my/model/loop.yaml").symlink_to("loop.yaml")
    Path("my/more").symlink_to("..")
    argv = [subcommand, "--config-dir=my"] + ([] if subcommand == "list" else ["model=mine"])
    with hostile.limited(20):
        done = gan(*argv)
    assert done.code == (0 if subcommand == "list" else 2), done
    assert "Traceback" not in done.err
    assert subcommand == "list" or "mine.yaml" in done.err, done.err


def test_a_config_folder_that_is_the_whole_disk_is_refused(gan):
    for k in range(120):
        Path(f"my/{k}").mkdir(parents=True)
        for i in range(170):
            Path(f"my/{k}/{i}.txt").touch()
    with hostile.limited(20):
        done = sound(gan("list", "--config-dir", "my"), code=2)
    assert "holds more than 20,000 files" in done.err


# links


@pytest.mark.parametrize("name", hostile.WRITTEN)
@pytest.mark.parametrize("deed", ["link", "dangling"])
def test_nothing_is_written_through_a_link_that_leads_out(name, deed, run, gan, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    if name == "checkpoints":
        pytest.skip("a run without checkpoints; see the next test")
    hostile.THINGS[deed](run / name, outside)
    before = hostile.snapshot(outside)
    commands = {
        "report.html": [["report", "run"]],
        "evaluations": [["evaluate", "ckpt=run", "metrics=none", "metrics.items=[swd]", "n=16"]],
        "tensorboard/evaluate": [
            ["evaluate", "ckpt=run", "metrics=none", "metrics.items=[swd]", "n=16"]
        ],
        "samples-seed0": [["sample", "ckpt=run", "n=2"]],
        "samples-seed0/000000.png": [["sample", "ckpt=run", "n=2"]],
    }.get(name, [["train", "resume=run", "trainer.steps=3"]])  # fmt: skip
    for argv in commands:
        done = sound(gan(*argv), code=2)
        assert f"run/{name} is a link that leads out of the folder" in done.err, done.err
        assert f"rm run/{name}" in done.err
    assert hostile.snapshot(outside) == before


def test_checkpoints_that_lie_elsewhere_are_sampled_and_not_resumed(run, gan, tmp_path):
    Path("run/checkpoints").rename(tmp_path / "elsewhere")
    Path("run/checkpoints").symlink_to(tmp_path / "elsewhere")
    sound(gan("sample", "ckpt=run", "n=2", "out=s"))
    done = sound(gan("train", "resume=run", "trainer.steps=3"), code=2)
    assert "run/checkpoints is a link that leads out" in done.err
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == [
        "last.pt",
        "step-00000002.pt",
    ]


def test_a_run_reached_through_a_link_goes_on(run, gan):
    Path("latest").symlink_to("run")
    sound(gan("train", "resume=latest", "trainer.steps=3"))
    sound(gan("sample", "ckpt=latest", "n=2"))
    sound(gan("report", "latest"))
    assert Path("run/samples-seed0/000000.png").is_file() and Path("run/report.html").is_file()


def test_a_new_run_in_a_folder_with_such_a_link_is_refused(gan, tmp_path):
    (tmp_path / "precious").write_text("text\n")
    Path("new").mkdir()
    Path("new/run.log").symlink_to(tmp_path / "precious")
    done = sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=new"), code=2)
    assert "new/run.log is a link" in done.err
    assert (tmp_path / "precious").read_text() == "text\n"


def test_links_inside_a_folder_are_fine(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "samples").symlink_to("a")
    (tmp_path / "a" / "back").symlink_to("..")
    atomic.refuse_links(tmp_path, ["samples", "a", "not there"])
    os.mkfifo(tmp_path / "run.lock")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        atomic.refuse_links(tmp_path, ["run.lock"])


def test_a_sweep_that_names_a_run_elsewhere_leaves_it_as_it_is(run, gan, tmp_path):
    sound(gan("train", *TINY, "trainer.steps=1", "log.tensorboard=true", "hydra.run.dir=other"))
    Path("sweep").mkdir()
    Path("sweep/sweep.jsonl").write_text(
        json.dumps({"job": 0, "folder": str(tmp_path / "other")}) + "\n"
    )
    before = hostile.names(Path("other"))
    sound(gan("compare", "sweep"))
    assert hostile.names(Path("other")) == before


# terminals


def test_control_characters_are_never_shown(capsys):
    messages.warn(f"a{hostile.ESCAPE}b")
    messages.show_error(UserError(f"no folder {hostile.ESCAPE}", f"type {hostile.ESCAPE}"))
    messages.say(f"caf\xe9 \u624b {hostile.ESCAPE}\udcff")
    out, err = capsys.readouterr()
    assert not set(out + err) & set("\x1b\x07\u202e") and "caf\xe9 \u624b" in out


def test_names_from_files_reach_no_terminal_raw(gan):
    folder = Path(f"photos{hostile.ESCAPE}")
    for name in ("a", f"b{hostile.ESCAPE}"):
        (folder / name).mkdir(parents=True)
        for k in range(6):
            Image.new("RGB", (16, 16), (k, 90, 30)).save(folder / name / f"{k}{hostile.ESCAPE}.png")
        (folder / name / f"broken{hostile.ESCAPE}.png").write_text("x")
    words = [
        ["data", str(folder)],
        ["train", *TINY, "dataset=folder", f"dataset.path={folder}", "dataset.limit=null",
         "model.conditional=true", "trainer.steps=1", f"hydra.run.dir=run{hostile.ESCAPE}"],
        ["show", f"run{hostile.ESCAPE}"],
        ["report", f"run{hostile.ESCAPE}"],
        ["compare", f"run{hostile.ESCAPE}"],
        ["sample", f"ckpt=run{hostile.ESCAPE}", "per_class=1"],
        ["sample", f"ckpt=run{hostile.ESCAPE}", f"label={hostile.ESCAPE}"],
        ["train", f"resume=run{hostile.ESCAPE}"],
        ["train", f"resume=none{hostile.ESCAPE}"],
    ]  # fmt: skip
    for argv in words:
        done = gan(*argv)
        assert not set(done.out + done.err) & set("\x1b\x07\u202e"), (argv, done)
        assert "Traceback" not in done.err, done.err


def test_reading_needs_no_torch():
    code = (
        "import sys, gancli.files.reading, gancli.files.atomic, gancli.render.messages; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("name", ["metrics.jsonl", "run.log", "run.lock", "evaluation.json"])
def test_a_folder_where_a_run_keeps_a_file_is_told(gan, run, name):
    path = run / name
    path.unlink(missing_ok=True)
    path.mkdir()
    done = sound(gan("train", f"resume={run}", "trainer.steps=3"), 2)
    assert f"{path} is a folder, where a file belongs" in done.err
    assert f"mv {path} {path}.old" in done.err
