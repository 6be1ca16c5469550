"""gan evaluate protocol=paper: the published numbers of a run beside its own."""

from __future__ import annotations

import contextlib
import json

import pytest
from evaluation_helpers import hasty  # noqa: F401 - a fixture
from helpers import small, trainer_for

from gancli import checkpoint, cli
from gancli.commands.evaluate import main
from gancli.config.compose import compose
from gancli.errors import Problems, UserError
from gancli.metrics import features
from gancli.run import paper
from gancli.run.measure import measure_checkpoint, read_evaluation_options
from gancli.run.paper import fits, plan_entry

PUBLISHED = (
    "published=[{metric: fid, value: 4.16, n: 50000, reference: training images, source: x},"
    "{metric: fid, value: 5, source: y}, {metric: is, value: 9, source: x},"
    "{metric: ppl, value: 7, source: x}]"
)


def save(folder, *words: str) -> str:
    checkpoint.save(trainer_for(small("mlp", *words)).state_dict(), folder, keep=1)
    return f"ckpt={folder}"


def plan(entry: dict, *words: str):
    return plan_entry(
        entry, read_evaluation_options([f"ckpt={__file__}", "protocol=paper", *words])
    )


def test_each_number_has_a_row(hasty, tmp_path, capsys, monkeypatch):  # noqa: F811
    run = save(tmp_path, PUBLISHED)
    asked = []

    def measure(options):
        asked.append(options.metrics.items)
        return measure_checkpoint(options)

    monkeypatch.setattr(paper, "measure_checkpoint", measure)
    words = ["protocol=paper", "n=20", "metrics.features=self", "device=cpu"]
    assert main([run, *words]) == 0
    assert asked == [("frechet", "inception_score")], "samples are drawn once"
    out = capsys.readouterr().out
    assert "not computed" in out and "4.16" in out and "what differs" in out
    rows = json.loads((tmp_path / "evaluations" / "paper.json").read_text())
    assert [row["metric"] for row in rows] == ["fid", "fid", "is", "ppl"]
    assert [row["key"] for row in rows] == ["fd_self", "fd_self", "is_self", ""]
    assert [row["n"] for row in rows] == [20, 20, 20, None] and rows[3]["here"] is None
    assert rows[0]["differs"] == [
        "n=20 as typed (50,000 in the paper)",
        "features=self (Inception in the paper)",
    ]
    assert rows[0]["here"] == rows[1]["here"] and rows[0]["protocol"]["split"] == "train"
    assert not (tmp_path / "tensorboard").exists()


def test_without_inceptions_weights_it_is_refused_at_once(tmp_path, monkeypatch):
    run = save(tmp_path, PUBLISHED)
    monkeypatch.setattr(features.torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(features.torch.hub, "download_url_to_file", refuse)
    pytest.importorskip("torch_fidelity")
    with pytest.raises(UserError, match="no weights of inception") as caught:
        main([run, "protocol=paper", "device=cpu"])
    assert "inception-2015-12-05-6726825d.pth, from https://" in caught.value.hint
    assert not (tmp_path / "evaluations").exists()


def test_a_run_without_published_numbers_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no published numbers"):
        main([save(tmp_path), "protocol=paper", "device=cpu"])


def test_folders_have_no_paper(tmp_path):
    with pytest.raises(Problems, match="protocol=paper is of a run"):
        read_evaluation_options([f"real={tmp_path}", f"fake={tmp_path}", "protocol=paper"])


def test_another_protocol_is_refused():
    assert compose("evaluate", ["ckpt=x"]).cfg.protocol is None
    with pytest.raises(Problems, match="protocol"):
        read_evaluation_options(["ckpt=x", "protocol=papers"])


def test_what_is_not_typed_is_the_papers():
    spec, differs = plan({"metric": "fid", "n": 5000, "reference": "training images"})
    assert (spec.n, spec.features, spec.reference) == (5000, "inception", "train") and not differs
    spec, differs = plan({"metric": "is"})
    assert spec.n == 50_000 and differs == ("n is not given; 50,000 is usual",)
    _, differs = plan({"metric": "fid", "n": 5000, "reference": "test images"})
    assert differs == ("metrics.reference=train (test images in the paper)",)
    spec, differs = plan({"metric": "is", "n": 5000}, "metrics.n=30", "metrics=fast")
    assert spec.n == 30 and differs == ("n=30 as typed (5,000 in the paper)",)
    assert plan({"metric": "is"}, "metrics=fast")[0].n == 50_000, "a group's n is not typed"
    spec, differs = plan({"metric": "modes", "n": 26000})
    assert spec.items == ("modes",) and spec.features == "auto" and not differs


def test_a_spread_is_no_score():
    assert fits("is_self", ("is", "is_")) and not fits("is_self_std", ("is", "is_"))


def test_the_help_names_it(capsys):
    with contextlib.suppress(SystemExit):
        cli.main(["evaluate", "--help"])
    assert "gan evaluate ckpt=RUN protocol=paper" in capsys.readouterr().out
