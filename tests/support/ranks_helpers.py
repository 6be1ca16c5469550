"""Ranks started one by one, as torchrun would."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from train_helpers import ENV


def start_ranks(
    folder: Path, *by_rank: tuple[str, ...], timeout_s: int = 60, program=("-m", "gancli")
):
    """The ranks as torchrun starts them, but on their own: their exit codes are seen, and nobody
    ends one for another.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank, words in enumerate(by_rank):
        env = ENV | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(len(by_rank)),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
            "GANCLI_RANK_TIMEOUT": str(timeout_s),
        }
        command = [sys.executable, *program, *words]
        ranks.append(
            subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return ranks


def finish(ranks, *, within_s: float = 60) -> list[tuple[int, str, str]]:
    """-> (exit code, stdout, stderr) of each.

    Whoever is still there then is killed, and shown with its signal.
    """
    until = time.monotonic() + within_s
    found = []
    for rank in ranks:
        try:
            out, err = rank.communicate(timeout=max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.kill()
            out, err = rank.communicate()
        found.append((rank.returncode, out, err))
    return found
