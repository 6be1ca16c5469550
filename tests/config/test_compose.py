"""Composition and gate 1: what composes, where the run goes, and what every mistake is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gancli.config import compose as config
from gancli.config import folders, hydra_state, resolvers, schema, sweeps
from gancli.config.arguments import list_variants, quote_value, split_args
from gancli.config.hints import find_nearest
from gancli.errors import Interrupted, Problems, UserError

ROOT = Path(config.__file__).resolve().parents[1]

EXPERIMENTS = folders.list_options([folders.find_conf_dir()])["experiment"]


def write(base: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return base


def problems_of(argv: list[str], *, name: str = "train") -> dict[str, str]:
    """message -> hint"""
    with pytest.raises(UserError) as caught:
        config.compose(name, argv)
    error = caught.value
    return dict(error.problems) if isinstance(error, Problems) else {error.message: error.hint}


# what composes


def test_conf_dir_is_inside_a_wheel_beside_a_checkout_or_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "gancli/config/folders.py"))
    with pytest.raises(UserError, match="missing") as caught:
        folders.find_conf_dir()
    assert "reinstall" in caught.value.hint
    write(tmp_path, {"conf/train.yaml": ""})
    assert folders.find_conf_dir() == tmp_path / "conf"
    write(tmp_path, {"gancli/conf/train.yaml": ""})
    assert folders.find_conf_dir() == tmp_path / "gancli/conf"


def test_default_config_has_every_top_key_and_no_hydra_node():
    composed = config.compose("train", [])
    assert set(composed.cfg) == set(schema.TOP_KEYS)
    assert composed.choices["model"] == "cgan"
    assert not [group for group in composed.choices if group.startswith("hydra")]
    assert composed.warnings == []
    OmegaConf.resolve(composed.cfg)  # no interpolation pointed into the hydra node


def test_every_built_in_file_says_what_it_is_and_has_its_package_line_first():
    for path in folders.find_conf_dir().glob("**/*.yaml"):
        assert folders.read_description(path), path
        assert not re.match(r"(#(?! *@).*\n)+# *@package", path.read_text(encoding="utf-8")), path


def test_closed_parts_of_the_default_config_are_complete():
    cfg = config.compose("train", []).cfg
    for name, cls in schema.CLOSED.items():
        assert set(cfg[name]) == set(cls.__dataclass_fields__), name


def test_the_command_line_wins_and_is_recorded():
    composed = config.compose(
        "train", ["trainer.steps=7", "loss=hinge", "hydra.run.dir=x"], extra=["seed=3"]
    )
    assert (composed.cfg.trainer.steps, composed.cfg.seed, composed.choices["loss"]) == (
        7,
        3,
        "hinge",
    )
    assert sorted(composed.overrides) == [
        "hydra.run.dir='x'",
        "loss=hinge",
        "seed=3",
        "trainer.steps=7",
    ]


@pytest.mark.parametrize(
    "override",
    [
        "+loss.penalties.r1={weight: 1}",
        "+penalty@loss.penalties.r1=r1",
        "+model.generator.foo=1",
        "++seed=4",
        "~loss.flip",
        "hydra.verbose=true",
        "~experiment",
    ],
)
def test_what_gate_1_must_let_through(override):
    config.compose("train", [override])


@pytest.mark.parametrize(
    "value",
    [
        "a b/c",
        "a/epoch=3.pt",
        "ü/ñ 日本",
        "it's",
        'say "x"',
        "a,b",
        "back\\slash",
        "end\\",
        "(x)",
        "x:y",
        "a@b",
        "n" * 300,
        "100%",
        "#1",
        "5",
        "true",
    ],
)
@pytest.mark.parametrize("key", ["ckpt", "out"])
def test_paths_need_no_quoting(key, value):
    composed = config.compose("sample", ["ckpt=x", f"{key}={value}"])
    assert composed.cfg[key] == value


def test_paths_that_are_quoted_or_null_stay_as_they_are():
    assert quote_value("out='a b'") == "out='a b'"
    assert quote_value("out=null") == "out=null"
    assert quote_value("seed=a b") == "seed=a b"
    assert quote_value("dataset.path=a b,c", sweep=True) == "dataset.path='a b','c'"
    assert config.compose("sample", ["ckpt=x", "out=null"]).cfg.out is None


# where the run goes


def test_run_dir_is_named_after_model_and_data_and_stays_the_same():
    composed = config.compose("train", [])
    assert re.fullmatch(r"outputs/cgan-digits/\d{8}-\d{6}-[a-z0-9]{4}", str(composed.run_dir))
    assert str(composed.run_dir) == composed.hydra.run.dir == composed.hydra.run.dir
    assert not composed.run_dir_given
    assert not composed.run_dir.exists()


def test_run_dir_by_name_and_by_hand():
    assert config.compose("train", ["name=My Run"]).run_dir.parts[:2] == ("outputs", "my-run")
    composed = config.compose("train", ["hydra.run.dir=a b/x=1"])
    assert composed.run_dir == Path("a b/x=1") and composed.run_dir_given


def test_two_composes_never_share_a_folder():
    assert len({config.compose("train", []).run_dir for _ in range(5)}) == 5


def test_eight_processes_in_one_second_get_eight_folders():
    code = "from gancli.config.compose import compose; print(compose('train', []).run_dir)"
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    folders = {process.communicate(timeout=60)[0].strip() for process in running}
    assert len(folders) == 8 and all(folders)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["loss=wgan_gp", "seed=1"], "wgan_gp-1"),
        (["optimizer.g.lr=1e-4"], "1e-4"),
        ([], "default"),
        (["name=''"], "default"),
        (["dataset.path='/a b/c=d,e'"], "a-b-c-d-e"),
        (["name=.."], "default"),
        (["a=ÜBER x"], "über-x"),
        (["name=手写 实验（三）"], "手写-实验-三"),
        (["x=[1,2]"], "1-2"),
    ],
)
def test_slug(values, expected):
    assert resolvers.make_slug(values) == expected


@pytest.mark.parametrize("name", ["手写实验", "ü 手写", "a,b (c)=1", "it's"])
def test_a_name_of_any_letters_needs_no_quotes(name):
    composed = config.compose("train", [f"name={name}"])
    assert composed.cfg.name == name
    assert composed.run_dir.parent.name == resolvers.make_slug([f"={name}"])


def test_a_number_of_a_label_stays_a_number():
    assert quote_value("label=3") == "label=3" and quote_value("label=甲类") == "label='甲类'"
    assert quote_value("name=甲,乙", sweep=True) == "name='甲','乙'"


def test_slug_is_short_and_safe():
    assert len(resolvers.make_slug(["name=" + "手" * 300]).encode()) <= 200
    name = resolvers.make_slug([f"k={'Long/Name=,' * 9}" for _ in range(9)])
    assert len(name) <= 60 and re.fullmatch(r"[a-z0-9._-]+", name)


# what every mistake is told


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


def test_a_key_of_another_option_is_told_where_it_exists():
    found = problems_of(["loss.penalties.r1.weight=3", "~loss.penalties.r1"])
    assert found == dict.fromkeys(
        [
            "unknown key 'loss.penalties.r1.weight'",
            "there is nothing to delete at 'loss.penalties.r1'",
        ],
        "it exists with loss=r1 or loss=rpgan_r1r2",
    )


def test_trainer_epochs_may_be_switched_off_beside_steps():
    assert (
        config.compose("train", ["trainer.steps=3", "trainer.epochs=null"]).cfg.trainer.steps == 3
    )


@pytest.mark.parametrize(
    "flag", [["--experimental-rerun", "x.pickle"], ["--experimental-rerun=x.pickle"]]
)
def test_unpickling_is_refused(flag):
    assert "unpickles" in next(iter(problems_of(flag)))


def test_sample_needs_a_checkpoint_and_knows_its_keys():
    assert "ckpt=outputs/" in problems_of([], name="sample")["ckpt is not given"]
    assert problems_of(["sed=3"], name="sample")["unknown key 'sed'"] == "did you mean 'seed'?"
    assert "unknown key 'trainer'" in problems_of(["ckpt=x", "+trainer.steps=3"], name="sample")
    assert config.compose("sample", [], missing=True).cfg.n == 64


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("dcgna", ["dcgan", "cgan", "mlp"], ["dcgan"]),
        ("trian", ["train", "sample"], ["train"]),
        ("xyz", ["train"], []),
        ("a", [], []),
        ("lr", ["optimizer.g.lr", "log.every"], ["optimizer.g.lr"]),
        ("trainer.typo", ["trainer.steps", "trainer.keep"], []),
    ],
)
def test_nearest(word, known, expected):
    assert find_nearest(word, known) == expected


# the user's own files


def test_options_of_a_users_folder_compose_and_may_choose_for_other_groups(tmp_path):
    text = "# Mine\ndefaults: [dcgan, override /loss@_global_.loss: hinge, _self_]\nwidth: 8\n"
    write(tmp_path, {"my conf/model/mine.yaml": text})
    composed = config.compose("train", ["--config-dir", str(tmp_path / "my conf"), "model=mine"])
    assert (composed.cfg.model.width, composed.choices["loss"], composed.choices["model"]) == (
        8,
        "hinge",
        "mine",
    )
    assert composed.run_dir.parent.name == "mine-digits"
    assert (
        config.compose("train", [f"-cd={tmp_path / 'my conf'}", "model=mine", "loss=r1"]).choices[
            "loss"
        ]
        == "r1"
    )
    assert "no option 'mine' in group 'model'" in problems_of(
        ["model=mine"]
    )  # the folder does not stay


def test_two_folders_and_a_primary_config_of_the_users_own(tmp_path):
    write(
        tmp_path,
        {
            "a/model/mine.yaml": "# a\ndefaults: [mlp, _self_]\n",
            "b/mine.yaml": "# b\ndefaults:\n  - train\n  - override model: mine\n"
            "  - _self_\nseed: 7\n",
        },
    )
    composed = config.compose(
        "train", ["-cd", str(tmp_path / "a"), "-cd", str(tmp_path / "b"), "-cn", "mine"]
    )
    assert (composed.cfg.seed, composed.choices["model"]) == (7, "mine")


def test_a_primary_config_that_does_not_start_from_ours(tmp_path):
    write(tmp_path, {"bare.yaml": "seed: 7\n"})
    found = problems_of(["-cd", str(tmp_path), "-cn", "bare"])
    assert found == {
        "the config has no resume, trust, name, model, loss, dataset, optimizer, trainer, ema, "
        "augment, perceptual, metrics, log, watch, "
        "published": "start your config from `defaults: [train, _self_]`"
    }


def test_a_shadowed_option_is_warned_about_with_both_paths(tmp_path):
    write(
        tmp_path,
        {
            "model/dcgan.yaml": "# not mine\na: 1\n",
            "model/late.yaml": "# Late\n# @package _global_\nmodel: {}\n",
        },
    )
    warnings = config.compose("train", ["--config-dir", str(tmp_path)]).warnings
    assert len(warnings) == 2
    assert (
        str(tmp_path / "model/dcgan.yaml") in warnings[0]
        and str(folders.find_conf_dir() / "model/dcgan.yaml") in warnings[0]
    )
    assert "late.yaml" in warnings[1] and "first line" in warnings[1]


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


def test_an_unknown_key_in_a_users_file_is_named_with_its_line(tmp_path):
    write(
        tmp_path,
        {
            "trainer/mine.yaml": "# Mine\ndefaults: [default, _self_]\nstepz: 5\n",
            "mine.yaml": "# Mine\ndefaults: [train, _self_]\noptimzer: {lr: 1}\n",
        },
    )
    assert problems_of(["-cd", str(tmp_path), "trainer=mine", "-cn", "mine"]) == {
        f"unknown key 'optimzer' in {tmp_path / 'mine.yaml'}, line 3": "did you mean 'optimizer'?",
        f"unknown key 'trainer.stepz' in {tmp_path / 'trainer/mine.yaml'}, line 3": (
            "did you mean 'trainer.steps'?"
        ),
    }


def test_a_broken_primary_config_of_the_users(tmp_path):
    write(tmp_path, {"mine.yaml": "# Mine\ndefaults: [train, _self_\n"})
    ((message, _),) = problems_of(["-cd", str(tmp_path), "-cn", "mine", "seed=3"]).items()
    assert message.startswith(f"{tmp_path / 'mine.yaml'}, line ")


def test_a_missing_config_dir():
    assert "there is no folder" in next(iter(problems_of(["--config-dir", "no/such/dir"])))


def test_options_hide_parts_and_the_first_folder_wins(tmp_path):
    write(
        tmp_path,
        {
            "model/_part.yaml": "a: 1",
            "model/dcgan.yaml": "a: 1",
            "model/sub/deep.yaml": "# Deep\na: 1",
            "hydra/x.yaml": "a: 1",
        },
    )
    found = folders.list_options([folders.find_conf_dir(), tmp_path])
    assert found["model"]["dcgan"] == folders.find_conf_dir() / "model/dcgan.yaml"
    assert found["model"]["sub/deep"] == tmp_path / "model/sub/deep.yaml"
    assert "hydra" not in found and not [
        name for names in found.values() for name in names if name.startswith("_")
    ]
    assert (
        config.compose("train", ["-cd", str(tmp_path), "model=sub/deep"]).run_dir.parent.name
        == "sub-deep-digits"
    )


def test_hydra_resolvers_work_in_a_users_file(tmp_path):
    write(
        tmp_path,
        {
            "trainer/mine.yaml": "# Mine\ndefaults: [default, _self_]\n"
            "device: ${hydra:runtime.choices.model}\n"
        },
    )
    assert (
        config.compose("train", ["-cd", str(tmp_path), "trainer=mine"]).cfg.trainer.device == "cgan"
    )


def test_somebody_elses_hydra_survives(tmp_path):
    from hydra import compose, initialize_config_dir

    write(tmp_path, {"theirs.yaml": "a: 1\n"})
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        config.compose("train", [])
        assert compose("theirs").a == 1


# sweeps and questions to Hydra


def test_variants_show_every_value_without_the_product():
    lines = list(list_variants(["loss=a,b", "seed=1,2,3", "x=5", "lr=interval(0,1)"]))
    assert lines[0] == ["loss=a", "seed=1", "x=5"] and len(lines) == 4
    assert ["loss=a", "seed=3", "x=5"] in lines


def test_a_sweep_calls_the_task_once_a_job_in_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def task(composed):
        assert hydra_state.is_in_sweep() and composed.run_dir_given and composed.run_dir.is_dir()
        seen.append(
            (
                composed.cfg.seed,
                composed.choices["loss"],
                composed.run_dir,
                composed.hydra.sweep.dir,
            )
        )
        config.compose("train", [])  # its stamp must not become the sweep's

    argv_before = sys.argv
    assert (
        sweeps.run_hydra_main("train", task, ["-m", "loss=hinge,r1", "seed=1,2", "trainer.steps=5"])
        == 0
    )
    assert [(seed, loss) for seed, loss, _, _ in seen] == [
        (1, "hinge"),
        (2, "hinge"),
        (1, "r1"),
        (2, "r1"),
    ]
    assert [folder.name for _, _, folder, _ in seen] == [
        "0-hinge-1-5",
        "1-hinge-2-5",
        "2-r1-1-5",
        "3-r1-2-5",
    ]
    assert (
        len({folder.parent for _, _, folder, _ in seen}) == len({sweep for *_, sweep in seen}) == 1
    )
    assert re.fullmatch(r"outputs/sweeps/\d{8}-\d{6}-[a-z0-9]{4}", seen[0][3])
    assert (
        sys.argv is argv_before
        and "HYDRA_FULL_ERROR" not in os.environ
        and not hydra_state.is_in_sweep()
    )
    assert config.compose("train", []).cfg.seed == 0  # Hydra's globals are free again


def test_a_failing_job_does_not_stop_the_sweep_and_its_error_comes_out_unchanged(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    seen = []

    def task(composed):
        seen.append(composed.cfg.seed)
        if composed.cfg.seed == 1:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        sweeps.run_hydra_main("train", task, ["-m", "seed=1,2"])
    assert seen == [1, 2]


def test_an_interrupted_job_ends_the_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def task(composed):
        seen.append(composed.cfg.seed)
        raise Interrupted("stopped", code=130)

    with pytest.raises(Interrupted):
        sweeps.run_hydra_main("train", task, ["-m", "seed=1,2"])
    assert seen == [1]


def test_mistakes_of_every_job_are_told_before_any_job_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problems) as caught:
        sweeps.run_hydra_main(
            "train",
            pytest.fail,
            ["-m", "loss=hinge,hnge", "model=dcgna,mlp", "seed=1,2", "trainer.stepz=3"],
        )
    assert {message for message, _ in caught.value.problems} == {
        "no option 'hnge' in group 'loss'",
        "no option 'dcgna' in group 'model'",
        "unknown key 'trainer.stepz'",
    }
    assert list(tmp_path.iterdir()) == []


def test_paths_in_a_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    sweeps.run_hydra_main(
        "train",
        lambda composed: seen.append(composed.cfg.dataset.path),
        [
            "-m",
            "dataset=folder",
            "dataset.path=a b/x=1,c",
            "dataset.resolution=32",
            "hydra.sweep.dir=s w=1",
        ],
    )
    assert seen == ["a b/x=1", "c"]
    assert sorted(path.name for path in Path("s w=1").iterdir()) == [
        "0-folder-a-b-x-1-32",
        "1-folder-c-32",
        "multirun.yaml",
    ]


@pytest.mark.parametrize("flags", [["--cfg", "job", "--info"], ["-m", "--cfg=job"]])
def test_flags_that_contradict(flags):
    with pytest.raises(UserError, match="do not go together"):
        split_args(flags)


def test_a_command_that_takes_a_checkpoint_offers_only_its_own_keys():
    with pytest.raises(Problems) as caught:
        config.compose("sample", ["ckpt=run", "nnn=3"])
    (problem,) = caught.value.problems
    assert problem[0] == "unknown key 'nnn'"
    assert "truncation" in problem[1] and "optimizer" not in problem[1]
