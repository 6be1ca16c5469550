"""Series: closed forms of what is drawn, windows that do not leak, files and their faults."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch

from gancli.cli import main
from gancli.data.base import split
from gancli.data.series import Ar1, SeriesFiles, Sines, Sunspots
from gancli.data.series_files import read_series
from gancli.errors import UserError


def test_sines_have_the_mean_of_their_formula():
    source = Sines(n=20_000).settled()
    decoded = source.load()
    assert decoded.images.shape == (20_000, 5, 24, 1) and decoded.images.dtype == torch.float32
    mean = source.modality().restore(decoded.images).mean((0, 1))[:, 0]
    t = torch.arange(1, 24, dtype=torch.float64)
    a = 0.1
    exact = 0.5 + ((a * t).sin() + math.sin(a) - (a * t + a).sin()) / (2 * a * a * t)
    assert mean[1:].double() == pytest.approx(exact.tolist(), abs=2e-3)
    assert mean[0].item() == pytest.approx(0.52498, abs=1e-3)


def test_ar1_has_its_closed_forms():
    source = Ar1(n=5_000, phi=0.8, sigma=2.0, channels=3, resolution=[30, 1]).settled()
    x = source.modality().restore(source.load().images).double()
    variance = 4 / (1 - 0.64)
    assert x.shape == (5_000, 3, 30, 1) and x.var().item() == pytest.approx(variance, rel=0.02)
    for k in (1, 5):
        assert (x[:, :, k:] * x[:, :, :-k]).mean().item() / variance == pytest.approx(
            0.8**k, abs=0.02
        )
    assert (x[:, 0] * x[:, 1]).mean().abs() / variance < 0.02
    assert torch.equal(Ar1(n=9).load().images, Ar1(n=9).load().images)
    assert not torch.equal(Ar1(n=9).load().images, Ar1(n=9, data_seed=1).load().images)


def test_sunspots_are_bundled():
    source = Sunspots(length=24).settled()
    decoded = source.load()
    assert decoded.images.shape == (286, 1, 24, 1) and source.names == ["SUNACTIVITY"]
    assert decoded.images.min() == -1 and decoded.images.max() == 1
    real = source.modality().restore(decoded.images)
    assert real[0, 0, :2, 0].tolist() == pytest.approx([5, 11], abs=1e-4)
    assert source.scan() == {} and source.holdout == 0


@pytest.mark.parametrize("stride", [1, 3])
def test_no_window_to_train_on_shares_a_step_with_a_held_out_one(tmp_path, stride):
    lines = ["id,x"] + [f"{k},{1000 * k + t}" for k in range(4) for t in range(50)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    source = SeriesFiles(
        path=str(tmp_path / "a.csv"), group="id", length=8, stride=stride, holdout=20
    ).settled()
    train, held = split(source.load(), limit=None, holdout=20)
    restore = source.modality().restore
    assert len(held) == 20 and len(train) > 20
    steps = [set(restore(part.images).round().flatten().tolist()) for part in (train, held)]
    assert not steps[0] & steps[1]
    few, same = split(source.load(), limit=5, holdout=20)
    assert len(few) == 5 and torch.equal(same.images, held.images)


def test_csv_of_any_width_with_labels(tmp_path):
    names = [f"f{k}" for k in range(7)]
    rows = [
        ";".join([*(f"{k * 10 + t * t * (k + 1)}" for k in range(7)), "ab"[t // 30]])
        for t in range(60)
    ]
    (tmp_path / "a.csv").write_text("\n".join([";".join([*names, "kind"]), *rows]))
    source = SeriesFiles(path=str(tmp_path / "a.csv"), label="kind", length=10).settled()
    decoded = source.load()
    assert source.channels == 7 and source.names == names and source.classes == 2
    assert decoded.classes == ("a", "b") and decoded.labels.bincount().tolist() == [21, 21]
    assert decoded.images.amax((0, 2, 3)).tolist() == [1] * 7
    back = source.modality().restore(decoded.images)
    assert back[0, :, 0, 0].tolist() == pytest.approx([10 * k for k in range(7)], abs=1e-4)


def test_ts_and_npz_and_what_gan_sample_writes(tmp_path):
    (tmp_path / "a.ts").write_text(
        "#c\n@timeStamps false\n@classLabel true 1 2\n@data\n1,2,3:4,5,6:1\n3,2,1:6,5,4:2\n"
    )
    source = SeriesFiles(path=str(tmp_path / "a.ts")).settled()
    decoded = source.load()
    assert decoded.images.shape == (2, 2, 3, 1) and decoded.labels.tolist() == [0, 1]
    written = source.modality().export(decoded.images, decoded.labels)
    (tmp_path / "b.npz").write_bytes(written["series.npz"])
    (tmp_path / "b.csv").write_bytes(written["series.csv"])
    again = SeriesFiles(path=str(tmp_path / "b.npz")).load()
    assert torch.equal(again.images, decoded.images)
    assert again.labels.tolist() == [0, 1]
    table = SeriesFiles(
        path=str(tmp_path / "b.csv"), group="series", label="label", columns=["x0", "x1"]
    )
    assert torch.equal(table.load().images, decoded.images)


def test_a_column_that_counts_the_steps_is_left_out_with_a_note(tmp_path):
    cases = {
        "date,load": [f"2020-01-{t + 1:02},{t * t}" for t in range(9)],
        "load,Year": [f"{t * t},{1900 + t * t}" for t in range(9)],
        ",load": [f"{t},{t * t}" for t in range(9)],
        "minutes,load": [f"{5 * t},{t * t}" for t in range(9)],
    }
    file = tmp_path / "a.csv"
    for head, rows in cases.items():
        file.write_text("\n".join([head, *rows]))
        table = read_series(str(file), columns=None, label=None, group=None)
        assert table.names == ("load",), head
        assert len(table.remarks) == 1 and "is left out" in table.remarks[0]
    both = read_series(str(file), columns=["minutes", "load"], label=None, group=None)
    assert both.names == ("minutes", "load") and not both.remarks
    # A run that was made when it was a feature reads it again
    known = read_series(str(file), columns=None, label=None, group=None, names=["minutes", "load"])
    assert known.names == ("minutes", "load")
    kept = {"time,b": [f"{t % 3},{t * t}" for t in range(9)], "t": [f"{t}" for t in range(9)]}
    for head, rows in kept.items():
        file.write_text("\n".join([head, *rows]))
        table = read_series(str(file), columns=None, label=None, group=None)
        assert table.names == tuple(head.split(",")) and not table.remarks


@pytest.mark.parametrize("width", [1, 2, 7, 40])
@pytest.mark.parametrize("head", [True, False])
def test_a_csv_of_any_width_needs_no_key(tmp_path, width, head):
    rows = [",".join(f"{math.sin(t * (k + 1)):.4f}" for k in range(width)) for t in range(40)]
    names = [",".join(f"v{k}" for k in range(width))] if head else []
    (tmp_path / "a.csv").write_text("\n".join([*names, *rows]))
    source = SeriesFiles(path=str(tmp_path / "a.csv")).settled()
    assert source.channels == width and source.load().images.shape == (17, width, 24, 1)


def test_what_gan_sample_writes_is_read_without_a_key(tmp_path):
    source = Sines(n=6, channels=2, resolution=[7, 1]).settled()
    made = source.load().images
    labels = torch.tensor([0, 0, 1, 1, 1, 0])
    for label in (labels, None):
        written = source.modality().export(made, label)["series.csv"]
        (tmp_path / "series.csv").write_bytes(written)
        again = SeriesFiles(path=str(tmp_path / "series.csv")).settled()
        decoded = again.load()
        restored = again.modality().restore(decoded.images)
        assert torch.allclose(restored, source.modality().restore(made), atol=1e-6)
        assert again.names == ["x0", "x1"] and again.classes == (0 if label is None else 2)
        assert label is None or torch.equal(decoded.labels, label)


@pytest.mark.parametrize(
    ("text", "keys", "words"),
    [
        ("a,b\n1,2\n3\n", {}, "line 3: 1 values"),
        ("a,b\n1,2\n3,nan\n", {}, "line 3, b: a value is missing"),
        ("a,b\n1,2\n3,\n", {}, "line 3, b: a value is missing"),
        ("a,b\n1,2\n3,inf\n", {}, "line 3, b: inf is not finite"),
        ("a;b\n1,5;2\n3,5;4\n", {}, "line 2, a: '1,5' has a decimal comma"),
        ("a,b\n1,2\n3,red\n", {}, "line 3, b: 'red' is no number"),
        ("a,b\n1,2\n1,3\n", {}, "a is 1 everywhere"),
        ("a,b\n1,2\n3,4\n", {"length": 5}, "line 2: the longest series has 2 steps"),
        ("a,b\n1,2\n", {}, "has 1 steps"),
        ("a,b\n1,2\n3,4\n", {"columns": ["c"]}, "no column 'c'"),
        ("a,a\n1,2\n3,4\n", {}, "line 1: two columns are named 'a'"),
        ("a,b\n", {}, "names and no numbers"),
        ("", {}, "is empty"),
        ("a,b\n1,2\n3,4\n", {"holdout": 3, "length": 2}, "leaves none"),
    ],
)
def test_faults_name_the_file_and_the_line(tmp_path, text, keys, words):
    file = tmp_path / "a.csv"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        SeriesFiles(path=str(file), **keys).load()
    assert words in caught.value.message and caught.value.hint
    if "holdout" not in keys:
        assert str(file) in caught.value.message


def test_faults_of_arrays(tmp_path):
    values = np.ones((3, 4, 2))
    values[1, 2, 0] = np.nan
    buffer = io.BytesIO()
    np.savez(buffer, series=values)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=r"series\[1,2,0\]: nan is not finite"):
        SeriesFiles(path=str(tmp_path / "a.npz")).load()


@pytest.mark.parametrize(
    "values",
    [{"kind": "image"}, {"resolution": 24}, {"n": 0}, {"flip": True}, {"scale": 0.0}],
)
def test_impossible_values(values):
    with pytest.raises(UserError):
        Sines(**values)


def test_a_model_is_shown_for_series_that_are_not_there(capsys):
    assert main(["show", "model=mlp", "dataset=series"]) == 0
    shown = capsys.readouterr()
    said = shown.out + shown.err
    assert "dataset.resolution=[24, 1]" in said and "dataset.scale=1.0" in said
