"""The commands of docs/sources.md, typed in their order on files of the kinds that it names."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shlex
import tarfile

import numpy as np
import pytest
from helpers import REPO
from PIL import Image

from gancli.cli import main

PAGE = (REPO / "docs" / "sources.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.S | re.M)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
QUICK = ("trainer.steps=1", "trainer.device=cpu", "trainer.precision=fp32", "dataset.resolution=8")
NEEDS = {"table.parquet": "pyarrow", "saved": "pyarrow", "database": "lmdb"}
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), np.uint8)


def png(k: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS[k]).save(file, "PNG")
    return file.getvalue()


def write_photos(root):
    rows = ["file,hair,smiling,hat"]
    (root / "photos").mkdir()
    for k in range(60):
        (root / "photos" / f"{k:04}.png").write_bytes(png(k))
        rows.append(f"{k:04}.png,{['black', 'red'][k % 2]},{k % 2},{k // 2 % 2}")
    (root / "photos" / "labels.csv").write_text("\n".join(rows))


def write_parts(root):
    for k in range(20):
        place = root / "parts" / "archive" / ("test" if k % 5 == 0 else "train") / "ab"[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{k}.png").write_bytes(png(k))


def write_arrays(root):
    spans = {"train": slice(40), "val": slice(40, 50), "test": slice(50, 60)}
    arrays = {f"{part}_images": PIXELS[rows] for part, rows in spans.items()}
    arrays |= {f"{part}_labels": np.arange(60)[rows, None] % 2 for part, rows in spans.items()}
    np.savez(root / "medical.npz", **arrays)


def write_shards(root):
    (root / "shards").mkdir()
    for shard in range(3):
        with tarfile.open(root / "shards" / f"{shard:06d}.tar", "w") as tar:
            for k in range(20 * shard, 20 * shard + 20):
                for name, data in ((f"{k}.png", png(k)), (f"{k}.cls", b"%d" % (k % 2))):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def write_tables(root):
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    images = [{"bytes": png(k), "path": None} for k in range(60)]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    }
    table = pyarrow.table({"image": images, "label": [k % 2 for k in range(60)]})
    noted = {"huggingface": json.dumps({"info": {"features": features}})}
    table = table.replace_schema_metadata(noted)
    pyarrow.parquet.write_table(table, root / "table.parquet", row_group_size=10)
    (root / "saved").mkdir()
    with pyarrow.ipc.new_stream(root / "saved" / "data-0.arrow", table.schema) as stream:
        stream.write_table(table)


def write_database(root):
    import lmdb

    place = str(root / "database")
    with lmdb.open(place, map_size=1 << 20) as database, database.begin(write=True) as writer:
        for k in range(60):
            writer.put(b"%04d" % k, png(k))


WRITERS = {
    "photos": write_photos,
    "parts": write_parts,
    "medical.npz": write_arrays,
    "shards": write_shards,
    "table.parquet": write_tables,
    "saved": write_tables,
    "database": write_database,
}


def name_path(command: str) -> str:
    """The file or folder that a command is about."""
    return next(name for name in WRITERS if re.search(rf"[ =]{re.escape(name)}\b", command))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(line, marks=pytest.mark.full if line.startswith("gan train") else ())
        for line in COMMANDS
    ],
)
def test_a_command_of_the_page(command, tmp_path, monkeypatch, capfd):
    path = name_path(command)
    if path in NEEDS:
        pytest.importorskip(NEEDS[path])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    WRITERS[path](tmp_path)
    program, *words = shlex.split(command)
    assert program == "gan"
    words += QUICK if words[0] == "train" else ()
    assert main(words) == 0, capfd.readouterr().err
    shown = capfd.readouterr()
    if words[0] == "data" and path not in ("database", "photos"):
        assert "2 classes, from" in shown.out


def test_the_page_is_about_every_extra_that_it_needs():
    extras = (REPO / "pyproject.toml").read_text()
    for name in re.findall(r"gancli\[(\w+)\]", PAGE):
        assert re.search(rf"^{name} = \[", extras, re.M), name
    assert {name_path(line) for line in COMMANDS} == set(WRITERS)


@pytest.mark.full
@pytest.mark.parametrize("path", WRITERS)
def test_what_is_recommended_trains(path, tmp_path, monkeypatch, capfd):
    if path in NEEDS and importlib.util.find_spec(NEEDS[path]) is None:
        pytest.skip(f"needs {NEEDS[path]}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    WRITERS[path](tmp_path)
    assert main(["train", f"dataset.path={path}", *QUICK, "hydra.run.dir=run"]) == 0
    assert "no model= was typed" in capfd.readouterr().err
    assert main(["train", "resume=run", "trainer.steps=2"]) == 0
