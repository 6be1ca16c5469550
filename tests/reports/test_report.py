"""gan report: one run's page, its animation, and the command that repeats it."""

from __future__ import annotations

import base64
import io
import json
import shlex

import pytest
from helpers import REPO, small, trainer_and_monitor
from hostile_run_helpers import EVIL, hostile
from PIL import Image
from report_helpers import Page, changed, check_self_contained, evaluated, losses, make_run

from gancli.commands import report
from gancli.config import compose as config
from gancli.errors import UserError
from gancli.reports import explained, pictures, single
from gancli.reports.runs import read_run


def written(folder) -> Page:
    assert report.main([str(folder)]) == 0
    return Page((folder / "report.html").read_text())


def test_the_page_holds_the_whole_run_and_needs_no_network(tmp_path):
    found = evaluated(12.5, best=(30, 11.0), n_fake=1000, ema=True)
    found |= {"skipped": {"fid": "no Inception weights"}, "reals": {"self/frechet": 3.25}}
    folder = make_run(
        tmp_path / "run",
        evaluation=found,
        overrides=["loss=hinge", "optimizer.g.lr=2e-4"],
        lines=losses(40, **{"eval/self/frechet": 11.0, "d/real": 1.0, "d/fake": -1.0}),
    )
    page = written(folder)
    check_self_contained(page)
    for text in (
        "cgan-hinge-digits",
        "complete: 40 steps",
        "12.5",
        "3.25",
        "n_fake",
        "no Inception weights",
        "gan train loss=hinge optimizer.g.lr=2e-4",
        "11 at step 30",
        "torch 2.14",
        "optimizer.g.betas",
        "losses",
        "scores of d",
    ):
        assert text in page.text, text
    assert page.names().count("svg") == 3  # the metric, losses, scores


def test_a_long_list_of_the_config_is_cut(tmp_path):
    words = [f"word{k}" for k in range(5000)]
    page = written(make_run(tmp_path / "run", config=changed(("dataset.alphabet", words))))
    assert "'word39', … and 4,960 more]" in page.text and "word40" not in page.text


def test_the_film_shows_one_frame_and_has_a_slider_over_all(tmp_path):
    page = written(make_run(tmp_path / "run", grids=(10, 20, 30)))
    frames = [at for tag, at in page.elements if tag == "img"]
    assert [at["alt"] for at in frames] == ["step 10", "step 20", "step 30"]
    assert ["hidden" in at for at in frames] == [True, True, False]
    slider = next(at for tag, at in page.elements if tag == "input")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == (
        "range",
        "0",
        "2",
        "2",
    )


def test_a_long_animation_is_thinned_and_says_so(tmp_path, monkeypatch):
    page = written(make_run(tmp_path / "run", grids=tuple(range(1, 81))))
    assert (
        page.names().count("img") == single.MOST_FRAMES
        and "32 of 80 grids are left out" in page.text
    )
    monkeypatch.setattr(single, "ANIMATION_BYTES", 1)
    page = written(tmp_path / "run")
    assert [at["alt"] for tag, at in page.elements if tag == "img"] == [
        "step 80"
    ]  # the last is kept whatever it weighs


