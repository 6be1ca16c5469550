"""What every mistake is told that does not compose."""

from __future__ import annotations

import shlex

import pytest
import train_helpers
from config_helpers import problems_of, write
from train_helpers import TINY, sound

from gancli.config import compose as config
from gancli.config import folders
from gancli.errors import Problems

EXPERIMENTS = folders.list_options([folders.find_conf_dir()])["experiment"]

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))


def test_several_problems_are_reported_at_once():
    found = problems_of(
        [
            "model=dcgna",
            "optimzer.g.lr=1",
            "trainer.stepz=5",
            "+modle=dcgan",
            "+trainer.typo=1",
            "++lss.x=1",
            "~loss.penalties.nothing",
            "seed=1,2",
            "batch_size=5",
            "dataset.mean=a=b",
            "dcgan",
        ]
    )
    assert "did you mean 'dcgan'?" in found["no option 'dcgna' in group 'model'"]
    assert "options: " in found["no option 'dcgna' in group 'model'"]
    assert found["unknown key 'optimzer.g.lr'"].startswith("did you mean 'optimizer.g.lr'")
    assert found["unknown key 'trainer.stepz'"] == "did you mean 'trainer.steps'?"
    assert found["unknown key 'modle'"] == "did you mean 'model'?"
    assert found["unknown key 'trainer.typo'"].startswith("keys of trainer: steps, epochs")
    assert "unknown key 'lss.x'" in found
    assert "there is nothing to delete at 'loss.penalties.nothing'" in found
    assert "add -m" in found["'seed=1,2' gives several values"]
    assert found["unknown key 'batch_size'"] == "did you mean 'trainer.batch_size'?"
    assert "'dataset.mean=\"a=b\"'" in found["cannot read 'dataset.mean=a=b'"]
    assert found["'dcgan' is not KEY=VALUE"] == "did you mean 'model=dcgan'?"
    assert len(found) == 11


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["+modle=dcgan"], "unknown key 'modle'", "did you mean 'model'?"),
        (["++trainer.stpes=1"], "unknown key 'trainer.stpes'", "did you mean 'trainer.steps'?"),
        (["+model=dcgan"], "'model' is there already", "drop the plus: model=dcgan"),
        (["+seed=3"], "'seed' is there already", "drop the plus: seed=3"),
        (
            ["penalty=r1"],
            "'penalty=r1': no 'penalty' is chosen yet",
            "+penalty@loss.penalties.NAME=r1 adds one",
        ),
        (
            ["+penalty=r1"],
            "a penalty needs a name below loss.penalties",
            "+penalty@loss.penalties.NAME=OPTION",
        ),
        (
            ["head=acgan"],
            "'head=acgan': no 'head' is chosen yet",
            "+head@model.heads.NAME=acgan adds one",
        ),
        (["+head=acgan"], "a head needs a name below model.heads", "+head@model.heads.NAME=OPTION"),
        (
            ["+penalty@loss.penalties.r1=r11"],
            "no option 'r11' in group 'penalty'",
            "did you mean 'r1'?\noptions: consistency, dragan, drift, gp, lecam, r1, r2",
        ),
        (
            ["experiment=mlp_rign"],
            "no option 'mlp_rign' in group 'experiment'",
            "did you mean 'mlp_ring'?\noptions: " + ", ".join(EXPERIMENTS),
        ),
        (["~model"], "the config has no model", "drop ~model"),
        (["model=5"], "'model=5' does not name an option", "gan list model shows them"),
        (["experiment=null"], "'experiment=null' does not name an option", "~experiment drops it"),
        (["hydra.foo=1"], "unknown key 'hydra.foo'", ""),
        (
            ["trainer.steps=3", "trainer.epochs=2"],
            "trainer.steps and trainer.epochs are both given",
            "one of them sets the length; drop the other",
        ),
        (["-m", "seed=1"], "--multirun does not work here", "gan train takes it"),
        (["--multi"], "unknown flag '--multi'", "did you mean '--multirun'?"),
        (["--config-name"], "--config-name needs a value", "--config-name VALUE"),
        (
            ["--config-name", "mine"],
            "--config-name: there is no 'mine.yaml' in the config folders",
            "if it is yours, give --config-dir DIR too",
        ),
    ],
)
def test_one_mistake(argv, message, hint):
    assert problems_of(argv) == {message: hint}


