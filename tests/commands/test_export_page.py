"""The page of gan export shows what a generator makes, asks no address, and has at most 3 MB."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import train_helpers
from helpers import ending, small, steps, trainer_for
from PIL import Image

from gancli import checkpoint
from gancli.commands import export_page
from gancli.commands.export_page import MOST_BYTES, Content, Shown, refuse_others, write_document
from gancli.errors import UserError
from gancli.modality import make_modality

gan = pytest.fixture(train_helpers.gan)


def save_run(model: str, folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint.save(
        steps(trainer_for(small(model)), 1).state_dict(), folder / "checkpoints", keep=1
    )
    return folder


@pytest.mark.full
@pytest.mark.parametrize(
    ("model", "sections"),
    [
        ("cgan", ("Samples", "Walk", "A plane of latents", "Classes")),
        ("infogan", ("Samples", "Walk", "From one latent to another", "Codes")),
        ("rcgan", ("Samples", "A plane of latents")),
        ("stylegan2", ("Samples", "Walk")),
    ],
)
def test_a_page_shows_the_space_and_asks_no_address(gan, tmp_path, model, sections):
    run = save_run(model, tmp_path / "run")
    done = train_helpers.sound(gan("export", f"ckpt={run}", "format=html", "out=out/page.html"))
    page = Path("out/page.html").read_text()
    for name in sections:
        assert f"<h2>{name}</h2>" in page
    assert ("<h2>Walk</h2>" in page) == ("Walk" in sections)
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "default-src &#x27;none" in page
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert str(tmp_path) not in page and len(page) <= MOST_BYTES
    assert done.out.splitlines()[-1] == f"  gan sample ckpt={run}"
    train_helpers.sound(gan("export", f"ckpt={run}", "format=html", "out=again"))
    assert Path("again/latents.html").read_text() == page


@pytest.mark.full
@pytest.mark.parametrize("model", ["seqgan", "srgan"])
def test_what_has_no_pictures_of_latents_has_no_page(gan, tmp_path, model):
    run = save_run(model, tmp_path / "run")
    done = gan("export", f"ckpt={run}", "format=html")
    assert done.code == 2 and "format=html shows" in done.err and not (run / "export").exists()
    pytest.importorskip("safetensors")
    done = train_helpers.sound(gan("export", f"ckpt={run}", "out=out"))
    assert ending(done.out).startswith(
        "gan sample ckpt=out/model.safetensors" if model == "seqgan" else "gan translate"
    )


def test_models_without_a_space_to_look_at_are_refused_in_words():
    images = make_modality({"kind": "image"})
    with pytest.raises(UserError, match="makes images out of images"):
        refuse_others(SimpleNamespace(directions=("ab",)), images)
    with pytest.raises(UserError, match="this model makes points"):
        refuse_others(SimpleNamespace(directions=()), make_modality({"kind": "points", "scale": 1}))
    refuse_others(SimpleNamespace(directions=()), images)


@pytest.mark.full
def test_a_page_of_pictures_that_do_not_compress_stays_below_its_limit(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    picture = Image.fromarray(noise)
    many = Content(Shown(picture), Shown(picture), [picture] * 12, Shown(picture), [], 0, [])
    monkeypatch.setattr(export_page, "draw_content", lambda *_: many)
    monkeypatch.setattr(export_page, "write_heading", lambda *_: [])
    loaded = SimpleNamespace(game=SimpleNamespace(classes=0, attributes=False))
    page = write_document(loaded, {"seed": 0, "truncation": None}, title="noise")
    assert 0 < len(page) <= MOST_BYTES and page.count("<img") == 15
