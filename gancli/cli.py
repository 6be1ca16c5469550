"""The front door: the subcommands, their help, and how an error becomes a panel and an exit code.

Nothing heavy is imported before a subcommand is chosen.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from gancli.errors import EXIT_CODES, Elsewhere, GanError, TemporaryFailure, disk_is_full
from gancli.render.streams import lasting
from gancli.run.startup import REST


class Subcommand(NamedTuple):
    """One line of the table.

    Attributes:
        module: Imported only when the subcommand is called; its `main` takes the words behind it.
        summary: What it does, in a line.
        usage: The words that it takes.
        examples: Command lines that run as they stand, but for names in capitals.
        flags: Lines of its help.
        config: The primary config, of a subcommand that Hydra composes.
        asks_model: Has its module a `describe_checkpoint` that lists what a model's game declares?
    """

    module: str
    summary: str
    usage: str
    examples: tuple[str, ...]
    flags: tuple[str, ...] = ()
    config: str = ""
    asks_model: bool = False


_CONFIG_FLAGS = (
    "-cd, --config-dir DIR    a folder with groups and options of your own",
    "-cn, --config-name NAME  another primary config",
)
_HYDRA_FLAGS = (
    "--cfg job [-p KEY]       print the composed config and stop",
    "--info defaults-tree     print which file chose what",
    "--hydra-help             Hydra's own flags",
)

SUBCOMMANDS = {
    "train": Subcommand(
        "gancli.commands.train",
        "train a GAN, or resume a run",
        "[KEY=VALUE ...] [FLAGS]",
        (
            "gan train",
            "gan train model=dcgan loss=wgan_gp dataset=cifar10",
            "gan train dataset=folder dataset.path=photos trainer.steps=20000",
            "gan train resume=outputs/cgan_projection-digits/20261121-093612-k3f9",
            "gan train -m loss=wgan_gp,hinge seed=1,2",
        ),
        (
            "-m, --multirun           one run for every combination of a=1,2 b=x,y",
            "trainer.steps=N          N real batches. Default: 2,500 of the default model, 3,000",
            "                         of others, and at least 600 updates of the generator, each",
            "                         after loss.n_critic discriminator steps",
            "                         (loss=wgan_gp: 600 x 5 = 3,000); an experiment has its own",
            "dataset.path=PATH        without a model or data set: rules choose both, and say why",
            "init=RUN|FILE|zoo/NAME   start from these weights where names and shapes agree;",
            "                         init.freeze_d=N keeps N blocks of the discriminator",
            *_CONFIG_FLAGS,
            *_HYDRA_FLAGS,
        ),
        "train",
    ),
    "sample": Subcommand(
        "gancli.commands.sample",
        "draw samples from a checkpoint: images, series, sound, points, text",
        "ckpt=RUN_OR_FILE [KEY=VALUE ...]",
        (
            "gan sample ckpt=RUN n=64 out=images",
            "gan sample ckpt=zoo/stylegan2_digits mix=coarse",
            "gan sample ckpt=RUN per_class=10 seed=1",
            "gan sample ckpt=RUN interpolate=8 label=3",
            "gan sample ckpt=RUN truncation=0.5 standing=16",
            "gan sample ckpt=RUN sweep=code0",
            "gan sample ckpt=RUN mix=coarse truncation=0.7",
            "gan sample ckpt=RUN walk=8 n=9",
            "gan sample ckpt=RUN n=1 walk=5 film=walk.gif",
        ),
        (
            "ckpt=zoo/NAME            a trained generator of the package: gan list zoo",
            "label=NAME, per_class=N  one class, or N images of every class. The grid has a",
            "                         column for each class; with per_class a row",
            "interpolate=STEPS        interpolation.png: rows from one latent to another, within a",
            "                         class",
            "sweep=NAME steps=10      sweep.png: a column for each value of a code (code0, ...) or",
            "                         of the label; all else is fixed in a row",
            "truncation=0.5           better images, less variety: a bound on |z|, or the weight",
            "                         psi of a style against w_avg",
            "truncated_layers=4       truncate only the styles of the first 4 layers",
            "standing=16              measure batch norm's statistics again, over 16 batches",
            "mix=coarse               mixing.png: the images of the rows with the styles of the",
            "                         columns in layers 0-3; also middle, fine, or FIRST-LAST",
            "noise=none               inside the StyleGANs and LAPGAN: random, fixed or none",
            "temperature=0.7          of text: below 1 lines are likelier and less diverse",
            "levels=8                 levels.png: 8 images, a row for each level of the network",
            "level=1                  all images as they are after level 0, 1, ...",
            "domain=both              of the two domains of CoGAN: a, b or both",
            "latent=projected.pt      the image that gan project has found",
            "walk=8 film=walk.gif     an animation of 8 seconds from latent to latent and back:",
            "                         .webp, .gif or .mp4; mp4 needs pip install 'gancli[mp4]'",
            *_HYDRA_FLAGS,
        ),
        "sample",
        asks_model=True,
    ),
    "translate": Subcommand(
        "gancli.commands.translate",
        "turn images into images by a checkpoint: translate, restore, enlarge, fill, restyle",
        "ckpt=RUN_OR_FILE input=FOLDER_OR_FILE [KEY=VALUE ...]",
        (
            "gan translate ckpt=RUN input=photos out=translated",
            "gan translate ckpt=RUN input=photo.jpg direction=ba",
            "gan translate ckpt=RUN input=photos mask=masks format=jpg",
            "gan translate ckpt=RUN input=photos style=painting.jpg",
            "gan translate ckpt=RUN input=anna.png pose=anna-stick.png poses=sticks",
            "gan translate ckpt=RUN input=photo.jpg answers=4 seed=1",
        ),
        (
            "out=FOLDER               default: translated in the run folder. Files that it wrote",
            "                         earlier are replaced; it stops before it replaces yours",
            "direction=ba             the way back, where the model knows it (cyclegan)",
            "half=left|right          the inputs are pairs in one file: translate one half",
            "answers=N                NAME-0.png, NAME-1.png, ... where the generator has noise",
            "mask=FILE_OR_FOLDER      for inpainting: what is white is filled; without a mask,",
            "                         what is transparent in the input",
            "style=FILE               for style transfer: the image whose style is taken",
            "pose=FILE_OR_FOLDER      for people in poses: the image of the input's own pose",
            "poses=FILE_OR_FOLDER     and those of the poses to move into: NAME-POSE.png each",
            "format=png|jpg|webp      of the images that are written",
            "sheet=false              leave out sheet.png: the first 16 inputs and their results",
            "max_size=1536            side of the square of pixels that the network works on at",
            "                         once; more needs more memory. A larger image is cut into",
            "                         tiles, or shrunk where the network needs the whole image",
            "tile=auto|PIXELS|off     side of a tile, in pixels of the input",
            *_HYDRA_FLAGS,
        ),
        "translate",
        asks_model=True,
    ),
    "explore": Subcommand(
        "gancli.commands.explore",
        "walk through what a checkpoint makes, on a page in the browser",
        "ckpt=RUN|FILE|zoo/NAME [KEY=VALUE ...]",
        (
            "gan explore ckpt=RUN",
            "gan explore ckpt=zoo/stylegan2_digits",
            "gan explore ckpt=RUN port=7861 open=true",
        ),
        (
            "                         needs pip install 'gancli[explore]'. The page is for this",
            "                         machine alone (127.0.0.1), and asks no other for anything;",
            "                         Ctrl-C ends it (exit code 130)",
            "port=7860                of the page",
            "open=true                open it in this system's browser",
            "seed=0                   the first seed that is shown",
            "out=FOLDER               for saved picks: pictures and picks.json; default: explore",
            "                         in the run folder",
            *_HYDRA_FLAGS,
        ),
        "explore",
    ),
    "project": Subcommand(
        "gancli.commands.project",
        "find the latent whose image is most like a given one",
        "ckpt=RUN_OR_FILE input=IMAGE [KEY=VALUE ...]",
        (
            "gan project ckpt=RUN input=face.png",
            "gan project ckpt=RUN input=face.png space=w_plus steps=500 out=projected",
            "gan project ckpt=RUN input=face.jpg weights=squeezenet1_1.pth "
            "lpips_heads=lpips_v0.1_squeeze.pth",
        ),
        (
            "space=w|w_plus|z         one style for all layers, one for each layer, or the latent",
            "                         itself; default: w where the generator has styles",
            "features=squeezenet      likeness by LPIPS (weights=FILE lpips_heads=FILE); or",
            "                         pixels: squared differences; default: LPIPS where both files",
            "                         are given, else pixels",
            "steps=1000 lr=0.1        length and learning rate of the search",
            "noise=false              do not search for the noise images of a StyleGAN's layers",
            "label=NAME               the class, of a conditional model",
            "film=projection.gif      the search as an animation: .webp, .gif or .mp4; null: none",
            "                         (mp4 needs pip install 'gancli[mp4]')",
            *_HYDRA_FLAGS,
        ),
        "project",
    ),
    "check": Subcommand(
        "gancli.commands.check",
        "try a config for a few real steps: time, memory, disk; keeps nothing",
        "[KEY=VALUE ...] [FLAGS]",
        (
            "gan check",
            "gan check model=dcgan dataset.resolution=128 trainer.batch_size=64",
            "gan check model=mlp --processes",
        ),
        (
            "--processes              also measure two processes (torchrun) beside two threads",
            *_CONFIG_FLAGS,
        ),
    ),
    "bench": Subcommand(
        "gancli.commands.bench",
        "measure where the time of a step goes, alone or beside another loop; keeps nothing",
        "[KEY=VALUE ...] [--against bare|usual] [--at STEP] [--json] [FLAGS]",
        (
            "gan bench model=dcgan",
            "gan bench model=mlp loss=wgan_gp --against usual",
            "gan bench trainer.precision=fp32 --against bare --json",
        ),
        (
            "--against bare           beside a bare loop of the same networks, losses and",
            "                         optimizers, in turns",
            "--against usual          beside the usual script: Pillow in a DataLoader, fp32,",
            "                         .item() after every loss; for models with one generator and",
            "                         one discriminator",
            "--at STEP                as at this step of a run; unless given, as at its end where",
            "                         losses begin late or networks grow, else as at its start",
            "--json                   everything as plain data",
            *_CONFIG_FLAGS,
        ),
    ),
    "list": Subcommand(
        "gancli.commands.list",
        "list the groups and their options; what every number means",
        "[GROUP ...] [--config-dir DIR] [--json]",
        (
            "gan list",
            "gan list loss",
            "gan list metrics",
            "gan list zoo",
            "gan list model --config-dir my_conf --json",
        ),
        (
            "zoo                      the trained generators that come with the package",
            "metrics                  also: what each number is, its unit, which way is better,",
            "                         what is good",
            "--config-dir DIR         a folder with groups and options of your own",
            "--json                   {group: {option: line}}; of metrics also {legend: {section:",
            "                         [number, ...]}}",
        ),
    ),
    "show": Subcommand(
        "gancli.commands.show",
        "show networks and parameter counts, or where a run stands",
        "[KEY=VALUE ...] [--json] | RUN | CHECKPOINT",
        (
            "gan show model=dcgan",
            "gan show model=dcgan dataset.resolution=64 --json",
            "gan show outputs/cgan_projection-digits/20261121-093612-k3f9",
        ),
        ("--json                   one flat object: network -> parameters", *_CONFIG_FLAGS),
    ),
    "evaluate": Subcommand(
        "gancli.commands.evaluate",
        "measure a checkpoint, or one folder of images against another",
        "ckpt=RUN_OR_FILE | real=FOLDER fake=FOLDER",
        (
            "gan evaluate ckpt=RUN",
            "gan evaluate ckpt=RUN metrics=fast n=1000",
            "gan evaluate ckpt=RUN protocol=paper",
            "gan evaluate real=photos fake=samples metrics.features=squeezenet",
        ),
        (
            "metrics=fast|full        what is measured; gan list metrics says what each is",
            "n=N                      samples that are measured; default: metrics.n",
            "protocol=paper           what the run's paper reports, measured as there",
            "real=FOLDER fake=FOLDER  compare two folders of images; no checkpoint is needed",
            "out=FILE.json            default: evaluations/<protocol>.json in the run folder",
            *_HYDRA_FLAGS,
        ),
        "evaluate",
    ),
    "export": Subcommand(
        "gancli.commands.export",
        "take the generator out of a run: weights for others, ONNX, or a page to look at",
        "ckpt=RUN_OR_FILE [format=safetensors|onnx|html] [KEY=VALUE ...]",
        (
            "gan export ckpt=RUN",
            "gan export ckpt=RUN format=onnx out=model.onnx",
            "gan export ckpt=RUN format=html",
        ),
        (
            "format=safetensors       model.safetensors, which gan sample reads, with a model card",
            "                         (README.md) and samples.png; needs the library: pip install",
            "                         'gancli[safetensors]'",
            "format=onnx              model.onnx: batches of any size, compared in onnxruntime;",
            "                         needs pip install 'gancli[onnx]'",
            "format=html              latents.html: samples, walks and classes on one page",
            "out=FOLDER_OR_FILE       default: export in the run folder",
            *_HYDRA_FLAGS,
        ),
        "export",
    ),
    "compare": Subcommand(
        "gancli.commands.compare",
        "rank several runs: leaderboard, curves, samples",
        "RUN ... | SWEEP_FOLDER [out=FOLDER] [by=METRIC]",
        (
            "gan compare outputs/sweeps/20261121-093612-k3f9",
            "gan compare RUN RUN by=d/adv out=pages",
            "gan compare RUN RUN --json",
        ),
        (
            "by=METRIC, mode=min|max  what to rank by; default: what best.pt follows",
            "protocol=NAME            training, or a file of evaluations/; default: the one that",
            "                         most runs share. Numbers of other protocols are ranked apart",
            "out=FOLDER               compare.html, compare.csv, runs.csv; default: the sweep's",
            "                         folder, or outputs/compare",
            "--csv FILE               the leaderboard as CSV",
            "--json                   everything as plain data; writes no page without out=",
        ),
    ),
    "report": Subcommand(
        "gancli.commands.report",
        "one page about one run: samples, metrics, curves, config",
        "RUN [out=FILE]",
        ("gan report outputs/cgan_projection-digits/20261121-093612-k3f9",),
        (
            "out=FILE                 default: report.html in the run folder; a name without an",
            "                         ending gets .html",
        ),
    ),
    "features": Subcommand(
        "gancli.commands.features",
        "what the discriminator has learned: probe, neighbours, images ranked by its score",
        "ckpt=RUN_OR_FILE [dataset=NAME] [KEY=VALUE ...]",
        (
            "gan features ckpt=RUN",
            "gan features ckpt=RUN dataset=folder dataset.path=photos n=2000",
            "gan features ckpt=RUN dataset=mnist k=20 distance=euclidean out=features",
        ),
        (
            "dataset=NAME             another data set, at the checkpoint's size; default: the one",
            "                         that it was trained on",
            "n=N                      images in all, a fifth of them for testing; default: 10000,",
            "                         fewer where features are long",
            "k=5, distance=cosine     of the nearest neighbours; or distance=euclidean",
            "l2=0.01                  weight decay of the linear probe",
            "out=FOLDER               features.npz, ranking.csv, ranking.png, features.json;",
            "                         default: features in the run folder",
            "seed=0, device=auto      the random seed, and where it runs",
            "trust=PACKAGE            a package of your own that the checkpoint may name",
            *_CONFIG_FLAGS[:1],
        ),
    ),
    "recommend": Subcommand(
        "gancli.commands.recommend",
        "what to train on data of your own in the time that there is: one command to paste",
        "PATH [minutes=30] [KEY=VALUE ...] [--json]",
        (
            "gan recommend photos",
            "gan recommend photos minutes=10 --json",
            "gan recommend my.csv minutes=5 trainer.precision=fp32",
        ),
        (
            "minutes=30               that the run may take on this machine; two or three",
            "                         candidates are timed for a few seconds each",
            "KEY=VALUE                of gan train; stands in the printed command too",
            "--json                   everything as plain data",
        ),
    ),
    "config": Subcommand(
        "gancli.commands.config",
        "copy a built-in option into a YAML file of your own, to edit",
        "copy GROUP/OPTION [out=DIR] [name=NAME]",
        (
            "gan config copy model/dcgan",
            "gan config copy loss/hinge out=my_conf name=soft_hinge",
        ),
        (
            "out=DIR                  the folder of your own options; default: my_conf",
            "name=NAME                of the copy; default: my_OPTION",
        ),
    ),
    "completion": Subcommand(
        "gancli.commands.completion",
        "print the script that completes words of gan in a shell by the Tab key",
        "bash|zsh|fish",
        ("gan completion bash",),
        (
            'bash                     eval "$(gan completion bash)"        in ~/.bashrc',
            'zsh                      eval "$(gan completion zsh)"         in ~/.zshrc',
            "fish                     gan completion fish | source         in",
            "                         ~/.config/fish/config.fish",
        ),
    ),
    "data": Subcommand(
        "gancli.commands.data",
        "examine a data set: counts, broken files, copies, labels",
        "PATH | dataset=NAME [KEY=VALUE ...] [FLAGS] | --clear-cache",
        (
            "gan data photos",
            "gan data dataset=mnist dataset.root=data",
            "gan data photos --sample 2000 --json",
            "gan data photos augment=ada",
        ),
        (
            "out=FILE.png             the contact sheet; default: outputs/data/<name>.png",
            "--sample N               read only N files, evenly spread",
            "--json                   everything as plain data",
            "--clear-cache            remove the decoded images that runs have kept for later runs",
            *_CONFIG_FLAGS,
        ),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words behind `gan`; None takes those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 user error, 3 stopped by policy, 75 try again later,
        130, 143 or 129 after a signal.
    """
    if argv is None:  # else Python code calls, whose collector is not ours to stop
        REST.begin()
    argv = list(sys.argv[1:] if argv is None else argv)
    with lasting() as outputs:
        code = run_command(argv)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        lost = outputs["stdout"].lost if "stdout" in outputs else None
        return code or find_code_of_lost_output(lost, argv)


