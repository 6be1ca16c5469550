"""gan bench: what it prints, that its counts have no noise, and that its peers train alike."""

from __future__ import annotations

import json
import re

import bench_operations
import pytest
import torch
from data_helpers import numbered
from helpers import CPU, REPO, SMALL, TINY, differences, small, trainer_for

from gancli.cli import main
from gancli.config.run_config import RunConfig
from gancli.data.base import split
from gancli.data.builtin import Digits
from gancli.errors import UserError
from gancli.run import bench, peers

MLP = ("model=mlp", *SMALL["mlp"], *TINY)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "LEAST_ROUNDS", 1)
    monkeypatch.setattr(bench, "ROUND_S", 0.0)


def metered(config: dict) -> bench.MeteredTrainer:
    trainer = trainer_for(config)
    return bench.MeteredTrainer(
        trainer.game, trainer.stream, config=RunConfig.from_plain(config), device=CPU
    )


def count(config: dict) -> bench.OperationCounter:
    trainer = metered(config)
    bench.play_steps(trainer, 5)
    counter = bench.OperationCounter()
    with counter:
        trainer.play_measured(counter, 5)
    return counter


def train_images() -> object:
    return split(Digits(resolution=8).load(), limit=30, holdout=0)[0]


def test_json_holds_every_figure_and_nothing_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *MLP, "loss=wgan_gp", "--against", "usual", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["config", "surroundings", "startup_s", "step", "against"]
    assert set(found["surroundings"]) == {
        *("processor", "cores", "threads", "wait_policy", "device", "precision", "layout"),
        *("compile", "torch", "load", "others"),
    }
    assert list(found["startup_s"]) == [
        *("compose", "import_torch", "import_gancli", "check", "data", "build", "first_step")
    ]
    step = found["step"]
    assert set(step) == {
        *("ms", "img_per_s", "operations", "gflop", "roofline_gflops", "roofline_share"),
        *("rounds", "steps", "period", "at", "late", "memory_bytes", "parts"),
    }
    assert list(step["parts"]) == ["draw", "d", "g", "ema", "other", "log", "save"]
    counted = [step["parts"][part] for part in ("draw", "d", "g", "ema", "other")]
    per_step = sum(part["operations"] * part["calls_per_step"] for part in counted)
    assert per_step == pytest.approx(step["operations"])
    assert step["parts"]["g"]["calls_per_step"] == pytest.approx(1 / step["period"])
    assert set(step["parts"]["d"]) == {"ms", "calls_per_step", "operations"}
    assert found["against"]["peer"] == "usual script" and found["against"]["speedup"] > 0
    assert list(tmp_path.iterdir()) == []


def test_the_table_says_what_a_comparison_has_in_common(capsys, monkeypatch):
    monkeypatch.setattr(bench, "read_load", lambda: 9.0)  # by its own threads
    monkeypatch.setattr(bench, "measure_load", lambda: 0.0)
    assert main(["bench", *MLP, "--against=bare"]) == 0
    out = capsys.readouterr().out
    words = ("start-up", "img/s", "operations", "GB at most", "calls a step", "load")
    assert all(word in out for word in words)
    assert "load 9.0" in out and "others work here" not in out
    assert "against   bare loop" in out and "equal     networks" in out and "differs   its" in out


@pytest.mark.parametrize(
    ("words", "parts", "late"),
    [
        pytest.param((), ["d", "g"], [], marks=pytest.mark.full),
        (("--at", "0"), ["mle"], ["d", "g"]),
    ],
)
def test_losses_that_begin_late_are_measured_at_the_end_unless_asked(
    words, parts, late, capsys, monkeypatch
):
    monkeypatch.setattr(bench, "measure_load", lambda: 9.0)
    text = ("model=seqgan", *SMALL["seqgan"], *TINY, "trainer.steps=900", "model.mle_steps=50")
    assert main(["bench", *text, *words, "--json"]) == 0
    step = json.loads(capsys.readouterr().out)["step"]
    assert set(parts) <= set(step["parts"]) and sorted(step["late"]) == late
    assert main(["bench", *text, *words]) == 0
    out = capsys.readouterr().out
    assert ("at        step 0 of 900; d begins at step" in out) == bool(late)
    assert "others work here" in out


