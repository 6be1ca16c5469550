"""What a plain value of a config may be: its type by an annotation, its bounds by one table.

Known without torch.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, Union

from gancli.config.plain import Plain
from gancli.errors import Problem

# what a config's list and mapping serve as
LISTS = (list, tuple, Sequence, Collection, Iterable)
MAPPINGS = (dict, Mapping)
# Keys of a model and its networks whose `auto` the loss, the data or the batch decide
LEFT_OPEN = ("norm", "output", "dropout", "dropout_in", "width", "shared_fakes")
LARGEST = 2**63 - 1  # what torch and NumPy hold in a whole number

# A description of an object ({_target_: ...}) against an annotation, checked by whoever can import
# its class.
Nested = Callable[[Plain, Any, str], list[Problem]]

SCHEDULE = "a schedule such as {start: 1, end: 0.1, end_kimg: 200}"


@dataclass(frozen=True)
class Bound:
    """From `least` to `most`; above, below: the bound itself is outside."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Is the value within the bound?"""
        low = value > self.least if self.above else value >= self.least
        high = value < self.most if self.below else value <= self.most
        return low and high

    def describe(self) -> str:
        """Says what to give, in a user's words."""
        if self.most >= 2**31 - 1:  # the upper end is only there to be finite
            return (
                f"give a number above {self.least:g}"
                if self.above
                else f"give {self.least:g} or more"
            )
        if self.below and self.above:
            return f"give a number above {self.least:g} and below {self.most:g}"
        if self.below:
            return f"give {self.least:g} or more and less than {self.most:g}"
        low = f"above {self.least:g}" if self.above else f"from {self.least:g}"
        return f"give a number {low} to {self.most:,g}"


ANY = Bound()
COUNT = Bound(1, 2**31 - 1)
COUNT_OR_0 = Bound(0, 2**31 - 1)
SAMPLES = Bound(10, 2**31 - 1)  # fewer say nothing, see metrics/settings.py
NONNEGATIVE = Bound(0)
POSITIVE = Bound(0, above=True)
SHARE = Bound(0, 1)
BETA = Bound(0, 1, below=True)
CHANNELS = Bound(1, 2**20)  # of a layer; far beyond what any memory holds in two layers
LAYERS = Bound(
    1, 1000
)  # each is an object of its own: a million of them would take minutes to make
LAYERS_OR_0 = Bound(0, 1000)

