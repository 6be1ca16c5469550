"""People that Pillow draws: each in many poses, with maps of the pose, and nobody to ask for leave.

What a person wears and is like stands apart from how it stands, so that new people in new poses
can be held out.
"""

from __future__ import annotations

import colorsys
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from PIL import Image, ImageDraw
from PIL import __version__ as pillow_version
from torch import Tensor

from gancli.data import cache
from gancli.data.base import Decoded, Source, digest_of, is_count, require
from gancli.data.posed import People
from gancli.render import status
from gancli.seeding import seed_of

log = logging.getLogger("gancli.data")
Maps = Literal["sticks", "gaussians"]
Colour = tuple[int, int, int]

DRAWING = 1  # raise it when the same figure would be drawn otherwise: drawn ones are kept
BACKGROUND = 235  # level of all three channels
LARGER = 4  # times as large as it is stored a figure is drawn, and then averaged
FLOOR = 0.93  # height of the lower ankle, in sides
# Lengths and radii of a person of height 1 and width 1, in sides of the picture
THIGH = SHIN = 0.19
TORSO = 0.25
NECK = 0.105  # from the shoulders to the middle of the head
HEAD = 0.068
UPPER_ARM = 0.14
FOREARM = 0.13
SHOULDERS = 0.085  # half of their distance
HIPS = 0.045
TRUNK = 0.115
LEG = 0.042
ARM = 0.033
# Bounds of the eleven angles of a pose, in degrees from hanging down, outwards
ANGLES = {
    "lean": (-15, 15),
    "nod": (-20, 20),
    "turn": (0, 65),
    "arm_left": (-30, 150),
    "arm_right": (-30, 150),
    "elbow_left": (-20, 110),
    "elbow_right": (-20, 110),
    "leg_left": (-12, 50),
    "leg_right": (-12, 50),
    "knee_left": (-70, 8),
    "knee_right": (-70, 8),
}
JOINTS = (
    "head",
    "shoulder_left",
    "shoulder_right",
    "elbow_left",
    "elbow_right",
    "wrist_left",
    "wrist_right",
    "hip_left",
    "hip_right",
    "knee_left",
    "knee_right",
    "ankle_left",
    "ankle_right",
)
# The sticks of a stick man: two joints, and a colour by which a network tells left from right.
STICKS: tuple[tuple[int, int, Colour], ...] = (
    (1, 2, (160, 160, 160)),
    (7, 8, (160, 160, 160)),
    (1, 7, (110, 110, 255)),
    (2, 8, (255, 110, 110)),
    (7, 9, (0, 0, 255)),
    (9, 11, (0, 255, 255)),
    (8, 10, (255, 0, 0)),
    (10, 12, (255, 255, 0)),
    (1, 3, (0, 160, 0)),
    (3, 5, (0, 255, 120)),
    (2, 4, (200, 0, 200)),
    (4, 6, (255, 0, 120)),
)
SKINS: tuple[Colour, ...] = ((255, 214, 178), (222, 166, 122), (158, 104, 66), (92, 58, 40))
HAIRS: tuple[Colour, ...] = ((28, 22, 20), (92, 56, 30), (214, 170, 84), (150, 60, 24), (128,) * 3)


@dataclass(frozen=True)
class Person:
    """What a person is like in every pose.

    Attributes:
        shirt: Colour of the trunk.
        sleeves: Of the upper arms.
        trousers: Of the legs.
        shoes: Of the feet.
        hair: Of the hair.
        skin: Of the head and the forearms.
        width: Of trunk and limbs, relative to the mean.
        height: Likewise.
    """

    shirt: Colour
    sleeves: Colour
    trousers: Colour
    shoes: Colour
    hair: Colour
    skin: Colour
    width: float
    height: float