def test_a_growing_network_is_measured_grown():
    trainer = trainer_for(small("pggan"))
    config = trainer.config
    assert bench.set_clock(trainer.game, config) == config.trainer.steps - 1
    assert trainer.game.stage == 2
    assert bench.set_clock(trainer.game, config, at=0) == trainer.game.stage == 0
    plain = trainer_for(small("mlp"))
    assert bench.set_clock(plain.game, plain.config) == plain.progress.nimg == 0


def test_penalties_that_are_rarely_due_are_counted_at_their_share():
    words = ("loss=non_saturating", "+penalty@loss.penalties.r1=r1", "loss.penalties.r1.every=3")
    rare = metered(small("mlp", *words))
    assert bench.find_period(rare) == 3
    bench.move_to_fullest(rare, 3)
    assert rare.progress.step == 2
    late = metered(small("mlp", *words, "loss.penalties.r1.start=1", "trainer.steps=10"))
    assert bench.set_clock(late.game, late.config) == 9


@pytest.mark.full
def test_a_path_alone_is_measured_with_what_a_run_would_train(tmp_path, capsys):
    numbered(tmp_path, 30)
    words = [f"dataset.path={tmp_path}", "trainer.precision=fp32", "dataset.resolution=16"]
    assert main(["bench", *words, "model.width=4", "--json"]) == 0
    captured = capsys.readouterr()
    assert "no model= was typed" in captured.err
    overrides = json.loads(captured.out)["config"]["overrides"]
    assert any(word.startswith(("model=", "experiment=")) for word in overrides)


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["bench", "--agianst", "bare"], "--against"),
        (["bench", "--aganist=bare"], "--against"),
        (["bench", "--jsn"], "--json"),
        (["bench", "--at", "x"], "--at 0"),
        (["bench", "--at"], "--at 0"),
        (["check", "--proceses"], "--processes"),
        (["check", "--processes=2"], "--processes takes no value"),
        (["bench", "resume=old"], "old/.hydra/overrides.yaml"),
        (["check", "resume=old"], "old/.hydra/overrides.yaml"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_what_can(argv, hint, capsys):
    assert main(argv) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.full
def test_more_threads_than_cores_are_told(capsys):
    assert main(["bench", *MLP, "trainer.threads=1000"]) == 0
    captured = capsys.readouterr()
    assert "trainer.threads=1000, but this process may use" in captured.err
    assert "1000 threads" in captured.out


@pytest.mark.parametrize("words", [["--against"], ["--against", "best"], ["--against=best"]])
def test_an_unknown_loop_is_refused(words, capsys):
    assert main(["bench", *words]) == 2
    assert "--against usual" in capsys.readouterr().err


def test_counts_are_equal_in_two_runs_and_known():
    config = small("mlp", "loss=non_saturating", "model.conditional=false")
    first = count(config)
    again = count(config)
    assert first.operations == again.operations and first.flops == again.flops
    game = trainer_for(config).game
    # One for all parameters, and one for each buffer
    assert first.operations[bench.EMA] == 5 * (1 + len([*game.generator.buffers()]))
    assert first.flops[bench.EMA] == first.flops[bench.DRAW] == 0
    # Two operations for each weight and item; in the generator's phase a pass forward through both
    # networks, backward to the inputs of all layers but the first, and to the generator's weights.
    sizes = {
        name: [m.weight.numel() for m in network.modules() if isinstance(m, torch.nn.Linear)]
        for name, network in (("g", game.generator), ("d", game.discriminator))
    }
    g_first = sizes["g"][0]
    g_all = sum(sizes["g"])
    d_all = sum(sizes["d"])
    products = (g_all + d_all) + (g_all - g_first + d_all) + g_all
    assert first.flops["g"] == 5 * 2 * 8 * products


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ("mlp", "non_saturating"),
        ("mlp", "wgan_gp"),
        ("mlp", "wgan"),
        ("cgan", "hinge"),
        pytest.param("stylegan2", "non_saturating", marks=pytest.mark.full),
    ],
)
def test_the_bare_loop_trains_to_the_weights_of_the_engine(model, loss):
    config = small(model, f"loss={loss}")
    trainer = metered(config)
    bare = peers.BareLoop(
        trainer.game,
        trainer.draw_ahead(6),
        config=trainer.config,
        device=CPU,
        begin=lambda phase: trainer.reseed(phase, 0),
    )
    before = {key: value.clone() for key, value in trainer.game.state_dict().items()}
    for _ in range(6):
        bare.step()
        trainer.step()
    assert differences(before, dict(trainer.game.state_dict()))
    assert not differences(dict(trainer.game.state_dict()), dict(bare.game.state_dict()))
    assert not differences(dict(trainer.ema.state_dict()), dict(bare.average.state_dict()))


