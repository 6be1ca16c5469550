"""What composes, and where the run goes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from config_helpers import problems_of, write
from omegaconf import OmegaConf

from gancli.config import compose as config
from gancli.config import schema

ROOT = Path(config.__file__).resolve().parents[1]


def test_default_config_has_every_top_key_and_no_hydra_node():
    composed = config.compose("train", [])
    assert set(composed.cfg) == set(schema.TOP_KEYS)
    assert composed.choices["model"] == "cgan_projection"
    assert not [group for group in composed.choices if group.startswith("hydra")]
    assert composed.warnings == []
    OmegaConf.resolve(composed.cfg)  # no interpolation pointed into the hydra node


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


def test_run_dir_is_named_after_model_and_data_and_stays_the_same():
    composed = config.compose("train", [])
    assert re.fullmatch(
        r"outputs/cgan_projection-digits/\d{8}-\d{6}-[a-z0-9]{4}", str(composed.run_dir)
    )
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


def test_hydra_resolvers_work_in_a_users_file(tmp_path):
    write(
        tmp_path,
        {
            "trainer/mine.yaml": "# Mine\ndefaults: [default, _self_]\n"
            "device: ${hydra:runtime.choices.model}\n"
        },
    )
    cfg = config.compose("train", ["-cd", str(tmp_path), "trainer=mine", "model=mlp"]).cfg
    assert cfg.trainer.device == "mlp"


def test_a_file_is_parsed_once_for_its_text(tmp_path, monkeypatch):
    """A file that is written again is read again, also within one tick of its clock; one that is
    the same is not, and no composition sees what another one made of it.
    """
    from gancli.config.hydra_compat import FileConfigSource

    parsed = []
    real = FileConfigSource.load_config

    def load_config(self, config_path):
        parsed.append(config_path)
        return real(self, config_path)

    monkeypatch.setattr(FileConfigSource, "load_config", load_config)
    file = tmp_path / "loss" / "mine.yaml"
    words = ["--config-dir", str(tmp_path), "loss=mine"]
    seen = []
    for flip in (0.1, 0.1, 0.2):
        write(tmp_path, {"loss/mine.yaml": f"defaults: [hinge, _self_]\nflip: {flip}\n"})
        os.utime(file, (0, 0))
        seen.append(config.compose("train", words).cfg.loss)
    assert [loss.flip for loss in seen] == [0.1, 0.1, 0.2] and seen[0] == seen[1]
    assert parsed.count("loss/mine") == 2 and parsed.count("loss/hinge") < 2


def test_somebody_elses_hydra_survives(tmp_path):
    from hydra import compose, initialize_config_dir

    write(tmp_path, {"theirs.yaml": "a: 1\n"})
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        config.compose("train", [])
        assert compose("theirs").a == 1
