"""The page of one run: how it ended, samples, metrics, curves, config, and how to repeat it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import gancli
from gancli.config.arguments import PATH_KEYS
from gancli.files import shell
from gancli.metrics.baselines import find_measure, list_baselines
from gancli.metrics.settings import better
from gancli.modality import find_noun
from gancli.reports.comparison import DASH, describe_sharing, format_rate, format_time, show_state
from gancli.reports.curves import Series, draw_chart, find_point, smooth_points
from gancli.reports.explained import explain_name, name_panels, write_legend, write_panel_heads
from gancli.reports.leaderboard import Metric, choose_metric, find_best, find_value
from gancli.reports.markup import (
    Html,
    Node,
    format_figure,
    make_fold,
    make_page,
    make_section,
    make_table,
    make_tag,
)
from gancli.reports.pictures import make_data_uri, make_sound_uri, pick_evenly
from gancli.reports.runs import Evaluation, Run, find_asked, flatten, read_yaml

MOST_FRAMES = 48
LONG_LIST = 40  # of a list in the config the page shows so many items
ANIMATION_BYTES = 4_000_000  # of the page; beyond it frames are left out
# What a resumed run may change
AFTERWARDS = (
    "trainer.",
    "log.",
    "dataset.path",
    "dataset.root",
    "dataset.workers",
    "dataset.cache",
)
# Old names of experiments in 0.1.0, and what they are called now
RENAMED_EXPERIMENTS = {
    "acgan_small": "acgan_digits_small",
    "biggan_deep_small": "biggan_deep_digits_small",
    "biggan_small": "biggan_digits_small",
    "cogan_small": "cogan_digits_small",
    "contrad_small": "contrad_digits_small",
    "contragan_small": "contragan_digits_small",
    "enhance_small": "enhance_digits_small",
    "esrgan_x4": "esrgan_photos_x4",
    "grid": "mlp_grid",
    "infogan_small": "infogan_digits_small",
    "inpaint_small": "inpaint_digits_small",
    "lapgan_small": "lapgan_digits_small",
    "pggan_small": "pggan_digits_small",
    "r3gan_small": "r3gan_digits_small",
    "ring": "mlp_ring",
    "sagan_small": "sagan_digits_small",
    "sndcgan_small": "sndcgan_digits_small",
    "sngan_small": "sngan_digits_small",
    "srgan_small": "srgan_digits_small",
    "srgan_x4": "srgan_photos_x4",
    "ssgan_small": "ssgan_digits_small",
    "stacked_mnist": "dcgan_stacked_mnist",
    "stylegan2_auto64": "stylegan2_ada_folder64",
    "stylegan2_small": "stylegan2_digits_small",
    "stylegan_small": "stylegan_digits_small",
    "wgan_resnet_small": "wgan_resnet_digits_small",
}
OWN_FOLDER = ("hydra.run.", "hydra.sweep.", "hydra.mode")  # the repetition gets another


def write_document(run: Run) -> str:
    """Writes the whole page as text."""
    metric = choose_metric([run])
    foot = make_tag(
        "footer", make_tag("p", str(run.folder)), make_tag("p", f"gancli {gancli.__version__}")
    )
    return make_page(
        f"{choose_title(run)} - gan report",
        write_heading(run, metric),
        place_beside(show_animation(run), list_metrics(run, metric)),
        draw_curves(run, metric),
        write_legend(list_shown_names(run), own=run.own),
        show_repetition(run),
        list_config(run),
        list_data(run),
        foot,
    )


def choose_title(run: Run) -> str:
    """Takes what name= says; else what the run is made of; else its folder."""
    given = run.config.get("name")
    return str(given) if given else describe_parts(run) or run.name


def describe_parts(run: Run) -> str:
    """Names the model, the loss and the data set."""
    return "-".join(
        filter(None, (run.choices.get(group) for group in ("model", "loss", "dataset")))
    )


def write_heading(run: Run, metric: Metric) -> list[Node]:
    """Writes the top of the page: the run's name, how it ended, and its tiles."""
    what = choose_title(run)
    about = ", ".join(text for text in (describe_parts(run), run.name) if text and text != what)
    end = make_tag(
        "p", show_state(run), f": {run.reason}" if run.reason else None, at={"class": "lead"}
    )
    return [
        make_tag(
            "header",
            make_tag("p", "gan report", at={"class": "kind"}),
            make_tag("h1", what),
            end,
            make_tag("p", about, at={"class": "lead"}) if about else None,
        ),
        write_tiles(run, metric),
    ]


