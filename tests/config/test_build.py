"""The strict builder: which classes, which keys, which values, and what it says about the rest."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Dict, Literal, Optional, Protocol, Tuple, Union  # noqa: UP035 - users write the old spellings too

import pytest
import torch
from helpers import small
from torch import nn

from gancli.config import build as builder
from gancli.config.build import (
    build,
    build_game,
    find_misfits,
    find_problems,
    locate,
    read_parameters,
)
from gancli.config.hints import suggest_name
from gancli.config.values import OPEN_BOUNDS
from gancli.errors import UserError
from gancli.game import Game
from gancli.losses.penalties import Penalty, ScoreDrift
from gancli.networks.mlp import Maxout

DRIFT = {"_target_": "gancli.losses.penalties.ScoreDrift", "weight": 1.0}
GP = {"_target_": "gancli.losses.penalties.GradientPenalty", "weight": 10}
MAXOUT = {"_target_": "gancli.networks.mlp.Maxout", "pieces": 2}


class Scores(Protocol):
    def __call__(self, x): ...


class Loose(nn.Module):
    def __init__(
        self,
        sizes,
        *args,
        mapping: dict = None,  # noqa: RUF013 - as many users write it
        steps: Sequence[int] = (),
        net: Scores = None,
        pairs: list[tuple[int, str]] = (),
        **kwargs,
    ):
        super().__init__()
        self.sizes = sizes


@pytest.fixture
def mine(monkeypatch):
    """A package of the user's: `mine.add(cls)` puts a class into it."""
    module = types.ModuleType("mine_package")
    monkeypatch.setitem(sys.modules, "mine_package", module)

    def add(cls: type) -> str:
        cls.__module__ = "mine_package"
        setattr(module, cls.__name__, cls)
        return f"mine_package.{cls.__name__}"

    module.add = add
    return module


# values against annotations


GOOD = [
    (1, int),
    (-3, int),
    (1, float),
    (1.5, float),
    (True, bool),
    ("a", str),
    (None, type(None)),
    (None, int | None),
    (3, int | None),
    (1, Optional[int]),  # noqa: UP045
    ("x", Union[int, str]),  # noqa: UP007
    ([1, 2], list),
    ({"a": 1}, Dict[str, int]),  # noqa: UP006
    ([1], Tuple),  # noqa: UP006
    ([1, 2], list[int]),
    ([], list[int]),
    ([0.5, 0.9], tuple[float, float]),
    ([1, 2], Sequence[int]),
    ({"a": 1}, Mapping[str, int]),
    ([1, 2, 3], tuple[int, ...]),
    ({"a": 1}, dict[str, int]),
    ({}, dict[str, int]),
    ([[1, 2], [3]], list[list[int]]),
    ("relu", Literal["relu", "elu"]),
    (1, Literal[1, 2]),
    (None, Literal["a", None]),
    ([0.7, 1.2], float | list[float]),
    (0.5, float | list[float]),
    (DRIFT, Penalty),
    (DRIFT, nn.Module),
    (DRIFT, Penalty | None),
    ({"gp": GP, "d": DRIFT}, dict[str, Penalty]),
    (DRIFT, Scores),
    (DRIFT, Callable[[int], int]),
    ({"gp": GP}, dict[str, Penalty] | None),
    ([DRIFT, GP], list[Penalty]),
    pytest.param(object(), Any, id="object"),
    ({"a": [1]}, Any),
    ([1, "a"], list),
    ({"a": 1}, dict),
    ([1, 2], tuple),
    ("x", object),
    ([1], list[Any]),
]
BAD = [
    (1.5, int, "a whole number"),
    (True, int, "a whole number"),
    ("1", int, "a whole number"),
    (None, int, "a whole number"),
    (True, float, "a number"),
    ("fast", float, "a number"),
    (1, bool, "true or false"),
    (1, str, "a string"),
    (0, type(None), "null"),
    (1.5, int | None, "a whole number or null"),
    ("a", list[int], "a list like [a whole number]"),
    ({"a": 1}, list[int], "a list"),
    ([1], dict[str, int], "a mapping of names to a whole number"),
    (1, dict, "a mapping of names to anything"),
    ({"a": 1}, list, "a list like [anything]"),
    ("tanh", Literal["relu", "elu"], "one of relu, elu"),
    ("x", tuple[int, str], "a list like [a whole number, a string]"),
    (3, Sequence[int], "a list like [a whole number]"),
    (True, Literal[1, 2], "one of 1, 2"),
    (1, Literal[True], "one of True"),
    (["relu"], Literal["relu"], "one of relu"),
    (3, nn.Module, "a mapping whose _target_ is a Module"),
    (DRIFT, int, "ScoreDrift is no int"),
    (DRIFT, dict[str, Penalty], "a mapping of names to a mapping whose _target_ is a Penalty"),
    (DRIFT, dict, "a mapping of names"),
    (DRIFT, list[Penalty], "a list like"),
    (torch.zeros(1), float, "a number"),
    (torch.zeros(1), int | None, "a whole number or"),
]


