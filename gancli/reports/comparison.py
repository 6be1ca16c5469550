"""The page of a comparison: leaderboard, curves, samples side by side, and what differs."""

from __future__ import annotations

import gancli
from gancli.render.display import duration
from gancli.reports.curves import (
    COLOURS,
    Series,
    average_curves,
    choose_slot,
    draw_chart,
    draw_key,
    draw_strips,
    find_point,
    smooth_points,
)
from gancli.reports.explained import explain_name, name_panels, write_legend, write_panel_heads
from gancli.reports.leaderboard import Board, Group, Metric, describe_setting, find_curve
from gancli.reports.markup import (
    Html,
    Node,
    format_figure,
    format_two_digits,
    make_fold,
    make_page,
    make_section,
    make_table,
    make_tag,
)
from gancli.reports.pictures import make_data_uri, pick_evenly
from gancli.reports.runs import FINISHED, Run
from gancli.reports.tables import format_runs

MOST_PICTURES = 24
FIRST_CHARTS = 12
MOST_THIN = 6  # groups
SHARED = 0.7  # processes beside a run's own threads, on average, from which its speed says little
DASH = "\u2013"


def write_document(board: Board, *, title: str, unstarted: int = 0) -> str:
    """Writes the whole page as text. unstarted: jobs of a sweep that were never begun."""
    slots = {
        id(run): choose_slot(index)
        for index, group in enumerate(board.groups)
        for run in group.runs
    }
    return make_page(
        f"{title} - gan compare",
        write_heading(board, title, unstarted),
        show_leaders(board),
        draw_curves(board),
        show_samples(board, slots),
        list_failures(board, unstarted),
        list_differences(board),
        list_runs(board, slots),
        list_protocols(board),
        write_legend(
            [
                board.metric.key,
                *(key for run in board.runs() for key in run.curve_keys()),
                "time",
                "img/s",
            ],
            own={name: line for run in board.runs() for name, line in run.own.items()},
        ),
        write_footer(board),
    )


def write_heading(board: Board, title: str, unstarted: int) -> list[Node]:
    """Writes the top of the page: what is compared, by what, and how many runs there are."""
    runs = board.runs()
    metric = board.metric
    way = {"max": "larger is better", "min": "smaller is better"}.get(
        metric.mode, "which does not rank them"
    )
    text = (
        f"{count_words(len(runs), 'run')} in {count_words(len(board.groups), 'group')}, "
        f"by {metric.key}: {way} ({metric.why})."
    )
    text += f" {count_words(len(board.failed), 'run')} did not end well." if board.failed else ""
    text += f" {count_words(unstarted, 'job')} never began." if unstarted else ""
    return [
        make_tag(
            "header",
            make_tag("p", "gan compare", at={"class": "kind"}),
            make_tag("h1", title),
            make_tag("p", text, at={"class": "lead"}),
        ),
        [make_tag("p", warning, at={"class": "warning"}) for warning in board.warnings],
    ]


def count_words(n: int, noun: str) -> str:
    """Counts something in words: "1 run", "2 runs"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def show_leaders(board: Board) -> Html:
    """Shows the groups, best first; each with the newest picture of its best run."""
    metric = board.metric
    strips = draw_strips(
        [(group.values(), group.mean(), choose_slot(k)) for k, group in enumerate(board.groups)]
    )
    spread = any(strips)
    pictures = [draw_thumbnail(group) for group in board.groups[:MOST_PICTURES]]
    pictures += [None] * (len(board.groups) - len(pictures))
    pictured = any(pictures)
    rows = [
        [
            DASH if rank is None else make_tag("b", str(rank)),
            *([pictures[k]] if pictured else []),
            draw_key(group.label, choose_slot(k)),
            format_runs(group),
            make_tag("b", format_group(group)),
            *([strips[k] or ""] if spread else []),
            format_best(group),
            [format_time(group.seconds()), mark_shared(group.runs)],
            format_rate(group.rate()),
        ]
        for k, (rank, group) in enumerate(zip(board.ranks(), board.groups, strict=True))
    ]
    head = [
        "#",
        *(["best run"] if pictured else []),
        "group",
        "runs",
        explain_name(metric.key),
        *(["spread"] if spread else []),
        "best",
        explain_name("time"),
        explain_name("img/s"),
    ]
    wide = len(head)
    numeric = [2 + pictured, 3 + pictured, wide - 3, wide - 2, wide - 1]
    note = (
        "Mean and standard deviation (n \u2212 1) over the seeds of a group, of runs that ended "
        "well; time and speed alike."
    )
    if any(was_shared(run) for run in board.runs()):
        note += " * shared the machine with other work: its time and speed do not compare."
    if len(board.protocols) > 1:
        note += " Groups of different protocols are ranked apart: [A], [B], ..."
    return make_section("Leaderboard", make_table(head, rows, numeric=numeric), note=note)


def draw_thumbnail(group: Group) -> Html | None:
    """Draws the newest sample grid of a group's best run; None where it has no picture."""
    run = find_leading_run(group)
    samples = run.samples()
    source = make_data_uri(samples[-1][1], side=96) if samples else None
    if source is None:
        return None
    return make_tag(
        "img", at={"class": "thumbnail", "src": source, "alt": f"samples of {run.name}"}
    )


