"""Which run won: runs grouped by what differs in their configs, with mean and deviation."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass

from gancli.config.hints import find_nearest
from gancli.errors import UserError, did_you_mean
from gancli.metrics.legend import find_line, was_weighted
from gancli.metrics.settings import BEST, IMAGE_ITEMS, PAIR_ITEMS, POINT_ITEMS, SERIES_ITEMS, better
from gancli.reports.runs import FINISHED, Run, find_asked, flatten

# How a run was started, kept and watched does not change what it learns.
UNIMPORTANT = (
    "seed",
    "name",
    "resume",
    "trust",
    "log.",
    "logger.",
    "metrics.",
    "trainer.keep",
    "trainer.save_every",
    "dataset.workers",
    "dataset.cache",
    "dataset.root",
)
# Of a protocol: these may differ between numbers that can be compared; a device moves the last
# digits only.
OWN_SEED = ("seed", "step", "not_finite")
LOOSE = ("device",)
NOTES = (
    *IMAGE_ITEMS,
    *POINT_ITEMS,
    *SERIES_ITEMS,
    *PAIR_ITEMS,
)  # an item's own entry in a protocol
OF_FEATURES = ("frechet", "kernel", "inception_score", "prdc", "memorisation")
OF_CLASSIFIER = ("classes", "cas")
OF_HELD_OUT = ("memorisation", "overfitting")
IDLE = ("loss", "augment", "perceptual")  # parts that a model may take none of
TRAINING = "training"  # the source of a number in evaluation.json
LOGGED = "last log line"  # of one that only metrics.jsonl has
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FIRST = ("model", "loss", "dataset")  # in a label
MOST_KEYS = 3
NOTHING = "-"  # of a key that a run does not have
LONGEST = 40  # characters of one value in a label


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What runs are ranked by.

    Attributes:
        key: A name of evaluation.json's values, or of metrics.jsonl.
        mode: min, max, or "" where neither is better.
        why: Who chose it.
    """

    key: str
    mode: str
    why: str

    def better(self, a: float, b: float) -> bool:
        """Is a better than b?"""
        return a > b if self.mode == "max" else a < b

    def sort_key(self, value: float | None) -> float:
        """Returns a number that is smaller for a better value, and largest for none."""
        if value is None:
            return math.inf
        return -value if self.mode == "max" else value


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run's number of the board's metric.

    Attributes:
        value: The number.
        source: TRAINING, LOGGED or the name of an evaluation.
        protocol: What the number depends on, flat; None where it is not known.
    """

    value: float
    step: int | None
    source: str
    protocol: dict[str, str] | None

    def strict(self) -> str:
        """Gives what must be equal for two numbers to be ranked together."""
        known = self.protocol or {}
        return repr(sorted(item for item in known.items() if item[0] not in LOOSE))


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in their seeds alone, measured with one protocol.

    Attributes:
        label: What tells it from the others.
        runs: Those that it holds.
        metric: Of the board.
        found: id(run) -> its number of the metric.
        protocol: The letter of the protocol, "" where all groups share one.
    """

    label: str
    runs: list[Run]
    metric: Metric
    found: dict[int, Measured]
    protocol: str = ""

    def value(self, run: Run) -> float | None:
        """Returns the number of a run; None where it has none."""
        return self.found[id(run)].value if id(run) in self.found else None

    def best_moment(self, run: Run) -> tuple[int | None, float] | None:
        """Finds a run's best moment; of a later evaluation there is only one.

        Returns:
            Step and value.
        """
        found = self.found.get(id(run))
        if found is not None and found.source not in (TRAINING, LOGGED):
            return found.step, found.value
        return find_best(run, self.metric)

    def counted(self) -> list[tuple[Run, float]]:
        """Returns the runs that ended well and have a number, each with it."""
        pairs = [(run, self.value(run)) for run in self.runs if run.state in FINISHED]
        return [(run, value) for run, value in pairs if value is not None]

    def values(self) -> list[float]:
        """Returns the numbers of those runs."""
        return [value for _, value in self.counted()]

    def mean(self) -> float | None:
        """Returns the mean of those numbers; None without any."""
        return statistics.fmean(self.values()) if self.values() else None

    def deviation(self) -> float | None:
        """Computes the deviation of the sample (n - 1), over seeds; None for a single one."""
        return statistics.stdev(self.values()) if len(self.values()) > 1 else None

    def best(self) -> tuple[Run, int | None, float] | None:
        """Finds the best moment of any of its runs.

        Returns:
            Run, step and value.
        """
        found = [
            (run, *moment)
            for run, _ in self.counted()
            if (moment := self.best_moment(run)) is not None
        ]
        return min(found, key=lambda item: self.metric.sort_key(item[2]), default=None)

    def seconds(self) -> float | None:
        """Returns the mean time of training."""
        return average([run.seconds for run in self.runs if run.state in FINISHED])

    def rate(self) -> float | None:
        """Returns the mean of real images a second."""
        return average([run.rate for run in self.runs if run.state in FINISHED])