@pytest.mark.parametrize(("value", "annotation"), GOOD, ids=str)
def test_values_that_fit(value, annotation):
    assert find_misfits(value, annotation, where="key", trust=()) == []


@pytest.mark.parametrize(("value", "annotation", "hint"), BAD, ids=str)
def test_values_that_do_not_fit_say_what_would(value, annotation, hint):
    (message, said), *more = find_misfits(value, annotation, where="key", trust=())
    assert not more and message.startswith("key") and hint in f"{message} {said}"


@pytest.mark.parametrize(
    ("value", "annotation", "where"),
    [
        ([1, "a", 2.5], list[int], ["key[1]", "key[2]"]),
        ({"a": 1, "b": "x"}, dict[str, int], ["key.b"]),
        ([1, "a"], float | list[float], ["key[1]"]),
        ({"gp": GP | {"at": "nowhere"}}, dict[str, Penalty] | None, ["key.gp.at"]),
        ([0.5], tuple[float, float], ["key has 1 entries"]),
        ([[1], ["a"]], list[list[int]], ["key[1][0]"]),
        (GP | {"weight": "x", "evry": 2}, Penalty, ["key.weight", "key.evry"]),
        (MAXOUT, Penalty | None, ["key: gancli.networks.mlp.Maxout"]),
    ],
)
def test_a_misfit_inside_is_named_by_its_place(value, annotation, where):
    found = find_misfits(value, annotation, where="key", trust=())
    assert [place in message for (message, _), place in zip(found, where, strict=True)] == [
        True
    ] * len(where), found


def test_a_long_value_is_shown_in_part():
    ((message, _),) = find_misfits(["a"] * 10**4, int, where="key", trust=())
    assert len(message) < 100


# keys against signatures


def test_all_problems_at_once_with_the_nearest_key():
    found = find_problems(
        GP | {"wieght": 1, "at": "every", "target": "one"}, where="loss.penalties.gp"
    )
    texts = [f"{message} | {hint}" for message, hint in found]
    assert len(texts) == 3
    assert "GradientPenalty takes no 'wieght' | did you mean 'weight'?" in texts[0]
    assert (
        "loss.penalties.gp.at='every' does not fit | give one of interpolate, real, fake, noise"
        in texts[1]
    )
    assert "loss.penalties.gp.target='one' does not fit | give a number" in texts[2]


def test_what_is_missing_and_what_the_caller_gives():
    assert find_problems({"_target_": "gancli.networks.mlp.Maxout"}, where="x")[0] == (
        "x.pieces is missing: Maxout needs it",
        "add x.pieces=...",
    )
    assert (
        find_problems({"_target_": "gancli.networks.mlp.Maxout"}, where="x", given=("pieces",))
        == []
    )
    assert "takes no 'pieces'" in find_problems(MAXOUT, where="x", given=("pieces",))[0][0], (
        "it would be given twice"
    )


def test_a_name_is_suggested_or_the_names_are_listed():
    assert suggest_name("wieght", ["weight", "at"]) == "did you mean 'weight'?"
    assert suggest_name("dgo", ["dog", "cat"]) == "did you mean 'dog'?"
    assert suggest_name("zzz", ["b", "a"]) == "there are a, b"
    assert suggest_name("zzz", []) == ""


