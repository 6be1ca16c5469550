"""Hostile files from fixed seeds: checkpoints changed in one place, run folders with one bad file,
and what must come of them.
"""

from __future__ import annotations

import copy
import faulthandler
import json
import os
import random
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from gancli.cli import main

LIMIT_S = 20  # no command may take longer over a file of a few KB
# Sets a terminal's title, clears it, and turns the direction of writing.
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"


class Answer(NamedTuple):
    """What a command made of a hostile file. problem: "" where it answered as it should."""

    argv: list[str]
    code: object
    seconds: float
    problem: str


# checkpoints


def places(tree: object, path: tuple = ()) -> Iterator[tuple]:
    """The path of every entry of a tree of mappings and lists."""
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def deep(n: int) -> list:
    value: list = []
    for _ in range(n):
        value = [value]
    return value


def odd_values(rng: random.Random, old: object) -> list:
    """Values that do not belong where they are put."""
    values = [
        None, True, -1, 0, 10**9, 2**63, 10**300, 10**5000, 1e308, -1e308,
        float("nan"), float("inf"), 0.5,
        "", "x" * 10_000, ESCAPE, "../../../etc/passwd", "${oc.env:HOME}", "\ud800", "\0",
        [], {}, [1, "a"], {1: 2}, {"_target_": "os.system"}, {ESCAPE: 1}, (1, 2), deep(5), deep(40),
        [0] * 3000, {"a": {"b": {"c": ESCAPE}}},
        torch.zeros(0), torch.zeros(3), torch.zeros((), dtype=torch.int64),
        torch.zeros(1).expand(10**9),
        torch.zeros(2, dtype=torch.complex64), torch.full((4,), torch.nan),
        torch.zeros(2, dtype=torch.bool),
    ]  # fmt: skip
    if isinstance(old, torch.Tensor):
        values += [
            old[:1] if old.ndim else old[None],
            old.double(),
            old.to(torch.int32),
            old * torch.nan,
            old.T,
        ]
        values += [torch.zeros(*old.shape, 2), torch.zeros(()).expand(old.shape), old.half()]
    if isinstance(old, int | float):
        values += [-old, old + 1, old * 1000, str(old), float(old), [old]]
    return [rng.choice(values)]


def mutate_tree(tree: dict, rng: random.Random) -> tuple[str, dict]:
    """-> (what was done, a copy of a checkpoint's tree with one to three entries changed, dropped,
    renamed or added)
    """
    tree = copy.deepcopy(tree)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        top = rng.choice(sorted(tree, key=str))
        spots = [path for path in places(tree) if path[0] == top] or [(top,)]
        path = rng.choice(spots)
        node = tree
        for key in path[:-1]:
            node = node[key]
        last = path[-1]
        deed = rng.choice(("set", "set", "set", "drop", "rename", "add"))
        if deed == "drop":
            del node[last]
        elif deed == "rename" and isinstance(node, dict):
            node[rng.choice([ESCAPE, 7, "", "_target_", "x" * 300])] = node.pop(last)
        elif deed == "add" and isinstance(node, dict):
            node[rng.choice([ESCAPE, 7, "more", "_target_"])] = odd_values(rng, None)[0]
        else:
            node[last] = odd_values(rng, node[last])[0]
        done.append(f"{deed} {'/'.join(map(repr, path))}")
    return "; ".join(done), tree


def mutate_bytes(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """-> (what was done, a damaged copy)"""
    deed = rng.choice(("flip", "cut", "zero", "insert", "double", "tail"))
    at = rng.randrange(len(data))
    if deed == "flip":
        found = bytearray(data)
        for _ in range(rng.choice((1, 8, 100))):
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
        return deed, bytes(found)
    return f"{deed} at {at}", {
        "cut": data[:at],
        "zero": data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :],
        "insert": data[:at] + rng.randbytes(32) + data[at:],
        "double": data + data,
        "tail": data[at:],
    }[deed]


