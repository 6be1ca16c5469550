"""One page of what a generator makes: samples, a plane of latents, walks, classes and codes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import gancli
from gancli.commands.sample_pictures import draw, first_of, images_of, still
from gancli.errors import UserError
from gancli.modality import Modality, make_modality
from gancli.render import status
from gancli.reports.markup import Html, Node, make_page, make_section, make_tag
from gancli.reports.pictures import encode_image, make_address

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from gancli.checkpoint import Loaded
    from gancli.game import Batch, Game

MOST_BYTES = 3_000_000  # of a page
SIDES = (720, 560, 420, 320, 240)  # pixels of a large picture, tried from the first on
COLUMNS = 8
PLANE = 7  # latents from corner to corner
STEPS = 8  # of an interpolation
ROWS = 4  # interpolations
FRAMES = 40  # of a walk
LEGS = 4  # latents that a walk passes
WALKERS = 9  # side by side
MOST_CLASSES = 24  # with pictures of their own
OF_CLASS = 8  # samples of each


class Shown(NamedTuple):
    """A picture of the page, before it is encoded.

    Attributes:
        image: What is shown.
        title: Above it.
        note: Behind the title.
    """

    image: Image
    title: str = ""
    note: str = ""


class Content(NamedTuple):
    """What the page shows, drawn."""

    samples: Shown
    plane: Shown | None
    walk: list[Image]
    ways: Shown | None
    classes: list[Shown]
    left_out: int  # classes without a picture
    codes: list[Shown]


def write_document(loaded: Loaded, options: dict[str, Any], *, title: str) -> str:
    """Draws all and writes the page as text, of at most 3 MB.

    Args:
        loaded: Of a model that makes pictures out of latents.
        options: `seed` and `truncation`.
        title: Of the page.

    Raises:
        UserError: The model makes something else.
    """
    content = draw_content(loaded, options)
    status.say("writing the page…")
    for side in SIDES:
        document = compose_page(loaded, content, options, title=title, side=side)
        if len(document.encode()) <= MOST_BYTES:
            return document
    return compose_page(
        loaded, content._replace(walk=content.walk[::4]), options, title=title, side=SIDES[-1]
    )


def refuse_others(game: Game, modality: Modality) -> None:
    """Raises UserError for models whose page would have nothing to look at."""
    if game.directions:
        raise UserError(
            "format=html shows a space of latents, and this model makes images out of images",
            "gan export format=safetensors, or format=onnx",
        )
    if modality.of_tokens or modality.drawn is not None:  # one alone is no picture
        raise UserError(
            f"format=html shows pictures, and this model makes {modality.noun}",
            "gan sample writes them; gan export format=safetensors, or format=onnx",
        )


def draw_content(loaded: Loaded, options: dict[str, Any]) -> Content:
    """Draws all pictures; the same seed gives the same ones."""
    import torch

    from gancli.inference import sampling

    game = loaded.game
    modality = make_modality(loaded.tree["config"]["dataset"])
    refuse_others(game, modality)
    sampling.refuse_unknown(game, {"truncation": options["truncation"]})
    given = still(game, options | {"level": None})
    names = [str(name) for name in loaded.tree["data"]["classes"]]

    def make(inputs: Batch, tile: int, columns: int) -> Image:
        images = torch.stack(list(images_of(loaded, inputs, options["seed"], given)))
        return draw_tiles(modality, images, tile=tile, columns=columns)

    def start(n: int, shift: int, *, label: int | None = 0) -> Batch:
        return draw(game, n, choose_label(game, n, label), options, shift=shift)

    status.say("drawing samples…")
    n = COLUMNS * COLUMNS
    drawn = draw(game, n, choose_label(game, n, None), options)
    samples = Shown(make(drawn, 64, COLUMNS))
    plane = ways = None
    walk: list[Image] = []
    status.say("drawing the space between latents…")
    first = start(ROWS, 1)
    if any(sampling.can_move(key, value) for key, value in first.items()):
        edges = [
            sampling.interpolate(first_of(start(1, 2 + k), 1), first_of(start(1, 4 + k), 1), PLANE)
            for k in range(2)
        ]
        plane = Shown(make(sampling.interpolate(edges[0], edges[1], PLANE), 72, PLANE))
        pairs = sampling.interpolate(start(ROWS, 1, label=None), start(ROWS, 6, label=None), STEPS)
        ways = Shown(make(pairs, 64, STEPS))
    if plane is not None and modality.pixels:
        status.say("drawing the walk…")
        stops = [start(WALKERS, 7 + k, label=None) for k in range(LEGS)]
        images = list(images_of(loaded, sampling.walk(stops, FRAMES), options["seed"], given))
        walk = [
            draw_tiles(modality, torch.stack(images[k : k + WALKERS]), tile=128, columns=3)
            for k in range(0, len(images), WALKERS)
        ]
    classes = []
    for k in range(min(game.classes, MOST_CLASSES)):
        status.say(f"drawing the classes: {k + 1} of {game.classes}…", goes_on=True)
        title = names[k] if k < len(names) else f"class {k}"
        # The same latents in every class: what differs is the class alone.
        classes.append(Shown(make(start(OF_CLASS, 20, label=k), 64, OF_CLASS // 2), title))
    codes = draw_codes(game, make, start(5, 21))
    left = max(0, game.classes - MOST_CLASSES)
    return Content(samples, plane, walk, ways, classes, left, codes)


def draw_codes(game: Game, make: Callable[[Batch, int, int], Image], inputs: Batch) -> list[Shown]:
    """Draws a picture for each code: its values from left to right, all else fixed in a row."""
    from gancli.inference import sampling

    found = []
    for name in game.codes:
        swept = sampling.sweep(game, inputs, name, 9)
        columns = len(swept[name]) // len(inputs[name])
        kind = "each of its categories" if name in game.codes[: len(game.categories)] else "-1 to 1"
        found.append(Shown(make(swept, 64, columns), name, kind))
    return found


def choose_label(game: Game, n: int, label: int | None) -> Tensor | None:
    """Chooses the labels of n samples: all of one class, or with None each class in turn."""
    from gancli.inference.sampling import choose_labels

    return choose_labels(game, n, label=label, classes=())


def draw_tiles(modality: Modality, images: Tensor, *, tile: int, columns: int) -> Image:
    """Tiles samples; pixels of small images are enlarged to squares."""
    from gancli.render.grids import grid

    if modality.pixels:
        return grid(modality.show(images), columns=columns, min_tile=tile)
    return modality.picture(images, None, columns=columns)


def compose_page(
    loaded: Loaded, content: Content, options: dict[str, Any], *, title: str, side: int
) -> str:
    """Writes the page with pictures of at most `side` pixels."""
    psi = options["truncation"]
    truncated = "" if psi is None else f" Truncation {psi:g}."
    seed = options["seed"]
    first = make_section(
        "Samples",
        show_picture(content.samples, side),
        note=f"Drawn at random (seed {seed}), none picked.{truncated}",
    )
    walk = plane = ways = None
    if content.walk:
        walk = make_section(
            "Walk",
            show_film(content.walk, side),
            note=f"{WALKERS} latents move through {LEGS} places, and back to the first.",
        )
    if content.plane is not None:
        plane = make_section(
            "A plane of latents",
            show_picture(content.plane, side),
            note="Four latents at the corners, all others between them"
            + (", of one class." if loaded.game.classes else "."),
        )
    if content.ways is not None:
        ways = make_section(
            "From one latent to another",
            show_picture(content.ways, side),
            note="A row for each pair, on the great circle between them.",
        )
    parts: list[Node] = [write_heading(loaded, title)]
    for pair in ((first, walk), (plane, ways)):
        there = [part for part in pair if part is not None]
        split = {"class": "split"} if len(there) > 1 else None
        parts.append(make_tag("div", there, at=split))
    if content.classes:
        more = f" {content.left_out} further classes are left out." if content.left_out else ""
        figures = [show_picture(shown, side // 2) for shown in content.classes]
        parts.append(
            make_section(
                "Attributes" if loaded.game.attributes else "Classes",
                make_tag("div", figures, at={"class": "pictures"}),
                note=f"The same {OF_CLASS} latents in each.{more}",
            )
        )
    if content.codes:
        figures = [show_picture(shown, side) for shown in content.codes]
        parts.append(
            make_section(
                "Codes",
                make_tag("div", figures, at={"class": "pictures"}),
                note="From left to right one code changes, all else is fixed in a row.",
            )
        )
    parts.append(make_tag("footer", make_tag("p", f"gancli {gancli.__version__}")))
    return make_page(f"{title} - gan export", *parts)


def write_heading(loaded: Loaded, title: str) -> list[Node]:
    """Writes the top: what it is, and its tiles."""
    tree = loaded.tree
    spec = tree["config"]["dataset"]
    noun = make_modality(spec).noun
    size = spec.get("resolution")
    width_by_height = f"{size[1]}x{size[0]}" if isinstance(size, list) else f"{size}x{size}"
    parameters = sum(p.numel() for p in loaded.generator.parameters())
    tiles = [
        ("step", f"{tree['progress']['step']:,}"),
        (f"real {noun} seen in training", f"{tree['progress']['nimg']:,}"),
        (f"{noun} to train on", f"{tree['data']['n']:,}"),
        ("size", width_by_height),
        ("parameters of the generator", f"{parameters:,}"),
    ]
    parts = [[make_tag("span", name), make_tag("b", value)] for name, value in tiles]
    return [
        make_tag(
            "header",
            make_tag("p", "gan export", at={"class": "kind"}),
            make_tag("h1", title),
            make_tag(
                "p",
                f"What the EMA generator makes. All {noun} on this page are made, none is of the "
                "data.",
                at={"class": "lead"},
            ),
        ),
        make_tag(
            "div",
            [make_tag("div", part, at={"class": "tile"}) for part in parts],
            at={"class": "tiles"},
        ),
    ]


def show_picture(shown: Shown, side: int) -> Html:
    """Writes one picture with its title."""
    caption = (
        make_tag(
            "figcaption",
            make_tag("b", shown.title),
            make_tag("small", shown.note) if shown.note else None,
        )
        if shown.title
        else None
    )
    image = make_tag("img", at={"src": encode(shown.image, side), "alt": shown.title or "samples"})
    kind = (
        "picture" if shown.title else "picture real"
    )  # of which the style is no wider than a grid
    return make_tag("figure", caption, image, at={"class": kind})


def show_film(frames: Sequence[Image], side: int) -> Html:
    """Writes frames with a slider and a button; without the script, the first one."""
    images = [
        make_tag(
            "img",
            at={
                "src": encode(frame, side // 2),
                "alt": f"{k + 1} of {len(frames)}",
                "hidden": k > 0,
            },
        )
        for k, frame in enumerate(frames)
    ]
    slider = make_tag(
        "input",
        at={"type": "range", "min": 0, "max": len(frames) - 1, "value": 0, "aria-label": "frame"},
    )
    controls = make_tag(
        "div",
        make_tag("button", "Play", at={"type": "button"}),
        slider,
        make_tag("output", f"1 of {len(frames)}"),
        at={"class": "controls"},
    )
    return make_tag("div", images, controls, at={"class": "film picture no-script"})


def encode(image: Image, side: int) -> str:
    """Turns a picture into an address, as PNG or WebP, whichever is smaller."""
    webp = encode_image(image, side)
    if max(image.size) <= side:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", optimize=True)
        if len(buffer.getvalue()) <= len(webp):
            return make_address("image/png", buffer.getvalue())
    return make_address("image/webp", webp)