# which classes


def test_the_users_classes_need_trust_only_in_a_file(mine):
    class Net(nn.Module):
        pass

    target = mine.add(Net)
    assert locate(target, trust=None) is Net and locate(target, trust=("mine_package",)) is Net
    with pytest.raises(UserError, match="is code of mine_package's") as caught:
        locate(target)
    assert caught.value.hint == "if you trust mine_package, add trust=mine_package"


def test_a_package_of_the_users_may_reexport_its_own_but_nothing_else(mine, monkeypatch):
    inner = types.ModuleType("mine_package.inner")
    monkeypatch.setitem(sys.modules, "mine_package.inner", inner)

    class Net(nn.Module):
        pass

    Net.__module__ = "mine_package.inner"
    mine.Net = Net
    mine.Linear = nn.Linear
    mine.system = print
    assert locate("mine_package.Net", trust=("mine_package",)) is Net
    with pytest.raises(UserError, match="only reachable through it"):
        locate("mine_package.Linear", trust=("mine_package",))
    with pytest.raises(UserError, match="is not a class"):
        locate("mine_package.system", trust=("mine_package",))


def test_a_typo_in_a_target_finds_the_class_meant():
    with pytest.raises(UserError) as caught:
        locate("gancli.networks.mlp.MLPGenerater")
    assert "did you mean 'MLPGenerator'" in caught.value.hint
    with pytest.raises(UserError, match="no module gancli.networks.mpl"):
        locate("gancli.networks.mpl.MLPGenerator")
    with pytest.raises(UserError, match="no module nowhere_at_all"):
        locate("nowhere_at_all.Net", trust=None)


def test_torch_optim_gives_optimizers_and_nothing_else():
    assert locate("torch.optim.Adam") is torch.optim.Adam
    for target in (
        "torch.optim.lr_scheduler",
        "torch.optim.Tensor",
        "torch.optim.swa_utils.AveragedModel",
    ):
        with pytest.raises(UserError):
            locate(target)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import a_library_that_is_not_there\n",
            "importing broken_{k} failed: No module named 'a_library_that_is_not_there'",
        ),
        ("def f(:\n", "importing broken_{k} failed: SyntaxError"),
        ("1 / 0\n", "importing broken_{k} failed: ZeroDivisionError"),
    ],
)
def test_a_file_of_the_users_that_does_not_import_is_told_why(tmp_path, monkeypatch, text, said):
    name = f"broken_{len(text)}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    with pytest.raises(UserError) as caught:
        locate(f"{name}.Net", trust=None)
    assert caught.value.message.startswith(said.format(k=len(text)))


# annotations of the users'


def test_annotations_that_only_a_type_checker_can_read(mine):
    class Net(nn.Module):
        def __init__(self, *, hidden: SomethingUnknown, scale: np.nothing = 1):  # noqa: F821
            super().__init__()

    class Odd(nn.Module):
        def __init__(self, *, hidden: "not an [ expression"):  # noqa: F722
            super().__init__()

    for cls in (Net, Odd):
        assert (
            find_problems({"_target_": mine.add(cls), "hidden": [1]}, where="x", trust=None) == []
        )
        assert (
            "takes no"
            in find_problems(
                {"_target_": mine.add(cls), "hidden": [1], "b": 1}, where="x", trust=None
            )[0][0]
        )


def test_no_annotations_keyword_arguments_sequences_and_protocols(mine):
    spec = {
        "_target_": mine.add(Loose),
        "sizes": [1, 2],
        "mapping": {"a": 1},
        "net": MAXOUT,
        "pairs": [[1, "a"]],
    }
    assert find_problems(spec, where="x", trust=None) == []
    assert build(spec, trust=None).sizes == [1, 2]
    assert find_problems(spec | {"steps": [1, 2]}, where="x", trust=None) == []
    assert "x.steps" in find_problems(spec | {"steps": 3}, where="x", trust=None)[0][0]


