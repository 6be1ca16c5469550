"""Files are replaced whole, whatever happens on the way, and by this module alone."""

from __future__ import annotations

import pytest
from helpers import REPO

from gancli.files import atomic


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("old")
    with atomic.replace_file(path) as aside:
        assert aside.suffix == ".png" and aside.parent == tmp_path
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), atomic.replace_file(path) as aside:
        aside.write_text("half")
        raise OSError("the disk is full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_longest_name_that_a_disk_allows_can_be_written(tmp_path):
    path = tmp_path / f"{'n' * 251}.png"
    with atomic.replace_file(path) as aside:
        aside.write_text("new")
    assert path.read_text() == "new"


def test_no_other_module_renames_files_by_hand():
    """All others would each have to remember the folder, the name and what an error leaves."""
    own = REPO / "gancli" / "files" / "atomic.py"
    by_hand = [
        path.name
        for path in sorted((REPO / "gancli").rglob("*.py"))
        if path != own and "os.replace(" in path.read_text()
    ]
    assert by_hand == []
