"""gan check: everything that gan train would do up to its first steps, and a forecast of the rest; nothing is kept."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path

from gancli import config as front
from gancli.commands.endings import say_end

TIMED_STEPS = 3


def main(argv: list[str]) -> int:
    from gancli.runlog import early_log

    with early_log():  # notes and warnings look as they do at the start of a run
        return check(argv)


def check(argv: list[str]) -> int:
    import torch

    from gancli import panels
    from gancli.builder import build_game
    from gancli.commands.failures import explained
    from gancli.commands.train import check_first_batch, describe_plan, finish_budget, open_data
    from gancli.display import duration
    from gancli.precision import peak_memory, resolve_device
    from gancli.restoration import judge_for
    from gancli.trainer import Trainer
    from gancli.validate import validate

    composed = front.compose("train", argv)
    for message in composed.warnings:
        panels.warn(message)
    config = validate(composed.cfg)
    print(f"plan      {describe_plan(composed)}", flush=True)
    device = resolve_device(config["trainer"]["device"])
    started = time.perf_counter()
    train, held, stream = open_data(config, device, trust=None)
    finish_budget(config, stream.n)
    print(
        f"data      {stream.n:,} images in {time.perf_counter() - started:.1f} s, {len(train.skipped)} skipped"
    )
    game = build_game(config, trust=None)
    check_first_batch(game, stream)
    with explained(config, device):
        judge = judge_for(game, train=train, held=held, config=config, device=device)
        trainer = Trainer(game, stream, judge, config=config, device=device)
        seconds = measure(trainer, warm_up=game.n_critic)
    settings = config["trainer"]
    print(
        f"step      {seconds * 1000:.0f} ms, {settings['batch_size'] / seconds:.0f} img/s on {settings['device']} {settings['precision']}"
        f" (mean of {TIMED_STEPS} rounds of {game.n_critic})"
    )
    print(f"memory    {peak_memory(device) / 1e9:.2f} GB at most")
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    files = (
        min(settings["keep"], -(-settings["steps"] // settings["save_every"])) + 2
    )  # the best, and the newest while it is written
    disk = files * buffer.getbuffer().nbytes
    free = shutil.disk_usage(existing(composed.run_dir)).free
    print(
        f"forecast  {settings['steps']:,} steps in {duration(seconds * settings['steps'])}, "
        f"{disk / 1e6:.0f} MB of checkpoints ({free / 1e9:.0f} GB free)"
    )
    if disk > free:
        panels.warn(
            "the disk has less room than that: lower trainer.keep, or choose another hydra.run.dir="
        )
    say_end("", ["gan", "train", *argv])
    return 0


def measure(trainer, *, warm_up: int) -> float:
    """Seconds a step, generator's turn included, after one round to warm up. The generator moves every `warm_up` steps."""
    for _ in range(warm_up):
        trainer.step()
    trainer.read_flags(wait=True)
    started = time.perf_counter()
    for _ in range(TIMED_STEPS * warm_up):
        trainer.step()
    trainer.read_flags(wait=True)  # waits for the device
    return (time.perf_counter() - started) / (TIMED_STEPS * warm_up)


def existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() else existing(path.parent)
