"""Counts the dispatched operations of a training step of every model, in the tests' small form.

`python tests/support/bench_operations.py out=counts.json` counts; with
before=OTHER.json the table that it prints, in Markdown, has that file's figures beside its own.
Counts have no noise, so any machine and any load will do; on a GPU they decide where a step is
short.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from helpers import CPU, SMALL, small, trainer_for

from gancli.config.run_config import RunConfig
from gancli.run import bench

PRECISIONS = ("fp32", "bf16")


def count(model: str, precision: str) -> dict[str, float]:
    """Counts the operations of a step by part, on average over a period."""
    config = small(model, f"trainer.precision={precision}", "trainer.device=cpu")
    made = trainer_for(config)
    trainer = bench.MeteredTrainer(
        made.game, made.stream, config=RunConfig.from_plain(config), device=CPU
    )
    at = bench.set_clock(trainer.game, trainer.config)
    period = bench.find_period(trainer)
    bench.play_steps(trainer, period)
    bench.move_clock(trainer.game, trainer.config, at)
    counter = bench.OperationCounter()
    with counter:
        trainer.play_measured(counter, period)
    return {part: n / period for part, n in counter.operations.items()}


def main(words: list[str]) -> None:
    """Counts, writes and prints."""
    given = dict(word.split("=", 1) for word in words)
    before = json.loads(Path(given["before"]).read_text()) if "before" in given else {}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for model in SMALL:
        found[model] = {precision: count(model, precision) for precision in PRECISIONS}
        cells = [f"`{model}`"]
        for precision in PRECISIONS:
            now = f"{sum(found[model][precision].values()):,.0f}"
            old = before.get(model, {}).get(precision)
            cells.append(f"{sum(old.values()):,.0f}" if old else "-")
            cells.append(now)
        print("| " + " | ".join(cells) + " |", flush=True)
    if "out" in given:
        Path(given["out"]).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
