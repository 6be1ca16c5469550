"""What the tests of config/ share: files of a user's, and the problems that composing finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from gancli.config import compose as config
from gancli.errors import Problems, UserError


def write(base: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return base


def problems_of(argv: list[str], *, name: str = "train") -> dict[str, str]:
    """Message -> hint, of all that is wrong."""
    with pytest.raises(UserError) as caught:
        config.compose(name, argv)
    error = caught.value
    return dict(error.problems) if isinstance(error, Problems) else {error.message: error.hint}
