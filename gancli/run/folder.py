"""The folder of one run: made once, held by one process, and found again to resume."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gancli.config.values import show
from gancli.errors import TemporaryFailure, UserError, disk_is_full, unwritable
from gancli.files import atomic, lock, reading, shell
from gancli.files.paths import list_names
from gancli.files.zoo import PREFIX

if TYPE_CHECKING:  # they import torch, and a wrong resume= is told before that
    from omegaconf import DictConfig
    from PIL.Image import Image

    from gancli.evaluation.samples import Report
    from gancli.trainer import Best

log = logging.getLogger("gancli")
WRITTEN = (  # what a training writes in its folder
    "run.lock",
    "run.log",
    "metrics.jsonl",
    "evaluation.json",
    "checkpoints",
    "samples",
    "tensorboard",
    "loggers.json",
    ".hydra",
)
FILES = (
    "run.lock",
    "run.log",
    "metrics.jsonl",
    "evaluation.json",
    "loggers.json",
)  # those that are no folders


def check_writable(folder: Path) -> None:
    """Checks that a training may write in a run folder, and would not write elsewhere.

    Raises:
        UserError: A link leads out of the folder, or a folder stands in the place of a file.
    """
    atomic.refuse_links(folder, WRITTEN)
    atomic.refuse_folders(folder, FILES)


class RunFolder:
    """The paths of a run folder, and the lock that keeps a second process out.

    The lock is held while this object lives.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.lock: TextIO | None = None  # held as long as the run

    def open(self) -> RunFolder:
        """Makes what is missing and takes the lock.

        Raises:
            TemporaryFailure: another process holds the lock.
            UserError: the folder cannot be written.
        """
        check_writable(self.path)
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.samples.mkdir(exist_ok=True)
            file = open(self.path / "run.lock", "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise unwritable(self.path, error, "choose another hydra.run.dir=") from error
        try:
            lock.take(file)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise TemporaryFailure(
                f"{self.path} is in use by {holder}",
                "wait for it, or stop it; it saves before it ends",
            ) from error
        except OSError as error:
            log.warning(
                "%s cannot be locked (%s): see that no other process uses it",
                self.path,
                error.strerror,
            )
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self.lock = file
        self.sweep()
        return self

    def sweep(self) -> None:
        """Drops what a killed process left half-written; who holds the lock is alone here."""
        for folder, pattern in (
            (self.checkpoints, ".tmp-*"),
            (self.samples, ".tmp-*"),
            (self.samples, ".*.png.*.tmp"),  # as 0.1.0 named it
            (self.path, ".tmp-metrics.jsonl-*"),
            (self.path, ".tmp-evaluation.json-*"),
            (self.path / ".hydra", ".tmp-*"),
        ):
            for leftover in folder.glob(pattern):
                leftover.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives the lock back."""
        if self.lock is not None:
            lock.release(self.lock)  # a killed process gives it back too
            self.lock.close()

    def sample(self, step: int) -> Path:
        """Tells where the sample grid of a step lies."""
        return self.samples / f"step-{step:08d}.png"

    def write_sample(self, step: int, image: Image) -> None:
        """Writes the sample grid of a step."""
        from gancli.render.grids import save_png

        save_png(image, self.sample(step))

    def write_beside(self, step: int, suffix: str, data: bytes) -> None:
        """Writes what lies beside the sample grid of a step, such as a text."""
        from gancli.files import atomic

        atomic.write(self.sample(step).with_suffix(suffix), lambda file: file.write(data))

    def write_reference(self, name: str, image: Image) -> None:
        """Writes a picture of the data itself, to lie beside the samples."""
        from gancli.render.grids import save_png

        save_png(image, self.samples / f"{name}.png")

    def find_newest_sample(self) -> Path | None:
        """Finds the newest sample grid; None without any."""
        return max(self.samples.glob("step-*.png"), default=None)

    def write_report(self, report: Report, *, step: int, best: Best | None) -> None:
        """Writes evaluation.json."""
        from gancli.evaluation.samples import save_report

        save_report(self.path / "evaluation.json", report, step=step, best=best)

    @property
    def saved(self) -> bool:
        """Is there a checkpoint to go on from, as far as can be seen?"""
        try:
            return has_checkpoints(self.path)
        except UserError:
            return False


def has_checkpoints(path: Path) -> bool:
    """Does a run live there?

    Raises:
        UserError: That cannot be seen, and a new run must not be put over it.
    """
    return any(name.endswith(".pt") for name in list_names(path / "checkpoints"))


def resume_line(path: Path, trust: tuple[str, ...] = ()) -> str:
    """Writes what to type to go on with a run, whatever its name holds."""
    return f"gan train {run_words('resume', path, trust)}"


def run_words(key: str, path: Path, trust: tuple[str, ...]) -> str:
    """Quotes KEY=PATH for a shell, with the trust= that a run of the user's own code needs."""
    words = [f"{key}={path}"]
    if len(trust) == 1:
        words.append(f"trust={trust[0]}")
    elif trust:
        words.append(f"trust=[{','.join(trust)}]")
    return " ".join(map(shell.quote, words))


def refuse_used(path: Path) -> None:
    """Raises UserError where a run lives already."""
    if has_checkpoints(path):
        raise UserError(
            f"{path} already holds a run",
            f"{resume_line(path)}   continues it; another hydra.run.dir= starts a new one",
        )


def make_new(path: Path, *, exclusive: bool) -> Path:
    """Makes the folder of a new run.

    Args:
        path: Of the folder.
        exclusive: Whether it must not be there yet, empty or not.

    Raises:
        UserError: A run lives there already, or it cannot be made.
    """
    refuse_used(path)
    try:
        path.mkdir(parents=True, exist_ok=not exclusive)
    except OSError as error:
        if disk_is_full(error):
            raise unwritable(path, error) from error
        raise UserError(
            f"{path} cannot be made: {error.strerror}", "choose another hydra.run.dir="
        ) from error
    return path


def find_named(resume: str) -> Path:
    """Finds the run that resume=RUN means. Raises UserError."""
    path = Path(os.path.expanduser(resume))
    if os.path.isdir(path / "checkpoints"):
        return path
    if path.suffix == ".safetensors" and os.path.exists(path):
        raise UserError(
            f"resume={show(resume)} was written by gan export, without what training goes on with: "
            "discriminator and optimizers",
            "give the folder of its run",
        )
    if resume.startswith(PREFIX):
        raise UserError(
            f"resume={show(resume)}: files of the zoo hold the generator alone, and no training "
            "can go on from that",
            "init= starts a new run from its weights: gan train --help; gan list zoo has the "
            "command that trained it",
        )
    inside = path if path.name == "checkpoints" else path.parent
    known = inside.name == "checkpoints" and os.path.exists(path)
    raise UserError(
        f"resume={show(resume)} is no run folder",
        resume_line(inside.parent) if known else "give a folder under outputs/, or resume=auto",
    )


def list_saved_runs(parent: Path) -> list[Path]:
    """Lists the runs in a folder that have saved something, the newest first."""

    def find_last_save(path: Path) -> tuple[int, str]:
        times = [file.stat().st_mtime_ns for file in (path / "checkpoints").glob("*.pt")]
        return max(times, default=0), path.name

    return sorted(filter(has_checkpoints, parent.glob("*")), key=find_last_save, reverse=True)


def normalise_overrides(overrides: list[str]) -> list[str]:
    """Overrides as a set that tells two runs apart: how one was resumed does not."""
    return sorted(item for item in overrides if not item.startswith(("resume=", "trust=")))


def read_start_overrides(path: Path) -> list[str] | None:
    """Reads what a run was started with, None if that is not known."""
    found = read_hydra_file(path, "overrides.yaml")
    return normalise_overrides([str(item) for item in found]) if isinstance(found, list) else None


def read_start_choices(path: Path) -> dict[str, str]:
    """Reads the options that a run was started with, by their groups; {} if they are not known."""
    found = read_hydra_file(path, "hydra.yaml")
    for key in ("hydra", "runtime", "choices"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def read_hydra_file(path: Path, name: str) -> object:
    """Reads a file of .hydra/; None where it is missing or cannot be read.

    The checkpoint alone is enough to resume.
    """
    try:
        return reading.read_yaml(path / ".hydra" / name)
    except reading.Unreadable as error:
        log.warning("%s; it is passed over", error.message)
        return None


def write_hydra(path: Path, *, config: DictConfig, hydra: DictConfig, overrides: list[str]) -> None:
    """Writes the three files that hydra.main would have written, for tools that read them."""
    from omegaconf import OmegaConf

    folder = path / ".hydra"
    try:
        folder.mkdir(exist_ok=True)
        for name, tree in (
            ("config.yaml", config),
            ("hydra.yaml", OmegaConf.create({"hydra": hydra})),
            ("overrides.yaml", OmegaConf.create(list(overrides))),
        ):
            atomic.write_text(folder / name, OmegaConf.to_yaml(tree))
    except OSError as error:
        raise unwritable(path, error, "choose another hydra.run.dir=") from error
