"""MkDocs hooks: the pages about models, losses and experiments are written from conf/.

So they cannot be out of date.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from gancli.cli import main
from gancli.config.folders import find_conf_dir, list_options, read_description
from gancli.config.published import describe_published, read_published


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds models/index.md, a page for each model, losses.md and experiments.md."""
    found = list_options([find_conf_dir()])
    pages = {"models/index.md": model_index(found["model"])}
    for name, path in found["model"].items():
        pages[f"models/{name}.md"] = model_page(name, path)
    pages["losses.md"] = losses_page(found["loss"], found["penalty"])
    pages["experiments.md"] = experiments_page(found["experiment"])
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def model_index(models: dict[str, Path]) -> str:
    """The page that lists every model."""
    rows = [
        f"| [`{name}`]({name}.md) | {read_description(path)} |" for name, path in models.items()
    ]
    return "\n".join(
        ["# Models", "", "`gan train model=NAME`", "", "| model | what it is |", "|---|---|", *rows]
    )


def model_page(name: str, path: Path) -> str:
    """One model: its line, what to type, its parameters at the default data set, its YAML file."""
    counts = parameter_counts(name)
    rows = [f"| {network} | {count:,} |" for network, count in counts.items()]
    return "\n".join(
        [
            f"# {name}",
            "",
            read_description(path),
            "",
            "```bash",
            f"gan train model={name}",
            f"gan check model={name}",
            f"gan show model={name}",
            "```",
            "",
            "## Parameters",
            "",
            f"As `gan show model={name} --json` counts them, with its default data set.",
            "",
            "| network | parameters |",
            "|---|---|",
            *rows,
            "",
            "## Keys",
            "",
            "Every value can be changed on the command line, as `model.KEY=VALUE`. Files whose "
            "names begin with `_` are bases:",
            "what several models share stands there, and a model's own file, the first, has the "
            "last word.",
            "",
            *yaml_block(path),
            *(line for base in bases_of(path) for line in yaml_block(base)),
        ]
    )


def yaml_block(path: Path) -> list[str]:
    """A file of conf/model/ as lines of a titled code block."""
    text = path.read_text(encoding="utf-8").rstrip()
    return [f'```yaml title="conf/model/{path.name}"', text, "```", ""]


def bases_of(path: Path) -> list[Path]:
    """The files of the same folder that a YAML file extends, and what these extend, each once."""
    entries = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("defaults", [])
    found: dict[Path, None] = {}
    for entry in entries:
        if isinstance(entry, str) and entry != "_self_":
            base = path.with_name(f"{entry}.yaml")
            found |= dict.fromkeys([base, *bases_of(base)])
    return list(found)


def parameter_counts(name: str) -> dict[str, int]:
    """What `gan show model=NAME --json` prints. Raises RuntimeError where it fails."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(["show", f"model={name}", "--json"])
    if code != 0:
        raise RuntimeError(f"gan show model={name} --json ended with exit code {code}")
    return json.loads(printed.getvalue())


def losses_page(losses: dict[str, Path], penalties: dict[str, Path]) -> str:
    """The page of all losses and penalties, with the keys of the base."""
    rows = [f"| `loss={name}` | {read_description(path)} |" for name, path in losses.items()]
    terms = [
        f"| `+penalty@loss.penalties.{name}={name}` | {read_description(path)} |"
        for name, path in penalties.items()
    ]
    base = (next(iter(losses.values())).parent / "_base.yaml").read_text(encoding="utf-8")
    return "\n".join(
        [
            "# Losses and penalties",
            "",
            "A loss sees a model only through its critic, so every loss works with every model.",
            "",
            "| option | what it is |",
            "|---|---|",
            *rows,
            "",
            "## Penalties",
            "",
            "Any number of penalties can be added to any loss. Each has `weight`, `every` and "
            "`start`.",
            "",
            "| option | what it is |",
            "|---|---|",
            *terms,
            "",
            "## Keys that every loss has",
            "",
            "```yaml",
            base.rstrip(),
            "```",
            "",
        ]
    )


def experiments_page(experiments: dict[str, Path]) -> str:
    """The page of all experiments, with what their papers report."""
    rows = [
        f"| `experiment={name}` | {read_description(path)} | "
        f"{'; '.join(map(describe_published, read_published(path)))} |"
        for name, path in experiments.items()
    ]
    return "\n".join(
        [
            "# Experiments",
            "",
            "Settings that belong together: papers' settings, and small ones (`_small`) that a CPU "
            "trains in minutes.",
            "[Fidelity](fidelity.md) tells how close the papers' are to them.",
            "",
            "| option | what it is | what the paper, or a later run of others, reports |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