def write_tiles(run: Run, metric: Metric) -> Html:
    """Writes the run in a few numbers."""
    noun = find_run_noun(run)
    found = [
        ("step", f"{run.step:,}", f"of {run.steps:,}" if run.steps else ""),
        (f"real {noun} seen in training", format_seen(run.nimg), ""),
        ("training time", format_time(run.seconds), describe_sharing(run)),
        (f"{noun} a second", format_rate(run.rate), str(run.about.get("device", ""))),
    ]
    best = find_best(run, metric) if metric.mode else None
    if best is not None:
        step, value = best
        small = f"best {format_figure(value)}" + (
            f" at step {step:,}" if isinstance(step, int) else ""
        )
        found.append((metric.key, format_figure(find_value(run, metric.key)), small))
    parts = [
        [
            make_tag("span", explain_name(TILES.get(name.replace(noun, "images"), name), name)),
            make_tag("b", shown),
            make_tag("small", small) if small else None,
        ]
        for name, shown, small in found
    ]
    return make_tag(
        "div",
        [make_tag("div", part, at={"class": "tile"}) for part in parts],
        at={"class": "tiles"},
    )


# A tile's words -> the number's name in the legend
TILES = {
    "real images seen in training": "nimg",
    "training time": "time",
    "images a second": "img/s",
}


def list_shown_names(run: Run) -> list[str]:
    """Lists the numbers that the page shows."""
    sources = [run.evaluation, *run.evaluations.values()]
    values = [name for each in sources for name in each.get("values", {})]
    return [*values, *run.curve_keys(), *TILES.values()]


def format_seen(nimg: int) -> str:
    """Writes a number of images, thousands as k."""
    return f"{nimg / 1000:,.1f} k" if nimg >= 10_000 else f"{nimg:,}"


def place_beside(left: Html | None, right: Html) -> Html:
    """Places parts side by side where there is room."""
    return right if left is None else make_tag("div", left, right, at={"class": "split"})


def show_animation(run: Run) -> Html | None:
    """Shows the sample grids as frames of one animation; without the script, the last."""
    frames = encode_samples(run)
    if not frames:
        return None
    last = len(frames) - 1
    images = [
        make_tag("img", at={"src": source, "alt": f"step {step:,}", "hidden": k < last})
        for k, (step, source) in enumerate(frames)
    ]
    panels = name_panels(run)
    slider = make_tag(
        "input", at={"type": "range", "min": 0, "max": last, "value": last, "aria-label": "frame"}
    )
    controls = (
        make_tag(
            "div",
            make_tag("button", "Play", at={"type": "button"}),
            slider,
            make_tag("output", f"step {frames[-1][0]:,}"),
            at={"class": "controls"},
        )
        if last
        else None
    )
    left_out = len(run.samples()) - len(frames)
    note = (
        "The same images, held out of training where there are some, at every step: "
        f"{', '.join(panels)}."
        if panels
        else "The same latents at every step."
    ) + (f" {left_out} of {len(run.samples())} grids are left out." if left_out else "")
    kind = "film picture no-script" if controls else "picture"
    return make_section(
        "Samples",
        make_tag("div", write_panel_heads(run), images, controls, at={"class": kind}),
        play_sounds(run),
        show_reals(run),
        note=note,
    )