def test_pictures_are_shrunk_and_a_broken_one_is_left_out(tmp_path):
    path = tmp_path / "big.png"
    Image.effect_noise((1600, 800), 60).save(path)
    uri = pictures.make_data_uri(path, side=400)
    kind, _, data = uri.partition(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert kind == "data:image/webp" and image.size == (400, 200)
    ramp = tmp_path / "ramp.png"
    Image.effect_noise((90, 90), 90).quantize(2).save(ramp)
    assert pictures.make_data_uri(ramp).startswith("data:image/png")  # smaller than as WebP
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    assert pictures.make_data_uri(path) is None
    Image.new("L", (9, 9)).save(path, format="GIF")  # a name does not make it a PNG
    assert (
        pictures.make_data_uri(path) is None
        and pictures.make_data_uri(tmp_path / "none.png") is None
    )


def test_transparency_survives(tmp_path):
    path = tmp_path / "rgba.png"
    image = Image.new("RGBA", (1200, 600), (255, 0, 0, 0))
    image.save(path)
    data = base64.b64decode(pictures.make_data_uri(path, side=100).partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGBA" and image.getpixel((5, 5))[3] == 0


# the command that repeats it


def test_the_command_is_quoted_and_leaves_out_what_only_that_run_had(tmp_path):
    given = [
        "hydra.run.dir='/x/y'",
        "dataset.path='my photos; rm -rf'",
        "+penalty@loss.penalties.r1=r1",
        "resume=auto",
        "seed=3",
    ]
    run = read_run(make_run(tmp_path / "run", overrides=given))
    words = shlex.split(single.format_command(run))
    assert words == [
        "gan",
        "train",
        "dataset.path='my photos; rm -rf'",
        "+penalty@loss.penalties.r1=r1",
        "seed=3",
    ]


def test_an_experiment_that_was_renamed_is_repeated_under_the_name_that_exists(tmp_path):
    run = make_run(tmp_path / "run", overrides=["experiment=biggan_small", "seed=3"])
    said = shlex.split(single.format_command(read_run(run)))[2:]
    assert said == ["experiment=biggan_digits_small", "seed=3"]
    for old, new in single.RENAMED_EXPERIMENTS.items():
        assert (REPO / "conf" / "experiment" / f"{new}.yaml").exists()
        assert not (REPO / "conf" / "experiment" / f"{old}.yaml").exists()


def test_the_users_own_experiment_keeps_an_old_name(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "ring.yaml").touch()
    flags = [f"--config-dir {shlex.quote(str(tmp_path))}"]
    assert single.rename_experiment("experiment=ring", flags) == "experiment=ring"
    assert single.rename_experiment("experiment=grid", flags) == "experiment=mlp_grid"


def test_a_path_is_printed_as_one_types_it(tmp_path):
    run = make_run(
        tmp_path / "run",
        overrides=["dataset.path='/photos/a'", "name='x'", "dataset.root='my data'"],
    )
    said = shlex.split(single.format_command(read_run(run)))[2:]
    assert said == ["dataset.path=/photos/a", "name='x'", "dataset.root='my data'"]


def test_what_a_resume_changed_is_in_the_command(tmp_path):
    folder = make_run(
        tmp_path / "run",
        config=changed(("trainer.steps", 80)),
        step=80,
        overrides=["trainer.steps=40", "seed=1"],
    )
    (folder / ".hydra" / "config.yaml").write_text(
        json.dumps(changed(("trainer.steps", 40), ("trainer.device", "auto")))
    )
    assert single.format_command(read_run(folder)) == "gan train seed=1 trainer.steps=80"


def test_the_users_own_config_folder_is_named(tmp_path):
    folder = make_run(tmp_path / "run", overrides=["model=mine"])
    (folder / ".hydra" / "hydra.yaml").write_text(
        json.dumps(
            {
                "hydra": {
                    "job": {"config_name": "big"},
                    "runtime": {
                        "choices": {},
                        "config_sources": [
                            {"provider": "main", "path": "/a"},
                            {"provider": "user", "path": "/my conf"},
                        ],
                    },
                }
            }
        )
    )
    assert (
        single.format_command(read_run(folder))
        == "gan train --config-dir '/my conf' --config-name big model=mine"
    )


@pytest.mark.parametrize(
    "value", ["my photos", "it's", "a\\b", "a\\'b\\", "x=1,2", "x", None, True, 3, 2.5e-4]
)
def test_a_value_written_for_hydra_reads_back_as_itself(value):
    from gancli.config.hints import parse_override

    if not isinstance(value, str):
        assert parse_override(f"trainer.steps={single.format_value(value)}").value() == value
    else:
        composed = config.compose(
            "train", ["dataset=folder", f"dataset.path={single.format_value(value)}"]
        )
        assert composed.cfg.dataset.path == value


# runs that are not whole, hostile text, mistakes


def test_a_run_that_broke_at_once_still_has_a_page(tmp_path):
    page = written(
        make_run(
            tmp_path / "run",
            saved=False,
            lines=[],
            grids=(),
            log="2026-01-01T00:00:01Z INFO ended: no luck\n",
        )
    )
    check_self_contained(page)
    assert (
        "no luck" in page.text
        and "it saved no checkpoint" in page.text
        and "Not evaluated" in page.text
    )


def test_an_empty_folder_with_metrics_alone_has_a_page(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    check_self_contained(written(tmp_path))


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_of_a_run_becomes_markup(tmp_path, evil):
    page = written(hostile(tmp_path / "run", evil))
    check_self_contained(page)
    assert page.text.count("tell") >= 5


def test_the_page_goes_where_it_is_asked_for(tmp_path):
    folder = make_run(tmp_path / "run")
    report.main([str(folder), f"out={tmp_path / 'pages' / 'one.html'}"])
    report.main([str(folder), f"out={tmp_path}"])
    assert (tmp_path / "pages" / "one.html").exists() and (tmp_path / "report.html").exists()


def test_mistakes_are_told(tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.jsonl").write_text("")
    for argv, hint in (
        ([], "gan report RUN"),
        (["/nowhere"], "gan report"),
        ([str(tmp_path)], "gan train wrote"),
        ([str(tmp_path / "sweep")], "gan compare"),
        (["a", "b"], "gan compare a b"),
        (["--x"], "gan report RUN"),
    ):
        with pytest.raises(UserError) as caught:
            report.main(argv)
        assert hint in caught.value.hint, argv


def test_the_page_shows_what_training_measured_and_what_came_later(tmp_path):
    later = evaluated(0.25, key="swd", n_fake=10000)
    later["reals"] = {"swd": 0.125}
    run = make_run(
        tmp_path / "run",
        evaluation=evaluated(2.5, key="swd", n_fake=1000, best=(30, 2.0)),
        evaluations={"full-n10000-train-ema": later, "empty": {"values": {}}},
    )
    page = written(run)
    for text in ("Measured while training", "full-n10000-train-ema", "2.5", "0.25", "0.125"):
        assert text in page.text, text
    assert page.text.count("Protocol") == 2 and ("details", {"open": ""}) not in page.elements
    assert "do not compare" in page.text and "empty" not in page.text


def test_baselines_stand_beside_the_number_of_the_outputs(tmp_path):
    found = evaluated(20.0, key="psnr")
    found["values"] |= {"psnr_source": 12.5, "ssim": 0.75, "ssim_source": 0.5, "ssim_mean": 0.25}
    page = written(make_run(tmp_path / "run", evaluation=found))
    for text in ("copied source", "mean image", "12.5", "0.25"):
        assert text in page.text, text
    section = page.text.split("Measured while training")[1].split("Protocol")[0]
    assert "psnr_source" not in section and "ssim_mean" not in section


def test_numbers_carry_their_meaning(tmp_path):
    run = make_run(tmp_path / "run", evaluation=evaluated(2.5, key="swd"))
    page = written(run)
    tooltips = {at["title"] for name, at in page.elements if name == "abbr"}
    assert any("lower is better" in text and "Wasserstein" in text for text in tooltips)
    assert any("adversarial loss of the discriminator" in text for text in tooltips)
    assert "What the numbers mean" in page.text and "held-out reals reach" in page.text


def test_real_images_lie_beside_the_samples(tmp_path):
    run = make_run(tmp_path / "run")
    assert "Real images" not in written(run).text
    Image.new("RGB", (32, 24)).save(run / "samples" / "real.png")
    page = written(run)
    assert "Real images" in page.text and page.names().count("img") == 3


@pytest.mark.parametrize("module", explained.PANELS)
def test_columns_of_image_to_image_are_labelled(tmp_path, module):
    config = changed(("model._target_", f"{module}.Any"))
    page = written(make_run(tmp_path / "run", config=config))
    for name in explained.PANELS[module]:
        assert name in page.text
    assert "The same latents" not in page.text and "held out of training" in page.text


@pytest.mark.parametrize("model", ["pix2pix", "cyclegan", "enhance"])
def test_the_labels_are_what_the_game_shows(model):
    trainer, judge = trainer_and_monitor(small(model))
    shown = trainer.game.draw_panels(judge.few, trainer.ema)
    module = type(trainer.game).__module__
    assert explained.PANELS[module] == tuple(shown)


def test_a_run_that_shared_the_machine_is_flagged(tmp_path):
    busy = make_run(
        tmp_path / "busy", log="2026-01-01T00:00:00Z INFO load 3.40 on average, on 2 cores\n"
    )
    calm = make_run(
        tmp_path / "calm", log="2026-01-01T00:00:00Z INFO load 1.20 on average, on 2 cores\n"
    )
    assert "shared the machine, load 3.4" in written(busy).text
    assert "shared the machine" not in written(calm).text and "load 1.2" in written(calm).text


def test_the_title_is_the_name_that_was_given(tmp_path):
    page = written(make_run(tmp_path / "run", config=changed(("name", "my best <b>")), saved=True))
    assert page.text.index("my best <b>") < page.text.index("cgan-hinge-digits")
    assert "cgan-hinge-digits, run" in page.text


def test_out_without_an_ending_gets_one(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    assert report.main([str(run), f"out={tmp_path / 'page'}"]) == 0
    assert (tmp_path / "page.html").is_file()
    assert f"done: {tmp_path / 'page.html'}\n  gan evaluate ckpt={run}\n" in capsys.readouterr().out
