"""The rows of the tables in which points and series are saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def append_labels(rows: list[str], label: Tensor | None) -> list[str]:
    """Appends to each row of a table its class, or its attributes one after the other."""
    if label is None:
        return rows
    values = label.flatten(1) if label.ndim > 1 else label[:, None]
    return [
        ",".join([row, *(f"{value:g}" for value in each)])
        for row, each in zip(rows, values.tolist(), strict=True)
    ]


def quote(name: str) -> str:
    """Quotes a name for a CSV file where it must be."""
    if not set(name) & set(',"\n\r'):
        return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
