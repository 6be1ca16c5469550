"""Which run won: runs grouped by what differs between their configs, with mean and deviation over seeds."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass

from gancli.errors import UserError
from gancli.hints import did_you_mean, nearest
from gancli.metrics.settings import BEST, better
from gancli.reports.runs import FINISHED, Run, asked, flat

# How a run was started, kept and watched does not change what it learns.
UNIMPORTANT = (
    "seed",
    "name",
    "resume",
    "trust",
    "log.",
    "metrics.",
    "trainer.keep",
    "trainer.save_every",
    "dataset.workers",
    "dataset.root",
)
OWN_SEED = ("seed", "step")  # of a protocol: these may differ between numbers that can be compared
FIRST = ("model", "loss", "dataset")  # in a label
MOST_KEYS = 3
NOTHING = "-"  # of a key that a run does not have
LONGEST = 40  # characters of one value in a label


@dataclass(frozen=True, kw_only=True)
class Metric:
    """key: of evaluation.json's values, or of metrics.jsonl. mode: min, max, or "" where neither is better. why: who chose it."""

    key: str
    mode: str
    why: str

    def better(self, a: float, b: float) -> bool:
        return a > b if self.mode == "max" else a < b

    def sort_key(self, value: float | None) -> float:
        if value is None:
            return math.inf
        return -value if self.mode == "max" else value


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in their seeds alone. counted: (value of the metric) for each run that ended well and has one."""

    label: str
    runs: list[Run]
    metric: Metric

    def counted(self) -> list[tuple[Run, float]]:
        pairs = [
            (run, value_of(run, self.metric.key)) for run in self.runs if run.state in FINISHED
        ]
        return [(run, value) for run, value in pairs if value is not None]

    def values(self) -> list[float]:
        return [value for _, value in self.counted()]

    def mean(self) -> float | None:
        return statistics.fmean(self.values()) if self.values() else None

    def deviation(self) -> float | None:
        """Of the sample (n - 1), over seeds; None for a single one."""
        return statistics.stdev(self.values()) if len(self.values()) > 1 else None

    def best(self) -> tuple[Run, int | None, float] | None:
        """-> (run, step, value) at the best moment of any of its runs."""
        found = [
            (run, *moment)
            for run, _ in self.counted()
            if (moment := best_of(run, self.metric)) is not None
        ]
        return min(found, key=lambda item: self.metric.sort_key(item[2]), default=None)

    def seconds(self) -> float | None:
        return mean_of([run.seconds for run in self.runs if run.state in FINISHED])

    def rate(self) -> float | None:
        return mean_of([run.rate for run in self.runs if run.state in FINISHED])


@dataclass(frozen=True, kw_only=True)
class Board:
    """The whole comparison. groups: best first. failed: runs whose numbers are in no mean. warnings: what makes numbers unequal.
    differing: the keys of the frozen configs that tell the groups apart."""

    metric: Metric
    groups: list[Group]
    failed: list[Run]
    warnings: list[str]
    differing: list[str]

    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]


def build(runs: list[Run], *, by: str = "", mode: str = "") -> Board:
    """Groups and ranks runs. Raises UserError for a `by` that no run has."""
    metric = choose(runs, by=by, mode=mode)
    differing = differing_keys(runs)
    bundles: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: not run.config):  # those that have one first
        bundles.setdefault(identity(run, differing, list(bundles.values())), []).append(run)
    labels = label_all(list(bundles.values()), differing)
    groups = [
        Group(label=label, runs=members, metric=metric)
        for label, members in zip(labels, bundles.values(), strict=True)
    ]
    if metric.mode:
        groups.sort(key=lambda group: metric.sort_key(group.mean()))
    failed = [run for run in runs if run.state not in FINISHED]
    return Board(
        metric=metric,
        groups=groups,
        failed=failed,
        warnings=warnings(runs, groups, metric),
        differing=differing,
    )


def choose(runs: list[Run], *, by: str = "", mode: str = "") -> Metric:
    """The metric to rank by: the user's, else the one that `best` followed, else the nearest thing that was measured."""
    if by:
        key = by.removeprefix("eval/")
        known = sorted({name for run in runs for name in measured(run)})
        if key not in known:
            hint = did_you_mean(nearest(key, known)) or f"there are {', '.join(known)}"
            raise UserError(f"by={by}: no run has such a metric", hint)
        return Metric(key=key, mode=mode or direction(key, runs), why="chosen by by=")
    bests = Counter(run.evaluation["best"]["key"] for run in runs if "best" in run.evaluation)
    evaluated = Counter(key for run in runs for key in run.evaluation.get("values", {}))
    watched = Counter(
        key.removeprefix("eval/")
        for run in runs
        for key in run.curve_keys()
        if key.startswith("eval/")
    )
    losses = Counter(key for run in runs for key in run.curve_keys() if key.endswith("/adv"))
    for found, why in (
        (bests, "the metric that best.pt follows"),
        (evaluated, "the first metric of evaluation.json"),
        (watched, "the first metric measured while training; no run has an evaluation.json"),
    ):
        if found:
            key = favourite(found)
            return Metric(key=key, mode=mode or direction(key, runs), why=why)
    key = favourite(losses) if losses else "d/adv"
    return Metric(
        key=key,
        mode=mode,
        why="no run was evaluated, and a GAN's losses do not say which one is better",
    )