def mutate_pickle(path: Path, rng: random.Random) -> tuple[str, bytes]:
    """-> (what was done, an archive that is whole, and whose pickle is changed)"""
    target = path.with_name("mutated.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                data = mutate_bytes(data, rng)[1]
            new.writestr(entry.filename, data)
    data = target.read_bytes()
    target.unlink()
    return "pickle", data


def mutated_checkpoints(path: Path, n: int, *, seed: int = 0) -> Iterator[tuple[str, bytes | dict]]:
    """n hostile versions of the checkpoint at `path`: (what was done, its bytes or the tree to
    save).
    """
    data = path.read_bytes()
    tree = torch.load(path)
    for k in range(n):
        rng = random.Random(f"{seed} {k}")
        if k % 8 == 6:
            yield mutate_bytes(data, rng)
        elif k % 8 == 7:
            yield mutate_pickle(path, rng)
        else:
            yield mutate_tree(tree, rng)


def put(mutated: bytes | dict, path: Path) -> bool:
    """Writes a mutated checkpoint. -> could it be written? A tree may hold what no pickle can."""
    try:
        if isinstance(mutated, bytes):
            path.write_bytes(mutated)
        else:
            torch.save(mutated, path)
    except (UnicodeEncodeError, ValueError, RuntimeError, TypeError):
        return False
    return True


# run folders


def bomb(levels: int = 40, width: int = 9) -> str:
    """YAML that is width**levels entries large once its aliases are written out."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]" for k in range(1, levels)]
    return "\n".join(lines) + "\n"


def bad_texts() -> dict[str, bytes]:
    """name -> the content of a file that is no YAML, JSON or JSON lines, or too much of it."""
    return {
        "bomb": bomb().encode(),
        "merge bomb": b"a: &a {k: 1}\n" + b"".join(
            f"{x}: &{x} {{<<: [{', '.join(['*' + y] * 9)}], z{x}: 1}}\n".encode()
            for y, x in zip("abcdefghij", "bcdefghijk", strict=True)
        ),
        "deep flow": b"[" * 100_000 + b"]" * 100_000,
        "deep map": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "deep block": b"- " * 100_000 + b"x",
        "half deep": b'{"values": ' + b"[" * 500 + b"]" * 500 + b"}",
        "list": b"[1, 2, 3]",
        "number": b"7",
        "null": b"null",
        "string": b'"text"',
        "empty": b"",
        "binary": bytes(range(256)) * 40,
        "zeros": bytes(10_000),
        "utf16": "hydra: {runtime: {choices: {model: x}}}".encode("utf-16"),
        "latin": b"hydra: {name: caf\xe9}",
        "keys": b"{1: 2, null: 3, [1, 2]: 4, true: {2.5: x}}",
        "self": b"a: &a [*a]",
        "undefined": b"a: *nothing",
        "tags": b"a: !!python/object/apply:os.system ['touch canary']",
        "set": b"!!set {a, b}",
        "binary tag": b"!!binary aGVsbG8=",
        "huge number": b'{"step": ' + b"9" * 100_000 + b', "nimg": 1, "time": 1}\n',
        "huge floats": b'{"step": 1e308, "nimg": 1e308, "time": 1e308, "d/adv": 1e308}\n'
        b'{"step": 2, "nimg": -1e308, "time": -1e308, "d/adv": -1e308}\n',
        "not finite": b'{"step": NaN, "nimg": Infinity, "time": -Infinity, '
        b'"values": {"swd": NaN}}\n',
        "types": b'{"step": "x", "values": [1], "reals": 7, "protocol": "p", '
        b'"skipped": [2], "best": [3], "ended": {}}',
        "types below": json.dumps(
            {"step": 1, "values": {"a": {"b": 1}, "c": [1]}, "protocol": {"x": [[[[1]]]]},
             "skipped": {"a": {"b": 1}},
             "best": {"key": "c", "mode": "min", "step": "x", "value": "y"}, "ended": 5}
        ).encode(),
        "large values": b'{"step": 2, "values": {"swd": 1e308, "self/frechet": -1e308}, '
        b'"protocol": {"n_fake": 1e308},'
        b' "skipped": {}, "best": {"key": "swd", "mode": "min", "step": 1e308, "value": 1e308}}',
        "escapes": json.dumps(
            {"step": 2, "values": {ESCAPE: 1.0}, "protocol": {ESCAPE: ESCAPE},
             "skipped": {ESCAPE: ESCAPE}, "ended": ESCAPE}
        ).encode(),
        "escaped overrides": json.dumps([f"name={ESCAPE}", ESCAPE, "seed=1"]).encode(),
        "choices": json.dumps(
            {"hydra": {"runtime": {"choices": [1, 2], "config_sources": 5}, "job": []}}
        ).encode(),
        "choices below": json.dumps(
            {"hydra": {"runtime": {"choices": {"model": [1], ESCAPE: {"a": 1}},
                                   "config_sources": [{"path": 5, "provider": "user"}]},
                       "job": {"config_name": [1]}, "sweeper": 5, "overrides": {"task": [1, None]}}}
        ).encode(),
        "interpolations": b"a: " + b"${" * 20_000 + b"}" * 20_000,
        "long line": b'{"step": 1, "x": "' + b"x" * 3_000_000 + b'"}\n',
        "many lines": b"{}\n[]\n1\n" * 20_000,
        "bars": b"{" * 300_000,
    }  # fmt: skip


TEXTS = bad_texts()
FILES = (
    ".hydra/overrides.yaml",
    ".hydra/hydra.yaml",
    ".hydra/config.yaml",
    "evaluation.json",
    "evaluations/full.json",
    "metrics.jsonl",
    "run.log",
    "samples/step-00000002.png",
)
WRITTEN = (
    "run.lock",
    "run.log",
    "metrics.jsonl",
    "evaluation.json",
    "samples",
    "tensorboard",
    "checkpoints",
    ".hydra",
    "report.html",
    "evaluations",
    "samples-seed0",
    "samples-seed0/000000.png",
    "tensorboard/evaluate",
)


def put_fifo(path: Path, _outside: Path) -> None:
    clear(path)
    os.mkfifo(path)


def put_loop(path: Path, _outside: Path) -> None:
    clear(path)
    path.symlink_to(path.name)


def put_link(path: Path, outside: Path) -> None:
    """A link to a file or folder outside, or to one that is not there yet."""
    was_folder = path.is_dir()
    clear(path)
    place = outside.resolve() / path.name
    if was_folder:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    else:
        place.write_text("precious\n")
    path.symlink_to(place)


def put_dangling(path: Path, outside: Path) -> None:
    clear(path)
    path.symlink_to(outside.resolve() / f"new-{path.name.strip('.')}")


def put_device(path: Path, _outside: Path) -> None:
    clear(path)
    path.symlink_to("/dev/zero")


def put_folder(path: Path, _outside: Path) -> None:
    clear(path)
    path.mkdir()


def put_giant(path: Path, _outside: Path) -> None:
    """A file of 10 GB, all of it a hole."""
    clear(path)
    with path.open("wb") as file:
        file.truncate(10**10)


def clear(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


THINGS = {
    function.__name__.removeprefix("put_"): function
    for function in (put_fifo, put_loop, put_link, put_dangling, put_device, put_folder, put_giant)
}


def hostile_deeds() -> list[tuple[str, str, Callable[[Path, Path], None]]]:
    """(what, which file of a run folder, deed(path, outside)) for every bad content and every thing
    that is no file.
    """
    deeds: list[tuple[str, str, Callable[[Path, Path], None]]] = []
    for name, data in TEXTS.items():
        for file in FILES:
            deeds.append((name, file, write_text(data)))
    for name, deed in THINGS.items():
        for file in dict.fromkeys((*FILES, *WRITTEN)):
            deeds.append((name, file, deed))
    return deeds


def write_text(data: bytes) -> Callable[[Path, Path], None]:
    def deed(path: Path, _outside: Path) -> None:
        clear(path)
        path.write_bytes(data)

    return deed


# commands


def run_commands(commands: list[list[str]], capsys) -> Iterator[Answer]:
    """Runs command lines in this process: each must end within LIMIT_S, with a sentence or with
    success.
    """
    for argv in commands:
        capsys.readouterr()
        started = time.monotonic()
        problem = ""
        code: object = None
        try:
            with limited(LIMIT_S):
                code = main(argv)
        except BaseException as error:  # noqa: BLE001 - nothing may come out of main
            problem = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - started
        out, err = capsys.readouterr()
        if "Traceback" in err or "Traceback" in out:
            problem = err[-1500:]
        elif not problem and code not in (0, 2, 3, 75):
            problem = f"exit code {code}: {err[-500:]}"
        elif not problem and any(sign in out + err for sign in ("\x1b]", "\x1b[2J", "\u202e")):
            problem = f"an escape sequence reached the terminal: {(out + err)!r:.500}"
        yield Answer(argv, code, seconds, problem)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    def too_long(*_: object) -> None:
        faulthandler.dump_traceback()
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def snapshot(folder: Path) -> dict[str, str]:
    """path -> what is there, to see that nothing was written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file"
        found[str(path.relative_to(folder))] = path.read_text() if kind == "file" else kind
    return found


def names(folder: Path) -> list[str]:
    """What lies below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
