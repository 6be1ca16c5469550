"""gan export writes what others can use of a run: the same bytes, and what it lacks is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import train_helpers
from helpers import REPO, ending, small, steps, trainer_for

from gancli import checkpoint
from gancli.cli import main
from gancli.errors import UserError
from gancli.files.safe_load import Damaged
from gancli.files.weights import read_weights, write_weights
from gancli.inference.export_facts import collect_facts, is_path, strip_paths

gan = pytest.fixture(train_helpers.gan)

LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
TRAINED = (
    *("model=dcgan", "model.width=4", "dataset.resolution=16", "dataset.limit=30"),
    *("trainer.batch_size=8", "trainer.device=cpu", "trainer.steps=1", "metrics=none"),
    *("log.tensorboard=false", "hydra.run.dir=run"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of a small conditional StyleGAN2, which has every option of gan sample but codes."""
    folder = tmp_path_factory.mktemp("private") / "run"
    (folder / "checkpoints").mkdir(parents=True)
    config = small("stylegan2", "model.conditional=true", "name=mine")
    tree = steps(trainer_for(config), 1).state_dict()
    for key, value in tree["ema"].items():
        if key.endswith("strength"):
            value.fill_(0.3)
    checkpoint.save(tree, folder / "checkpoints", keep=1)
    return folder


@pytest.fixture(scope="module")
def exported(run) -> Path:
    pytest.importorskip("safetensors")
    assert main(["export", f"ckpt={run}", f"out={run.parent / 'given'}"]) == 0
    return run.parent / "given" / "model.safetensors"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "words",
    [
        ("n=3", "seed=4", "mix=coarse", "truncation=0.7", "truncated_layers=2", "interpolate=2"),
        pytest.param(("per_class=1", "sweep=label"), marks=pytest.mark.full),
        pytest.param(("n=2", "noise=fixed", "levels=2", "level=1"), marks=pytest.mark.full),
        pytest.param(("n=2", "walk=1", "film=walk.gif", "label=2"), marks=pytest.mark.full),
    ],
)
def test_an_exported_file_samples_the_bytes_of_its_run(gan, run, exported, words):
    for ckpt, out in ((run, "a"), (exported, "b")):
        train_helpers.sound(gan("sample", f"ckpt={ckpt}", f"out={out}", *words))
    assert files(Path("a")) == files(Path("b")) != {}


def test_an_exported_file_holds_the_ema_generator_and_nothing_of_its_machine(run, exported):
    tensors, facts = read_weights(exported)
    tree = checkpoint.read_newest(run / "checkpoints")[1]
    assert tensors.keys() == tree["ema"].keys()
    assert all(torch.equal(tensors[key], tree["ema"][key]) for key in tensors)
    assert facts.keys() == {"format", "version", "config", "progress", "data", "run"}
    assert not {"log", "name", "resume", "trust"} & facts["config"].keys()
    for file in exported.parent.iterdir():
        assert str(run.parent).encode() not in file.read_bytes()
    assert "private" not in json.dumps(facts) + (exported.parent / "README.md").read_text()


def test_a_run_exports_into_its_folder_and_keeps_an_edited_card(gan, run):
    pytest.importorskip("safetensors")
    done = train_helpers.sound(gan("export", f"ckpt={run}"))
    assert f"{run}/export/model.safetensors, and README.md and samples.png in" in done.out
    assert "a colleague needs pip install 'gancli[safetensors]'" in done.out
    assert done.out.splitlines()[-1] == f"  gan sample ckpt={run}/export/model.safetensors"
    card = run / "export" / "README.md"
    card.write_text("mine")
    again = train_helpers.sound(gan("export", f"ckpt={run}", "picture=false"))
    assert "README.md stays as it is" in again.err and card.read_text() == "mine"


def test_a_file_name_exports_the_file_alone(gan, run):
    pytest.importorskip("safetensors")
    done = train_helpers.sound(gan("export", f"ckpt={run}", "out=given/x.safetensors"))
    assert ending(done.out, "given") == "gan sample ckpt=given/x.safetensors"
    assert list(files(Path())) == ["given/x.safetensors"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sample", "ckpt={file}", "ema=false"), "ema=false needs the trained one"),
        (("features", "ckpt={file}"), "gan features needs the discriminator"),
        (("train", "resume={file}"), "without what training goes on with"),
    ],
)
def test_what_an_exported_file_cannot_do_is_said(gan, exported, words, said):
    done = gan(*(word.format(file=exported) for word in words))
    assert done.code == 2 and said in " ".join(done.err.split())