def favourite(found: Counter) -> str:
    """The key that most runs have; among equals the most telling, then the first."""
    most = max(found.values())
    keys = [key for key, count in found.items() if count == most]
    return min(
        keys,
        key=lambda key: next(
            (k for k, start in enumerate(BEST) if key.startswith(start)), len(BEST)
        ),
    )


def direction(key: str, runs: list[Run]) -> str:
    """min, max, or "" where neither is better or nobody knows."""
    for run in runs:
        if run.evaluation.get("best", {}).get("key") == key:
            return run.evaluation["best"]["mode"]
    if all(
        key not in run.evaluation.get("values", {}) and f"eval/{key}" not in run.curve_keys()
        for run in runs
    ):
        return ""  # a loss or a score
    return better(key) or ""


def measured(run: Run) -> list[str]:
    """Every key that `by=` may name for this run."""
    return list(
        dict.fromkeys(
            [
                *run.evaluation.get("values", {}),
                *(key.removeprefix("eval/") for key in run.curve_keys()),
            ]
        )
    )


def curve_of(run: Run, key: str) -> list[tuple[int, float | None]]:
    return run.curve(f"eval/{key}") or run.curve(key)


def value_of(run: Run, key: str) -> float | None:
    """From evaluation.json, which has a protocol; else the last one of training."""
    values = run.evaluation.get("values", {})
    if key in values:
        return values[key]
    return next((value for _, value in reversed(curve_of(run, key)) if value is not None), None)


def best_of(run: Run, metric: Metric) -> tuple[int | None, float] | None:
    """-> (step, value) of the best moment: as noted beside best.pt, else the extreme of the curve."""
    noted = run.evaluation.get("best", {})
    if noted.get("key") == metric.key and noted.get("value") is not None:
        return noted["step"], noted["value"]
    points = [(step, value) for step, value in curve_of(run, metric.key) if value is not None]
    final = run.evaluation.get("values", {}).get(metric.key)
    if not points and final is not None:
        points = [(run.evaluation.get("step"), final)]
    if not points or not metric.mode:
        return points[-1] if points else None
    return min(points, key=lambda point: metric.sort_key(point[1]))


def differing_keys(runs: list[Run]) -> list[str]:
    """Keys of the frozen configs whose values are not the same in all runs that have one; those that matter."""
    settings = [run.settings() for run in runs if run.config]
    keys = dict.fromkeys(key for item in settings for key in item)
    return [
        key
        for key in keys
        if not key.startswith(UNIMPORTANT)
        and any(repr(item.get(key)) != repr(settings[0].get(key)) for item in settings)
    ]


def identity(run: Run, differing: list[str], bundles: list[list[Run]]) -> str:
    """What runs of one group share. A run that left no config belongs to those that were asked for the same."""
    twin = (
        run
        if run.config
        else next((members[0] for members in bundles if request(members[0]) == request(run)), run)
    )
    if not twin.config:
        return request(twin)
    settings = twin.settings()
    return repr([settings.get(key, NOTHING) for key in differing])


def request(run: Run) -> str:
    return repr(sorted(item for item in asked(run).items() if not item[0].startswith(UNIMPORTANT)))


