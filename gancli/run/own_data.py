"""`gan train dataset.path=PATH` and nothing else: rules choose the data set and the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gancli.files import shell

KEY = "dataset.path="
# Words that choose a model or a data set, or a run that has one.
CHOOSING = (
    *("model=", "dataset=", "+dataset=", "experiment=", "+experiment=", "resume="),
    *("-cd", "--config-dir", "-cn", "--config-name", "dataset@", "+dataset@"),
)


def choose_for_data(words: Sequence[str]) -> tuple[list[str], str]:
    """Adds the words that the data ask for, where none chooses a model or a data set.

    Args:
        words: What is typed behind `gan train`.

    Returns:
        The words, those that were typed last, so that they win; and what was chosen and why, ""
        where nothing was.

    Raises:
        UserError: There are no such data.
    """
    paths = [word.removeprefix(KEY) for word in words if word.startswith(KEY)]
    if len(paths) != 1 or any(word.startswith(CHOOSING) for word in words):
        return list(words), ""
    from gancli.reports.recipes import leave_out_replaced, list_recipes, look_at

    path = unquote(paths[0])
    facts = look_at(path, words)
    recipe = list_recipes(facts)[0]
    typed = [word for word in words if not word.startswith(KEY)]
    keys = {word.lstrip("+~").partition("=")[0] for word in typed}
    if "trainer.epochs" in keys:  # both would be one too many
        keys.add("trainer.steps")
    ruled = leave_out_replaced(recipe.command(recipe.steps), typed)
    added = [word for word in ruled if word.partition("=")[0] not in keys]
    said = "; ".join([f"no model= was typed: {recipe.name}, for {recipe.why}", *facts.notes])
    recommend = shell.join(["gan", "recommend", path])
    return [*added, *typed], f"{said}; {recommend} says what fits into your time"


def unquote(path: str) -> str:
    """Takes the quotes off a path, with which a value may stand in an override."""
    quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "'\""
    if not quoted or Path(path).expanduser().exists():
        return path
    return path[1:-1].replace("\\" + path[0], path[0])