def test_words_that_are_wrong_are_answered_before_torch_is_needed(gan, run):
    for words, said in (
        (("format=oonx",), "format='oonx' does not fit"),
        (("frmat=onnx",), "did you mean 'format'?"),
        (("noise=loud",), "noise='loud' does not fit"),
        (("truncation=much",), "truncation='much' does not fit"),
        (("picture=maybe",), "picture='maybe' does not fit"),
        (("seed=x",), "seed='x' does not fit"),
        (("ema=false",), "it takes the EMA generator"),
        (("model=dcgan",), "export takes no model"),
        (("--format=onnx",), "--format"),
    ):
        done = gan("export", f"ckpt={run}", *words)
        assert done.code == 2 and said in " ".join(done.err.split()), (words, done.err)
    assert "ckpt is not given" in gan("export").err
    assert "nowhere does not exist" in gan("export", "ckpt=nowhere").err


def test_an_ending_of_another_format_is_refused(gan, run):
    pytest.importorskip("safetensors")
    done = gan("export", f"ckpt={run}", "out=x.onnx")
    assert done.code == 2 and "out=x.onnx does not end in .safetensors" in done.err
    assert "out=x.safetensors" in done.err and not files(Path())


def test_a_missing_library_is_answered_with_what_to_install(gan, run, exported, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    for words in (("export", f"ckpt={run}"), ("sample", f"ckpt={exported}")):
        done = gan(*words)
        assert done.code == 2 and "pip install 'gancli[safetensors]'" in done.err


def test_a_flipped_bit_and_foreign_files_are_refused(exported, tmp_path):
    content = bytearray(exported.read_bytes())
    content[-3] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content)
    with pytest.raises(Damaged, match="do not match their checksum"):
        checkpoint.read(damaged)
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(Damaged, match="is damaged"):
        checkpoint.read(damaged)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="not what gancli needs"):
        checkpoint.read(tmp_path / "other.safetensors")


def test_a_file_runs_nothing_and_names_no_code_without_trust(exported, tmp_path):
    tensors, facts = read_weights(exported)
    for target, said in (
        ("os.system", "may not be built"),
        ("stranger.Network", "if you trust stranger"),
    ):
        facts["config"]["model"]["generator"]["_target_"] = target
        write_weights(tmp_path / "evil.safetensors", tensors, facts)
        with pytest.raises(UserError) as caught:
            checkpoint.load_game(str(tmp_path / "evil.safetensors"))
        assert said in caught.value.message + caught.value.hint


def test_weights_of_other_shapes_are_refused(exported, tmp_path):
    tensors, facts = read_weights(exported)
    tensors["const"] = torch.zeros(2)
    write_weights(tmp_path / "odd.safetensors", tensors, facts)
    with pytest.raises(UserError, match="does not hold the networks of its config"):
        checkpoint.load_game(str(tmp_path / "odd.safetensors"))
    facts["config"]["seed"] = "x"
    write_weights(tmp_path / "odd.safetensors", tensors, facts)
    with pytest.raises(UserError, match=r"lacks config\.seed"):
        checkpoint.read(tmp_path / "odd.safetensors")


def test_paths_are_taken_out_of_a_config():
    config = {
        "model": {"_target_": "a.B", "note": "/home/ann/x", "words": ["~/y", "plain"]},
        "dataset": {"path": "photos", "root": "data", "alphabet": ["", "a", "/", "and/or"]},
        "perceptual": {"weights": "vgg.pth", "of": {"path": "C:\\ann"}},
    }
    assert list(strip_paths(config)) == [
        *("model.note", "model.words[0]", "dataset.path", "dataset.root"),
        *("perceptual.weights", "perceptual.of.path"),
    ]
    assert config["dataset"] == {"path": None, "root": None, "alphabet": ["", "a", "/", "and/or"]}
    assert config["model"] == {"_target_": "a.B", "note": None, "words": [None, "plain"]}
    assert is_path("../x") and not is_path("/") and not is_path("r1_gamma")


def test_facts_go_through_json_unchanged(run):
    tree = checkpoint.read_newest(run / "checkpoints")[1]
    facts, emptied = collect_facts(tree)
    assert json.loads(json.dumps(facts)) == facts
    assert "dataset.path" not in emptied


@pytest.mark.full
def test_the_page_runs_as_written(gan):
    """The commands of docs/export.md in their order, then its Python beside the file they made."""
    for library in ("safetensors", *LIBRARIES):
        pytest.importorskip(library)
    page = (REPO / "docs" / "export.md").read_text()
    train_helpers.sound(gan("train", *TRAINED))
    typed = re.findall(r"^gan (.+)$", page, re.M)
    assert len(typed) == 4, "one for each format, and one that reads the first"
    for line in typed:
        train_helpers.sound(gan(*line.replace("RUN", "run").split()))
    assert len(list(Path("samples").glob("0*.png"))) == 16
    Path("model.onnx").write_bytes(Path("run/export/model.onnx").read_bytes())
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict = {}
    exec(code, names)
    assert names["images"].shape == (4, 1, 16, 16)
