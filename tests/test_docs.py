"""What the pages show runs as it stands: files are written as titled, commands typed in their
order.
"""

from __future__ import annotations

import re
import shlex
import sys
import types

import pytest
from helpers import REPO

from gancli.cli import main

PAGES = ("writing-your-own.md",)
FILE = re.compile(r"^```\w+ title=\"([^\"]+)\"\n(.*?)^```", re.S | re.M)
SECTION = re.compile(r"^## ", re.M)
COMMANDS = re.compile(r"^```bash\n(.*?)^```", re.S | re.M)


def sections() -> list[tuple[str, str, str]]:
    found = []
    for page in PAGES:
        for part in SECTION.split((REPO / "docs" / page).read_text())[1:]:
            found.append((page, part.splitlines()[0], part))
    return found


SECTIONS = sections()


@pytest.mark.parametrize(
    ("page", "text"),
    [(page, text) for page, _, text in SECTIONS],
    ids=[name for _, name, _ in SECTIONS],
)
def test_section_runs_as_written(page, text, tmp_path, monkeypatch, capfd):
    files = FILE.findall(text)
    commands = [line for block in COMMANDS.findall(text) for line in block.splitlines() if line]
    assert files and commands, f"{page}: a section without a file or a command"
    for name, content in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "gan"
        assert main(words) == 0, f"{command}\n{capfd.readouterr().err}"


PYTHON = re.compile(r"^```python\n(.*?)^```", re.S | re.M)


def test_the_python_page_runs_as_written(tmp_path, monkeypatch, capfd):
    """Block after block in one namespace, which is a module named __main__, as in a notebook."""
    text = (REPO / "docs" / "python.md").read_text()
    blocks = [(text.count("\n", 0, found.start(1)), found[1]) for found in PYTHON.finditer(text)]
    assert len(blocks) > 8
    notebook = types.ModuleType("__main__")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    for line, block in blocks:
        # As many empty lines before it as there are on the page, so that a traceback names the
        # page's line.
        code = compile("\n" * line + block, str(REPO / "docs" / "python.md"), "exec")
        exec(code, notebook.__dict__)
    shown = capfd.readouterr()
    assert "unknown key 'trainer.stesp'\ndid you mean 'trainer.steps'?\n" in shown.out
    assert "if you trust __main__, add trust=__main__\n" in shown.out
    assert not shown.err