def label_all(bundles: list[list[Run]], differing: list[str]) -> list[str]:
    """A short name for each group: what was asked for differently, or, where that says nothing, what differs in the config."""
    leaders = [members[0] for members in bundles]
    wanted = dict.fromkeys([*FIRST, *(key for run in leaders for key in asked(run))])
    values = {
        key: {setting(run, key) for run in leaders} - {NOTHING}
        for key in wanted
        if not key.startswith(UNIMPORTANT)
    }
    keys = [key for key, found in values.items() if len(found) > 1]
    # Runs that were started elsewhere, or with another version's defaults, may differ in what nobody asked for.
    main = [key for key in keys if key in FIRST]
    told, rest = telling(
        leaders, [key for key in (*keys, *differing) if key not in main], given=main
    )
    if len(keys) <= MOST_KEYS:
        told = list(dict.fromkeys([*keys, *told]))
        rest = []
    labels = [join(run, told, more=bool(set(rest) & set(keys))) for run in leaders]
    if len(set(labels)) < len(labels):
        labels = [f"{label} ({run.name})" for label, run in zip(labels, leaders, strict=True)]
    return [
        label or join(run, list(FIRST), more=False) or run.name
        for label, run in zip(labels, leaders, strict=True)
    ]


def telling(
    leaders: list[Run], keys: list[str], *, given: list[str]
) -> tuple[list[str], list[str]]:
    """-> (the given keys and those that each tell one more group apart, the others)"""
    told = list(given)
    rest = []
    seen = len({tuple(setting(run, key) for key in given) for run in leaders})
    for key in dict.fromkeys(keys):
        n = len({tuple(setting(run, name) for name in [*told, key]) for run in leaders})
        (told if n > seen else rest).append(key)
        seen = max(n, seen)
    return told, rest


def join(run: Run, keys: list[str], *, more: bool) -> str:
    """loss and such by their value alone; more: other things differ too."""
    parts = [
        value if key in FIRST else f"{key}={value}"
        for key in keys
        if (value := setting(run, key)) not in (NOTHING, "None")
    ]
    return " ".join([*parts, *(["..."] if more else [])])


def setting(run: Run, key: str) -> str:
    """What a run has for a key, which may be a group (loss), a value (optimizer.g.lr) or a removal (~loss.clip)."""
    found = run.settings()
    if key in run.choices:
        text = run.choices[key]
    elif key in found:
        text = str(found[key])
    else:
        text = asked(run).get(key, NOTHING)
    return text if len(text) <= LONGEST else "..." + text[3 - LONGEST :]


def warnings(runs: list[Run], groups: list[Group], metric: Metric) -> list[str]:
    """Why numbers that stand side by side may not be comparable."""
    ended = [run for run in runs if run.state in FINISHED]
    evaluated = [run for run in ended if metric.key in run.evaluation.get("values", {})]
    watched = [
        run for run in ended if run not in evaluated and value_of(run, metric.key) is not None
    ]
    lacking = [run.name for run in ended if run not in evaluated and run not in watched]
    found = protocol_warnings(evaluated)
    if evaluated and watched:
        found.append(
            f"not evaluated, so the last value of training stands for them: {', '.join(run.name for run in watched)}"
        )
    if lacking:
        found.append(f"without {metric.key}: {', '.join(lacking)}")
    for group in groups:
        seeds = Counter(str(run.seed) for run in group.runs if run.config)
        twice = [seed for seed, count in seeds.items() if count > 1]
        if twice:
            found.append(
                f"{group.label}: seed {', '.join(twice)} occurs more than once; equal runs do not show the spread"
            )
    return found


def protocol_warnings(evaluated: list[Run]) -> list[str]:
    """One sentence for each entry in which the protocols of evaluation.json differ."""
    protocols = [flat(run.evaluation["protocol"]) for run in evaluated]
    found = []
    for key in dict.fromkeys(key for item in protocols for key in item):
        values = list(dict.fromkeys(str(item.get(key, "not given")) for item in protocols))
        if len(values) > 1 and key.rpartition(".")[2] not in OWN_SEED:
            found.append(
                f"the protocols differ in {key} ({', '.join(values)}): their numbers do not compare"
            )
    return found


def mean_of(values: list[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.fmean(found) if found else None