def run_command(argv: list[str]) -> int:
    """Runs one command and turns what it raises into a message and an exit code."""
    try:
        return dispatch(argv)
    except GanError as error:
        return show_failure(error)
    except KeyboardInterrupt:
        print("gan: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return close_broken_pipes()
    except Exception as error:  # noqa: BLE001 - the process ends here, with a traceback
        if isinstance(error, OSError) and disk_is_full(error):
            where = f"{error.filename}: " if error.filename else ""
            hint = "make room, then type it again"
            return show_failure(TemporaryFailure(f"{where}{error.strerror}", hint))
        traceback.print_exc()  # its notes say where the run's log is
        return 1


def show_failure(error: GanError) -> int:
    """Shows an error once, whichever ranks have met it, and returns its exit code."""
    from gancli.render.messages import show_error

    first = os.environ.get("RANK", "0") == "0"  # what all ranks meet it tells
    if (first or error.alone) and not isinstance(error, Elsewhere):
        show_error(error)
    return error.code


def find_code_of_lost_output(lost: OSError | None, argv: list[str]) -> int:
    """Finds what a command that went well returns if some of its output was not written.

    A run is what it leaves in its folder, so it is done. Of other commands the output is the
    result: 75 where a disk is full. A reader that has gone (`gan list | head`) wants to hear
    nothing.
    """
    if lost is None:
        return 0
    if isinstance(lost, BrokenPipeError):
        return 0 if argv[:1] == ["train"] else 1
    print(f"gan: stdout could not be written: {lost.strerror}", file=sys.stderr)
    if argv[:1] == ["train"]:
        return 0
    return TemporaryFailure.code if disk_is_full(lost) else 1


def dispatch(argv: list[str]) -> int:
    """Answers a question about `gan` itself, or calls the subcommand. Raises what that raises."""
    if not argv or argv[0] in ("-h", "--help"):
        print(describe_usage())
        return 0
    if argv[0] == "--version":
        return run_module("gancli.commands.version", [])
    if argv[0] in ("-sc", "--shell-completion"):
        return complete_line(argv)
    name, *rest = argv
    if argv[:2] == ["completion", "answer"]:
        completion = importlib.import_module("gancli.commands.completion")
        offered: int = completion.answer(argv[2:], SUBCOMMANDS)
        return offered
    if name not in SUBCOMMANDS:
        from gancli.config.hints import find_nearest
        from gancli.errors import UserError, did_you_mean

        close = find_nearest(name, [*SUBCOMMANDS, "--help", "--version"])
        if "=" in name:
            close = [f"gan train {name}"]
        hint = did_you_mean(close) or f"commands: {', '.join(SUBCOMMANDS)}"
        raise UserError(f"unknown command '{name}'", hint)
    if "-h" in rest or "--help" in rest:
        print(describe_subcommand(name, [word for word in rest if word not in ("-h", "--help")]))
        return 0
    if SUBCOMMANDS[name].config and shows_config(rest):
        from gancli.config.sweeps import run_hydra_main

        return run_hydra_main(SUBCOMMANDS[name].config, refuse_job, rest)
    from gancli.render.status import shown

    with shown():
        return run_module(SUBCOMMANDS[name].module, rest)


def run_module(module: str, words: list[str]) -> int:
    """Imports a module of gancli/commands/ and calls its `main`."""
    code: int = importlib.import_module(module).main(words)
    return code


def shows_config(argv: list[str]) -> bool:
    """Is it a question to Hydra (--cfg, --info, --hydra-help, -sc) that runs no subcommand?"""
    if not any(word.startswith("-") for word in argv):
        return False
    from gancli.config.arguments import split_args

    return split_args(argv).command not in ("", "multirun")


def describe_usage() -> str:
    """Returns the help screen of `gan`."""
    summaries = [f"  {name:10}{command.summary}" for name, command in SUBCOMMANDS.items()]
    examples = [f"  {command.examples[0]}" for command in SUBCOMMANDS.values()]
    return "\n".join(
        [
            "gan: train every kind of GAN",
            "",
            "usage: gan COMMAND [KEY=VALUE ...] [FLAGS]",
            "",
            *summaries,
            "",
            "examples:",
            *examples,
            "",
            "exit codes:",
            *(f"  {code:<10}{meaning}" for code, meaning in EXIT_CODES.items()),
            "",
            "gan COMMAND --help says more.",
        ]
    )


def describe_subcommand(name: str, words: list[str]) -> str:
    """Returns the help screen of a subcommand.

    Args:
        name: Which.
        words: Overrides and flags typed beside --help; the config in the help is what they compose.
    """
    command = SUBCOMMANDS[name]
    lines = [
        f"gan {name}: {command.summary}",
        "",
        f"usage: gan {name} {command.usage}",
        "",
        "examples:",
        *(f"  {text}" for text in command.examples),
    ]
    if command.flags:
        lines += ["", "flags:", *(f"  {text}" for text in command.flags)]
    if command.asks_model and any(word.startswith("ckpt=") for word in words):
        lines += importlib.import_module(command.module).describe_checkpoint(words)
    elif command.config:
        lines += describe_config(command.config, words)
    return "\n".join(lines)


def describe_config(config: str, words: list[str]) -> list[str]:
    """Returns the lines of help about a composed config: its groups, and what `words` compose."""
    from omegaconf import OmegaConf

    from gancli.config.arguments import split_args
    from gancli.config.compose import compose
    from gancli.config.folders import find_conf_dir, list_options
    from gancli.render.messages import warn

    composed = compose(config, words, missing=True)
    for message in composed.warnings:
        warn(message)
    lines = []
    if composed.choices:
        found = list_options([find_conf_dir(), *split_args(words).dirs])
        applies = [name for name in found if config == "train" or name in composed.choices]
        lines += ["", "groups, chosen by GROUP=OPTION (gan list GROUP says what each is):"]
        lines += [f"  {group:11}{'  '.join(found[group])}" for group in applies]
    lines += ["", "config, changed by KEY=VALUE:"]
    return lines + [f"  {line}" for line in OmegaConf.to_yaml(composed.cfg).splitlines()]


def complete_line(argv: list[str]) -> int:
    """Completes a line of the shell by Hydra's scripts: they call `gan -sc query=SHELL`.

    Hydra knows no subcommands, so the subcommand is cut out of the line that is being typed.
    """
    from gancli.config.arguments import split_args
    from gancli.config.sweeps import run_hydra_main

    line = os.environ.get("COMP_LINE", "")
    name = "train"
    dirs: list[str] = []
    if "COMP_LINE" in os.environ:
        from gancli.files.zoo import complete_zoo

        words = line.split()
        if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
            start = "".join(words[1:])
            print(" ".join(known for known in SUBCOMMANDS if known.startswith(start)))
            return 0
        if zoo := [] if line.endswith(" ") else list(complete_zoo(words[-1])):
            print(" ".join(zoo))
            return 0
        name = {"bench": "train", "check": "train", "show": "train"}.get(words[1], words[1])
        if name not in SUBCOMMANDS or not SUBCOMMANDS[name].config:
            return 0
        rest = [*line.split(maxsplit=2), ""][2]
        begins_a_word = line.endswith(" ") and len(words) > 2
        os.environ["COMP_LINE"] = f"gan {rest}" + " " * begins_a_word
        with contextlib.suppress(GanError):  # a flag is half typed
            dirs = [f"--config-dir={path}" for path in split_args(words[2:]).dirs]
    return run_hydra_main(
        SUBCOMMANDS[name].config, refuse_job, ["--shell-completion", *argv[1:], *dirs]
    )


def refuse_job(composed: object) -> None:
    """Stands for a run where Hydra prints something and runs none."""
    raise AssertionError("Hydra answers these flags without running a job")


def close_broken_pipes() -> int:
    """Stays quiet where whoever read our output has gone (`gan list | head`).

    A broken pipe of another kind keeps its traceback.
    """
    gone = [stream for stream in (sys.stdout, sys.stderr) if has_no_reader(stream)]
    for stream in gone:
        # Or Python complains once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if not gone:
        traceback.print_exc()
    return 1


def has_no_reader(stream: TextIO) -> bool:
    """Is it a pipe whose other end is closed?"""
    import select

    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
    except (OSError, AttributeError):  # a stream of a test; a system without poll
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
