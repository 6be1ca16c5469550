"""What all packages share is defined once: the type of a problem and the words of errors."""

from __future__ import annotations

import ast

import pytest
from helpers import REPO, parse_module, read_modules

from gancli.errors import first_line

# name -> the module that defines it
SHARED = {
    "Problem": "errors.py",
    "first_line": "errors.py",
    "did_you_mean": "errors.py",
    "suggest_name": "config/hints.py",
}


def find_definitions(name: str) -> list[str]:
    """Lists the modules of gancli that define a name; a function's own variables do not count."""
    found = []
    for path, text in read_modules().items():
        if name not in text:
            continue
        tree = parse_module(path)
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                defined = {node.name.lstrip("_")}
            elif isinstance(node, ast.Assign) and node in tree.body:
                defined = {target.id for target in node.targets if isinstance(target, ast.Name)}
            else:
                defined = set()
            if name in defined:
                found.append(path.relative_to(REPO / "gancli").as_posix())
    return found


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_name_is_defined_once(name):
    assert find_definitions(name) == [SHARED[name]]


def test_no_module_but_errors_asks_what_was_meant_in_its_own_words():
    asking = [
        path.relative_to(REPO / "gancli").as_posix()
        for path, text in read_modules().items()
        if "did you mean " in text
        and any(
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith("did you mean ")
            for node in ast.walk(parse_module(path))
        )
    ]
    assert asking == ["errors.py"]


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(ValueError(" \n")) == "ValueError"
