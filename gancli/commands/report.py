"""gan report: one page about one run that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gancli.commands.endings import after_training, say_end, translates, trust_words
from gancli.errors import UserError, unwritable
from gancli.files import atomic, shell
from gancli.files.paths import add_ending
from gancli.files.zoo import find_zoo_file, is_zoo_file
from gancli.render import messages, status
from gancli.run.resume import find_untrusted_packages

if TYPE_CHECKING:
    from gancli.reports.runs import Run


def main(argv: list[str]) -> int:
    """Writes the page. Raises UserError where there is no run, or the page cannot be written."""
    from gancli.reports import markup, single
    from gancli.reports.folders import is_run, is_sweep
    from gancli.reports.runs import read_run

    folder, out = read(argv)
    if is_zoo_file(Path(find_zoo_file(str(folder)))):
        raise UserError(
            f"{folder} is a trained generator without its run: there are no curves",
            f"gan evaluate ckpt={folder}",
        )
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder", "gan report outputs/<model>-<dataset>/<stamp>")
    if not is_run(folder):
        if is_sweep(folder):
            raise UserError(f"{folder} is a sweep", f"gan compare {folder}")
        raise UserError(
            f"{folder} is no run",
            "give a folder that gan train wrote; it has checkpoints/ and metrics.jsonl",
        )
    page = out / "report.html" if out.is_dir() else add_ending(out, ".html")
    atomic.refuse_links(folder, ["report.html"])
    status.say("reading the run…")
    run = read_run(folder)
    for note in run.notes:
        messages.warn(note)
    document = single.write_document(run)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        markup.write_page(page, document)
    except OSError as error:
        raise unwritable(page, error, "choose another out=FILE") from error
    say_end(str(page), next_words(run))
    return 0


def next_words(run: Run) -> list[str]:
    """Chooses the command that a reader of the page may want next.

    Go on, measure, or draw; of a run that saved nothing, the same again.
    """
    from gancli.reports import single

    trust = find_untrusted_packages(run.config)
    if not run.config:
        return shell.split(single.format_command(run))
    if run.state == "running":
        return ["gan", "show", str(run.folder)]
    if run.step < run.steps:
        return ["gan", "train", f"resume={run.folder}", *trust_words(trust)]
    if not run.evaluation.get("values") and not run.evaluations:
        return ["gan", "evaluate", f"ckpt={run.folder}", *trust_words(trust)]
    return after_training(run.folder, trust, translates=translates(run.config))


def read(argv: list[str]) -> tuple[Path, Path]:
    """Reads the words behind `gan report`.

    Returns:
        The run folder, and where the page goes.

    Raises:
        UserError: Not one run, or a flag.
    """
    targets = [word for word in argv if not word.startswith(("out=", "-"))]
    flags = [word for word in argv if word.startswith("-")]
    if flags:
        raise UserError(f"gan report has no {flags[0]}", "gan report RUN [out=FILE]")
    if len(targets) != 1:
        hint = f"gan compare {' '.join(targets)}" if targets else "gan report RUN"
        raise UserError("give one run" if targets else "which run?", hint)
    folder = Path(targets[0]).expanduser()
    out = next(
        (word.removeprefix("out=") for word in reversed(argv) if word.startswith("out=")), ""
    )
    return folder, Path(out).expanduser() if out else folder