def find_leading_run(group: Group) -> Run:
    """Finds the best run of a group; where none has a number, the first."""
    best = group.best()
    return best[0] if best is not None else group.runs[0]


def was_shared(run: Run) -> bool:
    """Did other processes want the cores that the run used? False where the run does not know."""
    threads = run.about.get("threads")
    return run.load is not None and isinstance(threads, int) and run.load > threads + SHARED


def describe_sharing(run: Run) -> str:
    """Says, for one run, how far others shared its processor."""
    if run.load is None:
        return ""
    return f"{'shared the machine, ' if was_shared(run) else ''}load {run.load:.1f}"


def mark_shared(runs: list[Run]) -> str:
    """Puts a star where a run shared its processor, so that its times say little."""
    return " *" if any(was_shared(run) for run in runs) else ""


def format_group(group: Group) -> str:
    """Writes a mean with its deviation: "12.3 ± 0.4"."""
    deviation = group.deviation()
    return format_figure(group.mean()) + (
        f" \u00b1 {format_two_digits(deviation)}" if deviation is not None else ""
    )


def format_best(group: Group) -> Node:
    """Writes the best value of a group and its step."""
    best = group.best()
    return DASH if best is None or not group.metric.mode else format_moment(best[1:])


def format_moment(best: tuple[int | None, float]) -> list[Node]:
    """Writes a value and the step at which it was measured."""
    step, value = best
    return [
        format_figure(value),
        make_tag("small", f" at step {step:,}") if isinstance(step, int) else None,
    ]


def format_time(seconds: float | None) -> str:
    """Seconds as hours, minutes and seconds; a dash for none."""
    return DASH if seconds is None else duration(seconds)


def format_rate(rate: float | None) -> str:
    """Writes images a second; a dash for none."""
    if rate is None:
        return DASH
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def draw_curves(board: Board) -> Html | None:
    """Draws a chart for each logged number, with a line for each group."""
    keys = order_names(
        list(dict.fromkeys(key for run in board.runs() for key in run.curve_keys())), board.metric
    )
    figures = [draw_group_chart(name, board) for name in keys]
    charts = [figure for figure in figures if figure is not None]
    if not charts:
        return None
    names = [draw_key(group.label, k) for k, group in enumerate(board.groups[:COLOURS])]
    others = len(board.groups) - COLOURS
    colours = make_tag(
        "p",
        names,
        draw_key(f"{count_words(others, 'other group')}", -1) if others > 0 else None,
        at={"class": "legend"},
    )
    more = (
        make_fold(
            f"{len(charts) - FIRST_CHARTS} more",
            make_tag("div", charts[FIRST_CHARTS:], at={"class": "charts"}),
        )
        if len(charts) > FIRST_CHARTS
        else None
    )
    few = len(board.groups) <= MOST_THIN
    lines = (
        "A thin line is a run, a bold one the mean of its group"
        if few
        else "A line is the mean of a group"
    )
    note = (
        f"{lines}, smoothed by medians where it has many points; over steps. A ring marks the "
        "best step of a group."
    )
    weighted = [name for name in keys if any(run.weighted_until(name) for run in board.runs())]
    if weighted:
        note += (
            f" {', '.join(weighted)}: lines that an older gancli has written are times weight and "
            "interval, and do not compare with the others."
        )
    return make_section(
        "Curves",
        colours,
        make_tag("div", charts[:FIRST_CHARTS], at={"class": "charts"}),
        more,
        note=note,
    )