def test_nested_untrusted_classes_are_refused_inside_a_trusted_one(mine):
    class Net(nn.Module):
        def __init__(self, *, inner: Any, free=None):
            super().__init__()

    target = mine.add(Net)
    for key in ("inner", "free"):
        spec = {"_target_": target, "inner": 1} | {
            key: {"_target_": "os.system", "command": "true"}
        }
        assert "may not be built" in find_problems(spec, where="x", trust=("mine_package",))[0][0]
        hidden = {"_target_": target, "inner": 1} | {key: [{"deep": {"_target_": "os.system"}}]}
        with pytest.raises(UserError, match="may not be built"):
            build(hidden, trust=("mine_package",))


# constructors


def test_what_a_constructor_says_about_its_values_names_the_place(mine):
    class Picky(nn.Module):
        def __init__(self, *, n: int):
            super().__init__()
            if n < 0:
                raise ValueError("n must not be negative")
            self.n = [0] * n
            self.n[n]

    class Mixed(nn.Module):
        def __init__(self, *, inner: nn.Module):
            super().__init__()

    spec = {"_target_": mine.add(Mixed), "inner": {"_target_": mine.add(Picky), "n": -1}}
    with pytest.raises(UserError) as caught:
        build(spec, where="model", trust=None)
    assert caught.value.message == "model.inner: n must not be negative"
    with pytest.raises(IndexError):  # a mistake of the class keeps its traceback
        build({"_target_": "mine_package.Picky", "n": 2}, where="model", trust=None)


def test_sizes_that_torch_refuses_are_the_users_in_ours_and_a_traceback_in_theirs(
    mine, monkeypatch
):
    monkeypatch.delitem(OPEN_BOUNDS, "z_dim")  # which would have refused it before torch does
    spec = {
        "_target_": "gancli.networks.mlp.MLPGenerator",
        "resolution": 8,
        "channels": 1,
        "z_dim": -5,
        "hidden": [4],
    }
    with pytest.raises(UserError, match="^net: .*negative dimension"):
        build(spec, where="net")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.zeros(2) @ torch.zeros(3)

    with pytest.raises(RuntimeError):
        build({"_target_": mine.add(Net)}, trust=None)


def test_build_takes_what_the_caller_gives_and_builds_what_is_nested():
    network = build({"_target_": "gancli.networks.mlp.Maxout"}, pieces=3)
    assert isinstance(network, Maxout) and network.pieces == 3
    loss = build(
        {
            "_target_": "gancli.losses.adversarial.AdversarialLoss",
            "penalties": {"drift": DRIFT},
            "objective": {"_target_": "gancli.losses.objectives.Hinge"},
        }
    )
    assert isinstance(loss.penalties["drift"], ScoreDrift)


def test_build_game_builds_a_game_with_its_loss_and_nothing_else(mine):
    config = small("mlp")
    game = build_game(config)
    assert isinstance(game, Game) and game.adversarial is not None
    with pytest.raises(UserError, match="Maxout is no Game"):
        build_game(config | {"model": MAXOUT})
    with pytest.raises(UserError, match="loss: gancli.networks.mlp.Maxout is no AdversarialLoss"):
        build_game(config | {"loss": MAXOUT})
    with pytest.raises(UserError, match="loss=None does not fit"):
        build_game(config | {"loss": None})

    class Alone(Game):
        """Judges nothing, so it takes no loss."""

        def __init__(self):
            super().__init__(generator=nn.Linear(1, 1), discriminator=None, loss=None)

    assert (
        build_game(config | {"model": {"_target_": mine.add(Alone)}}, trust=None).adversarial
        is None
    )


def test_parameters_are_resolved_once():
    assert read_parameters(Maxout) is read_parameters(Maxout)
    assert read_parameters(Maxout)["pieces"].annotation is int


def test_trusted_takes_a_name_a_list_and_nothing():
    assert (
        builder.read_trust("a") == ("a",)
        and builder.read_trust(["a", "b"]) == ("a", "b")
        and builder.read_trust([]) == ()
    )
    assert builder.read_trust(None) == () and builder.read_trust("") == ()
