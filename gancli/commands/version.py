"""gan --version: what runs here, said within a moment; torch is looked up, not imported."""

from __future__ import annotations

import ctypes.util
import platform
import sys
from importlib import metadata
from pathlib import Path

from gancli import __version__

DRIVER = Path("/proc/driver/nvidia/version")  # of NVIDIA's driver for Linux


def main(_argv: list[str]) -> int:
    """Prints what runs here."""
    print(describe_version())
    return 0


def describe_version() -> str:
    """Returns the lines of `gan --version`: gancli, Python, torch, and the device."""
    system = f"{platform.system()} {platform.machine()}"
    return "\n".join(
        [
            f"gan {__version__}",
            f"Python {platform.python_version()} on {system}",
            f"torch {find_version('torch')}, torchvision {find_version('torchvision')}",
            f"device {describe_device()}",
        ]
    )


def find_version(package: str) -> str:
    """Reads a package's version from what its installer wrote."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def describe_device() -> str:
    """Says which device trainer.device=auto will take, as far as it can be known without torch."""
    if "+cpu" in find_version("torch"):
        return "cpu (this torch knows no other)"
    if sys.platform == "darwin":
        return "mps (Apple's GPU)" if platform.machine() == "arm64" else "cpu"
    driver = DRIVER.is_file() if sys.platform == "linux" else ctypes.util.find_library("nvcuda")
    if driver:
        return "cuda (there is an NVIDIA driver; gan check tries a few steps on it)"
    return "cpu (there is no NVIDIA driver)"