@dataclass(frozen=True, kw_only=True)
class Board:
    """The whole comparison.

    Attributes:
        metric: What it ranks by.
        groups: Best first, protocol by protocol.
        failed: Runs whose numbers are in no mean.
        warnings: What makes numbers unequal.
        differing: The keys of the configs that tell the groups apart.
        protocols: Letter -> what a run's number was measured with; first the one that most share.
    """

    metric: Metric
    groups: list[Group]
    failed: list[Run]
    warnings: list[str]
    differing: list[str]
    protocols: dict[str, Measured]

    def runs(self) -> list[Run]:
        """Returns all runs, group by group."""
        return [run for group in self.groups for run in group.runs]

    def ranks(self) -> list[int | None]:
        """Ranks each group among those of its protocol; None where nothing ranks it."""
        found: list[int | None] = []
        for k, group in enumerate(self.groups):
            before = [other for other in self.groups[:k] if other.protocol == group.protocol]
            found.append(len(before) + 1 if self.metric.mode and group.values() else None)
        return found


def build_board(runs: list[Run], *, by: str = "", mode: str = "", protocol: str = "") -> Board:
    """Groups and ranks runs; numbers of different protocols are ranked apart.

    Args:
        runs: At least one.
        by: The metric to rank by; "" chooses one.
        mode: min or max, for a metric that has no direction of its own; "" takes its own.
        protocol: "training" or the name of a file in evaluations/, to rank by those numbers alone.

    Raises:
        UserError: No run has such a metric or protocol.
    """
    if protocol:
        refuse_unknown_protocol(runs, protocol)
    metric = choose_metric(runs, by=by, mode=mode, protocol=protocol)
    found = measure_all(runs, metric.key, protocol)
    protocols = letter_protocols(found)
    letters = {
        key: letter
        for key, each in found.items()
        for letter, shared in protocols.items()
        if each.protocol is not None and each.strict() == shared.strict()
    }
    differing = find_differing_keys(runs)
    bundles: dict[str, list[Run]] = {}
    # One without a config is compared with the groups that the others have made.
    for run in sorted(runs, key=lambda run: not run.config):  # those that have one first
        bundles.setdefault(identify_group(run, differing, list(bundles.values())), []).append(run)
    labels = label_all(list(bundles.values()), differing)
    groups = [
        Group(
            label=f"{label} [{letter}]" if letter else label,
            runs=part,
            metric=metric,
            found=found,
            protocol=letter,
        )
        for label, members in zip(labels, bundles.values(), strict=True)
        for letter, part in split_by_protocol(members, letters, protocols).items()
    ]
    if metric.mode:
        groups.sort(key=lambda group: (group.protocol, metric.sort_key(group.mean())))
    failed = [run for run in runs if run.state not in FINISHED]
    return Board(
        metric=metric,
        groups=groups,
        failed=failed,
        warnings=find_warnings(runs, groups, metric, found),
        differing=differing,
        protocols=protocols,
    )


