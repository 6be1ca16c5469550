"""gan compare: grouping, numbers, failed runs, and a page of which nothing of its content runs."""

from __future__ import annotations

import csv
import fcntl
import json
import math
import statistics
from pathlib import Path

import pytest
from hostile_run_helpers import EVIL, hostile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_helpers import Page, changed, check_self_contained, evaluated, losses, make_run

from gancli.commands import compare
from gancli.errors import UserError
from gancli.reports import leaderboard, markup
from gancli.reports.curves import (
    MOST_POINTS,
    Series,
    average_curves,
    draw_chart,
    find_range,
    smooth_points,
    thin_points,
)
from gancli.reports.folders import count_planned, make_unique_names, read_targets
from gancli.reports.hparams import write_hparams
from gancli.reports.runs import read_lines, read_run

WGAN = (("loss.objective._target_", "gancli.losses.objectives.Wasserstein"), ("loss.n_critic", 5))


@pytest.fixture
def sweep(tmp_path):
    """Two losses, two seeds each; one run failed at once, of another only its folder is left."""
    root = tmp_path / "sweep"
    for k, (loss, seed, value) in enumerate(
        [("hinge", 1, 30.0), ("hinge", 2, 34.0), ("wgan", 1, 20.0), ("wgan", 2, 23.0)]
    ):
        make_run(
            root / f"{k}-{loss}-{seed}",
            config=changed(("seed", seed), *(WGAN if loss == "wgan" else ())),
            overrides=[f"loss={loss}", f"seed={seed}"],
            choices={"loss": loss},
            evaluation=evaluated(value, best=(30, value - 1)),
        )
    make_run(
        root / "4-wgan-3",
        config=changed(("seed", 3), *WGAN),
        saved=False,
        overrides=["loss=wgan", "seed=3"],
        choices={"loss": "wgan"},
        lines=[],
        grids=(),
    )
    make_run(
        root / "5-hinge-3",
        config=changed(("seed", 3)),
        step=20,
        overrides=["loss=hinge", "seed=3"],
        evaluation=None,
    )
    entries = [
        {
            "job": k,
            "folder": str(root / name),
            "overrides": [],
            "state": state,
            "seconds": 1.0,
            "reason": reason,
        }
        for k, (name, state, reason) in enumerate(
            [
                ("0-hinge-1", "done", ""),
                ("1-hinge-2", "done", ""),
                ("2-wgan-1", "done", ""),
                ("3-wgan-2", "done", ""),
                ("4-wgan-3", "failed", "step 2: d/adv is not finite"),
            ]
        )
    ]
    (root / "sweep.jsonl").write_text(
        "".join(json.dumps(entry) + "\n" for entry in entries) + '{"job": 5, "fol'
    )
    (root / "multirun.yaml").write_text(
        json.dumps(
            {
                "hydra": {
                    "sweeper": {
                        "_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
                        "params": None,
                    },
                    "overrides": {
                        "task": ["loss=hinge,wgan", "seed=range(1,5)", "trainer.steps=40"]
                    },
                }
            }
        )
    )
    return root


def board_of(*targets, **options):
    return leaderboard.build_board(read_targets([str(target) for target in targets]), **options)


# grouping and numbers


def test_seeds_share_a_group_whose_mean_deviation_and_best_are_right(sweep):
    board = board_of(sweep)
    assert [(group.label, len(group.runs)) for group in board.groups] == [("wgan", 3), ("hinge", 3)]
    first, second = board.groups
    assert first.values() == [20.0, 23.0] and first.mean() == 21.5
    assert math.isclose(first.deviation(), statistics.stdev([20.0, 23.0]))
    assert (second.best()[0].name, second.best()[1:]) == ("0-hinge-1", (30, 29.0))
    assert (board.metric.key, board.metric.mode) == ("self/frechet", "min")


