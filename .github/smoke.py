"""What a new user does first, on any system: python .github/smoke.py, with gancli installed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

SHORT = ("model=mlp", "trainer.precision=fp32", "metrics=none")
COMMANDS = (
    ("--version",),
    ("--help",),
    ("list", "model"),
    ("completion", "bash"),
    ("show", "model=dcgan"),
    ("train", *SHORT, "trainer.steps=2", "hydra.run.dir=runs/first"),
    ("train", "resume=runs/first", "trainer.steps=4"),
    ("sample", "ckpt=runs/first", "n=4", "out=images of mine"),
    ("report", "runs/first"),
    ("show", "runs/first"),
    ("config", "copy", "model/mlp"),
    ("train", "--config-dir", "my_conf", "model=my_mlp", *SHORT[1:], "trainer.steps=2"),
    ("train", "-m", *SHORT, "trainer.steps=2", "seed=1,2", "hydra.sweep.dir=runs/sweep"),
    ("compare", "runs/sweep"),
)
FILES = (
    "runs/first/checkpoints/last.pt",
    "runs/first/report.html",
    "images of mine/grid.png",
    "my_conf/model/my_mlp.yaml",
    "runs/sweep/compare.html",
)


def main() -> int:
    """Runs the commands in a folder of their own; returns how many went wrong."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="gancli smoke ", ignore_cleanup_errors=True) as place:
        for words in COMMANDS:
            print("$ gan", *words, flush=True)
            done = subprocess.run([sys.executable, "-m", "gancli", *words], cwd=place, check=False)
            if done.returncode != 0:
                print(f"exit code {done.returncode}: gan {' '.join(words)}", flush=True)
                wrong += 1
        for name in FILES:
            if not Path(place, name).is_file():
                print(f"missing: {name}", flush=True)
                wrong += 1
    print(f"{wrong} of {len(COMMANDS) + len(FILES)} went wrong" if wrong else "all went well")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