def refuse_unknown_protocol(runs: list[Run], protocol: str) -> None:
    """Raises UserError for a protocol by which no run was evaluated."""
    known = sorted({TRAINING, *(name for run in runs for name in run.evaluations)})
    if protocol not in known:
        hint = did_you_mean(find_nearest(protocol, known)) or f"there are {', '.join(known)}"
        raise UserError(f"protocol={protocol}: no run was evaluated so", hint)


def list_measurements(run: Run, key: str) -> list[Measured]:
    """Lists every number of this name that a run has, training's first."""
    sources = {TRAINING: run.evaluation} | run.evaluations
    found = []
    for source, each in sources.items():
        value = each.get("values", {}).get(key)
        if value is not None:
            protocol = pick_relevant(each["protocol"], key)
            if key in each.get("own", {}):  # two metrics of one name may differ in their keys
                protocol["metric"] = each["own"][key].what
            found.append(
                Measured(value=value, step=each.get("step"), source=source, protocol=protocol)
            )
    if not any(each.source == TRAINING for each in found):
        logged = [(step, value) for step, value in find_curve(run, key) if value is not None]
        if logged:
            step, last = logged[-1]
            found.append(
                Measured(
                    value=last,
                    step=step,
                    source=LOGGED,
                    protocol=describe_log_protocol(run, key, step),
                )
            )
    return found


def describe_log_protocol(run: Run, key: str, step: int) -> dict[str, str] | None:
    """Says how a term of a log line was written, where older runs wrote it otherwise."""
    if not was_weighted(key, run.config):
        return None
    weighted = step <= run.weighted_until(key)
    return {"logged": "with weight and interval" if weighted else "bare"}


def pick_relevant(protocol: dict, key: str) -> dict[str, str]:
    """Picks what of a protocol a number depends on: not its seed, nor notes of other items."""
    line = find_line(key)
    items = set(line.item.split()) if line is not None and line.item else None

    def counts(name: str) -> bool:
        head = name.partition(".")[0]
        if name.rpartition(".")[2] in OWN_SEED:
            return False
        if items is None:
            return True
        if head in NOTES:
            return head in items
        if head in ("backbone", "checksum", "resize"):
            return bool(items & {*OF_FEATURES})
        if head.startswith("classifier_"):
            return bool(items & {*OF_CLASSIFIER})
        if head in ("held_out", "n_floor"):
            return bool(items & {*OF_HELD_OUT})
        return True

    return {name: str(value) for name, value in flatten(protocol).items() if counts(name)}


def measure_all(runs: list[Run], key: str, protocol: str) -> dict[int, Measured]:
    """Finds the number that stands for each run.

    It is of the protocol that most runs share; among equals, training's.

    Returns:
        id(run) -> its number.
    """
    candidates = {
        id(run): [
            each for each in list_measurements(run, key) if not protocol or each.source == protocol
        ]
        for run in runs
    }
    votes = Counter(
        name
        for found in candidates.values()
        for name in {each.strict() for each in found if each.protocol is not None}
    )
    return {
        run: max(found, key=lambda each: votes[each.strict()] if each.protocol is not None else 1)
        for run, found in candidates.items()
        if found
    }


def letter_protocols(found: dict[int, Measured]) -> dict[str, Measured]:
    """Gives each protocol a letter, A for the one that most runs share.

    Returns:
        Letter -> a number measured with that protocol.
    """
    known = [each for each in found.values() if each.protocol is not None]
    counts = Counter(each.strict() for each in known)
    # Backwards, so that the first of each protocol is the one that stays.
    first = {each.strict(): each for each in reversed(known)}
    names = [name for name, _ in counts.most_common()]
    return {
        LETTERS[k] if k < len(LETTERS) else f"Z{k}": first[name] for k, name in enumerate(names)
    }