def test_what_differs_is_found_in_the_frozen_config_and_how_a_run_is_watched_does_not_count(
    tmp_path,
):
    make_run(tmp_path / "a", config=changed(("log.every", 10)))
    make_run(tmp_path / "b", config=changed(("log.every", 99), ("seed", 2)))
    make_run(
        tmp_path / "c",
        config=changed(("optimizer.g.lr", 1e-3), ("seed", 1)),
        overrides=["optimizer.g.lr=1e-3"],
    )
    board = board_of(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert board.differing == ["optimizer.g.lr"]
    assert sorted(group.label for group in board.groups) == [
        "optimizer.g.lr=0.0002",
        "optimizer.g.lr=0.001",
    ]


def test_equal_overrides_but_other_defaults_are_told_apart_by_the_config(tmp_path):
    make_run(tmp_path / "old", config=changed(("loss.n_critic", 1)))
    make_run(tmp_path / "new", config=changed(("loss.n_critic", 2)))
    labels = [group.label for group in board_of(tmp_path / "old", tmp_path / "new").groups]
    assert sorted(labels) == ["loss.n_critic=1", "loss.n_critic=2"]


def test_a_run_that_left_no_checkpoint_joins_the_group_that_was_asked_for_the_same(sweep):
    group = next(group for group in board_of(sweep).groups if group.label == "wgan")
    assert [run.name for run in group.runs if not run.config] == ["4-wgan-3"]


def test_failed_and_unfinished_runs_are_listed_with_their_reason_and_in_no_mean(sweep):
    board = board_of(sweep)
    assert {run.name: run.state for run in board.failed} == {
        "4-wgan-3": "failed",
        "5-hinge-3": "cut off",
    }
    reasons = {run.name: run.reason for run in board.failed}
    assert "d/adv is not finite" in reasons["4-wgan-3"] and "step 20 of 40" in reasons["5-hinge-3"]
    assert all(len(group.counted()) == 2 for group in board.groups)


def test_an_unfinished_run_is_in_no_mean_although_it_has_a_value(tmp_path):
    make_run(tmp_path / "a", evaluation=evaluated(10.0, key="fid"))
    make_run(
        tmp_path / "b", config=changed(("seed", 2)), step=20, evaluation=evaluated(99.0, key="fid")
    )
    group = board_of(tmp_path / "a", tmp_path / "b").groups[0]
    assert (len(group.runs), group.mean(), group.deviation()) == (2, 10.0, None)
    assert group.seconds() == 4.0  # of the one that ended


def test_larger_is_better_where_the_metric_says_so(tmp_path):
    for name, value in (("low", 0.2), ("high", 0.9)):
        make_run(
            tmp_path / name,
            config=changed(("optimizer.g.lr", value)),
            overrides=[f"optimizer.g.lr={value}"],
            evaluation=evaluated(value, key="class_accuracy"),
        )
    board = board_of(tmp_path / "low", tmp_path / "high")
    assert board.metric.mode == "max" and board.groups[0].mean() == 0.9
    assert board_of(tmp_path / "low", tmp_path / "high", mode="min").groups[0].mean() == 0.2


@pytest.mark.parametrize(
    ("key", "mode"),
    [
        ("fid", "min"),
        ("fd_self", "min"),
        ("kid", "min"),
        ("kid_std", ""),
        ("precision", "max"),
        ("is", "max"),
        ("modes", "max"),
        ("swd/16", "min"),
        ("high_quality", "max"),
        ("kl", "min"),
        ("class_accuracy", "max"),
        ("my_own", ""),
    ],
)
def test_which_way_is_better_is_known_by_name(tmp_path, key, mode):
    run = read_run(make_run(tmp_path / "run", evaluation=evaluated(1.0, key=key)))
    assert leaderboard.find_direction(key, [run]) == mode


def test_without_an_evaluation_the_last_value_of_training_ranks_and_a_loss_ranks_nothing(tmp_path):
    make_run(tmp_path / "watched", lines=losses(40, **{"eval/fid": 9.0}))
    make_run(tmp_path / "bare")
    assert board_of(tmp_path / "watched").metric.key == "fid"
    board = board_of(tmp_path / "bare")
    assert (board.metric.key, board.metric.mode) == (
        "d/adv",
        "",
    ) and "do not say" in board.metric.why
    assert board_of(tmp_path / "watched", by="eval/fid").groups[0].values() == [9.0]
    assert "g/adv" in board_of(tmp_path / "bare", by="g/adv").metric.key


def test_an_unknown_metric_is_refused_with_the_nearest(sweep):
    with pytest.raises(UserError) as caught:
        board_of(sweep, by="self/frechett")
    assert "self/frechet" in caught.value.hint


def test_numbers_of_different_protocols_are_said_not_to_compare(tmp_path):
    make_run(tmp_path / "a", evaluation=evaluated(1.0, n_fake=1000, seed=5))
    make_run(
        tmp_path / "b", config=changed(("seed", 2)), evaluation=evaluated(2.0, n_fake=5000, seed=6)
    )
    said = board_of(tmp_path / "a", tmp_path / "b").warnings
    assert [text for text in said if "n_fake (1000, 5000)" in text]
    assert not [text for text in said if "seed" in text]


def of(value: float, **protocol) -> dict:
    return evaluated(value, key="swd", **protocol)


def test_numbers_of_different_protocols_are_ranked_apart(tmp_path):
    protocols = {"a": 1000, "b": 1000, "c": 5000, "d": 5000, "e": 1000}
    for k, (name, n) in enumerate(protocols.items()):
        make_run(
            tmp_path / name,
            config=changed(("optimizer.g.lr", k + 1.0)),
            overrides=[f"optimizer.g.lr={k + 1}"],
            evaluation=of(5.0 - k, n_fake=n),
        )
    board = board_of(tmp_path)
    assert [group.runs[0].name for group in board.groups] == ["e", "b", "a", "d", "c"]
    assert board.ranks() == [1, 2, 3, 1, 2]
    assert [group.protocol for group in board.groups] == ["A", "A", "A", "B", "B"]
    assert "[B]" in board.groups[3].label
    assert any("n_fake (1000, 5000)" in text and "apart" in text for text in board.warnings)


def test_seeds_of_one_group_measured_differently_are_in_no_common_mean(tmp_path):
    for k, n in enumerate((1000, 1000, 5000)):
        make_run(tmp_path / f"{k}", config=changed(("seed", k)), evaluation=of(k + 1.0, n_fake=n))
    board = board_of(tmp_path)
    assert [(group.protocol, group.values()) for group in board.groups] == [
        ("A", [1.0, 2.0]),
        ("B", [3.0]),
    ]


def test_what_another_item_noted_does_not_part_numbers(tmp_path):
    make_run(tmp_path / "a", evaluation=of(1.0, swd="8 patches", device="cpu", not_finite=3))
    more = {"kernel": "100 subsets", "classifier_checksum": "ab", "backbone": "self"}
    make_run(
        tmp_path / "b",
        config=changed(("seed", 2)),
        evaluation=of(2.0, swd="8 patches", device="cuda", **more),
    )
    board = board_of(tmp_path)
    assert len(board.protocols) == 1 and board.groups[0].values() == [1.0, 2.0]
    assert any("device (cpu, cuda): the last digits" in text for text in board.warnings)
    make_run(tmp_path / "c", config=changed(("seed", 3)), evaluation=of(2.0, swd="9 patches"))
    assert len(board_of(tmp_path).protocols) == 2


def test_a_later_evaluation_ranks_only_where_all_have_it_or_it_is_asked_for(tmp_path):
    full = {"full-n9": of(0.5, n_fake=9)}
    make_run(tmp_path / "a", evaluation=of(2.0), evaluations=full)
    make_run(tmp_path / "b", config=changed(("optimizer.g.lr", 1.0)), evaluation=of(1.0))
    board = board_of(tmp_path)
    assert [group.mean() for group in board.groups] == [1.0, 2.0] and not board.warnings
    asked = board_of(tmp_path, protocol="full-n9")
    assert asked.groups[0].mean() == 0.5 and "without swd: b" in " ".join(asked.warnings)
    with pytest.raises(UserError) as caught:
        board_of(tmp_path, protocol="full-n8")
    assert "full-n9" in caught.value.hint
    make_run(
        tmp_path / "c",
        config=changed(("optimizer.g.lr", 2.0)),
        evaluations={"full-n9": of(0.7, n_fake=9)},
    )
    (tmp_path / "b" / "evaluation.json").unlink()
    board = board_of(tmp_path)
    assert [group.mean() for group in board.groups][:2] == [0.5, 0.7]


def test_the_terminal_and_the_files_tell_the_protocol(tmp_path, capsys):
    for name, n in (("a", 1000), ("b", 5000)):
        make_run(
            tmp_path / "runs" / name,
            config=changed(("optimizer.g.lr", n)),
            evaluation=of(1.0, n_fake=n),
        )
    assert compare.main([str(tmp_path / "runs"), f"out={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "[A] training: n_fake 1000" in out and "[B] training: n_fake 5000" in out
    rows = list(csv.DictReader((tmp_path / "compare.csv").open()))
    assert [(row["rank"], row["protocol"]) for row in rows] == [
        ("1", "A training"),
        ("1", "B training"),
    ]
    assert compare.main([str(tmp_path / "runs"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["protocols"]["B"]["protocol"]["n_fake"] == "5000"
    assert [group["protocol"] for group in found["groups"]] == ["A", "B"]


def test_the_same_seed_twice_is_said(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b")
    assert "seed 1 occurs more than once" in " ".join(
        board_of(tmp_path / "a", tmp_path / "b").warnings
    )


# run folders


def test_a_later_session_that_finished_counts_more_than_the_sweeps_note(sweep):
    text = (sweep / "sweep.jsonl").read_text().replace('"state": "done"', '"state": "interrupted"')
    (sweep / "sweep.jsonl").write_text(text)
    assert read_targets([str(sweep)])[0].state == "done"


def test_the_last_words_of_run_log_tell_how_a_run_ended(tmp_path):
    stopped = make_run(
        tmp_path / "a",
        step=20,
        log="2026-01-01T00:00:01Z INFO ended: step 21: the critic is saturated\n",
    )
    failed = make_run(
        tmp_path / "b",
        step=20,
        log="2026-01-01T00:00:01Z ERROR failed at step 21\nTraceback:\n  x\nKeyError: 'a'\n",
    )
    again = make_run(
        tmp_path / "c",
        step=20,
        log="2026-01-01T00:00:01Z INFO ended: SIGTERM: saved\n"
        "2026-01-01T00:00:02Z INFO training from step 20 to 40 in x\n",
    )
    signal = make_run(
        tmp_path / "d",
        step=20,
        log="2026-01-01T00:00:01Z INFO ended: SIGTERM: saved step 20 of 40\n",
    )
    found = [read_run(folder) for folder in (stopped, failed, again, signal)]
    assert [run.state for run in found] == ["stopped", "failed", "cut off", "interrupted"]
    assert "saturated" in found[0].reason and "KeyError" in found[1].reason
    assert found[3].reason == "SIGTERM: saved step 20 of 40"


def test_a_run_that_trains_now_is_running(tmp_path):
    folder = make_run(tmp_path / "a", step=20)
    with (folder / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_run(folder).state == "running"
    assert read_run(folder).state == "cut off"


def test_torn_and_strange_lines_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 20, "nimg": 2, "time": 1, "d/adv": null, "note": "x", "flag": true}\n'
        '[1]\nnull\n{"step": "a"}\n'
        '{"step": 10, "nimg": 1, "time": 0.5, "d/adv": NaN}\n{"step": 30, "nimg": 3, "ti'
    )
    lines = read_lines(path)
    assert [line["step"] for line in lines] == [10, 20]
    assert lines[0]["d/adv"] is None and "note" not in lines[1] and "flag" not in lines[1]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"values": 3, "protocol": [], "best": {"key": 1}, "step": []}', "null"]
)
def test_a_spoilt_evaluation_is_no_evaluation(tmp_path, text):
    folder = make_run(tmp_path / "a")
    (folder / "evaluation.json").write_text(text)
    run = read_run(folder)
    assert not run.evaluation.get("values") and "best" not in run.evaluation and run.state == "done"


def test_a_damaged_checkpoint_makes_a_failed_run_not_a_crash(tmp_path):
    folder = make_run(tmp_path / "a")
    for path in (folder / "checkpoints").glob("*.pt"):
        path.write_bytes(b"PK" + b"\0" * 100)
    run = read_run(folder)
    assert run.state != "done" and run.config == {} and "damaged" in run.reason


def test_a_sweep_is_found_after_it_was_moved(sweep, tmp_path):
    sweep.rename(tmp_path / "elsewhere")
    assert len(read_targets([str(tmp_path / "elsewhere")])) == 6


def test_jobs_that_never_began_are_counted(sweep):
    assert count_planned(sweep) == 8  # 2 losses x range(1,5)
    (sweep / "multirun.yaml").write_text("hydra: {sweeper: {_target_: some.other.Sweeper}}")
    assert count_planned(sweep) is None


def test_names_tell_runs_of_equal_folders_apart(tmp_path):
    names = make_unique_names([tmp_path / "a" / "x", tmp_path / "b" / "x"])
    assert names == ["a/x", "b/x"]


# the command


def test_the_terminal_shows_the_leaderboard_and_the_files_hold_it(sweep, capsys):
    assert compare.main([str(sweep)]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert (
        lines[2].split()[:4] == ["1", "wgan", "2", "of"]
        and "21.5 +- 2.1" in lines[2]
        and "19 @ 30" in lines[2]
    )
    assert "failed: 4-wgan-3" in out and "never began: 2 jobs" in out
    rows = list(csv.DictReader((sweep / "compare.csv").open()))
    assert [(row["rank"], row["group"], float(row["mean"])) for row in rows] == [
        ("1", "wgan", 21.5),
        ("2", "hinge", 32.0),
    ]
    runs = {row["run"]: row for row in csv.DictReader((sweep / "runs.csv").open())}
    assert (
        len(runs) == 6
        and runs["1-hinge-2"]["self/frechet"] == "34.0"
        and runs["4-wgan-3"]["state"] == "failed"
    )


def test_a_sweep_ends_with_the_leaderboard_and_its_page(sweep, capsys):
    ending = compare.finish_sweep(sweep)
    assert ending.done == str(sweep / "compare.html") and Path(ending.done).is_file()
    assert ending.command[:2] == ["gan", "report"] and Path(ending.command[2]).is_dir()
    out = capsys.readouterr().out
    assert "21.5 +- 2.1" in out and "failed:" not in out  # the sweep itself has listed those


def test_json_is_plain_data_and_writes_nothing_unasked(sweep, capsys):
    assert compare.main([str(sweep), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"]["key"] == "self/frechet" and found["groups"][0]["std"] == pytest.approx(
        2.1213, rel=1e-4
    )
    assert found["failed"] == ["4-wgan-3", "5-hinge-3"] and not (sweep / "compare.html").exists()


def test_csv_goes_where_it_is_asked_for_and_no_cell_is_a_formula(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "=cmd()", evaluation=evaluated(1.0))
    assert (
        compare.main([str(tmp_path / "=cmd()"), "--csv", "table.csv", f"out={tmp_path / 'pages'}"])
        == 0
    )
    assert (tmp_path / "table.csv").exists() and (tmp_path / "pages" / "compare.html").exists()
    assert "\n'=cmd()," in (tmp_path / "pages" / "runs.csv").read_text()


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        ([], "which runs"),
        (["/nowhere"], "no folder"),
        (["."], "holds no run"),
        ([".", "--jso"], "--jso"),
        (["ot=3", "."], "ot"),
        ([".", "mode=up"], "mode=up"),
        ([".", "--csv"], "needs a value"),
    ],
)
def test_mistakes_are_told(tmp_path, monkeypatch, argv, part):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=part):
        compare.main(argv)


def test_a_folder_that_cannot_be_written_is_a_sentence(sweep, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        compare.main([str(sweep), f"out={tmp_path / 'file' / 'x'}"])


# the page


def test_the_page_needs_no_network_and_names_everything(sweep):
    compare.main([str(sweep)])
    document = (sweep / "compare.html").read_text()
    page = Page(document)
    check_self_contained(page)
    for text in (
        "21.5 \u00b1 2.1",
        "wgan",
        "hinge",
        "4-wgan-3",
        "d/adv is not finite",
        "2 jobs of the sweep never began",
        "loss.n_critic",
    ):
        assert text in page.text, text
    assert page.names().count("img") == 2 + 5  # the best of each group, every run that drew a grid
    assert page.names().count("svg") == 2 + 2  # two strips, d/adv and g/adv
    assert len(document) < 60_000


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_of_a_run_becomes_markup(tmp_path, capsys, evil):
    folder = hostile(tmp_path / f"run{evil.replace('/', '_').replace(chr(0), '')}", evil)
    make_run(tmp_path / "other", config=changed(("seed", 5)))
    out = tmp_path / "out"
    assert compare.main([str(folder), str(tmp_path / "other"), f"out={out}"]) == 0
    page = Page((out / "compare.html").read_text())
    check_self_contained(page)
    assert page.text.count("tell") > 3 and "\x1b" not in capsys.readouterr().out
    assert compare.main([str(folder), "--json"]) == 0


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=40))
def test_any_text_comes_back_as_the_same_text_in_one_element(value):
    page = Page(markup.make_tag("p", value, at={"title": value}))
    clean = markup.CONTROL.sub("\ufffd", value)
    assert page.names() == ["p"]
    assert page.text.replace("\r\n", "\n").replace("\r", "\n") == clean.replace(
        "\r\n", "\n"
    ).replace("\r", "\n")
    assert page.elements[0][1]["title"] == clean


# curves


def test_a_curve_breaks_where_a_value_was_not_finite():
    figure = draw_chart(
        "x",
        [
            Series(
                name="a",
                points=[(1, 1.0), (2, 2.0), (3, None), (4, 3.0), (5, 1.0), (6, None), (7, 2.0)],
            )
        ],
    )
    path = next(
        at["d"] for tag, at in Page(figure).elements if tag == "path" and at["d"].count("L")
    )
    assert path.count("M") == 2 and Page(figure).names().count("circle") == 1
    assert draw_chart("x", [Series(name="a", points=[(1, None)])]) is None


def test_thinning_keeps_the_extremes_and_the_ends_short():
    points = [(k, float(k % 7)) for k in range(10_000)]
    points[5000] = (5000, 99.0)
    kept = thin_points(points)
    assert (
        len(kept) <= MOST_POINTS + 2
        and (5000, 99.0) in kept
        and [p[0] for p in kept] == sorted(p[0] for p in kept)
    )


def test_a_spike_is_cut_and_said_and_a_log_axis_is_used_for_two_decades():
    low, high, cut = find_range(sorted([1.0] * 10 + [2.0] * 30 + [1e6]))
    assert high < 10 and "1e+06" in cut and low < 1.0
    assert "logarithmic" in draw_chart(
        "x", [Series(name="a", points=[(1, 0.01), (2, 5.0)])], log=True
    )
    assert "logarithmic" not in draw_chart(
        "x", [Series(name="a", points=[(1, 1.0), (2, 5.0)])], log=True
    )


def test_every_coordinate_of_a_chart_is_finite_and_inside():
    for values in ([0.0, 0.0], [1e-30, 1e30], [-5.0, 5.0], [1e12, 1e12 + 1]):
        figure = draw_chart("x", [Series(name="a", points=list(enumerate(values)))])
        numbers = [
            float(n)
            for tag, at in Page(figure).elements
            for key in ("x", "y", "cx", "cy")
            if (n := at.get(key))
        ]
        assert numbers and all(-1 <= n <= 400 for n in numbers), values


def test_a_single_point_is_no_curve():
    assert draw_chart("x", [Series(name="a", points=[(5, 3.0)])]) is None
    two = [Series(name="a", points=[(5, 3.0)]), Series(name="b", points=[(9, 3.0)])]
    assert draw_chart("x", two) is not None, "runs that were measured at different steps"


def test_a_long_curve_is_smoothed_and_a_spike_does_not_lift_it():
    points = [(k, 1e6 if k == 300 else None if k > 900 else 1.0 + k % 2) for k in range(1000)]
    found = smooth_points(points)
    assert (
        len(found) <= 80
        and all(1 <= value <= 2 for _, value in found if value is not None)
        and found[-1][1] is None
    )
    assert smooth_points(points[:100]) == points[:100]


def test_a_mean_curve_stands_where_all_runs_logged():
    assert average_curves([[(1, 1.0), (2, 2.0)], [(2, 4.0), (3, 9.0)]]) == [(2, 3.0)]
    assert average_curves([[(1, None)], [(1, 2.0)]]) == [(1, None)]


# TensorBoard


def test_hparams_are_what_the_plugin_reads(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    values = {"fid": 2.5, "bad": math.nan}
    path = write_hparams(
        tmp_path, {"loss": "hinge", "lr": 1e-3, "flag": True, "betas": [0, 1]}, values, step=7
    )
    assert (
        write_hparams(tmp_path, {"loss": "wgan"}, {}) == path
        and len(list(path.parent.iterdir())) == 1
    )  # replaced, not added
    path = write_hparams(
        tmp_path, {"loss": "hinge", "lr": 1e-3, "flag": True, "betas": [0, 1]}, values, step=7
    )
    events = EventAccumulator(str(path.parent)).Reload()
    tags = events.PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
    assert (
        start.hparams["loss"].string_value == "hinge" and start.hparams["lr"].number_value == 1e-3
    )
    assert (
        start.hparams["flag"].bool_value is True and start.hparams["betas"].string_value == "[0, 1]"
    )
    assert metadata.SESSION_END_INFO_TAG in tags
    assert [(event.step, event.value) for event in events.Scalars("fid")] == [
        (7, 2.5)
    ] and events.Tags()["scalars"] == ["fid"]


def test_a_compared_sweep_appears_in_the_hparams_view_with_what_was_swept(sweep):
    from tensorboard.backend.event_processing import data_provider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import backend_context

    compare.main([str(sweep)])
    runs = EventMultiplexer().AddRunsFromDirectory(str(sweep))
    runs.Reload()
    view = backend_context.Context(
        TBContext(data_provider=data_provider.MultiplexerDataProvider(runs, str(sweep)))
    )
    experiment = view.experiment_from_metadata(
        RequestContext(), "", True, view.hparams_metadata(RequestContext(), ""), []
    )
    assert {info.name for info in experiment.hparam_infos} == {"loss", "seed"}
    assert "self/frechet" in {info.name.tag for info in experiment.metric_infos}
    assert sum("hparams" in run for run in runs.Runs()) == 4  # the finished ones
