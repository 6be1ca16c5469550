"""An untrusted file is data and nothing else: nothing of it runs, nothing is allocated on its word,
and it is refused in a sentence.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
import random
import re
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
from helpers import REPO, small, steps, trainer_for

from gancli.checkpoint import FORMAT, load_game, save
from gancli.errors import GanError, UserError
from gancli.files.safe_load import Damaged, check_savable, check_size

GONE = object()


@pytest.fixture(scope="module")
def state() -> dict:
    return steps(trainer_for(small("mlp")), 2).state_dict()


@pytest.fixture
def tree(state) -> dict:
    return copy.deepcopy(state)


def changed(tree: dict, where: str | tuple, value: object) -> dict:
    tree = copy.deepcopy(tree) | {"format": FORMAT, "version": "0.1.0"}
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


G = "config/model/generator"
D = "config/model/discriminator"
STRANGERS = {
    "os.system": "may not be built",
    "subprocess.Popen": "may not be built",
    "pathlib.Path": "may not be built",
    "builtins.open": "may not be built",
    "torch.load": "may not be built",
    "torch.hub.load": "may not be built",
    "torch.nn.Linear": "may not be built",
    "gancli.checkpoint.Loaded": "may not be built",
    "gancli.losses.penalties.torch.load": "no module",
    "gancli.games.gan.BoundCritic": "only reachable through it",
    "gancli.networks.dcgan.nn": "not a class",
    "gancli.networks.dcgan.make_upsampling": "not a class",
    "gancli.losses.penalties.Tensor": "only reachable through it",
    "torch.optim.lr_scheduler.StepLR": "may not be built",
    "hydra.utils.instantiate": "code of hydra's",
    "numpy.load": "code of numpy's",
    "evil_package.Net": "code of evil_package's",
    "open": "does not name a class",
    "gancli.networks.dcgan.": "does not name a class",
    "../evil.Net": "does not name a class",
    "${oc.env:HOME}.x": "does not name a class",
    "a." * 10**5 + "b": "does not name a class",
    7: "does not name a class",
    None: "does not name a class",
}


@pytest.mark.parametrize("where", [G, "config/loss"])
@pytest.mark.parametrize("target", STRANGERS, ids=lambda target: str(target)[:40])
def test_no_target_of_a_file_runs(tree, tmp_path, monkeypatch, target, where):
    """The canary: a package that writes a file when it is imported lies in the working
    directory.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_package.py").write_text("open('canary', 'w')\nclass Net: pass\n")
    found = changed(tree, f"{where}/_target_", target)
    error = refuse(write(found, tmp_path / "x.pt"))
    assert STRANGERS[target] in error.message
    assert not (tmp_path / "canary").exists() and "evil_package" not in sys.modules


def test_trust_of_one_package_is_not_trust_of_another(tree, tmp_path):
    for target in (
        "os.system",
        "torch.load",
        "gancli.checkpoint.Loaded",
        "hydra.utils.instantiate",
    ):
        path = write(changed(tree, f"{G}/_target_", target), tmp_path / "x.pt")
        refuse(path, trust=("os", "torch", "gancli", "mine"))


CANARY = "gancli-canary"


class RunsCode:
    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


class Unknown:
    pass


@pytest.mark.parametrize(
    "what",
    [RunsCode(), Unknown(), Path("x"), io.BytesIO(), slice(1), print],
    ids=lambda what: type(what).__name__,
)
def test_a_pickle_with_more_than_data_is_refused_and_does_not_run(
    tree, tmp_path, monkeypatch, what
):
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
    "10^9 channels": (f"{G}/channels", 10**9, "does not fit"),
    "10^12 wide": (f"{G}/z_dim", 10**12, "does not fit"),
    "10^30 wide": (f"{G}/z_dim", 10**30, "model.generator|builds no game"),
    "10^5000 wide": (f"{G}/z_dim", 10**5000, "."),
    "negative": (f"{G}/z_dim", -5, "does not fit"),
    "huge resolution": (f"{G}/resolution", 10**9, "does not fit"),
    "empty resolution": (f"{G}/resolution", [], "builds no game"),
    "huge maxout": (f"{D}/pieces", 10**9, "does not fit"),
    "2,000 layers": (f"{G}/hidden", [16] * 2000, "does not hold the networks"),
    "100,000 layers": (f"{G}/hidden", [16] * 10**5, "holds more"),
    "2^23 entries": (f"{G}/hidden", shared(23, 1), "holds more"),
    "a cycle": (f"{G}/hidden", CYCLE, "nested deeper"),
    "no words": ("config/dataset/alphabet", ["", 5], "holds no tokens"),
    "40 deep": ("run/best", nested(40), "nested deeper"),
    "interpolation": ("config/model/latent", "${oc.env:HOME}", r"\$\{oc.env:HOME\}"),
    "interpolated output": (f"{G}/output", "${model.latent}", r"\$\{model.latent\}"),
    "text for a number": (f"{G}/z_dim", "100", "z_dim"),
    "fraction for a whole": (f"{G}/z_dim", 1.5, "z_dim"),
    "yes for a number": (f"{G}/z_dim", True, "z_dim"),
    "a list for a network": (G, [1, 2], "generator"),
    "a network for a list": (f"{G}/hidden", MAXOUT, "hidden"),
    "a network for a loss": ("config/loss", MAXOUT, "is no AdversarialLoss"),
    "a reader for a loss": (
        "config/loss",
        {"_target_": "gancli.data.folder.Zip", "path": "/etc/passwd"},
        "loss",
    ),
    "a data set for augment": (
        "config/augment",
        {"_target_": "gancli.data.builtin.Digits"},
        "is no Augment",
    ),
    "an optimizer for a critic": (
        D,
        {"_target_": "torch.optim.SGD", "params": [], "lr": 0.1},
        "discriminator",
    ),
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
    "newer": ("format", FORMAT + 1, r"written by a newer gancli \(.*\): it has format"),
    "format 0": ("format", 0, "which no run writes"),
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


