"""Adaptive augmentation: geometry and colour, each with a probability that is adapted.

It follows the overfitting heuristic r_t, the mean sign of real scores.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gancli.augment.base import Augment, colours, need_images
from gancli.augment.resample import apply, blit, fine_raster, raster, warp
from gancli.schedules import Number, OwnSchedule, schedule

BLIT = ("xflip", "rotate90", "xint")
GEOMETRY = ("scale", "rotate", "aniso", "xfrac")
COLOUR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
CUT = ("cutout",)
OPS = (*BLIT, *GEOMETRY, *COLOUR, *CUT)  # the names of StyleGAN2-ADA's code
# It turns before and after the stretch.
SWITCHES = ("rotate", "rotate_after", *(name for name in OPS if name != "rotate"))
UNIFORM = (
    "xflip",
    "rotate90",
    "xint_x",
    "xint_y",
    "rotate",
    "rotate_after",
    "lumaflip",
    "hue",
    "cutout_x",
    "cutout_y",
)
NORMAL = ("scale", "aniso", "xfrac_x", "xfrac_y", "brightness", "contrast", "saturation")
# (N,) each: an image's own amounts, U(-1, 1) or N(0, 1), and 0 where the operation is off
Draws = dict[str, Tensor]


class ADA(Augment):
    """Adaptive discriminator augmentation (Karras et al. 2020, section 3 and appendix B).

    Every operation is on with probability p times its strength, per image.

    Args:
        resolution: Of the data.
        strength: Operation -> 0 to 1; an absent one is off.
        p: Where it starts. Every `interval` steps it moves by (images in between) / (1000 kimg), up
            where r_t is above `target`, else down; it never falls below 0 and has no upper bound,
            as in the paper's code.
        target: Of r_t, -1 to 1. None: p stays, or is a schedule over images (R3GAN), read once a
            step and so valid for the next.
        interval: Steps between two changes of p.
        kimg: Thousands of images in which p may rise by 1.
        over_white: Before all else, colours are shown over white, see `Augment`.
        channels: Of one image.

    Raises:
        UserError: The data are points.
        ValueError: A value is outside its range.
    """

    strength: Tensor
    p: Tensor
    signs: Tensor
    steps: Tensor
    nimg: Tensor

    def __init__(
        self,
        *,
        resolution: int | list[int],
        strength: dict[str, float],
        p: Number = 0.0,
        target: float | None = 0.6,
        interval: int = 4,
        kimg: float = 500.0,
        over_white: bool = False,
        channels: int = 0,
    ):
        super().__init__(over_white=over_white, channels=channels)
        need_images(resolution, "ADA")
        if unknown := [name for name in strength if name not in OPS]:
            raise ValueError(
                f"strength.{unknown[0]} is no operation of ADA's: there are {', '.join(OPS)}"
            )
        if any(not 0 <= value <= 1 for value in strength.values()):
            raise ValueError(f"strength={strength}: give numbers from 0 to 1")
        if target is not None and not isinstance(p, int | float):
            raise ValueError("p is a schedule, so nothing is left to adapt: add target=null")
        self.schedule = schedule(p)
        self.target = target
        self.interval = interval
        self.kimg = kimg
        # one of the user's own was tried before, and may be made for the length of a run alone
        ends = (0,) if isinstance(self.schedule, OwnSchedule) else (0, 10**15)
        if (
            interval < 1
            or kimg <= 0
            or min(map(self.schedule, ends)) < 0
            or not -1 <= (target or 0) <= 1
        ):
            raise ValueError(
                f"p={p}, target={target}, interval={interval}, kimg={kimg}: give p 0 or more, a "
                "target from -1 to 1 or null, an interval of 1 or more and kimg above 0"
            )
        self.used = {name for name, value in strength.items() if value > 0}
        strengths = [float(strength.get(name.removesuffix("_after"), 0)) for name in SWITCHES]
        self.register_buffer("strength", torch.tensor(strengths), persistent=False)
        self.register_buffer("p", torch.tensor(float(self.schedule(0))))
        self.register_buffer("signs", torch.zeros(()))  # summed since p moved
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # since p moved
        self.register_buffer("nimg", torch.zeros((), dtype=torch.int64))  # at the last step

    @torch.no_grad()
    def adapt(self, sign_real: Tensor, nimg: int) -> None:
        """Moves p by the mean sign of real scores of a step.

        Masks stand instead of branches: the device decides, and the host never waits for it.

        Args:
            sign_real: 0-d, the mean sign of real scores.
            nimg: Real images shown.
        """
        if self.target is None:
            self.p.fill_(self.schedule(nimg))
            return
        self.signs += sign_real
        self.steps += 1
        due = self.steps == self.interval
        # By the newest step: the first interval has one difference too few.
        images = (nimg - self.nimg) * self.interval
        move = torch.sign(self.signs / self.interval - self.target) * images / (1000 * self.kimg)
        self.p.copy_(torch.where(due, (self.p + move).clamp(min=0), self.p))
        self.signs *= ~due
        self.steps *= ~due
        self.nimg.fill_(nimg)

    def logs(self) -> dict[str, Tensor]:
        """Returns p, as it is logged."""
        return {"p": self.p}

    def forward(self, x: Tensor) -> Tensor:
        """Augments images (N,C,H,W) in [-1,1], which keep their type."""
        # In bf16 there are 8 bits: fewer than a colour, and than a coordinate.
        with torch.autocast(x.device.type, enabled=False):
            shown = self.show(x.to(torch.promote_types(x.dtype, torch.float32)))
            return self.apply_operations(shown).to(x.dtype)

    def apply_operations(self, x: Tensor) -> Tensor:
        """Augments images (N,C,H,W) in fp32 or more."""
        on, draws = self.draw(len(x))
        if self.used & {*BLIT, *GEOMETRY}:
            x = self.move_images(x, on, draws)
        if self.used & {*COLOUR}:
            k = colours(x.shape[1])
            x = torch.cat([recolour(x[:, :k], draws), x[:, k:]], 1)
        return (
            x * ~(on["cutout"][:, None, None, None] & hole(draws, *x.shape[2:]))
            if self.used & {*CUT}
            else x
        )

    def draw(self, n: int) -> tuple[Draws, Draws]:
        """Draws which operations are on for each of n images, and their amounts.

        Every number is drawn, always: none depends on p.
        """
        device = self.p.device
        chance = torch.rand(len(SWITCHES), n, device=device)
        uniform = 2 * torch.rand(len(UNIFORM), n, device=device) - 1
        normal = torch.randn(len(NORMAL), n, device=device)
        odds = self.p * self.strength
        # So that the chance of either turn is p.
        odds = torch.cat([1 - (1 - odds[:2]).clamp(0, 1).sqrt(), odds[2:]])
        on = dict(zip(SWITCHES, chance < odds[:, None], strict=True))
        amounts = zip((*UNIFORM, *NORMAL), (*uniform, *normal), strict=True)
        return on, {
            # An amount such as xint_x belongs to the switch xint.
            name: amount * on[name if name in on else name[:-2]]
            for name, amount in amounts
        }

    def move_images(self, x: Tensor, on: Draws, draws: Draws) -> Tensor:
        """Applies the geometry to (N,C,H,W): whole pixels are copied as they are.

        Only images that are also turned or stretched are resampled.
        """
        h, w = x.shape[2:]
        turn, shift = blit_map(draws, h, w)
        copied = blit(x, apply(turn, raster(h, w, x.device) - shift))
        if not self.used & {*GEOMETRY}:
            return copied
        linear, offset = geometry_map(draws, h, w)
        warped = warp(x, apply(turn, apply(linear, fine_raster(h, w, x.device) - offset) - shift))
        any_on = torch.stack([on[name] for name in (*GEOMETRY, "rotate_after")]).any(0)
        return torch.where(any_on[:, None, None, None], warped, copied)


def blit_map(draws: Draws, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Makes the map of whole pixels: (N,2,2) and (N,2,1).

    A place in the result, less the second, times the first, is the place in the image. It is a flip
    or none, one of four quarter turns (of two half turns where the image is not square), and a move
    by up to an eighth.
    """
    flip = 1 - 2 * (draws["xflip"] < 0).float()
    # -2 to 1
    quarters = (2 * draws["rotate90"]).floor() if h == w else 2 * draws["rotate90"].floor()
    # exact
    cos = (quarters == 0).float() - (quarters == -2).float()
    sin = (quarters == 1).float() - (quarters == -1).float()
    shift = torch.stack([draws["xint_x"] * w / 8, draws["xint_y"] * h / 8], 1).round()
    return matrix(flip * cos, flip * sin, -sin, cos), shift[:, :, None]


