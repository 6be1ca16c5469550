"""Imports point one way: which part of gancli may use which other, without a circle."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from helpers import REPO, parse_module, read_modules

# A part, here called package, is a folder or a module of gancli/. Imports inside functions count,
# those for type checkers alone do not.
LEAVES = {"errors", "files", "render"}  # any package may use them, but for what stands in SILENT
SILENT = {  # what computes says nothing on a terminal
    *("game", "critic", "networks", "losses", "augment", "games", "trainer", "checkpoint"),
    *("optimizers", "ema", "schedules", "seeding", "precision", "distributed"),
}
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "cli": {"__version__", "config"},
    "errors": set(),
    "files": set(),
    "render": set(),
    "machine": set(),
    "sound": set(),
    "modality": {"sound"},
    # the heart: the contract, its parts, one step, one file
    "game": set(),
    "critic": set(),
    "networks": set(),
    "ema": set(),
    "seeding": set(),
    "precision": {"game", "machine"},
    "schedules": set(),
    "augment": {"schedules", "game", "critic"},
    "losses": {"schedules", "augment", "game", "critic"},
    "games": {"losses", "augment", "networks", "game", "critic", "schedules"},
    "optimizers": {"schedules", "config", "game"},
    "distributed": set(),
    "trainer": {
        *("game", "optimizers", "ema", "schedules", "seeding", "distributed", "precision"),
        *("data", "config", "machine"),
    },
    "checkpoint": {"game", "optimizers", "config", "__version__"},
    # what surrounds it
    "data": {"seeding", "modality", "sound"},
    "metrics": {"data", "seeding", "modality", "sound"},
    "config": {"schedules", "modality"},
    "inference": {"game", "networks", "ema", "data", "config", "seeding"},
    "evaluation": {
        *("trainer", "checkpoint", "inference", "metrics", "data", "config"),
        *("game", "critic", "losses", "augment", "seeding", "modality"),
    },
    "reports": {
        *("checkpoint", "metrics", "data", "augment", "config", "seeding", "modality"),
        "__version__",
    },
    "run": {
        *("evaluation", "inference", "trainer", "checkpoint", "data", "config", "game"),
        *("metrics", "networks", "modality", "machine"),
        *("distributed", "precision", "seeding", "__version__"),
        *("games", "optimizers", "ema", "reports"),
    },
    "commands": {
        *("run", "reports", "evaluation", "inference", "trainer", "checkpoint", "metrics"),
        *("data", "config", "networks", "game", "distributed", "precision", "seeding"),
        *("modality", "machine", "__version__"),
    },
}
GATE_2 = (
    "gate 2 binds every key against the code that will use it, inside its functions, "
    "once torch may be loaded"
)
EXCEPTIONS = {  # (module, module or package): why it departs from the table
    ("config.build", "game"): "build_game promises a Game",
    ("config.build", "games"): "a config says what of its game never moves",
    ("cli", "run"): "the collector rests before anything is imported",
    **dict.fromkeys([("config.validate", package) for package in ("data", "distributed")], GATE_2),
    **dict.fromkeys([("config.validate", package) for package in ("metrics", "precision")], GATE_2),
    ("config.own_metrics", "metrics"): GATE_2,
    **dict.fromkeys([("config.fill", package) for package in ("losses", "precision")], GATE_2),
    **dict.fromkeys(
        [("config.game_rules", package) for package in ("data", "distributed")], GATE_2
    ),
    **dict.fromkeys([("config.game_rules", package) for package in ("game", "losses")], GATE_2),
    **dict.fromkeys([("config.own_networks", package) for package in ("game", "data")], GATE_2),
    ("config.game_rules", "precision"): GATE_2,
    ("config.ghost", "game"): "build_ghost promises a Game",
    **dict.fromkeys(
        [("config.optimizer_rules", package) for package in ("game", "optimizers")], GATE_2
    ),
    (
        "files.safe_load",
        "config",
    ): "messages show an untrusted file's values with config.values.show",
    ("schedules", "config"): "bounds of a schedule's arguments are annotations of config.values",
    ("run.bench", "losses"): "a penalty that is rarely due belongs to the period that is measured",
    (
        "distributed.pulse",
        "render",
    ): "a thread that must speak while its process waits in a collective",
}


@functools.cache
def modules() -> dict[str, list[str]]:
    """Dotted name below gancli -> what it uses of gancli."""
    return {
        ".".join(path.relative_to(REPO / "gancli").with_suffix("").parts): [
            *used_by(parse_module(path))
        ]
        for path in read_modules()
    }


def used_by(node: ast.AST) -> Iterator[str]:
    """Dotted names below gancli that a module imports; of `from x import y` both x and x.y, since y
    may be a module.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from used_by(other)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute here"
            base = str(child.module)
            if base != "gancli":
                yield from below(base)
            for alias in child.names:
                yield from below(f"{base}.{alias.name}")
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield from ["__version__"] if alias.name == "gancli" else below(alias.name)
        else:
            yield from used_by(child)


def below(name: str) -> list[str]:
    return [name.removeprefix("gancli.")] if name.startswith("gancli.") else []


def room_of(name: str) -> str:
    return name.partition(".")[0]


def arrows() -> dict[tuple[str, str], str]:
    """(module, package that it uses) -> what it imports from there."""
    return {
        (name, room_of(used)): used
        for name, every in modules().items()
        for used in every
        if room_of(used) != room_of(name)
    }


def fits(module: str, package: str) -> bool:
    own = room_of(module)
    leaves = LEAVES - {"render"} if own in SILENT | {"errors", "files"} else LEAVES
    if own in ("errors", "game", "critic", "networks", "__init__"):
        leaves = set()
    return package in ALLOWED[own] | leaves


def test_every_room_is_in_the_table():
    assert {room_of(name) for name in modules()} == ALLOWED.keys()


def test_rooms_use_only_what_the_table_allows():
    found = arrows()
    assert len(found) > 300, "nothing was looked at"
    wrong = {pair: used for pair, used in found.items() if not fits(*pair)}
    assert {pair: used for pair, used in wrong.items() if pair not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() - wrong.keys() == set(), "an exception that is needed no more"


def test_the_table_itself_points_one_way():
    packages = {package: used & ALLOWED.keys() for package, used in ALLOWED.items()}
    assert list(TopologicalSorter(packages).static_order())
    assert "commands" not in set().union(*ALLOWED.values())


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    graph = {name: {used for used in every if used in known} for name, every in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from error


def test_the_trainer_loads_no_composition_and_no_display():
    code = "import sys, gancli.trainer, gancli.config.run_config; print(sorted({"
    code += "name for name in sys.modules if name == 'gancli.config.compose' or "
    code += "name.startswith(('gancli.render', 'hydra', 'omegaconf', 'rich'))}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=REPO
    )
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_what_runs_before_gate_2_imports_no_torch():
    early = ("cli", "config.compose", "config.diagnose", "config.hints", "config.resolvers")
    early += ("commands.train", "commands.sweep", "commands.check", "run.plan", "run.session")
    modules = ", ".join(f"gancli.{name}" for name in early)
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=REPO
    )
    assert done.stdout == "False\n", done.stdout + done.stderr
