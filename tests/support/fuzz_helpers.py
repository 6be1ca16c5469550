"""Command lines that nobody means, drawn from a seed: any key of a model's config with any value,
deleted, added or misspelt.
"""

from __future__ import annotations

import functools
import random

from helpers import DOMAINS, PAIRS

from gancli.config.compose import compose
from gancli.config.tree import walk_keys

# Ten models that together have every kind of part: heads, codes, levels, growth, two domains,
# pairs, a perceptual loss.
MODELS: dict[str, tuple[str, ...]] = {
    "mlp": (),
    "dcgan": ("loss=wgan_gp", "augment=ada"),
    "cgan": ("augment=diffaug",),
    "acgan": (),
    "infogan": (),
    "lapgan": (),
    "stylegan2": (),
    "r3gan": (),
    "pix2pix": (f"dataset.path={PAIRS}",),
    "cyclegan": (f"dataset.path={DOMAINS}",),
}
HUGE = (2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**21, 10**30)
VALUES = (
    *map(str, HUGE),
    *(f"-{value}" for value in HUGE),
    *("0", "-0", "-1", "1", "2", "3", "7", "0.0", "-0.5", "0.5", "1.5"),
    *("1e308", "-1e308", "1e-320"),
    *("inf", "-inf", "nan", ".nan", ".inf", "1_000", "0x10", "007", "1:30"),
    *("", "''", '""', "null", "None", "true", "false", "abc", "auto", "a b", "???", "'???'"),
    *("[]", "{}", "[1,2]", "[1,2,3]", "[0,0]", "[-1,1]", "[nan,nan]", "[null]", "[[1]]", "[a]"),
    *("{a: 1}", "{1: 2}", "{null: 1}", "{_target_: 1}", "{_target_: os.system}", "[{}]"),
    *("{_target_: torch.optim.Adam}", "{_target_: gancli.games.gan.GAN}", "{_target_: null}"),
    *("{_target_: gancli.losses.penalties.GradientPenalty, weight: nan}", "torch.optim.Muon"),
    *("{start: nan, end: 1, end_kimg: 2}", "{kind: cosine, start: 0, end: inf, end_kimg: 2}"),
    *("{kind: 1, start: 0, end: 1, end_kimg: 2}", "{start: 0, end: 1, end_kimg: -2}", "{start: 1}"),
    *("{start: true, end: a, end_kimg: []}", "{kind: cosine, start: 0, end: 1, end_kimg: 1e308}"),
    *("${oc.env:NOPE}", "${model.width}", "${nope}", "${nope:1}", "${", "}", "[", "{", "${seed}"),
    *("${gan.times:a,b}", "${gan.halvings:-1}", "${gan.halvings:[]}", "${model}", "${loss}"),
    *("1,2", "choice(1,2)", "range(3)", "glob(*)", "sort(3,1)", "int(3)", "str(3)", "tag(a,1)"),
    *("'", '"', "\\", ",", "=", "=1", "~", "+", "@", "#", ":", "%", "&", "(", ")", "a=b", "a:b"),
    *("手写", "甲类", "é", "\x1b[31mred", "\t", "\n", "\x00", "\u202e", "😀"),
    *("../../x", "/", "/dev/null"),
    *("x" * 5000, "[" * 200, "{a: " * 50 + "1" + "}" * 50, "[" + ",".join("1" * 500) + "]"),
)  # fmt: skip


@functools.cache
def keys_of(model: str) -> tuple[str, ...]:
    """Every key of a model's config and every group, as one may type them."""
    composed = compose("train", [f"model={model}", *MODELS[model]])
    keys = [path for path, _, _ in walk_keys(composed.cfg)]
    return (*keys, "hydra.run.dir", "hydra.job.num", "penalty@loss.penalties.x", "experiment")


def draw_word(rng: random.Random, keys: tuple[str, ...]) -> str:
    """One word of a command line."""
    key = rng.choice(keys)
    value = rng.choice(VALUES)
    kind = rng.random()
    if kind < 0.72:
        return f"{key}={value}"
    if kind < 0.78:
        return f"~{key}"
    if kind < 0.82:
        return f"+{key}={value}"
    if kind < 0.86:
        return f"++{key}={value}"
    if kind < 0.90:
        return f"+{key}.{rng.choice(('extra', '0', 'a b', '手', ''))}={value}"
    if kind < 0.94:
        cut = rng.randrange(len(key) + 1)
        return f"{key[:cut]}{rng.choice('xq.@/=~ 手')}{key[cut:]}={value}"
    if kind < 0.96:
        return key
    if kind < 0.98:
        return value
    return f"{key}={value}={value}"


def draw_line(seed: int) -> list[str]:
    """The command line of a seed: one of ten models, and one to three words of which most are
    wrong.
    """
    rng = random.Random(seed)
    model = sorted(MODELS)[seed % len(MODELS)]
    keys = keys_of(model)
    words = [draw_word(rng, keys) for _ in range(rng.choice((1, 1, 2, 3)))]
    return [f"model={model}", *MODELS[model], *words]
