"""gan bench: where the time of a training step goes, alone or beside another loop."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from gancli.config import compose as front
from gancli.config.arguments import refuse_misspelt, refuse_run
from gancli.errors import UserError, did_you_mean
from gancli.machine import wait_briefly

if TYPE_CHECKING:
    from gancli.run.bench import Comparison

PEERS = ("bare", "usual")
USAGE = "gan bench model=dcgan --against usual --json"


class Request(NamedTuple):
    """What is typed behind `gan bench`.

    Attributes:
        words: Overrides, and flags of Hydra's.
        against: The loop to compare with; "" for none.
        as_json: Whether everything is printed as plain data.
        at: The step of a run at which it is measured; None chooses one.
    """

    words: list[str]
    against: str
    as_json: bool
    at: int | None = None


def main(argv: list[str]) -> int:
    """Measures a config.

    Args:
        argv: What is typed behind `gan bench`.

    Raises:
        UserError: The words, the config, the data or the machine do not fit.
    """
    from gancli.run.runlog import keep_early_log

    wait_briefly(os.environ)
    request = read_request(argv)
    if "RANK" in os.environ:
        raise UserError("gan bench measures one process", "start it without torchrun")
    with keep_early_log(), ExitStack() as stack:
        figures = measure(request, stack)
    if request.as_json:
        print(json.dumps(figures, indent=2))
    else:
        print("\n".join(describe_figures(figures)))
    return 0


def read_request(argv: list[str]) -> Request:
    """Takes the flags of its own out of the words. Raises UserError."""
    words = []
    against = ""
    at: int | None = None
    rest = iter(argv)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag not in ("--against", "--at"):
            words.append(word)
            continue
        value = value if equals else next(rest, "")
        if flag == "--at":
            if not value.isdecimal():
                raise UserError(f"--at {value}".rstrip() + " is no step", "as in gan bench --at 0")
            at = int(value)
            continue
        against = value
        if against not in PEERS:
            close = [f"--against {name}" for name in PEERS]
            raise UserError(f"--against {against}".rstrip() + " names no loop", did_you_mean(close))
    others = [word for word in words if word != "--json"]
    refuse_misspelt(others, ("--against", "--at", "--json"))
    return Request(others, against, "--json" in words, at)


class Laps:
    """Seconds of the parts of the start-up, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Times one part."""
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def measure(request: Request, stack: ExitStack) -> dict[str, Any]:
    """Goes through the gates and trains for a while; nothing is kept.

    Args:
        request: What is typed.
        stack: Puts the number of threads back when it closes.

    Returns:
        Plain data, as --json prints it.
    """
    from gancli.files.paths import check_run
    from gancli.render import messages, status
    from gancli.run.own_data import choose_for_data

    laps = Laps()
    with laps.time("compose"):
        words, chosen = choose_for_data(request.words)
        composed = front.compose("train", words)
    if chosen:
        messages.remark(chosen)
    for message in composed.warnings:
        messages.warn(message)
    check_run(composed.cfg)
    refuse_run(composed.cfg.resume, "bench")
    status.say("measuring: loading torch…")
    with laps.time("import_torch"):
        import torch  # noqa: F401  # timed apart from what needs it
    with laps.time("import_gancli"):
        from gancli.config.validate import validate
        from gancli.precision import (
            describe_threads,
            peak_memory,
            resolve_device,
            use_threads,
        )
        from gancli.run import bench, peers
        from gancli.run.failures import explain_errors
        from gancli.run.plan import (
            Plan,
            build_first,
            finish_budget,
            keep_nothing,
            open_data,
            settle_precision,
        )
    status.say("measuring: checking the config…")
    with laps.time("check"):
        config = validate(composed.cfg, typed=composed.overrides)
    stack.enter_context(use_threads(config.trainer.threads))
    device = resolve_device(config.trainer.device)
    advice = describe_threads(config.trainer.threads) if device.type == "cpu" else ""
    if advice:
        messages.remark(advice)
    status.say("measuring: reading the data…")
    with laps.time("data"):
        train, _, stream = open_data(keep_nothing(config), device, trust=None)
    config = finish_budget(config, stream.n)
    status.say("measuring: building the networks…")
    with laps.time("build"):
        game = build_first(Plan(config), stream, device)
        config = settle_precision(config, game)
        at = bench.set_clock(game, config, at=request.at)
        first = copy.deepcopy(game) if request.against else game
        trainer = bench.MeteredTrainer(game, stream, config=config, device=device)
    with explain_errors(config.trainer, device):
        peer: bench.Peer | None = None
        if request.against == "bare":
            batches = trainer.draw_ahead(min(32, -(-stream.n // config.trainer.batch_size)))
            peer = peers.BareLoop(first, batches, config=config, device=device)
        elif request.against == "usual":
            peer = peers.UsualScript(first, train, config=config, device=device)
        surroundings = bench.describe_surroundings(trainer)  # the load without our own
        period = bench.find_period(trainer)
        status.say("measuring: first step…")
        with laps.time("first_step"):
            bench.play_steps(trainer, 1)
        bench.play_steps(trainer, period - 1)
        bench.move_clock(game, config, at)
        step = bench.measure_step(trainer)
        step.memory_bytes = peak_memory(device)
        status.say("measuring: the roofline…", goes_on=True)
        roofline = bench.measure_roofline(device, config.trainer.precision)
        compared: Comparison | None = None
        if peer is not None:
            compared = bench.compare_loops(
                trainer, peer, at=at, period=step.period, steps=step.steps
            )
    seconds = step.ms / 1000
    return {
        "config": {
            "overrides": composed.overrides,
            "batch_size": config.trainer.batch_size,
            "resolution": config.dataset["resolution"],
            "steps": config.trainer.steps,
        },
        "surroundings": surroundings,
        "startup_s": laps.seconds,
        "step": asdict(step)
        | {
            "img_per_s": config.trainer.batch_size / seconds,
            "roofline_gflops": roofline,
            "roofline_share": step.gflop / seconds / roofline,
        },
        "against": None if compared is None else asdict(compared),
    }


def describe_figures(figures: dict[str, Any]) -> list[str]:
    """Returns the lines of the table."""
    from gancli.precision import BUSY, describe_memory

    step = figures["step"]
    around = figures["surroundings"]
    startup = figures["startup_s"]
    total = sum(startup.values())
    config = figures["config"]
    threads = "1 thread" if around["threads"] == 1 else f"{around['threads']} threads"
    late = [f"{name} begins at step {start:,}" for name, start in step["late"].items()]
    where = f"trainer.batch_size={config['batch_size']} dataset.resolution={config['resolution']}"
    busy = around["others"] + around["threads"] > around["cores"] + BUSY
    parts = ", ".join(f"{name.replace('_', ' ')} {s:.2f}" for name, s in startup.items())
    lines = [
        f"config    {' '.join(config['overrides']) or 'the defaults'}, so {where}",
        f"machine   {around['processor']}, {around['cores']} cores, {threads} "
        f"(wait policy {around['wait_policy']}), load {around['load']}"
        + (": others work here, so times are too long; counts hold" if busy else ""),
        f"form      {around['device']} {around['precision']}, {around['layout']}, "
        f"torch {around['torch']}",
        f"start-up  {total:.2f} s: {parts}",
        f"at        step {step['at']:,} of {config['steps']:,}"
        + "".join(f"; {text}" for text in late)
        + ("; --at 0 measures the start" if step["at"] else ""),
        f"step      {step['ms']:.2f} ms, {step['img_per_s']:,.1f} img/s (median of "
        f"{step['rounds']} rounds of {step['steps']} steps)",
        f"work      {step['operations']:,.1f} operations, {step['gflop']:.3g} GFLOP a step; "
        f"{step['roofline_share']:.0%} of {step['roofline_gflops']:,.0f} GFLOP/s, "
        "the best matrix product here",
        f"memory    {describe_memory(step['memory_bytes'])}",
        "",
        f"{'part':10}{'ms a call':>12}{'calls a step':>14}{'ms a step':>12}{'operations':>12}",
    ]
    for name, part in step["parts"].items():
        often = part["calls_per_step"]
        operations = "-" if part["operations"] is None else f"{part['operations']:,.0f}"
        lines.append(
            f"{name:10}{part['ms']:12.2f}{often:14.3g}{part['ms'] * often:12.3f}{operations:>12}"
        )
    compared = figures["against"]
    if compared is None:
        return lines
    return [
        *lines,
        "",
        f"against   {compared['peer']}: {compared['peer_ms']:.2f} ms a step, gancli "
        f"{compared['gancli_ms']:.2f}: {compared['speedup']:.2f} times as fast (median of "
        f"{compared['rounds']} pairs of rounds of {compared['steps']} steps)",
        f"equal     {'; '.join(compared['equal'])}",
        f"differs   {'; '.join(compared['differs'])}",
    ]