SEED = Bound(-LARGEST, LARGEST)
# The parts that are ours alone: section -> key -> bound.
CLOSED_BOUNDS: dict[str, dict[str, Bound]] = {
    "trainer": {
        "steps": COUNT,
        "epochs": Bound(0, 1e9, above=True),
        "batch_size": COUNT,
        "accumulate": COUNT,
        "save_every": COUNT,
        "keep": COUNT,
        "threads": Bound(1, 1024),
    },
    "ema": {
        "half_life_kimg": NONNEGATIVE,
        "rampup": NONNEGATIVE,
        "settle_batches": COUNT_OR_0,
    },
    "log": {"every": COUNT, "sample_every": COUNT, "grid": Bound(1, 1000)},
    "watch": {
        "retries": COUNT_OR_0,
        "start_kimg": NONNEGATIVE,
        "patience": COUNT,
        "saturated": NONNEGATIVE,
        "diversity": NONNEGATIVE,
        "overfit": NONNEGATIVE,
        "worse": Bound(1),
    },
    "init": {"freeze_d": COUNT_OR_0},
    "metrics": {
        "every": COUNT,
        "n": SAMPLES,
        "n_real": SAMPLES,
        "swd_patches": Bound(1, 2**20),
        "swd_directions": Bound(1, 2**20),
        "pairs": COUNT,
        "judges": Bound(1, 1000),
        "judge_steps": COUNT,
    },
}
# The keys of optimizer.<player>; those of the torch optimizer beside them are checked by the
# optimizer itself.
PLAYER_BOUNDS: dict[str, Bound] = {
    "lr": POSITIVE,
    "betas": BETA,
    "beta2": BETA,
    "weight_decay": NONNEGATIVE,
    "l1": NONNEGATIVE,
    "orthogonal": NONNEGATIVE,
    "clip": NONNEGATIVE,
    "start_kimg": NONNEGATIVE,
    "end_kimg": NONNEGATIVE,
    "final": NONNEGATIVE,
    "step_kimg": POSITIVE,
    "gamma": NONNEGATIVE,
    "warmup_kimg": NONNEGATIVE,
}
# The open parts, by the name of the argument, which means one thing in all classes of gancli. A
# class of the user's has its own.
OPEN_BOUNDS: dict[str, Bound] = {
    **dict.fromkeys(
        ("width", "max_width", "channel_base", "channel_max", "z_dim", "w_dim", "embed_dim")
        + ("shared_dim", "dim", "hidden", "units", "bottleneck", "growth", "group", "pieces"),
        CHANNELS,
    ),
    **dict.fromkeys(("channels", "channels_in", "channels_out"), CHANNELS),
    **dict.fromkeys(("blocks", "depth", "layers", "mapping_layers", "levels"), LAYERS),
    **dict.fromkeys(("downs", "flat", "judged", "noise_channels", "out_dim"), LAYERS_OR_0),
    **dict.fromkeys(("resolution", "load_size", "coarsest"), Bound(1, 2**16)),
    **dict.fromkeys(("attention", "border", "pool", "continuous", "warmup", "start"), COUNT_OR_0),
    **dict.fromkeys(("mle_steps", "d_steps", "series_z_dim"), COUNT_OR_0),
    "rollouts": Bound(1, 1000),
    "kernels": Bound(1, 2**12),
    "filters": CHANNELS,
    **dict.fromkeys(("follow", "discount"), SHARE),
    **dict.fromkeys(("embedding_steps", "supervised_steps"), COUNT_OR_0),
    "generator_steps": COUNT,
    **dict.fromkeys(("holdout", "classes", "start_stage"), COUNT_OR_0),
    **dict.fromkeys(("limit", "n", "every", "pl_every", "r1_every", "pl_shrink"), COUNT),
    **dict.fromkeys(("n_critic", "pack", "generator_batch", "interval", "mbstd_group"), COUNT),
    "categories": Bound(2, CHANNELS.most),
    "styles": CHANNELS,
    "kernel": Bound(1, 2**12),
    "phase_shuffle": COUNT_OR_0,
    "workers": Bound(1, 1024),
    "jpeg": Bound(1, 100),
    "overlap": Bound(0, 0.25, below=True),
    **dict.fromkeys(("scale", "generator_scale"), Bound(0, 1000, above=True)),
    **dict.fromkeys(
        ("adversarial_weight", "content_weight", "cycle", "feature_matching", "perceptual_weight")
        + ("pixel_weight", "pl_weight", "r1_gamma", "smoothness", "style_weight", "weight")
        + ("weight_categorical", "weight_continuous", "identity", "factor", "d", "g")
        + ("fake", "real", "generator", "recovery_weight", "supervised_weight", "raw_weight")
        + ("embedder_supervised_weight", "moments_weight", "rest_below", "kl_weight")
        + ("latent_weight",),
        NONNEGATIVE,
    ),
    **dict.fromkeys(("blur", "deviation", "noise", "instance_noise"), NONNEGATIVE),
    **dict.fromkeys(("fade_kimg", "stable_kimg", "kimg", "shift", "strength"), NONNEGATIVE),
    "instance_noise_kimg": NONNEGATIVE,
    **dict.fromkeys(("missing", "background"), Bound(0, 255)),
    **dict.fromkeys(("brightness", "contrast", "saturation", "mapping_lr"), NONNEGATIVE),
    **dict.fromkeys(("clip", "temperature", "sigma"), POSITIVE),
    **dict.fromkeys(("dropout", "dropout_in", "decay", "pl_decay", "w_decay"), BETA),
    **dict.fromkeys(("mixing", "p", "share", "flip", "jitter", "grey", "hue", "smallest"), SHARE),
    "top_k": Bound(0, 1, above=True),
    "length": Bound(1, 2**16),
    **dict.fromkeys(("data_seed", "oracle_seed"), SEED),
    "vocabulary": Bound(2, 2**20),
    "spread": NONNEGATIVE,
    "phi": Bound(-1, 1, above=True, below=True),  # from 1 on, AR(1) has no variance
    "bits": Bound(8, 16),
    "shown": COUNT_OR_0,
    "foreground_weight": NONNEGATIVE,
    **dict.fromkeys(("pose_channels", "people", "poses", "held_index"), COUNT),
    **dict.fromkeys(("held_people", "held_poses"), COUNT_OR_0),
    **dict.fromkeys(("rate", "file_rate", "hop"), COUNT),
    "bin_deviation": POSITIVE,
}
# By module, where a name means another thing: series are in the units of whoever measured them.
MODULE_BOUNDS: dict[str, dict[str, Bound]] = {
    "gancli.data.series": {"scale": POSITIVE, "shift": ANY},
}


def find_outside(value: object, bound: Bound, *, where: str) -> list[Problem]:
    """Finds the numbers of a value, or of a list of them, that leave a bound.

    What is no number is another check's.
    """
    if isinstance(value, list):
        return [
            problem
            for index, item in enumerate(value)
            for problem in find_outside(item, bound, where=f"{where}[{index}]")
        ][:1]
    if isinstance(value, bool) or not isinstance(value, int | float) or bound.holds(value):
        return []
    return [(f"{where}={show(value)} does not fit", bound.describe())]


