"""gan report: one page about one run that needs no network."""

from __future__ import annotations

from pathlib import Path

from gancli.errors import UserError


def main(argv: list[str]) -> int:
    from gancli.reports import markup, single
    from gancli.reports.folders import is_run, is_sweep
    from gancli.reports.runs import read_run
    from gancli.reports.tables import say

    folder, out = read(argv)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder", "gan report outputs/<model>-<dataset>/<stamp>")
    if not is_run(folder):
        if is_sweep(folder):
            raise UserError(f"{folder} is a sweep", f"gan compare {folder}")
        raise UserError(
            f"{folder} is no run",
            "give a folder that gan train wrote; it has checkpoints/ and metrics.jsonl",
        )
    page = out / "report.html" if out.is_dir() else out
    document = single.document(read_run(folder))
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        markup.write(page, document)
    except OSError as error:
        raise UserError(
            f"{page} cannot be written: {error.strerror or error}", "choose another out=FILE"
        ) from error
    say(f"page: {page}")
    return 0


def read(argv: list[str]) -> tuple[Path, Path]:
    """-> (run folder, where the page goes)"""
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