def split_by_protocol(
    members: list[Run], letters: dict[int, str], protocols: dict[str, Measured]
) -> dict[str, list[Run]]:
    """Splits the runs of one group by the protocols that their numbers were measured with.

    Those without a number, or of an unknown protocol, stay with the most frequent one.

    Args:
        members: The runs of the group.
        letters: The letter of a run's protocol, by the run's id().
        protocols: All protocols of the board by their letters.

    Returns:
        Runs by letter; all under "" where there is one protocol.
    """
    if len(protocols) < 2:
        return {"": members}
    known = Counter(letters[id(run)] for run in members if id(run) in letters)
    usual = known.most_common(1)[0][0] if known else next(iter(protocols))
    parts: dict[str, list[Run]] = {}
    for run in members:
        parts.setdefault(letters.get(id(run), usual), []).append(run)
    return parts


def choose_metric(runs: list[Run], *, by: str = "", mode: str = "", protocol: str = "") -> Metric:
    """Chooses the metric to rank by.

    It is the user's, else the one that best.pt followed, else the nearest thing that was measured.
    """
    if by:
        key = by.removeprefix("eval/")
        known = sorted({name for run in runs for name in list_measured(run)})
        if key not in known:
            hint = did_you_mean(find_nearest(key, known)) or f"there are {', '.join(known)}"
            raise UserError(f"by={by}: no run has such a metric", hint)
        return Metric(key=key, mode=mode or find_direction(key, runs), why="chosen by by=")
    later = protocol not in ("", TRAINING)  # what best.pt follows may not be among its numbers
    bests = Counter(
        run.evaluation["best"]["key"] for run in runs if "best" in run.evaluation and not later
    )
    evaluated = Counter(
        key
        for run in runs
        for key in list_values(run)
        if not later or key in find_named(run, protocol)
    )
    watched = Counter(
        key.removeprefix("eval/")
        for run in runs
        for key in run.curve_keys()
        if key.startswith("eval/")
    )
    losses = Counter(key for run in runs for key in run.curve_keys() if key.endswith("/adv"))
    for found, why in (
        (bests, "the metric that best.pt follows"),
        (evaluated, "the first metric that was evaluated"),
        (watched, "the first metric measured while training; no run has an evaluation.json"),
    ):
        if found:
            key = find_favourite(found)
            return Metric(key=key, mode=mode or find_direction(key, runs), why=why)
    key = find_favourite(losses) if losses else "d/adv"
    return Metric(
        key=key,
        mode=mode,
        why="no run was evaluated, and a GAN's losses do not say which one is better",
    )


def find_favourite(found: Counter) -> str:
    """Finds the key that most runs have; among equals the most telling, then the first."""
    most = max(found.values())
    keys = [key for key, count in found.items() if count == most]
    return min(
        keys,
        key=lambda key: next(
            (k for k, start in enumerate(BEST) if key.startswith(start)), len(BEST)
        ),
    )


def find_direction(key: str, runs: list[Run]) -> str:
    """Finds min, max, or "" where neither is better or nobody knows."""
    for run in runs:
        if run.evaluation.get("best", {}).get("key") == key:
            return run.evaluation["best"]["mode"]
    if all(key not in list_values(run) and f"eval/{key}" not in run.curve_keys() for run in runs):
        return ""  # a loss or a score
    for run in runs:
        if key in run.own:
            return {"lower": "min", "higher": "max"}.get(run.own[key].better, "")
    return better(key) or ""


def list_measured(run: Run) -> list[str]:
    """Lists every key that `by=` may name for this run."""
    return list(
        dict.fromkeys(
            [
                *list_values(run),
                *(key.removeprefix("eval/") for key in run.curve_keys()),
            ]
        )
    )


def list_values(run: Run) -> list[str]:
    """Lists the names of the numbers that a run's evaluations have, training's first."""
    sources = [run.evaluation, *run.evaluations.values()]
    return list(dict.fromkeys(key for each in sources for key in each.get("values", {})))


def find_named(run: Run, protocol: str) -> dict[str, float | None]:
    """Finds the numbers of one of a run's evaluations."""
    return run.evaluations.get(protocol, {}).get("values", {})