@dataclass(kw_only=True)
class Figures(Source):
    """People drawn by Pillow, `poses` pictures of each, and none of two pictures in the same pose.

    A pair is two pictures of one person. Held out are pictures of people who are not trained on,
    in poses that are not trained on.

    Attributes:
        people: To train on.
        poses: Pictures of each person.
        holdout: Pictures of other people.
        maps: What shows a pose: sticks, a stick man in colours; gaussians, a map for each joint.
        pose_channels: Of a pose's map; auto: 3 of sticks, 13 of gaussians.
        data_seed: Another draws other people in other poses.
    """

    people: int = 200
    poses: int = 20
    maps: Maps = "sticks"
    pose_channels: int | str = "auto"
    data_seed: int = 0
    resolution: int | list[int] | str = 64
    channels: int | str = 3
    classes: int | str = 0
    holdout: int = 400

    def __post_init__(self) -> None:
        super().__post_init__()
        height, width = self.size()
        require(
            height == width and height >= 16 and self.channels == 3 and not self.classes,
            f"dataset.resolution={self.resolution}, dataset.channels={self.channels}, "
            f"dataset.classes={self.classes}: figures are square RGB pictures without labels",
            "one side of 16 pixels or more, dataset.channels=3 dataset.classes=0",
        )
        require(
            self.load_size is None and not self.flip,
            "figures are drawn at their size, and in poses to both sides",
            "dataset.load_size=null dataset.flip=false",
        )
        require(
            is_count(self.people, least=1) and is_count(self.poses, least=2),
            f"dataset.people={self.people}, dataset.poses={self.poses}: a pair is two pictures "
            "of one person",
            "dataset.people=200 dataset.poses=20",
        )

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        n = 3 if self.maps == "sticks" else len(JOINTS)
        return {"pose_channels": n} if self.pose_channels == "auto" else {}

    def settled(self) -> Self:
        """Returns a copy without "auto"."""
        return replace(self, **self.scan())

    def load(self) -> Decoded:
        """Draws everybody, those who are held out last."""
        side = self.size()[0]
        trained = self.people * self.poses
        n = trained + self.holdout
        person = np.arange(n) // self.poses
        who = [draw_person(seed_of("person", self.data_seed, k)) for k in range(person.max() + 1)]
        # A pose of its own for each picture, also of one person.
        joints = np.stack(
            [
                find_joints(draw_pose(seed_of("pose", self.data_seed, k)), who[person[k]].height)
                for k in range(n)
            ]
        )
        images = self.draw_images([who[k] for k in person], joints)
        log.info(
            "figures: %d people in %d poses each, and %d pictures of others held out",
            self.people,
            self.poses,
            self.holdout,
        )
        people = People(
            person=torch.from_numpy(person),
            draw=make_maps(self.maps, side),
            background=(BACKGROUND,) * 3,
        )
        return Decoded(
            images=torch.from_numpy(images),
            digest=digest_of([images.tobytes(), joints.tobytes(), self.maps]),
            place=torch.arange(n),
            further={"joints": torch.from_numpy(joints)},
            people=people,
        )

    def draw_images(self, people: Sequence[Person], joints: np.ndarray) -> np.ndarray:
        """Draws (N,3,side,side) uint8, or finds what an earlier run has drawn.

        Args:
            people: Who is in each picture.
            joints: (N,13,2) as `find_joints` gives them.
        """
        side = self.size()[0]
        shape = (len(joints), 3, side, side)
        told = repr((DRAWING, pillow_version, shape, self.poses, self.data_seed))
        key = digest_of(["figures", told, joints.tobytes()])
        keeps = self.cache == "auto"
        found = cache.find(cache.cache_root() / key, shape) if keeps else None
        if found is not None:
            return found.pixels
        room = cache.make_room(shape, key)
        started = time.monotonic()
        for k, (person, places) in enumerate(zip(people, joints, strict=True)):
            if k % 50 == 0:
                status.say(f"drawing figures: {k:,} of {len(joints):,}…", goes_on=k > 0)
            room.pixels[k] = draw_figure(person, places, side)
        kept = room.keep(np.arange(len(joints)), [], [])
        if keeps and room.folder is None and time.monotonic() - started >= cache.SLOW_S:
            cache.keep_for_next(kept, key)
        return kept.pixels


def draw_person(seed: int) -> Person:
    """Draws what a person is like."""
    rng = np.random.RandomState(seed % 2**32)
    shirt = draw_colour(rng)
    return Person(
        shirt=shirt,
        sleeves=shirt if rng.uniform() < 0.5 else draw_colour(rng),
        trousers=draw_colour(rng),
        shoes=draw_colour(rng),
        hair=HAIRS[rng.randint(len(HAIRS))],
        skin=SKINS[rng.randint(len(SKINS))],
        width=rng.uniform(0.8, 1.3),
        height=rng.uniform(0.85, 1.0),
    )


