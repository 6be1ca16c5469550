"""Run folders as `gan train` leaves them, made without training: whole, broken or hostile."""

from __future__ import annotations

import copy
import json
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from gancli import checkpoint

CONFIG = {
    "seed": 1,
    "name": None,
    "log": {"every": 10},
    "trainer": {"steps": 40, "epochs": None, "batch_size": 8, "device": "cpu", "precision": "fp32"},
    "loss": {
        "objective": {"_target_": "gancli.losses.objectives.Hinge"},
        "n_critic": 1,
        "penalties": {},
    },
    "dataset": {"_target_": "gancli.data.builtin.Digits", "kind": "image", "resolution": 32},
    "optimizer": {"g": {"lr": 2e-4, "betas": [0.5, 0.999]}},
    "model": {"_target_": "gancli.games.gan.GAN"},
}


def changed(*items: tuple[str, object]) -> dict:
    """CONFIG with dotted keys set."""
    config = copy.deepcopy(CONFIG)
    for key, value in items:
        *parents, last = key.split(".")
        node = config
        for part in parents:
            node = node[part]
        node[last] = value
    return config


def make_run(
    folder: Path,
    *,
    config: dict | None = None,
    step: int = 40,
    saved: bool = True,
    overrides: list[str] | None = None,
    choices: dict | None = None,
    lines: list[dict] | None = None,
    evaluation: dict | None = None,
    evaluations: dict[str, dict] | None = None,
    log: str = "",
    grids: tuple[int, ...] = (20, 40),
    classes: tuple[str, ...] = ("0", "1"),
) -> Path:
    config = config or changed()
    for name in ("checkpoints", "samples", ".hydra", "tensorboard"):
        (folder / name).mkdir(parents=True)
    if saved:
        progress = {"step": step, "nimg": 8 * step, "attempt": 0}
        tree = {
            "config": config,
            "progress": progress,
            "game": {},
            "buffers": [],
            "ema": {},
            "optimizers": {},
            "run": {"device": "cpu", "torch": "2.14", "threads": 1, "world": 1},
            "data": {"n": 100, "hash": "abc", "classes": list(classes), "skipped": []},
        }
        checkpoint.save(tree, folder / "checkpoints", keep=3)
    overrides = overrides if overrides is not None else [f"seed={config['seed']}"]
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))  # JSON is YAML
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
    chosen = {"model": "cgan", "loss": "hinge", "dataset": "digits"} | (choices or {})
    hydra = {"runtime": {"choices": chosen, "config_sources": []}, "job": {}}
    (folder / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": hydra}))
    lines = losses(step) if lines is None else lines
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if evaluation is not None:
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
    for name, found in (evaluations or {}).items():
        (folder / "evaluations").mkdir(exist_ok=True)
        (folder / "evaluations" / f"{name}.json").write_text(json.dumps(found))
    log = f"2026-01-01T00:00:00Z INFO training from step 0 to 40 in x\n{log}"
    (folder / "run.log").write_text(log, errors="backslashreplace")
    for at in grids:
        Image.new("RGB", (32, 24), (at, 100, 200)).save(folder / "samples" / f"step-{at:08d}.png")
    return folder


def losses(last: int, **more: float) -> list[dict]:
    return [
        {"step": k, "nimg": 8 * k, "time": k / 10, "d/adv": 1.0 / k, "g/adv": k / 10.0} | more
        for k in range(10, last + 1, 10)
    ]


def evaluated(
    value: float,
    *,
    key: str = "self/frechet",
    mode: str = "min",
    best: tuple[int, float] | None = None,
    **protocol,
) -> dict:
    noted = {"key": key, "mode": mode, "step": best[0], "value": best[1]} if best else None
    return {
        "step": 40,
        "values": {key: value},
        "protocol": {"n_fake": 1000, "seed": 0} | protocol,
        "skipped": {},
        "best": noted,
        "ended": "complete: 40 steps",
    }


class Page(HTMLParser):
    """What a browser would find: elements, their attributes, and the text outside
    script and style.
    """

    def __init__(self, document: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.inside = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else self.inside

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def names(self) -> list[str]:
        return [name for name, _ in self.elements]

    def attributes(self) -> list[tuple[str, str, str]]:
        return [
            (tag, key, value)
            for tag, attributes in self.elements
            for key, value in attributes.items()
        ]


def check_self_contained(page: Page) -> None:
    """One script and one style, ours; nothing that asks an address or runs from an attribute."""
    assert page.names().count("script") == page.names().count("style") == 1
    known = (
        "html head meta title style body main script header section footer h1 h2 h3 abbr p div "
        "span b small i "
        "code pre table thead tbody tr th td details summary figure figcaption svg g path text "
        "circle img button input output"
    )
    assert set(page.names()) <= set(known.split())
    for tag, key, value in page.attributes():
        assert not key.startswith("on") and key not in (
            "href",
            "style",
            "srcset",
            "action",
            "xlink:href",
        ), (tag, key)
        assert key != "src" or value.startswith(
            ("data:image/webp;base64,", "data:image/png;base64,")
        ), (tag, value[:60])
    assert any(
        key == "content" and "default-src 'none'" in value for _, key, value in page.attributes()
    )