def find_curve(run: Run, key: str) -> list[tuple[int, float | None]]:
    """Returns the curve of a metric: of the evaluations while training, else of the log.

    Of a term that an older gancli has logged with its weight, the lines after that alone, if there
    are any: its best would be found among other quantities.
    """
    points = run.curve(f"eval/{key}") or run.curve(key)
    until = run.weighted_until(key)
    return [point for point in points if point[0] > until] or points


def find_value(run: Run, key: str) -> float | None:
    """Takes the value of evaluation.json, which has a protocol; else training's last one."""
    values = run.evaluation.get("values", {})
    if key in values:
        return values[key]
    return next((value for _, value in reversed(find_curve(run, key)) if value is not None), None)


def find_best(run: Run, metric: Metric) -> tuple[int | None, float] | None:
    """Finds the best moment: as noted beside best.pt, else the extreme of the curve.

    Returns:
        Step and value.
    """
    noted = run.evaluation.get("best")
    if noted is not None and noted["key"] == metric.key and noted["value"] is not None:
        return noted["step"], noted["value"]
    points: list[tuple[int | None, float]] = [
        (step, value) for step, value in find_curve(run, metric.key) if value is not None
    ]
    final = run.evaluation.get("values", {}).get(metric.key)
    if not points and final is not None:
        points = [(run.evaluation.get("step"), final)]
    if not points or not metric.mode:
        return points[-1] if points else None
    return min(points, key=lambda point: metric.sort_key(point[1]))


def find_differing_keys(runs: list[Run]) -> list[str]:
    """Finds the keys of the configs whose values are not the same in all runs.

    Only those count that matter, and runs that have a config.
    """
    settings = [run.settings() for run in runs if run.config]
    keys = dict.fromkeys(key for item in settings for key in item)
    return [
        key
        for key in keys
        if not key.startswith(UNIMPORTANT)
        and any(repr(item.get(key)) != repr(settings[0].get(key)) for item in settings)
    ]


def identify_group(run: Run, differing: list[str], bundles: list[list[Run]]) -> str:
    """Returns what the runs of one group share.

    A run that left no config belongs to those that were asked for the same.
    """
    twin = (
        run
        if run.config
        else next(
            (
                members[0]
                for members in bundles
                if describe_request(members[0]) == describe_request(run)
            ),
            run,
        )
    )
    if not twin.config:
        return describe_request(twin)
    settings = twin.settings()
    return repr([settings.get(key, NOTHING) for key in differing])


def describe_request(run: Run) -> str:
    """Returns what a run was asked for, in a form that can be compared."""
    return repr(
        sorted(item for item in find_asked(run).items() if not item[0].startswith(UNIMPORTANT))
    )


def label_all(bundles: list[list[Run]], differing: list[str]) -> list[str]:
    """Names each group: by what was asked for differently, else by what differs in the config."""
    leaders = [members[0] for members in bundles]
    wanted = dict.fromkeys([*FIRST, *(key for run in leaders for key in find_asked(run))])
    values = {
        key: {describe_setting(run, key) for run in leaders} - {NOTHING}
        for key in wanted
        if not key.startswith(UNIMPORTANT)
    }
    keys = [key for key, found in values.items() if len(found) > 1]
    # Runs that were started elsewhere, or with another version's defaults, may differ in what
    # nobody asked for.
    main = [key for key in keys if key in FIRST]
    told, rest = part_keys(
        leaders, [key for key in (*keys, *differing) if key not in main], given=main
    )
    if len(keys) <= MOST_KEYS:
        told = list(dict.fromkeys([*keys, *told]))
        rest = []
    labels = [join_settings(run, told, more=bool(set(rest) & set(keys))) for run in leaders]
    if len(set(labels)) < len(labels):
        labels = [f"{label} ({run.name})" for label, run in zip(labels, leaders, strict=True)]
    return [
        label or join_settings(run, list(FIRST), more=False) or run.name
        for label, run in zip(labels, leaders, strict=True)
    ]