def order_names(keys: list[str], metric: Metric) -> list[str]:
    """Orders names: the metric of the board, other metrics, losses, the rest."""
    first = (f"eval/{metric.key}", metric.key)
    return sorted(
        keys,
        key=lambda name: (
            name not in first,
            not name.startswith("eval/"),
            not name.endswith("/adv"),
        ),
    )


def find_best_on_curve(group: Group) -> tuple[int, float] | None:
    """Finds the best moment of a group, if it is a point of its metric's curve."""
    best = group.best()
    if best is None:
        return None
    run, step, value = best
    return find_point((step, value), find_curve(run, group.metric.key))


def draw_group_chart(name: str, board: Board) -> Html | None:
    """Draws the chart of one number: the runs of a group faint, their mean bold."""
    metric = board.metric
    followed = name in (f"eval/{metric.key}", metric.key) and metric.mode
    series = []
    for index, group in enumerate(board.groups):
        lines = [(run, run.curve(name)) for run in group.runs if run.curve(name)]
        ring = find_best_on_curve(group) if followed else None
        ended = [points for run, points in lines if run.state in FINISHED]
        mean = smooth_points(average_curves(ended)) if ended else []
        if ended:
            series.append(
                Series(
                    name=f"{group.label}, mean",
                    points=mean,
                    slot=choose_slot(index),
                    weight="bold",
                    mark=ring,
                )
            )
        if len(board.groups) <= MOST_THIN or not ended:  # more of them would hide each other
            series += [
                Series(
                    name=f"{group.label}, {run.name}",
                    points=points,
                    slot=choose_slot(index),
                    weight="faint",
                )
                for run, points in lines
                if points != mean
            ]
    return draw_chart(name, series, log=name.startswith("eval/"))


def show_samples(board: Board, slots: dict[int, int]) -> Html | None:
    """Shows the newest grid of each run; of the best run of each group where there are too many."""
    runs = [run for run in board.runs() if run.samples()]
    if len(runs) > MOST_PICTURES:
        leading = [find_leading_run(group) for group in board.groups]
        runs = pick_evenly([run for run in leading if run.samples()], MOST_PICTURES)
    groups = {id(run): group for group in board.groups for run in group.runs}
    drawn = [show_picture(run, groups[id(run)], slots[id(run)], board.metric) for run in runs]
    figures = [figure for figure in drawn if figure is not None]
    if not figures:
        return None
    figures += show_reals(runs)
    return make_section(
        "Samples",
        make_tag("div", figures, at={"class": "pictures"}),
        note="The newest grid of each run: "
        + (
            "the same images each time, held out of training where there are some."
            if any(name_panels(run) for run in runs)
            else "its fixed latents."
        ),
    )


def show_reals(runs: list[Run]) -> list[Html]:
    """Shows real images, once for each data set, since every run of it was shown the same."""
    found = {}
    for run in runs:
        path = run.real()
        data = str(run.about.get("hash", ""))
        if path is not None and data not in found:
            source = make_data_uri(path, side=400)
            if source is not None:
                found[data] = source
    return [
        make_tag(
            "figure",
            make_tag(
                "figcaption",
                make_tag("b", "Real images"),
                make_tag("small", "of the training data"),
            ),
            make_tag("img", at={"src": source, "alt": "real images", "loading": "lazy"}),
            at={"class": "picture real"},
        )
        for source in list(found.values())[:4]
    ]


