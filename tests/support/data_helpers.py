"""Image files for the tests of folders, zip files and the cache."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

FIXED = {"resolution": 8, "channels": 1, "classes": 0}


def picture(
    path: Path, value: int | tuple = 100, *, size=(8, 8), mode: str = "L", **kwargs
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **kwargs)
    return path


def numbered(root: Path, n: int, *, bad: tuple[int, ...] = ()) -> Path:
    """Image i is filled with i; those in `bad` hold no image."""
    for i in range(n):
        picture(root / f"{i:03}.png", i)
        if i in bad:
            (root / f"{i:03}.png").write_bytes(b"")
    return root


def values(decoded) -> list[int]:
    return decoded.images[:, 0, 0, 0].tolist()