def draw_colour(rng: np.random.RandomState) -> Colour:
    """Draws the colour of a garment, which differs from the background."""
    red, green, blue = colorsys.hsv_to_rgb(
        # The background is a light grey: some saturation, and never full brightness, differ from
        # it.
        rng.uniform(),
        rng.uniform(0.4, 1.0),
        rng.uniform(0.3, 0.9),
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_pose(seed: int) -> dict[str, float]:
    """Draws the angles of a pose, in degrees."""
    rng = np.random.RandomState(seed % 2**32)
    return {name: float(rng.uniform(*bounds)) for name, bounds in ANGLES.items()}


def find_joints(pose: dict[str, float], height: float = 1.0) -> np.ndarray:
    """Finds the joints of a person in a pose.

    Args:
        pose: The angles that ANGLES names, in degrees.
        height: Of the person, relative to the mean.

    Returns:
        (13,2) float32, x and y in sides of the picture, in the order of JOINTS.
    """

    def go(start: np.ndarray, angle: float, length: float) -> np.ndarray:
        turned = np.deg2rad(angle)
        return start + height * length * np.array([np.sin(turned), np.cos(turned)])

    # A person who turns away is narrower; the limbs keep their lengths.
    wide = np.cos(np.deg2rad(pose["turn"]))
    pelvis = np.zeros(2)
    # Angles are from straight down, so 180 points up.
    chest = go(pelvis, 180 - pose["lean"], TORSO)
    found = {"head": go(chest, 180 - pose["lean"] - pose["nod"], NECK)}
    for side, sign in (("left", -1), ("right", 1)):
        across = np.array([sign * height * wide, 0.0])
        found[f"shoulder_{side}"] = shoulder = chest + SHOULDERS * across
        arm = pose[f"arm_{side}"]
        found[f"elbow_{side}"] = elbow = go(shoulder, sign * arm, UPPER_ARM)
        found[f"wrist_{side}"] = go(elbow, sign * (arm + pose[f"elbow_{side}"]), FOREARM)
        found[f"hip_{side}"] = hip = pelvis + HIPS * across
        leg = pose[f"leg_{side}"]
        found[f"knee_{side}"] = knee = go(hip, sign * leg, THIGH)
        found[f"ankle_{side}"] = go(knee, sign * (leg + pose[f"knee_{side}"]), SHIN)
    joints = np.stack([found[name] for name in JOINTS])
    # In the middle, and standing: the pelvis was at 0, and people may not float.
    joints += [0.5 - joints[:, 0].mean(), FLOOR - joints[-2:, 1].max()]
    return joints.astype(np.float32)


def draw_figure(person: Person, joints: np.ndarray, side: int) -> np.ndarray:
    """Draws a person: (3,side,side) uint8, drawn larger and averaged, so that edges are smooth."""
    large = LARGER * side
    canvas = Image.new("RGB", (large, large), (BACKGROUND,) * 3)
    pen = ImageDraw.Draw(canvas)
    at = dict(zip(JOINTS, (joints * large).tolist(), strict=True))

    def dot(x: float, y: float, radius: float, colour: Colour) -> None:
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)

    def limb(first: str, last: str, radius: float, colour: Colour) -> None:
        (x0, y0), (x1, y1) = at[first], at[last]
        width = radius * person.width * large
        # Both joints may be in one place.
        length = max(1e-6, float(np.hypot(x1 - x0, y1 - y0)))
        across = (-(y1 - y0) / length * width, (x1 - x0) / length * width)
        corners = [
            (x + sign * across[0], y + sign * across[1])
            for x, y, sign in ((x0, y0, 1), (x1, y1, 1), (x1, y1, -1), (x0, y0, -1))
        ]
        pen.polygon(corners, fill=colour)
        dot(x0, y0, width, colour)
        dot(x1, y1, width, colour)

    def arm(side: str) -> None:
        limb(f"elbow_{side}", f"wrist_{side}", 0.8 * ARM, person.skin)
        limb(f"shoulder_{side}", f"elbow_{side}", ARM, person.sleeves)

    def leg(side: str) -> None:
        limb(f"knee_{side}", f"ankle_{side}", 0.85 * LEG, person.trousers)
        limb(f"hip_{side}", f"knee_{side}", LEG, person.trousers)
        x, y = at[f"ankle_{side}"]
        dot(x, y + 0.01 * large, 1.1 * LEG * person.width * large, person.shoes)

    # From back to front, as a painter: the left arm is behind the trunk and the right before it.
    arm("left")
    leg("left")
    leg("right")
    chest, pelvis = (
        (np.array(at[f"{part}_left"]) + at[f"{part}_right"]) / 2 for part in ("shoulder", "hip")
    )
    at |= {"chest": chest.tolist(), "waist": (0.2 * chest + 0.8 * pelvis).tolist()}
    limb("chest", "head", 0.7 * ARM, person.skin)
    limb("chest", "waist", TRUNK / 2, person.shirt)
    limb("shoulder_left", "shoulder_right", ARM, person.shirt)
    limb("hip_left", "hip_right", LEG, person.trousers)
    x, y = at["head"]
    dot(x, y - 0.018 * large, HEAD * large, person.hair)
    dot(x, y + 0.008 * large, 0.86 * HEAD * large, person.skin)
    arm("right")
    pixels = np.asarray(canvas, np.float32).reshape(side, LARGER, side, LARGER, 3).mean((1, 3))
    return np.round(pixels).astype(np.uint8).transpose(2, 0, 1)


