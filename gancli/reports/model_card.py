"""A model card in Hugging Face's form: README.md of a folder that holds an exported network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gancli.metrics.settings import better
from gancli.modality import make_modality
from gancli.reports.markup import format_figure
from gancli.reports.runs import Evaluation

# A kind of data -> the task that Hugging Face lists it under; the others have none there.
TASKS = {"image": "unconditional-image-generation", "text": "text-generation"}
OF_ONE_RUN = ("data", "checksum", "classifier_checksum")  # of a protocol: digests tell nobody much
MOST_CLASSES = 50


def write_card(
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    evaluations: Mapping[str, Evaluation],
    *,
    name: str,
    translates: bool,
    parameters: int,
    weights: Path,
    picture: str | None,
) -> str:
    """Writes the text of a card.

    Args:
        config: Of the run, without paths.
        facts: What stands in the exported file beside the config: progress, data.
        evaluations: Where each was measured -> what the run keeps of it.
        name: Of the model, such as "dcgan on digits".
        translates: Whether it makes images out of images.
        parameters: Of the generator.
        weights: The exported file.
        picture: The name of the file beside the card that shows samples; None without.

    Returns:
        Markdown behind a front matter in YAML, whose licence the user chooses.
    """
    modality = make_modality(config["dataset"])
    task = "image-to-image" if translates else TASKS.get(modality.kind)
    lines = [
        "---",
        "# license: choose one, such as mit; the licence of the data may bind you",
        "library_name: gancli",
        *([f"pipeline_tag: {task}"] if task else []),
        "tags:",
        *(f"- {tag}" for tag in list_tags(config)),
        "---",
        "",
        f"# {name}",
        "",
        f"A generator of {modality.noun}, trained by gancli {facts['version']}: the "
        "exponential moving average of its weights, without the discriminator and the optimizers.",
        "",
    ]
    if picture is not None:
        lines += [f"![{modality.noun} of this model]({picture})", ""]
    lines += ["## Use", "", *describe_use(weights, translates=translates), ""]
    lines += ["## Model", "", *describe_model(config, facts, parameters), ""]
    lines += ["## Data", "", *describe_data(config, facts), ""]
    lines += ["## Metrics", "", *describe_evaluations(evaluations)]
    return "\n".join(lines).rstrip() + "\n"


def list_tags(config: Mapping[str, Any]) -> list[str]:
    """Lists the tags: what it is, and the classes of its game and its data."""
    parts = [config["model"], config["dataset"]]
    names = [str(part["_target_"]).rpartition(".")[2].lower() for part in parts]
    return list(dict.fromkeys(["gan", "gancli", *names]))


def describe_use(weights: Path, *, translates: bool) -> list[str]:
    """Says what to install and what to type."""
    file = weights.name
    words = "translate" if translates else "sample"
    more = "input=photos out=translated" if translates else "n=16 out=samples"
    call = 'translate("photo.jpg")' if translates else "sample(16)"
    return [
        "```bash",
        "pip install 'gancli[safetensors]'",
        f"gan {words} ckpt={file} {more}",
        "```",
        "",
        "```python",
        "import gancli",
        "",
        f'images = gancli.load("{file}").{call}',
        "```",
        "",
        "The file holds tensors and plain values; nothing in it is run when it is read.",
    ]


def describe_model(
    config: Mapping[str, Any], facts: Mapping[str, Any], parameters: int
) -> list[str]:
    """Lists what was trained, how long, and how."""
    model = config["model"]
    generator = model.get("generator")
    loss = config.get("loss") or {}
    objective = loss.get("objective")
    progress = facts["progress"]
    found = {
        "game": model["_target_"],
        "generator": generator.get("_target_") if isinstance(generator, dict) else None,
        "parameters of the generator": f"{parameters:,}",
        "objective": objective.get("_target_") if isinstance(objective, dict) else None,
        "penalties": ", ".join(loss.get("penalties") or {}) or None,
        "steps": f"{progress['step']:,}",
        "real items seen": f"{progress['nimg']:,}",
        "batch size": config["trainer"].get("batch_size"),
        "seed": config["seed"],
        "precision": config["trainer"]["precision"],
    }
    return [f"- {key}: {value}" for key, value in found.items() if value is not None]


def describe_data(config: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Lists what it was trained on."""
    spec = config["dataset"]
    data = facts["data"]
    classes = [str(name) for name in data["classes"]]
    shown = ", ".join(classes[:MOST_CLASSES])
    more = f" and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
    modality = make_modality(spec)
    return [
        f"- data set: {spec['_target_']}",
        f"- {modality.noun} to train on: {data['n']:,}",
        *([f"- held out: {spec['holdout']:,}"] if isinstance(spec.get("holdout"), int) else []),
        f"- size and channels: {spec.get('resolution')}, {spec.get('channels')}",
        *([f"- classes: {shown}{more}"] if classes else []),
        f"- digest of names, sizes and labels: {data['hash']}",
        "",
        "Where the data come from, who may use them and what they lack: add it here.",
    ]


def describe_evaluations(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Lists the numbers of a run, each with the protocol that it was measured by."""
    measured = {where: found for where, found in evaluations.items() if found.get("values")}
    if not measured:
        return ["None are stored with the run."]
    lines = ["Numbers of different protocols do not compare.", ""] if len(measured) > 1 else []
    for where, found in measured.items():
        step = found.get("step")
        lines += [f"### {where}" + (f", step {step:,}" if isinstance(step, int) else ""), ""]
        reals = found.get("reals") or {}
        head = ["metric", "value", *(["held-out reals"] if reals else []), "better"]
        lines += [format_row(head), format_row(["---"] * len(head))]
        for key, value in found["values"].items():
            more = [format_figure(reals.get(key))] if reals else []
            way = {"min": "lower", "max": "higher"}.get(better(key) or "", "")
            lines.append(format_row([key, format_figure(value), *more, way]))
        lines += ["", "Protocol:", ""]
        lines += [
            f"- {key}: {format_fact(value)}"
            for key, value in (found.get("protocol") or {}).items()
            if key not in OF_ONE_RUN and not names_a_file(value)
        ]
        lines.append("")
    return lines


def names_a_file(value: object) -> bool:
    """Says whether a fact of a protocol is a path, which belongs to one machine."""
    return isinstance(value, str) and value.startswith(("/", "~", "\\", "."))


def format_fact(value: object) -> str:
    """Writes a value of a protocol on one line."""
    return value.replace("\n", " ") if isinstance(value, str) else json.dumps(value)


def format_row(cells: Sequence[object]) -> str:
    """Writes a row of a table in Markdown."""
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"