@pytest.mark.parametrize(("loss", "passes"), [("non_saturating", 1), ("wgan_gp", 1.2)])
def test_the_usual_script_makes_fakes_once_where_both_losses_are_due(loss, passes):
    config = small("mlp", f"loss={loss}")
    trainer = trainer_for(config)
    usual = peers.UsualScript(
        trainer.game, train_images(), config=RunConfig.from_plain(config), device=CPU
    )
    calls = []
    usual.game.generator.register_forward_hook(lambda *_: calls.append(1))
    weights = [next(player.modules[0].parameters()) for player in usual.players.values()]
    before = [weight.clone() for weight in weights]
    for _ in range(5):
        usual.step()
    assert len(calls) == 5 * passes
    assert any("one generator pass" in line for line in usual.differs) == (passes == 1)
    assert not any(torch.equal(a, b) for a, b in zip(before, weights, strict=True))


def test_there_is_no_usual_script_for_every_game():
    config = small("infogan")
    with pytest.raises(UserError, match="no script for InfoGAN"):
        peers.UsualScript(
            trainer_for(config).game,
            train_images(),
            config=RunConfig.from_plain(config),
            device=CPU,
        )


@pytest.mark.parametrize("optimizer", ["torch.optim.Adam", "torch.optim.SGD"])
def test_the_usual_script_fuses_no_optimizer(optimizer):
    config = small("mlp")
    for player in ("g", "d"):
        config["optimizer"][player] = {"_target_": optimizer, "lr": 1e-3}
    trainer = trainer_for(config)
    usual = peers.UsualScript(
        trainer.game, train_images(), config=RunConfig.from_plain(config), device=CPU
    )
    for player, own in usual.players.items():
        assert trainer.players[player].optimizer.param_groups[0]["fused"]
        assert not own.optimizer.param_groups[0]["fused"]


PAGE = REPO / "docs" / "benchmarks.md"
ROWS = re.compile(r"^\| `(\w+)` \| [\d,-]+ \| ([\d,]+) \| [\d,-]+ \| ([\d,]+) \|$", re.MULTILINE)


def test_the_page_has_the_operations_of_every_model():
    names = [name for name, *_ in ROWS.findall(PAGE.read_text(encoding="utf-8"))]
    assert sorted(names) == sorted(SMALL)


@pytest.mark.full
@pytest.mark.parametrize("model", SMALL)
def test_the_operations_on_the_page_are_those_of_today(model):
    text = PAGE.read_text(encoding="utf-8")
    if f"torch {torch.__version__.split('+')[0]}" not in text:
        pytest.skip("the page tells of another torch")
    rows = {name: counts for name, *counts in ROWS.findall(text)}
    found = [f"{sum(bench_operations.count(model, p).values()):,.0f}" for p in ("fp32", "bf16")]
    assert found == rows[model], "python tests/support/bench_operations.py prints the rows"