def play_sounds(run: Run) -> Html | None:
    """Players of the sounds of the newest samples and of the first ones; None without."""
    found = []
    samples = [(step, path.with_suffix(".wav")) for step, path in run.samples()]
    heard = [(step, path) for step, path in samples if path.is_file()]
    for step, path in dict.fromkeys([*heard[-1:], *heard[:1]]):
        source = make_sound_uri(path)
        if source is not None:
            player = make_tag("audio", at={"src": source, "controls": True, "preload": "metadata"})
            caption = make_tag(
                "figcaption",
                make_tag("b", f"Step {step:,}"),
                make_tag("small", "the first samples, one after the other"),
            )
            found.append(make_tag("figure", caption, player, at={"class": "sound"}))
    return make_tag("div", found) if found else None


def show_reals(run: Run) -> Html | None:
    """Shows real images beside the samples."""
    path = run.real()
    source = make_data_uri(path, side=512) if path is not None else None
    if source is None:
        return None
    return make_tag(
        "figure",
        make_tag(
            "figcaption", make_tag("b", "Real images"), make_tag("small", "of the training data")
        ),
        make_tag("img", at={"src": source, "alt": "real images", "loading": "lazy"}),
        at={"class": "picture real"},
    )


def encode_samples(run: Run) -> list[tuple[int, str]]:
    """Turns evenly spaced sample grids into addresses, as many as the page may hold.

    The last one is worth most.

    Returns:
        (step, address) of each.
    """
    frames: list[tuple[int, str]] = []
    size = 0
    for step, path in reversed(pick_evenly(run.samples(), MOST_FRAMES)):
        source = make_data_uri(path, side=512)
        if source is not None and (not frames or size + len(source) <= ANIMATION_BYTES):
            size += len(source)
            frames.insert(0, (step, source))
    return frames


def list_metrics(run: Run, metric: Metric) -> Html:
    """Lists what training measured, and what gan evaluate did later: each with its own protocol."""
    best = run.evaluation.get("best")
    if not run.evaluation.get("values") and not run.evaluations:
        line = (
            [make_tag("code", f"gan evaluate ckpt={shell.quote(str(run.folder))}"), " does it."]
            if run.config
            else None
        )
        return make_section(
            "Metrics", make_tag("p", "Not evaluated. ", line), list_unmeasured(run.evaluation)
        )
    chosen = (
        make_tag(
            "p",
            f"best.pt follows {best['key']} ({describe_direction(best['mode'])}): "
            f"{format_figure(best['value'])} at step {best['step']}.",
            at={"class": "note"},
        )
        if best
        else None
    )
    several = len(run.evaluations) + bool(run.evaluation.get("values")) > 1
    note = "Numbers of different protocols do not compare." if several else None
    return make_section(
        "Metrics",
        list_evaluation(run.evaluation, metric, "while training"),
        chosen,
        [list_evaluation(found, metric, name) for name, found in run.evaluations.items()],
        note=note,
    )


def describe_direction(mode: str) -> str:
    """Says which way is better."""
    return {"min": "lower is better", "max": "higher is better"}.get(mode, "")


def list_evaluation(found: Evaluation, metric: Metric, source: str) -> Sequence[Node]:
    """Lists the numbers of one evaluation.

    What held-out real images reach in place of samples gives a distance its scale; what the copied
    source and the mean image reach in place of outputs does so for pairs.
    """
    if not found.get("values"):
        return list_unmeasured(found)
    values = found["values"]
    baselines = list_baselines(values)
    reals = found.get("reals") or {}
    own = found.get("own", {})
    rows = [
        [
            make_tag("b", explain_name(name, own=own))
            if name == metric.key
            else explain_name(name, own=own),
            format_figure(value),
            *(format_figure(values.get(f"{name}_{ending}")) for ending in baselines),
            *([format_figure(reals.get(name))] if reals else []),
            own[name].better
            if name in own
            else describe_direction(better(name) or "").removesuffix(" is better"),
        ]
        for name, value in values.items()
        if not find_measure(name, values)
    ]
    beside = [*baselines.values(), *(["held-out reals"] if reals else [])]
    head = ["metric", "value", *beside, "better"]
    step = f" at step {found['step']:,}" if isinstance(found.get("step"), int) else ""
    protocol = [[name, str(value)] for name, value in flatten(found.get("protocol", {})).items()]
    return [
        make_tag(
            "h3", f"Measured {source}{step}" if source == "while training" else f"{source}{step}"
        ),
        make_table(head, rows, numeric=range(1, len(head) - 1), plain=True),
        *list_unmeasured(found),
        make_fold("Protocol", make_table(["", ""], protocol, plain=True)) if protocol else None,
    ]