def show_picture(run: Run, group: Group, index: int, metric: Metric) -> Html | None:
    """Shows the newest samples of a run with its value; None where there is no sound picture."""
    step, path = run.samples()[-1]
    source = make_data_uri(path, side=400)
    if source is None:
        return None
    value = group.value(run)
    words = [
        f"seed {run.seed}",
        f"step {step:,}",
        *([f"{metric.key} {format_figure(value)}"] if value is not None else []),
    ]
    image = make_tag(
        "img", at={"src": source, "alt": f"samples of {run.name} at step {step}", "loading": "lazy"}
    )
    return make_tag(
        "figure",
        make_tag("figcaption", draw_key(group.label, index), make_tag("small", ", ".join(words))),
        write_panel_heads(run),
        image,
        at={"class": "picture"},
    )


def list_failures(board: Board, unstarted: int) -> Html | None:
    """Lists the runs that are in no mean, with their reasons, and jobs that never began."""
    if not board.failed and not unstarted:
        return None
    labels = {id(run): group.label for group in board.groups for run in group.runs}
    rows: list[list[Node]] = [
        [run.name, labels[id(run)], show_state(run), run.reason] for run in board.failed
    ]
    listed = make_table(["run", "group", "state", "how it ended"], rows) if rows else None
    missing = (
        make_tag(
            "p", f"{count_words(unstarted, 'job')} of the sweep never began.", at={"class": "note"}
        )
        if unstarted
        else None
    )
    return make_section("Did not end well", listed, missing, note="Their numbers are in no mean.")


def show_state(run: Run) -> Html:
    """Shows the state of a run as a coloured word."""
    return make_tag("span", run.state, at={"class": "state " + run.state.replace(" ", "-")})


def list_differences(board: Board) -> Html | None:
    """Lists what differs between the configs of the groups; None where there is nothing to tell."""
    if not board.differing or len(board.groups) < 2:
        return None
    rows = [
        [make_tag("code", name), *(describe_setting(group.runs[0], name) for group in board.groups)]
        for name in board.differing
    ]
    head = ["key of the frozen config", *(group.label for group in board.groups)]
    return make_section(
        "What differs",
        make_fold(
            f"{count_words(len(rows), 'key')} of the configs", make_table(head, rows, plain=True)
        ),
    )


def list_runs(board: Board, slots: dict[int, int]) -> Html:
    """Writes the table of all runs."""
    rows: list[list[Node]] = []
    for group in board.groups:
        for run in group.runs:
            best = group.best_moment(run) if board.metric.mode else None
            rows.append(
                [
                    draw_key(run.name, slots[id(run)]),
                    str(run.seed if run.seed is not None else DASH),
                    show_state(run),
                    f"{run.step:,} of {run.steps:,}" if run.steps else DASH,
                    format_figure(group.value(run)),
                    format_moment(best) if best else DASH,
                    [format_time(run.seconds), mark_shared([run])],
                    format_rate(run.rate),
                ]
            )
    head = [
        "run",
        "seed",
        "state",
        "saved step",
        explain_name(board.metric.key),
        "best",
        explain_name("time"),
        explain_name("img/s"),
    ]
    folders = make_tag("pre", "\n".join(str(run.folder) for run in board.runs()))
    return make_section(
        "Runs", make_table(head, rows, numeric=[1, 3, 4, 5, 6, 7]), make_fold("Folders", folders)
    )


def write_footer(board: Board) -> Html:
    """Writes the end of the page: which gancli wrote it."""
    return make_tag("footer", make_tag("p", f"gancli {gancli.__version__}"))


def list_protocols(board: Board) -> Html | None:
    """Lists what the numbers of the board were measured with; a column for each protocol."""
    if not board.protocols:
        return None
    each = [found.protocol or {} for found in board.protocols.values()]
    names = dict.fromkeys(name for item in each for name in item)
    several = len(each) > 1
    heads = [
        f"[{letter}] {found.source}" if several else found.source
        for letter, found in board.protocols.items()
    ]
    rows: list[list[Node]] = []
    for name in names:
        differs = len({item.get(name) for item in each}) > 1
        rows.append(
            [make_tag("b", name) if differs else name, *(item.get(name, DASH) for item in each)]
        )
    return make_section(
        "Protocol",
        make_fold(
            f"{count_words(len(rows), 'entry')} of the protocol{'s' * several}".replace(
                "entrys", "entries"
            ),
            make_table(["", *heads], rows, plain=True),
        ),
    )
