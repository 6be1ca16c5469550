"""How an error or a warning meets the user: one panel on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys

from gancli.errors import GanError, Problems


def show_error(error: GanError) -> None:
    """Prints what is wrong and what to type instead on stderr; every problem of a `Problems` is listed."""
    problems = error.problems if isinstance(error, Problems) else [(error.message, error.hint)]
    title = "gan" if len(problems) == 1 else f"gan: {len(problems)} problems"
    if sys.stderr.isatty():
        _panel(title, problems)
    else:
        print(_plain(title, problems), file=sys.stderr)


def warn(message: str) -> None:
    """One line on stderr for what works but is probably not meant."""
    print(f"gan: warning: {message}", file=sys.stderr)


def _numbers(problems: list[tuple[str, str]]) -> list[str]:
    return [""] if len(problems) == 1 else [f"{i}. " for i in range(1, len(problems) + 1)]


def _plain(title: str, problems: list[tuple[str, str]]) -> str:
    if len(problems) == 1:
        lines = [f"{title}: {problems[0][0]}", *problems[0][1].splitlines()]
        return "\n  ".join(lines)
    lines = [title]
    for number, (message, hint) in zip(_numbers(problems), problems, strict=True):
        lines += [f"  {number}{message}", *(f"     {line}" for line in hint.splitlines())]
    return "\n".join(lines)


def _panel(title: str, problems: list[tuple[str, str]]) -> None:
    # Imported here: rich costs 50 ms, which a command that has nothing to complain about should not pay.
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    text = Text()  # never markup: messages quote the user's brackets
    for number, (message, hint) in zip(_numbers(problems), problems, strict=True):
        text.append("\n" if text else "").append(number + message, style="bold")
        for line in hint.splitlines():
            text.append("\n" + " " * len(number) + line)
    Console(stderr=True, highlight=False).print(
        Panel(text, title=title, title_align="left", border_style="red")
    )