@pytest.mark.parametrize(
    "flag", [["--experimental-rerun", "x.pickle"], ["--experimental-rerun=x.pickle"]]
)
def test_unpickling_is_refused(flag):
    assert "unpickles" in next(iter(problems_of(flag)))


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("# b\nfoo: [1, 2\nbar: 3\n", "x.yaml, line 3: expected ',' or ']'", "fix"),
        ("# b\nfoo:\n\t- x\n", "x.yaml, line 3: found character", "fix"),
        ("# b\nfoo: 1\nfoo: 2\n", "x.yaml, line 3: found duplicate key foo", "fix"),
        (
            "# b\ndefaults: [hinje, _self_]\n",
            "x.yaml: no option 'hinje' in group 'loss'",
            "did you mean 'hinge'?",
        ),
        ("# b\ndefaults: [x, _self_]\n", "x.yaml: its defaults list comes back to itself", ""),
        (
            "# b\ndefaults: [override /optimizer: sgd]\n",
            "x.yaml: Could not override 'optimizer@loss.optimizer'",
            "/optimizer@_global_.optimizer",
        ),
        (
            "# b\ndefaults: [hinge, _self_]\nn_critic: ${trainer.stps}\n",
            "loss.n_critic: ${trainer.stps} points to nothing",
            "'trainer.steps'",
        ),
        (
            "# b\ndefaults: [hinge, _self_]\nn_critic: ${oc.env:NO_SUCH_VARIABLE}\n",
            "NO_SUCH_VARIABLE is not set",
            "",
        ),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, text, where, hint):
    write(tmp_path, {"loss/x.yaml": text})
    ((message, said),) = problems_of(["-cd", str(tmp_path), "loss=x"]).items()
    assert where in message and hint in said
    assert str(tmp_path) in message or "${" in message


def test_a_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss/x.yaml").write_bytes(b"x: \xff\xfe\n")
    ((message, _),) = problems_of(["-cd", str(tmp_path), "loss=x"]).items()
    assert message == f"{tmp_path / 'loss/x.yaml'} is not text in UTF-8"
    config.compose("train", ["-cd", str(tmp_path)])  # and does no harm where it is not chosen


def test_a_broken_primary_config_of_the_users(tmp_path):
    write(tmp_path, {"mine.yaml": "# Mine\ndefaults: [train, _self_\n"})
    ((message, _),) = problems_of(["-cd", str(tmp_path), "-cn", "mine", "seed=3"]).items()
    assert message.startswith(f"{tmp_path / 'mine.yaml'}, line ")


def test_a_missing_config_dir():
    assert "there is no folder" in next(iter(problems_of(["--config-dir", "no/such/dir"])))


def test_n_of_gan_sample_is_answers_of_gan_translate():
    found = problems_of(["ckpt=x", "input=x", "n=8"], name="translate")
    assert found == {"unknown key 'n'": "did you mean 'answers=8'?"}


def test_a_command_that_takes_a_checkpoint_offers_only_its_own_keys():
    with pytest.raises(Problems) as caught:
        config.compose("sample", ["ckpt=run", "nnn=3"])
    (problem,) = caught.value.problems
    assert problem[0] == "unknown key 'nnn'"
    assert "truncation" in problem[1] and "optimizer" not in problem[1]


def test_an_argument_that_no_yaml_file_has_is_added(gan, package, tmp_path):
    mine = package("""
        class Mine(GAN):
            def __init__(self, *, patience: float = 1.0, **base):
                super().__init__(**base)
        """)
    conf = tmp_path / "my_conf" / "model"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text(f"# Mine\ndefaults: [mlp, _self_]\n_target_: {mine}.Mine\n")
    words = ("--config-dir", "my_conf", *TINY, "model=mine", "trainer.steps=1")
    done = sound(gan("train", *words, "model.patience=2.5"), 2)
    (said,) = [line for line in done.err.splitlines() if "hands it to" in line]
    added = shlex.split(said)[0]
    assert added == "+model.patience=2.5" and f"{mine}.Mine" in said
    sound(gan("train", *words, added))
    refused = sound(gan("train", *words, "+model.patients=2.5"), 2)  # no argument of it
    assert "takes no 'patients'" in refused.err
    typo = sound(gan("train", *words, "model.conditinal=true"), 2)
    own = sound(gan("train", *TINY, "model.nonsense=1"), 2)
    assert "hands it to" not in typo.err + own.err