def find_misfits(value: object, annotation: Any, *, where: str, nested: Nested) -> list[Problem]:
    """Tells why a plain value or nested description does not suit an annotation, if so."""
    origin = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        tried = [find_misfits(value, option, where=where, nested=nested) for option in arguments]
        if not all(tried):
            return []
        inside = [
            found
            for found in tried
            if found[0][0].startswith((f"{where}.", f"{where}[", f"{where}:"))
        ]
        if inside:  # the shape was right, and something in it is wrong
            return inside[0]
    elif origin is Literal:
        # By type too: 1 == True and 1.0 == 1.
        if any(value == one and type(value) is type(one) for one in arguments):
            return []
    elif is_spec(value) and origin not in (*LISTS, *MAPPINGS):
        return nested(value, annotation, where)
    elif origin in LISTS and isinstance(value, list):
        return find_sequence_problems(
            value, origin, arguments or (Any, ...), where=where, nested=nested
        )
    elif origin in MAPPINGS and isinstance(value, dict) and not is_spec(value):
        of = arguments[1] if arguments else Any
        return [
            problem
            for key, item in value.items()
            for problem in find_misfits(item, of, where=f"{where}.{key}", nested=nested)
        ]
    elif fits_plain_type(value, annotation):
        return []
    return [
        (
            f"{where}={show(value)} does not fit",
            f"give {describe_type(annotation)}{describe_limits(value)}{describe_auto(where)}",
        )
    ]


def describe_auto(where: str) -> str:
    """Tells that a key of a model's networks may be left to the run, as the end of a hint."""
    group, _, key = where.partition(".")
    return " or auto" if group == "model" and key.rpartition(".")[2] in LEFT_OPEN else ""


def describe_limits(value: object) -> str:
    """Tells why no computer can use a number, as the end of a hint."""
    if isinstance(value, float) and not math.isfinite(value):
        return ", finite"
    if type(value) is int and not is_number(value):
        return ", no more than 64 bits long"
    return ""


def find_sequence_problems(
    value: list[Any], origin: type, arguments: tuple[Any, ...], *, where: str, nested: Nested
) -> list[Problem]:
    """Checks a list entry by entry; a tuple has a fixed length."""
    fixed = origin is tuple and Ellipsis not in arguments
    if fixed and len(value) != len(arguments):
        return [(f"{where} has {len(value)} entries", f"give {len(arguments)}")]
    options = arguments if fixed else (arguments[0],) * len(value)
    return [
        problem
        for index, (item, option) in enumerate(zip(value, options, strict=True))
        for problem in find_misfits(item, option, where=f"{where}[{index}]", nested=nested)
    ]


def is_spec(value: object) -> TypeGuard[dict[str, Any]]:
    """Does the value describe an object of a class?"""
    return isinstance(value, dict) and "_target_" in value


def fits_plain_type(value: object, annotation: Any) -> bool:
    """Does a single value suit a type that is no container?"""
    if annotation is Any:
        return True
    if annotation is type(None):
        return value is None
    if annotation is float:
        return is_number(value)
    if annotation is int:
        return type(value) is int and is_number(value)
    if annotation in (bool, str):
        return type(value) is annotation
    return annotation is object


def is_number(value: object) -> bool:
    """Is it a finite number that 64 bits hold? true and false are none."""
    if type(value) is int:
        return -LARGEST <= value <= LARGEST
    return isinstance(value, float) and math.isfinite(value)


def describe_type(annotation: Any) -> str:
    """Says an annotation in a user's words."""
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a string",
        type(None): "null",
        Any: "anything",
    }
    if annotation in names:
        return names[annotation]
    origin = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation) or (Any, Any)
    if origin in (Union, types.UnionType):
        options = [option for option in arguments if getattr(option, "__name__", "") != "Tensor"]
        if any(getattr(option, "__name__", "") == "ScheduleFunction" for option in options):
            # It stands beside the mapping of a schedule of gancli's: one word for both.
            plain = [option for option in options if option in (float, type(None))]
            return " or ".join([*map(describe_type, plain), SCHEDULE])
        return " or ".join(describe_type(option) for option in options)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in LISTS:
        entries = arguments if origin is tuple and Ellipsis not in arguments else arguments[:1]
        return f"a list like [{', '.join(map(describe_type, entries))}]"
    if origin in MAPPINGS:
        return f"a mapping of names to {describe_type(arguments[1])}"
    return (
        f"a mapping whose _target_ is a {annotation.__name__}"
        if isinstance(annotation, type)
        else str(annotation)
    )


def show(value: object) -> str:
    """Returns a value as a message shows it: cut to 60 characters."""
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