def list_unmeasured(found: Evaluation) -> list[Html]:
    """Writes a line for each metric that was skipped."""
    return [
        make_tag("p", f"{name} was skipped: {why}", at={"class": "note"})
        for name, why in found.get("skipped", {}).items()
    ]


def draw_curves(run: Run, metric: Metric) -> Html | None:
    """Losses of all players share a picture, and so do the scores of reals and fakes."""
    bundles: dict[str, list[str]] = {}
    for name in sorted(run.curve_keys(), key=lambda name: not name.startswith("eval/")):
        bundles.setdefault(choose_bundle(name), []).append(name)
    best = find_best(run, metric) if metric.mode else None
    charts: list[Html | None] = []
    for title, names in bundles.items():
        ring = None
        if names[0] in (metric.key, f"eval/{metric.key}"):
            ring = find_point(best, run.curve(names[0]))
        lines = []
        for k, name in enumerate(names):
            points = run.curve(name)
            smooth = smooth_points(run.curve(name))
            lines.append(Series(name=name, points=smooth, slot=k, mark=ring))
            lines += (
                [Series(name=name, points=points, slot=k, weight="faint")]
                if smooth != points
                else []
            )
        charts.append(
            draw_chart(title, lines, legend=len(names) > 1, log=title.startswith("eval/"))
        )
    shown = [figure for figure in charts if figure is not None]
    note = "Over steps. A curve of many points is drawn thin, with its medians above it."
    note += "".join(f" {sentence}" for sentence in describe_weighted(run))
    return (
        make_section("Curves", make_tag("div", shown, at={"class": "charts"}), note=note)
        if shown
        else None
    )


def describe_weighted(run: Run) -> list[str]:
    """Says which curves of a run begin with the weight in them, as older versions logged them."""
    until: dict[int, list[str]] = {}
    for name in run.curve_keys():
        until.setdefault(run.weighted_until(name), []).append(name)
    return [
        f"Up to step {step:,}, written by an older gancli, {', '.join(names)} "
        f"{'is' if len(names) == 1 else 'are'} times weight and interval."
        for step, names in until.items()
        if step
    ]


def choose_bundle(name: str) -> str:
    """Chooses the picture in which a number's curve is drawn."""
    head, _, last = name.rpartition("/")
    if last == "adv":
        return "losses"
    return f"scores of {head}" if last in ("real", "fake") else name


def show_repetition(run: Run) -> Html:
    """Shows the command that repeats the run, and where it ran."""
    seen = run.about
    place = ", ".join(
        f"{name} {seen[name]}"
        for name in ("device", "threads", "world", "torch", "gancli")
        if name in seen
    )
    note = f"It ran with {place}; another of these may change the last bits." if place else None
    return make_section("Run it again", make_tag("pre", format_command(run)), note=note)


def format_command(run: Run) -> str:
    """Writes what to type for the same run in a new folder, quoted for a shell.

    It is what was typed then, with what a resume changed since.
    """
    kept = read_yaml(run.folder / ".hydra" / "config.yaml")
    started = flatten(kept) if isinstance(kept, dict) else {}
    now = run.settings()
    changed = {
        key: value
        for key, value in now.items()
        if key.startswith(AFTERWARDS)
        and key in started
        and started[key] != value
        and not str(started[key]).startswith(("auto", "${"))
    }
    if now.get("trainer.epochs") is not None:
        changed.pop("trainer.steps", None)  # it follows from the epochs
    flags = find_flags(run.folder)
    words = [
        format_override(rename_experiment(item, flags))
        for item in run.overrides
        if not item.startswith(OWN_FOLDER)
        and item.lstrip("+").partition("=")[0] not in ("resume", "trust", *changed)
    ]
    words += [f"{key}={format_value(value)}" for key, value in changed.items()]
    return " ".join(["gan train", *flags, *map(shell.quote, words)])


