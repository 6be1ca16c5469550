"""docs/measured.md and conf/measured.json are made of runs, and a finished run is not run again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from helpers import REPO
from report_helpers import changed, evaluated, make_run

from gancli.commands import gallery
from gancli.commands.list import main as list_options_of
from gancli.commands.list import sort_experiments
from gancli.config.compose import compose
from gancli.config.measured import (
    describe_measured,
    describe_processors,
    describe_time,
    describe_values,
    find_forecast,
    read_forecasts,
    read_measured,
)
from gancli.errors import UserError
from gancli.machine import multiplies_bf16
from gancli.precision import resolve_precision
from gancli.run.forecast import count_evaluations

WORDS = ["model=dcgan", "loss=hinge"]


def measured_run(runs: Path, seed: int, *, fd: float, cpu_s: float = 90.0) -> Path:
    """A complete run of `WORDS` as the gallery leaves it."""
    report = evaluated(fd, key="fd_self")
    report["values"] |= {"modes": 10.0, "kl": 0.25}
    folder = make_run(
        runs / gallery.name_cell(WORDS) / f"seed-{seed}",
        config=changed(("seed", seed)),
        evaluation=report,
    )
    session = {"words": WORDS, "seed": seed, "cpu_s": cpu_s, "wall_s": 2 * cpu_s, "threads": 1}
    (folder / gallery.COST).write_text(json.dumps([session | {"date": "2026-01-02"}]))
    return folder


def make(tmp_path: Path, *words: str) -> list:
    places = [f"runs={tmp_path / 'runs'}", f"docs={tmp_path}", f"file={tmp_path / 'made.json'}"]
    places.append(f"forecasts={tmp_path / 'forecasts.json'}")
    assert gallery.main([*words, *places]) == 0
    return read_measured(tmp_path / "made.json")


def test_the_page_is_made_of_the_file():
    page = gallery.write_page(read_measured(), read_forecasts())
    assert (REPO / "docs/measured.md").read_text() == page, (
        "make it: see gancli/commands/gallery.py"
    )
    assert "![gan train](" in page and "![](" not in page, "a picture without words"


def test_every_picture_of_the_page_is_there():
    for entry in read_measured():
        assert (REPO / "docs/gallery" / entry["picture"]).is_file(), entry["words"]


def test_runs_become_entries_pictures_and_a_page(tmp_path):
    measured_run(tmp_path / "runs", 0, fd=4.0)
    measured_run(tmp_path / "runs", 1, fd=6.0, cpu_s=150.0)
    (entry,) = make(tmp_path, "run=false")
    assert entry["words"] == WORDS and entry["seeds"] == [0, 1] and entry["steps"] == 40
    assert entry["values"]["fd_self"] == [4.0, 6.0] and entry["cpu_s"] == [90.0, 150.0]
    assert entry["precision"] == "fp32" and entry["processor"] and entry["date"] == "2026-01-02"
    newest = tmp_path / "runs/dcgan-hinge/seed-0/samples/step-00000040.png"
    assert (tmp_path / "gallery/dcgan-hinge.png").read_bytes() == newest.read_bytes()
    page = (tmp_path / "measured.md").read_text()
    how = f"in fp32 with {torch.backends.cpu.get_cpu_capability()}"
    assert "| loss | dcgan |" in page
    assert f"| `hinge` | 5.00 ± 1.41, 10 ± 0 digits, 2 min {how} |" in page
    row = f"| `gan train model=dcgan loss=hinge` | 2 min of one core {how} | fd_self 5.00 ± 1.41,"
    assert row in page
    assert describe_measured(entry).startswith(f"2 min of one core {how}: fd_self 5.00 ± 1.41, ")


def forecast_of(entry: dict, **changes) -> dict:
    """What the run of an entry takes on another processor."""
    found = {"words": entry["words"], "steps": entry["steps"], "cpu_s": 250.0, "step_ms": 6.0}
    found |= {"processor": "AMD EPYC, AVX2", "threads": 1, "precision": "fp32"}
    return found | {"date": "2026-01-02"} | changes


def test_the_time_on_another_processor_stands_beside_the_measured_one(tmp_path):
    measured_run(tmp_path / "runs", 0, fd=4.0)
    (entry,) = make(tmp_path, "run=false")
    entry |= {"precision": "bf16", "processor": "AMD EPYC"}
    other = forecast_of(entry)
    assert describe_time(entry) == "90 s of one core in bf16"
    said = "90 s of one core in bf16, about 4 min in fp32 with AVX2"
    assert describe_time(entry, [other]) == said
    page = gallery.write_page([entry], [other])
    assert f"| `gan train model=dcgan loss=hinge` | {said} |" in page


def test_a_forecast_of_another_recipe_or_for_the_same_processor_is_not_told(tmp_path):
    measured_run(tmp_path / "runs", 0, fd=4.0)
    (entry,) = make(tmp_path, "run=false")
    assert find_forecast([forecast_of(entry, processor="X, AVX9")], entry) is not None
    assert find_forecast([forecast_of(entry, processor="X, AVX9", steps=41)], entry) is None
    assert find_forecast([forecast_of(entry, words=["loss=hinge"])], entry) is None
    assert find_forecast([forecast_of(entry, processor=entry["processor"])], entry) is None


def test_a_forecast_goes_where_a_whole_run_says_more(tmp_path):
    measured_run(tmp_path / "runs", 0, fd=4.0)
    (entry,) = make(tmp_path, "run=false")
    file = tmp_path / "forecasts.json"
    elsewhere = forecast_of(entry, processor="X, AVX9")
    other = forecast_of(entry, words=["experiment=mlp_ring"])
    for old in (forecast_of(elsewhere, steps=41), forecast_of(entry, processor=entry["processor"])):
        file.write_text(json.dumps([forecast_of(entry) | old, other]))
        make(tmp_path, "run=false")
        assert read_forecasts(file) == [other]
    file.write_text(json.dumps([elsewhere, other]))
    shutil.rmtree(tmp_path / "runs")
    measured_run(tmp_path / "runs", 0, fd=4.0, cpu_s=60.0)
    make(tmp_path, "run=false")
    assert len(read_forecasts(file)) == 2, "measured anew, but not on that processor"


def test_a_forecast_is_asked_for_in_place_of_a_run(tmp_path, monkeypatch):
    typed = []

    def run(words, check, **_):
        typed.append(words[1:])
        found = forecast_of({"words": words[3:], "steps": 40})
        return subprocess.CompletedProcess(words, 0, stdout=f"said before\n{json.dumps(found)}\n")

    monkeypatch.setattr(gallery.subprocess, "run", run)
    make(tmp_path, "experiment=mlp_ring,mlp_grid", "forecast=true")
    words = [["experiment=mlp_ring"], ["experiment=mlp_grid"]]
    assert typed == [["-m", "gancli.run.forecast", *each] for each in words]
    found = read_forecasts(tmp_path / "forecasts.json")
    assert sorted(each["words"] for each in found) == sorted(words)


def test_a_forecast_counts_the_start_the_steps_and_the_evaluations():
    words = ["model=mlp", "dataset.limit=200", "metrics.n=64", "trainer.batch_size=8"]
    found = gallery.ask_forecast([*words, "trainer.steps=400", "metrics.every=200"])
    steps_s = 400 * found["step_ms"] / 1000
    assert found["steps"] == 400 and found["step_ms"] > 0
    assert steps_s + 1 < found["cpu_s"] < steps_s + 60
    assert found["threads"] >= 1 and found["precision"] in ("fp32", "bf16")
    assert count_evaluations(400, 200) == 2 and count_evaluations(401, 200) == 3
    assert count_evaluations(400, 0) == 1, "the last one is made anyway"


def test_times_of_experiments_say_whose_they_are(capsys):
    assert list_options_of(["experiment"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == f"experiment ({describe_processors(multiplies_bf16())})"
    assert "takes about 45 s of one core in fp32 with AVX2" in shown, "of one that was not measured"


@pytest.mark.parametrize(
    ("flags", "native"),
    [("fpu avx2 fma", False), ("fpu avx512f avx512_bf16", True), ("amx_bf16 avx512f", True)],
)
def test_bf16_is_read_off_the_flags_of_the_processor(flags, native, tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    info = tmp_path / "cpuinfo"
    info.write_text(f"model name\t: X\nflags\t\t: {flags}\nbugs\t: none\n")
    assert multiplies_bf16(info) is native
    assert multiplies_bf16(tmp_path / "none") is None
    assert ("no bf16" in describe_processors(native)) is not native


def test_bf16_is_what_torch_finds():
    """The rule of trainer.precision=auto, read without torch."""
    native = multiplies_bf16()
    if native is None:
        pytest.skip("the system does not say what the processor can")
    assert native == (resolve_precision("auto", torch.device("cpu")) == "bf16")


def test_forecasts_are_of_the_bundled_experiments_as_they_are():
    assert read_forecasts()
    for found in read_forecasts():
        steps = compose("train", found["words"]).cfg.trainer.steps
        assert found["steps"] == steps, (
            f"{found['words']}: forecast=true in gancli.commands.gallery"
        )


def test_baselines_stand_behind_the_number_of_the_outputs():
    values = {"psnr": [20.0, 22.0], "psnr_source": [12.0, 12.0], "psnr_mean": [11.0, 11.0]}
    assert describe_values(values | {"ssim": [0.5, 0.5]}) == (
        "PSNR 21.0 ± 1.4 dB (copied source 12.0, mean image 11.0), SSIM 0.50 ± 0.00"
    )


def test_what_was_measured_elsewhere_stays(tmp_path):
    measured_run(tmp_path / "runs", 0, fd=4.0)
    (here,) = make(tmp_path, "run=false")
    there = here | {"words": ["experiment=mlp_ring"]}
    older = here | {"seeds": [5]}
    (tmp_path / "made.json").write_text(json.dumps([there, older, {"words": "torn"}]))
    assert make(tmp_path, "run=false") == [there, here]


def test_a_finished_run_is_not_run_again_and_a_stopped_one_goes_on(tmp_path, monkeypatch):
    typed = []

    def run(words, check):
        typed.append(words[3:])
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(gallery.subprocess, "run", run)
    runs = tmp_path / "runs"
    measured_run(runs, 0, fd=4.0)
    stopped = make_run(runs / "dcgan-hinge" / "seed-1", step=20)
    make(tmp_path, "model=dcgan", "loss=hinge", "seeds=0,1,2")
    assert typed[0] == ["train", f"resume={stopped}"]
    new = f"hydra.run.dir={runs / 'dcgan-hinge' / 'seed-2'}"
    assert typed[1] == ["train", *WORDS, "seed=2", new, "log.tensorboard=false"]
    assert len(typed) == 2
    (session,) = json.loads((stopped / gallery.COST).read_text())
    assert session["seed"] == 1 and session["words"] == WORDS and session["cpu_s"] >= 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=dcgan", "lss=hinge"], "'lss=hinge' is not understood"),
        (["loss=hinge,hing"], "there is no loss=hing"),
        (["precision=fp16"], "there is no precision=fp16"),
        (["seeds=abc"], "'abc' is no whole number"),
        (["run=maybe"], "run=maybe is not understood"),
        (["forecast=maybe"], "forecast=maybe is not understood"),
    ],
)
def test_words_that_are_not_understood(words, said):
    with pytest.raises(UserError, match=said):
        gallery.read_request(words)


def test_a_precision_is_a_word_of_each_command():
    request = gallery.read_request(["experiment=mlp_ring,mlp_grid", "precision=fp32"])
    ends = [words[1:] for words in request.cells]
    assert ends == [["trainer.precision=fp32"], ["trainer.precision=fp32"]]
    assert gallery.read_request(["precision=auto"]).cells == [[]]


def test_all_losses_are_those_of_a_discriminator():
    request = gallery.read_request(["model=dcgan,mlp", "loss=all"])
    losses = {words[1] for words in request.cells}
    assert {"loss=hinge", "loss=wgan_gp"} <= losses and "loss=none" not in losses
    assert len(request.cells) == 2 * len(losses)


def test_quick_and_measured_experiments_are_listed_first(tmp_path):
    measured_run(tmp_path / "runs", 0, fd=4.0)
    (entry,) = make(tmp_path, "run=false")
    entries = [
        entry | {"words": ["experiment=slow_small"], "cpu_s": [200.0]},
        entry | {"words": ["experiment=quick_small"]},
    ]
    names = ["paper", "new_small", "slow_small", "quick_small"]
    found = sort_experiments(dict.fromkeys(names, tmp_path), entries)
    assert list(found) == ["quick_small", "slow_small", "new_small", "paper"]