def test_the_words_of_a_text_are_no_layers(tree):
    words = ["", *map(str, range(20_000))]
    check_size(tree["config"] | {"dataset": {"alphabet": words}})
    with pytest.raises(UserError, match="holds more"):
        check_size(tree["config"] | {"dataset": {"names": words}})


SLOW = ("2,000 layers", "2^23 entries")  # a second on an idle machine


@pytest.mark.parametrize("name", ODD)
def test_what_no_run_could_have_written_is_refused(tree, tmp_path, name):
    where, value, message = ODD[name]
    error = refuse(
        write(changed(tree, where, value), tmp_path / "x.pt"), seconds=5.0 if name in SLOW else 2.0
    )
    assert re.search(message, error.message), error.message


def places(tree: object, path: tuple = ()):
    yield path
    if isinstance(tree, dict):
        for key in tree:
            yield from places(tree[key], (*path, key))


def test_one_odd_value_anywhere_is_a_sentence_or_harmless(tree, tmp_path):
    """A random place of the file, a random value that does not belong there."""
    values = [
        None,
        -1,
        10**400,
        float("nan"),
        "",
        "\x1b[2J",
        [],
        [1],
        {},
        {1: 2},
        (1, 2),
        MAXOUT,
        {"_target_": 5},
        torch.zeros(3),
        torch.zeros(0),
        torch.zeros(2, dtype=torch.complex64),
        GONE,
    ]
    rng = random.Random(0)
    spots = [path for path in places(tree | {"format": FORMAT, "version": ""}) if path]
    for _ in range(150):
        path = rng.choice(spots)
        value = rng.choice(values)
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
    error = refuse(write(tree | {"format": FORMAT, "version": ""}, tmp_path / "x.pt"))
    assert "'generator.net.0.weight': config (16, 100), file (1, 100)" in error.message
    assert "6 tensors differ" in error.message and error.message.count("file (1") == 3, (
        "the first three"
    )


def test_an_average_of_another_shape_is_refused_too(tree, tmp_path):
    tree["ema"] = {key: value[:1] if value.ndim else value for key, value in tree["ema"].items()}
    error = refuse(write(tree | {"format": FORMAT, "version": ""}, tmp_path / "x.pt"))
    assert "'net.0.weight': config (16, 100), file (1, 100)" in error.message


def repacked(
    source: Path,
    target: Path,
    *,
    method: int = zipfile.ZIP_STORED,
    replace: dict[str, bytes] | None = None,
) -> Path:
    """The same archive, written anew; replace: by the end of a record's name."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for entry in old.infolist():
            other = next(
                (data for end, data in (replace or {}).items() if entry.filename.endswith(end)),
                None,
            )
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
    assert (
        "nested deeper"
        in refuse(repacked(path, tmp_path / "deep.pt", replace={"data.pkl": deep})).message
    )


def test_refusing_takes_little_memory(tree, tmp_path):
    """In a process whose address space may grow by 200 MB, which one allocation of what the file
    claims would exceed.
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux")
    claims = {
        "sparse": ("game/x", SPARSE),
        "stretched": ("game/generator.net.0.weight", torch.zeros(1).expand(10**9)),
        "channels": (f"{G}/channels", 10**6),
    }
    paths = [
        write(changed(tree, *claim), tmp_path / f"{name}.pt") for name, claim in claims.items()
    ]
    plain = write({"x": torch.zeros(10)}, tmp_path / "plain.pt")
    paths.append(
        repacked(
            plain,
            tmp_path / "bomb.pt",
            method=zipfile.ZIP_DEFLATED,
            replace={"/data/0": bytes(3 * 10**8)},
        )
    )
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
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPO,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and all(line.startswith("2 True") for line in lines), (
        done.stdout + done.stderr[-800:]
    )
    assert "unpack to more than it is" in lines[3]


@pytest.mark.parametrize(
    "weird",
    [np.float64(1), np.zeros(3), torch.float32, {1}, Path("x"), SPARSE],
    ids=lambda v: type(v).__name__,
)
def test_a_state_that_could_not_be_read_again_is_refused_before_it_is_written(tree, weird):
    check_savable(tree)
    tree["game"]["head._extra_state"] = weird
    with pytest.raises(UserError, match=f"the state of the model holds a {type(weird).__name__}"):
        check_savable(tree)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_bare_pickle_is_named_as_what_it_is(tmp_path, protocol):
    """As NVIDIA's networks are: it would run what it names."""

    class Runs:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "network.pkl"
    path.write_bytes(pickle.dumps({"G_ema": Runs()}, protocol=protocol))
    with pytest.raises(Damaged, match=r"is a bare pickle.*nothing of it was read") as raised:
        load_game(str(path))
    assert "docs/explore.md" in raised.value.hint
    assert not (tmp_path / "ran").exists()
