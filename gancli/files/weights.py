"""Weights as safetensors: tensors by name, and facts about them as JSON in the file's header."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli.errors import UserError, first_line
from gancli.files import atomic
from gancli.files.reading import MOST_BRACKETS, Unreadable, open_file
from gancli.files.safe_load import ONLY_OURS, Damaged

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
KEY = "gancli"  # of the header's metadata: the facts, as JSON
DIGEST = "sha256"  # of the header's metadata: of all tensors; the format itself has no checksum
MOST_FACTS = 4 * 2**20  # characters; a config with a thousand class names has 50,000
INSTALL = "pip install 'gancli[safetensors]'"


def require_library() -> None:
    """Raises UserError where the library that reads and writes the format is not installed."""
    try:
        import safetensors.torch  # noqa: F401 - only to learn whether it is there
    except ImportError as error:
        raise UserError(f"{SUFFIX} files need the library safetensors", INSTALL) from error


def write_weights(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes tensors and facts into one file, whole or not at all.

    The same tensors and facts give the same bytes.

    Args:
        path: The file; its folder exists.
        tensors: By name; two that share memory are both written out.
        facts: Plain values, which JSON can hold.

    Raises:
        UserError: The library is not installed.
        OSError: The disk is full, or does not take it.
    """
    require_library()
    from safetensors.torch import save

    # Copies: the format refuses tensors that share memory, as tied weights do.
    own = {name: tensors[name].detach().cpu().clone().contiguous() for name in sorted(tensors)}
    metadata = {"format": "pt", KEY: json.dumps(facts, sort_keys=True), DIGEST: hash_tensors(own)}
    content = save(own, metadata=metadata)
    atomic.write(path, lambda file: file.write(content))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads tensors and facts of a file that anybody may have made; nothing of it is run.

    Returns:
        The tensors by name, on the CPU, and the facts.

    Raises:
        Damaged: The file is incomplete or altered.
        UserError: It is no file that `write_weights` wrote, or the library is not installed.
    """
    require_library()
    from safetensors import safe_open

    try:
        # Opened once by hand: a pipe or a device must not be waited for.
        open_file(path).close()
    except Unreadable as error:
        raise Damaged(error.message, error.hint) from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "check the path after ckpt="
        ) from error
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            # Copies: the tensors of a mapped file would change with it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        # What a file can make the reader raise has no end
        raise Damaged(f"{path} is damaged: {first_line(error)}") from error
    if KEY not in metadata:
        raise UserError(
            f"{path} holds weights, and not what gancli needs to rebuild their network",
            "give a file that gan export wrote",
        )
    facts = read_facts(metadata[KEY])
    if facts is None:
        raise UserError(f"{path}: the facts in its header cannot be read", ONLY_OURS)
    if metadata.get(DIGEST) != hash_tensors(tensors):
        raise Damaged(f"{path} is damaged: its tensors do not match their checksum")
    return tensors, facts


def read_facts(text: str) -> dict[str, Any] | None:
    """Reads the JSON of a header; None where it is no mapping, too long or too deep."""
    if len(text) > MOST_FACTS or max(text.count("["), text.count("{")) > MOST_BRACKETS * 100:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        facts = json.loads(text)
        return facts if isinstance(facts, dict) else None
    return None


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Computes SHA-256 over names, types, shapes and bytes, in the order of the names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
