"""gan recommend: what to train on data of one's own, in the time that there is."""

from __future__ import annotations

import difflib
import json
import os
import textwrap
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gancli.config import compose as front
from gancli.errors import GanError, UserError, did_you_mean
from gancli.files import shell
from gancli.files.reading import convert_number
from gancli.machine import wait_briefly
from gancli.reports.recipes import (
    GPU_SIDE,
    MOST_SIDE,
    ROUNDED,
    Facts,
    Recipe,
    choose_rectangle,
    choose_side,
    leave_out_replaced,
    list_recipes,
    look_at,
    name_size,
    set_resolution,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

USAGE = "gan recommend PATH minutes=30"
MINUTES = 30.0
WIDTH = 100  # columns
MARGIN = 10
MOST_TIMED = 3  # candidates
LEAST_TRIED = 2  # where there are so many
TIMED_S = 5.0  # of steps, for each candidate
LEAST_TIMED = 3  # steps, the first of which warms libraries up
MOST_STEPS = 300
SETTLED = 64  # steps: of as many, the second half counts
START_S = 10.0  # of a run, before its first step
SHARE = 0.85  # of the rest; evaluations, pictures and saves take the remainder
MANY = 4  # times as many steps as were measured are worth the time
BUSY = 1.5  # times as long as its own computing takes a step, where other programs take the rest
TIMED_ITEMS = 256  # of the data, that are decoded for it
NEARLY_WHOLE = 0.9  # of a strip, whose rest are its ends, or of the time
DEVICES = ("auto", "cpu", "cuda", "mps")
MODES = {"1": "black and white", "L": "grey", "LA": "grey with alpha", "RGBA": "RGB with alpha"}
QUIET = ("metrics=none", "log.tensorboard=false", f"dataset.limit={TIMED_ITEMS}")


class Request(NamedTuple):
    """What is typed behind `gan recommend`.

    Attributes:
        path: Of the data.
        minutes: That a run may take.
        words: Overrides, which stand in the printed command too.
        as_json: Whether everything is printed as plain data.
    """

    path: str
    minutes: float
    words: list[str]
    as_json: bool


@dataclass(frozen=True)
class Timed:
    """A recipe that was tried.

    Attributes:
        recipe: The recipe.
        seconds: Of a step; None where it could not be tried.
        steps: That the run will have.
        reason: Why it could not be tried.
        hint: What to do about that.
        alone: Seconds of a step that were this program's own computing: what it would take on a
            CPU with nothing else running. 0 where that is not known.
    """

    recipe: Recipe
    seconds: float | None = None
    steps: int = 0
    reason: str = ""
    hint: str = ""
    alone: float = 0.0

    @property
    def enough(self) -> bool:
        """Whether there is time for what the recipe needs at least."""
        return self.seconds is not None and self.steps >= self.recipe.least

    @property
    def capped(self) -> bool:
        """Whether there is time for all the steps that a recipe is ever given, or for more."""
        return self.steps >= MANY * self.recipe.steps

    @property
    def busy(self) -> bool:
        """Whether other programs took much of the processor while the recipe was tried."""
        return self.seconds is not None and self.seconds > BUSY * self.alone > 0


class StepTime(NamedTuple):
    """How long a step took.

    Attributes:
        seconds: On the clock.
        alone: Of the processor, in the thread that computes; 0 where a device computes.
    """

    seconds: float
    alone: float


def main(argv: list[str]) -> int:
    """Looks at data, tries candidates for a few seconds each, and prints one command.

    Raises:
        UserError: There are no such data, or nothing can be trained on them.
    """
    from gancli.render import status

    request = read_request(argv)
    wait_briefly(os.environ)  # before the data are looked at, which loads torch
    status.say("looking at the data…")
    facts = look_at(request.path, request.words)
    status.say("loading torch…")
    from gancli.precision import resolve_device

    device = resolve_device(find_device(request.words))
    recipes = list_asked(facts, request.words, gpu=device.type != "cpu")[:MOST_TIMED]
    tried: list[Timed] = []
    for recipe in recipes:
        status.say(f"trying {recipe.name}…")
        tried.append(try_recipe(recipe, request))
        if len(tried) >= LEAST_TRIED and any(timed.enough for timed in tried):
            break  # the rest is lighter and reaches less
    chosen = choose(tried)
    command = ["gan", "train", *write_words(chosen.recipe, chosen.steps, request)]
    status.say("")
    if request.as_json:
        print(json.dumps(describe_plainly(facts, request, tried, chosen, command), indent=2))
    else:
        show(facts, request, tried, chosen, command, device)
    return 0


def read_request(argv: list[str]) -> Request:
    """Reads the words behind `gan recommend`.

    Raises:
        UserError: No path is given, or several, or a value does not fit.
    """
    paths: list[str] = []
    words: list[str] = []
    minutes = MINUTES
    as_json = False
    for word in argv:
        key, sign, value = word.partition("=")
        if word == "--json":
            as_json = True
        elif key in ("minutes", "--minutes") and sign:
            minutes = read_minutes(word)
        elif word.startswith("dataset.path="):
            paths.append(value)
        elif word.startswith("-"):
            raise UserError(f"unknown flag '{word}'", USAGE)
        elif sign and "/" not in key and not Path(word).expanduser().exists():
            if "." not in key and difflib.get_close_matches(key, ["minutes"]):
                raise UserError(f"unknown key '{key}'", did_you_mean([f"minutes={value}"]))
            words.append(word)
        else:
            paths.append(word)
    if any(word.startswith(("model=", "experiment=", "dataset=")) for word in words):
        raise UserError(
            "gan recommend chooses the model and the data set",
            "gan check tries a model that you have chosen",
        )
    if len(paths) != 1:
        given = f"{len(paths)} paths: {', '.join(paths)}" if paths else "which data?"
        raise UserError(given, USAGE)
    return Request(paths[0], minutes, words, as_json)


def read_minutes(word: str) -> float:
    """Reads minutes=NUMBER.

    Raises:
        UserError: It is no number, or there is no time at all.
    """
    try:
        number = convert_number(float(word.partition("=")[2]))
    except ValueError:
        number = None
    if number is None or number <= 0:
        raise UserError(f"{word}: not a number of minutes above 0", "minutes=30")
    return number


def find_device(words: list[str]) -> str:
    """Finds trainer.device among the words; auto without it.

    Raises:
        UserError: There is no such device.
    """
    given = [word.partition("=")[2] for word in words if word.startswith("trainer.device=")]
    name = given[-1] if given else "auto"
    if name not in DEVICES:
        raise UserError(f"trainer.device={name}: unknown", f"one of {', '.join(DEVICES)}")
    return name


def key_of(word: str) -> str:
    """Gives the key of an override."""
    return word.lstrip("+~").partition("=")[0]


def list_asked(facts: Facts, words: list[str], *, gpu: bool) -> list[Recipe]:
    """Lists the recipes for such data, at the resolution that is typed, if one is."""
    typed = [word for word in words if key_of(word) == "dataset.resolution"]
    side = typed[-1].partition("=")[2] if typed else ""
    if facts.layout != "images" or not side.isdecimal():
        return list_recipes(facts, gpu=gpu)
    wanted = replace(facts, size=(int(side), int(side)))
    recipes = list_recipes(wanted, gpu=gpu)
    own = [recipe for recipe in recipes if typed[-1] in recipe.words]
    return own or recipes[:1]


def try_recipe(recipe: Recipe, request: Request) -> Timed:
    """Times a few steps of a recipe, the stage that takes longest, on some of the data."""
    try:
        took = time_steps([*write_words(recipe, recipe.steps, request), *QUIET])
    except GanError as error:
        if any(key_of(word) in error.message for word in request.words):
            raise  # what was typed is wrong, not the data
        return Timed(recipe, reason=error.message, hint=error.hint)
    steps = count_fitting(recipe, took.seconds, request.minutes)
    return Timed(recipe, took.seconds, steps, alone=took.alone)


def write_words(recipe: Recipe, steps: int, request: Request) -> list[str]:
    """Writes the words behind `gan train`: the recipe's, and those that were typed, which win."""
    typed = {key_of(word) for word in request.words}
    words = leave_out_replaced(recipe.command(steps), request.words)
    return [*(word for word in words if key_of(word) not in typed), *request.words]


def count_fitting(recipe: Recipe, seconds: float, minutes: float) -> int:
    """Counts the steps of so many seconds that fit, at most those that are worth it."""
    budget = max(0.0, 60 * minutes - START_S) * SHARE
    steps = min(int(budget / seconds), MANY * recipe.steps)
    return steps // ROUNDED * ROUNDED or max(1, steps)


def time_steps(words: list[str]) -> StepTime:
    """Times a few steps of a run that keeps nothing.

    Args:
        words: Behind `gan train`.

    Returns:
        Seconds a step, of its last stage, without the first ones: memory is still being fetched
        then, and the processor speeds up.

    Raises:
        GanError: It cannot be trained.
    """
    from gancli.config.validate import validate
    from gancli.precision import resolve_device
    from gancli.run.failures import explain_errors
    from gancli.run.plan import Plan as RunPlan
    from gancli.run.plan import build_first, finish_budget, open_data
    from gancli.trainer import Trainer

    composed = front.compose("train", words)
    config = validate(composed.cfg, typed=composed.overrides)
    device = resolve_device(config.trainer.device)
    _, _, stream = open_data(config, device, trust=None)
    config = finish_budget(config, stream.n)
    with explain_errors(config.trainer, device):
        game = build_first(RunPlan(config), stream, device)
        trainer = Trainer(game, stream, config=config, device=device)
        start_last_stage(trainer)
        times: list[float] = []
        own: list[float] = []
        while len(times) < MOST_STEPS and (len(times) < LEAST_TIMED or sum(times) < TIMED_S):
            started = time.perf_counter()
            # Not the process: OpenMP's other threads count their waiting for this one
            computed = time.thread_time()
            trainer.step()
            trainer.read_flags(wait=True)
            times.append(time.perf_counter() - started)
            own.append(time.thread_time() - computed)
            if sum(times) > 4 * TIMED_S and len(times) > 1:
                break
    start = count_left_out(len(times))
    measured = len(times) - start
    alone = sum(own[start:]) / measured if device.type == "cpu" else 0.0
    return StepTime(sum(times[start:]) / measured, alone)


def count_left_out(steps: int) -> int:
    """Counts the first steps that are not timed: the first, or half where there are many."""
    return steps // 2 if steps >= SETTLED else 1


def start_last_stage(trainer: Any) -> None:
    """Moves the clock to where the last phase begins: a warm-up alone would look quick."""
    start = max((phase.start for phase in trainer.phases), default=0)
    trainer.progress.step = start
    trainer.progress.nimg = start * trainer.settings.batch_size
    trainer.game.advance(trainer.progress)


def choose(tried: list[Timed]) -> Timed:
    """Chooses the first for which there is time, else the one that comes nearest to it.

    Raises:
        UserError: None could be tried.
    """
    ready = [timed for timed in tried if timed.seconds is not None]
    if not ready:
        raise UserError(
            f"nothing can be trained on these data: {tried[0].reason}",
            tried[0].hint or "gan data PATH shows what they hold",
        )
    enough = [timed for timed in ready if timed.enough]
    return (enough or sorted(ready, key=lambda timed: -timed.steps / timed.recipe.least))[0]


def describe_data(facts: Facts) -> str:
    """Says in a line what the data are."""
    kinds = {"pairs": "images of pairs", "domains": "images in two domains", "images": "images"}
    if facts.layout == "audio":
        labels = f"{facts.classes} classes" if facts.classes > 1 else "no labels"
        return f"{facts.n:,} recordings, {labels}"
    if facts.layout == "posed":
        return "people in poses"
    if facts.layout not in kinds:
        return facts.layout
    width, height = facts.size
    if facts.mode.startswith("I"):
        mode = "grey of 16 bits or more"
    else:
        mode = MODES.get(facts.mode, facts.mode)
    if facts.n == 1:
        return f"1 image of {width} x {height} {mode}"
    labels = f", {facts.classes} classes" if facts.classes > 1 else ", no labels"
    return f"{facts.n:,} {kinds[facts.layout]}, most of them {width} x {height} {mode}" + (
        labels if facts.layout == "images" else ""
    )


def describe_shape(facts: Facts, words: Sequence[str], *, gpu: bool) -> list[str]:
    """Says of strips what becomes of them, unless a size is typed."""
    if not facts.strips or "dataset.resolution" in map(key_of, words):
        return []
    most = GPU_SIDE if gpu else MOST_SIDE
    size = choose_rectangle(facts, most=most)
    if not facts.alike:
        return [
            "their shapes differ, so the middle square of each is learned; "
            f"{set_resolution(size)} behind this command suits the most usual one"
        ]
    shorter, longer = sorted(facts.size)
    share = max(size) * shorter / (min(size) * longer)
    whole = "each is" if share >= NEARLY_WHOLE else f"the middle {share:.0%} of each is"
    return [
        f"{whole} learned at {name_size(size)} pixels; "
        f"dataset.resolution={choose_side(facts, most=most)} takes the middle square"
    ]


def describe_domains(facts: Facts) -> list[str]:
    """Names the command that takes two class folders for two domains, which they may be."""
    root = Path(facts.path).expanduser()
    if facts.layout != "images" or facts.classes != 2 or not root.is_dir():
        return []
    from gancli.reports.layouts import format_command

    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    if len(names) != 2:
        return []
    named = (f"dataset.a={names[0]}", f"dataset.b={names[1]}")
    return [f"to translate one into the other: {format_command('cyclegan', facts.path, *named)}"]


def describe_choice(chosen: Timed, minutes: float) -> str:
    """Says why this one was chosen."""
    if chosen.enough:
        return chosen.recipe.why
    return (
        f"{chosen.recipe.why}. {minutes:g} minutes are too short here: {chosen.steps:,} steps, and "
        f"there is little to see before {chosen.recipe.least:,}"
    )


def describe_time(timed: Timed) -> float:
    """Gives the minutes that the whole command will take."""
    assert timed.seconds is not None
    return (timed.steps * timed.seconds / SHARE + START_S) / 60


def describe_load(chosen: Timed, minutes: float) -> str:
    """Says how long the command takes, and what other programs have to do with that."""
    takes = round(describe_time(chosen))
    said = f"about {takes} minutes" if takes > 1 else "about a minute"
    if not chosen.busy:
        said += " with nothing else running"
        if chosen.capped and takes < NEARLY_WHOLE * minutes:
            said += (
                f", less than the {minutes:g} there are: whether more than {chosen.steps:,} steps "
                "help was not measured"
            )
        return said
    assert chosen.seconds is not None
    taken = 1 - chosen.alone / chosen.seconds
    fitting = count_fitting(chosen.recipe, chosen.alone, minutes)
    return (
        f"{said} with as much else running as now: other programs take {taken:.0%} of the "
        f"processor, and without them {fitting:,} steps would fit"
    )


def show(
    facts: Facts,
    request: Request,
    tried: list[Timed],
    chosen: Timed,
    command: list[str],
    device: torch.device,
) -> None:
    """Prints what was found, tried and chosen, and the command in the last line."""
    import torch

    print(f"data      {describe_data(facts)}")
    for text in (*facts.notes, *describe_shape(facts, request.words, gpu=device.type != "cpu")):
        print(fold("", text))
    for text in describe_domains(facts):  # a command is not folded: it can be pasted
        print(f"{'':{MARGIN}}{text}")
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    print(f"device    {device.type}{threads}, {request.minutes:g} minutes")
    for timed in tried:
        if timed.seconds is None:
            print(f"tried     {timed.recipe.name}: {timed.reason}")
        else:
            print(
                f"tried     {timed.recipe.name}: {timed.seconds * 1000:.0f} ms a step, "
                f"{timed.steps:,} steps fit"
                + (", the most that is advised" if timed.capped else "")
                + ("" if timed.enough else ", too few")
            )
    print(fold("chosen", f"{chosen.recipe.name}: {describe_choice(chosen, request.minutes)}"))
    print(fold("expect", chosen.recipe.expect()))
    if device.type != "cpu" and str(GPU_SIDE) in chosen.recipe.name:
        print("          that was measured with a smaller network on a CPU")
    print(fold("time", describe_load(chosen, request.minutes)))
    print(f"  {shell.join(command)}")


def fold(name: str, text: str) -> str:
    """Folds a line of the output behind its name, at the width of the help."""
    lines = textwrap.wrap(text, WIDTH - MARGIN, break_on_hyphens=False)
    return "\n".join(f"{name if k == 0 else '':{MARGIN}}{line}" for k, line in enumerate(lines))


def describe_plainly(
    facts: Facts, request: Request, tried: list[Timed], chosen: Timed, command: list[str]
) -> dict[str, Any]:
    """Gives all that is printed as plain data."""
    return {
        "data": asdict(facts),
        "minutes": request.minutes,
        "tried": [
            {
                "name": timed.recipe.name,
                "seconds_per_step": timed.seconds,
                "steps": timed.steps,
                "enough": timed.enough,
                "reason": timed.reason,
            }
            for timed in tried
        ],
        "chosen": chosen.recipe.name,
        "why": describe_choice(chosen, request.minutes),
        "expected": chosen.recipe.expect(),
        "takes_minutes": round(describe_time(chosen), 1),
        "command": command,
    }