def make_maps(maps: Maps, side: int) -> Callable[[Tensor], Tensor]:
    """Makes the function that turns joints (N,13,2) into pose maps (N,C,side,side) in [-1,1]."""
    draw = draw_sticks if maps == "sticks" else draw_gaussians

    def draw_maps(joints: Tensor) -> Tensor:
        return draw(joints, side)

    return draw_maps


def draw_gaussians(joints: Tensor, side: int) -> Tensor:
    """Draws a map for each joint: a Gaussian of side / 32 pixels, from -1 to 1 in its middle."""
    deviation = side / 32
    # The middles of the pixels.
    places = torch.arange(side, device=joints.device) + 0.5
    x, y = (joints * side).unbind(2)
    across = torch.exp(-((places - x[..., None]) ** 2) / (2 * deviation**2))
    down = torch.exp(-((places - y[..., None]) ** 2) / (2 * deviation**2))
    return 2 * down[..., :, None] * across[..., None, :] - 1


def draw_sticks(joints: Tensor, side: int) -> Tensor:
    """Draws stick men on black: (N,3,side,side) in [-1,1], limbs in colours and the head a ring."""
    places = (torch.arange(side, device=joints.device) + 0.5) / side
    across, down = places.view(1, 1, side), places.view(1, side, 1)
    picture = torch.zeros(len(joints), 3, side, side, device=joints.device)
    # Thinner than a pixel, a stick has gaps.
    thick = max(1.2, side / 32) / side

    def paint(distance: Tensor, colour: Colour) -> None:
        # The share of the pixel that the stick covers: an edge is one pixel wide.
        cover = ((thick / 2 - distance) * side + 0.5).clamp(0, 1)
        for channel, level in zip(picture.unbind(1), colour, strict=True):
            channel.add_(cover * (level / 255 - channel))

    for first, last, colour in STICKS:
        x, y = joints[:, first, :, None, None].unbind(1)
        to_x, to_y = (joints[:, last] - joints[:, first])[..., None, None].unbind(1)
        # Squared, of a stick that may be a point.
        length = (to_x**2 + to_y**2).clamp(min=1e-9)
        share = (((across - x) * to_x + (down - y) * to_y) / length).clamp(0, 1)
        paint(torch.hypot(across - x - share * to_x, down - y - share * to_y), colour)
    x, y = joints[:, 0, :, None, None].unbind(1)
    paint((torch.hypot(across - x, down - y) - 0.6 * HEAD).abs(), (255, 255, 255))
    return 2 * picture - 1


def write_figures(
    folder: str | Path, *, people: int = 4, poses: int = 8, side: int = 64, data_seed: int = 1
) -> None:
    """Writes figures as files, in the layout that `dataset=posed` reads.

    Args:
        folder: Where `pictures/PERSON/POSE.png` and `poses/PERSON/POSE.png` go.
        people: How many.
        poses: Pictures of each.
        side: Of a picture, in pixels.
        data_seed: Another draws other people in other poses; 0 is what training sees.
    """
    for k in range(people * poses):
        who = draw_person(seed_of("person", data_seed, k // poses))
        joints = find_joints(draw_pose(seed_of("pose", data_seed, k)), who.height)
        sticks = draw_sticks(torch.from_numpy(joints[None]), side)[0]
        levels = ((sticks + 1) * 127.5).round().byte().numpy()
        for name, pixels in (("pictures", draw_figure(who, joints, side)), ("poses", levels)):
            path = Path(folder) / name / f"person{k // poses:02d}" / f"pose{k % poses:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