def rename_experiment(item: str, flags: Sequence[str]) -> str:
    """Writes the name that an experiment of 0.1.0 has now, unless the user has one of that name.

    Args:
        item: An override as it was typed.
        flags: What `find_flags` found: where the user's own configs are.
    """
    key, _, name = item.partition("=")
    words = [word for flag in flags for word in shell.split(flag)]
    own = any(Path(word, "experiment", f"{name}.yaml").exists() for word in words)
    if key.lstrip("+") != "experiment" or own:
        return item
    return f"{key}={RENAMED_EXPERIMENTS.get(name, name)}"


def format_override(item: str) -> str:
    """Writes an override as one types it.

    A path that was quoted for Hydra is quoted again when it is read.
    """
    key, _, value = item.partition("=")
    plain = re.fullmatch(r"'([\w./~+-]+)'", value) if key in PATH_KEYS else None
    return f"{key}={plain[1]}" if plain else item


def format_value(value: object) -> str:
    """Writes a plain value as Hydra's override grammar reads it back."""
    from hydra.core.override_parser.types import Quote, QuotedString

    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and not value.isidentifier():
        return QuotedString(value, Quote.single).with_quotes()
    return str(value)


def find_flags(folder: Path) -> list[str]:
    """Picks the flags that find the user's own configs again, as Hydra noted them."""
    node = read_yaml(folder / ".hydra" / "hydra.yaml")
    if not isinstance(node, dict):
        return []
    try:
        runtime = node["hydra"]["runtime"]
        job = node["hydra"]["job"]
        found = [
            f"--config-dir {shell.quote(source['path'])}"
            for source in runtime["config_sources"]
            if source["provider"] == "user"
        ]
        name = str(job.get("config_name") or "train")
    except (KeyError, TypeError, AttributeError):
        return []
    return found + ([f"--config-name {shell.quote(name)}"] if name != "train" else [])


def list_config(run: Run) -> Html | None:
    """Lists the config, folded by sections."""
    if not run.config:
        return None
    chosen = find_asked(run)
    parts = []
    groups = {
        name: flatten(node, f"{name}.")
        for name, node in run.config.items()
        if isinstance(node, dict)
    }
    rest = {name: node for name, node in run.config.items() if not isinstance(node, dict)}
    for name, items in (groups | {"the rest": rest}).items():
        rows = [
            [make_tag("b", key) if key in chosen else key, make_tag("code", write_value(value))]
            for key, value in items.items()
        ]
        option = run.choices.get(name)
        parts.append(
            make_fold(
                [name, make_tag("small", f" {option}") if option else None],
                make_table(["", ""], rows, plain=True),
            )
        )
    return make_section(
        "Config",
        parts,
        note="As it was frozen in the checkpoint. Bold: asked for on the command line.",
    )


def write_value(value: object) -> str:
    """Writes a value of the config; of a long list, such as the words of a text, the beginning."""
    if isinstance(value, list) and len(value) > LONG_LIST:
        shown = str(value[:LONG_LIST]).removesuffix("]")
        return f"{shown}, … and {len(value) - LONG_LIST:,} more]"
    return str(value)


def find_run_noun(run: Run) -> str:
    """Says what the items of a run's data are called."""
    return find_noun((run.config.get("dataset") or {}).get("kind", "image"))


def list_data(run: Run) -> Html | None:
    """Lists what the run was trained on."""
    about = run.about
    if not about:
        return None
    images = f"{about['n']:,}" if isinstance(about.get("n"), int) else DASH
    rows = [
        [find_run_noun(run), images],
        ["hash", str(about.get("hash", DASH))],
        ["classes", ", ".join(map(str, about.get("classes") or [])) or "none"],
        ["skipped files", str(len(about.get("skipped") or []))],
    ]
    return make_section("Data", make_table(["", ""], rows, plain=True))
