"""The folders of configs and the options in them."""

from __future__ import annotations

import re

import pytest
from config_helpers import write

from gancli.config import compose as config
from gancli.config import folders
from gancli.errors import UserError


def test_conf_dir_is_inside_a_wheel_beside_a_checkout_or_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "gancli/config/folders.py"))
    with pytest.raises(UserError, match="missing") as caught:
        folders.find_conf_dir()
    assert "reinstall" in caught.value.hint
    write(tmp_path, {"conf/train.yaml": ""})
    assert folders.find_conf_dir() == tmp_path / "conf"
    write(tmp_path, {"gancli/conf/train.yaml": ""})
    assert folders.find_conf_dir() == tmp_path / "gancli/conf"


def test_every_built_in_file_says_what_it_is_and_has_its_package_line_first():
    for path in folders.find_conf_dir().glob("**/*.yaml"):
        assert folders.read_description(path), path
        assert not re.match(r"(#(?! *@).*\n)+# *@package", path.read_text(encoding="utf-8")), path


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