def part_keys(
    leaders: list[Run], keys: list[str], *, given: list[str]
) -> tuple[list[str], list[str]]:
    """Parts the keys that tell groups apart from the others.

    Returns:
        The given keys and those that each tell one more group apart; the others.
    """
    told = list(given)
    rest: list[str] = []
    seen = len({tuple(describe_setting(run, key) for key in given) for run in leaders})
    for key in dict.fromkeys(keys):
        n = len({tuple(describe_setting(run, name) for name in [*told, key]) for run in leaders})
        (told if n > seen else rest).append(key)
        seen = max(n, seen)
    return told, rest


def join_settings(run: Run, keys: list[str], *, more: bool) -> str:
    """Names a group by the values of some keys; of loss and such by the value alone.

    Args:
        run: One of its runs.
        keys: Those that are told.
        more: Whether other things differ too.
    """
    parts = [
        value if key in FIRST else f"{key}={value}"
        for key in keys
        if (value := describe_setting(run, key)) not in (NOTHING, "None")
    ]
    return " ".join([*parts, *(["..."] if more else [])])


def describe_setting(run: Run, key: str) -> str:
    """Returns what a run has for a key.

    The key may be a group (loss), a value (optimizer.g.lr) or a removal (~loss.clip).
    """
    found = run.settings()
    if key in run.choices:
        text = run.choices[key]
        if key in IDLE and run.config.get(key, text) is None and text != "none":
            # Gate 2 takes out what the model does not use; a default that it does not is no news.
            typed = any(word.startswith(f"{key}=") for word in run.overrides)
            text = f"{text} (no effect)" if typed else NOTHING
    elif key in found:
        text = str(found[key])
    else:
        text = find_asked(run).get(key, NOTHING)
    return text if len(text) <= LONGEST else "..." + text[3 - LONGEST :]


def find_warnings(
    runs: list[Run], groups: list[Group], metric: Metric, found: dict[int, Measured]
) -> list[str]:
    """Tells why numbers that stand side by side may not be comparable."""
    ended = [run for run in runs if run.state in FINISHED]
    evaluated = [run for run in ended if id(run) in found and found[id(run)].source != LOGGED]
    watched = [run for run in ended if id(run) in found and found[id(run)].source == LOGGED]
    lacking = [run.name for run in ended if id(run) not in found]
    said = [f"{run.name}: {note}" for run in runs for note in run.notes]
    said += find_protocol_warnings([found[id(run)] for run in evaluated])
    said += find_protocol_warnings([found[id(run)] for run in watched])
    if evaluated and watched:
        said.append(
            "not evaluated, so the last value of training stands for them: "
            f"{', '.join(run.name for run in watched)}"
        )
    if lacking:
        said.append(f"without {metric.key}: {', '.join(lacking)}")
    for group in groups:
        seeds = Counter(str(run.seed) for run in group.runs if run.config)
        twice = [seed for seed, count in seeds.items() if count > 1]
        if twice:
            said.append(
                f"{group.label}: seed {', '.join(twice)} occurs more than once; equal runs do not "
                "show the spread"
            )
    return said


def find_protocol_warnings(evaluated: list[Measured]) -> list[str]:
    """Says in one sentence each entry in which the protocols of the numbers differ."""
    protocols = [each.protocol or {} for each in evaluated]
    said = []
    for key in dict.fromkeys(key for item in protocols for key in item):
        values = list(dict.fromkeys(str(item.get(key, "not given")) for item in protocols))
        if len(values) < 2:
            continue
        shown = ", ".join(values)
        effect = "their numbers do not compare and are ranked apart"
        if key in LOOSE:
            effect = "the last digits may differ"
        said.append(f"the protocols differ in {key} ({shown}): {effect}")
    return said


def average(values: list[float | None]) -> float | None:
    """Returns the mean of the numbers that are there; None without any."""
    found = [value for value in values if value is not None]
    return statistics.fmean(found) if found else None