def geometry_map(draws: Draws, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Makes the map of fractions of pixels, in the form of `blit_map`.

    Scale 2^N(0, 0.2), a turn, a stretch 2^N(0, 0.2), a second turn, and a move by N(0, 1/8) of the
    image.
    """
    scale = 2 ** (0.2 * draws["scale"])
    stretch = 2 ** (0.2 * draws["aniso"])
    zero = torch.zeros_like(scale)
    resized = matrix(1 / (scale * stretch), zero, zero, stretch / scale)
    linear = apply(rotation(draws["rotate"]), apply(resized, rotation(draws["rotate_after"])))
    return linear, torch.stack([draws["xfrac_x"] * w / 8, draws["xfrac_y"] * h / 8], 1)[:, :, None]


def rotation(half_turns: Tensor) -> Tensor:
    """Makes matrices (N,2,2) that turn by so many half turns (N,)."""
    angle = half_turns * math.pi
    return matrix(angle.cos(), angle.sin(), -angle.sin(), angle.cos())


def matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Makes matrices (N,2,2), row by row, of their entries (N,)."""
    return torch.stack([a, b, c, d], 1).view(-1, 2, 2)


def recolour(x: Tensor, draws: Draws) -> Tensor:
    """Changes the colours of images (N,1 or 3,H,W).

    Brightness + N(0, 0.2), contrast x 2^N(0, 0.5), luma inverted, hue turned, saturation
    x 2^N(0, 1). All but the first share an axis: they scale the grey part of a colour, and scale
    and turn what is left around it.
    """
    brightness, contrast, lumaflip, hue, saturation = (
        draws[name].view(-1, 1, 1, 1).to(x.dtype) for name in COLOUR
    )
    x = (x + 0.2 * brightness) * 2 ** (0.5 * contrast)
    luma = 1 - 2 * (lumaflip < 0).to(x.dtype)
    if x.shape[1] == 1:
        return x * luma
    # A matrix with such an axis is circulant: a channel, the one before and the one after have one
    # weight each.
    along = 2**saturation * (math.pi * hue).cos()
    around = 2**saturation * (math.pi * hue).sin() / 3**0.5
    return (
        (luma + 2 * along) / 3 * x
        + ((luma - along) / 3 + around) * x.roll(1, 1)
        + ((luma - along) / 3 - around) * x.roll(-1, 1)
    )


def hole(draws: Draws, h: int, w: int) -> Tensor:
    """Marks (N,1,H,W) a rectangle of half the height and width, its middle anywhere."""
    # Places are pixel centres in [-1,1], so half of a side reaches 0.5 to either hand.
    far_y, far_x = (
        ((2 * torch.arange(size, device=at.device) + 1) / size - 1 - at[:, None]).abs() >= 0.5
        for at, size in ((draws["cutout_y"], h), (draws["cutout_x"], w))
    )
    return ~(far_y[:, None, :, None] | far_x[:, None, None, :])
