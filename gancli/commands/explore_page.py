"""The page of gan explore: controls for what a model has, drawn with Gradio.

Gradio is an extra, so it is imported inside the functions. The page asks no other machine for
anything: its fonts are the system's, and whatever gradio would report or fetch is off.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from gancli.commands.explore_session import Session, describe_checkpoint
from gancli.errors import GanError, UserError
from gancli.game import Option
from gancli.inference import explore, sampling
from gancli.inference.explore import Between, Draw, Mixed, Moved, Pick
from gancli.inference.explore_directions import SHOWN
from gancli.networks.layers import size_of

if TYPE_CHECKING:
    import gradio as gr

MOST = 48  # pictures of one gallery
PIXELATED = 128  # sides up to this are enlarged without smoothing
EACH = "each in turn"
ALL_LAYERS = "all layers"
FARTHEST = 4.0  # standard deviations of a direction's slider
CODES_END = 2.0  # of a continuous code's slider; in training it was -1 to 1
FREE = 3.0  # a bound on |z| that counts as none
MOST_UPLOAD = "64mb"
EXTRAS = {  # what a translation may need beside the picture, by the options of gan translate
    "mask": "mask: white is filled; without one, what is transparent",
    "style": "the picture whose style is taken",
    "pose": "the pose of the picture",
    "poses": "the pose to move into",
}
CSS = """
/* clip, not hidden: nothing sticks inside of what scrolls by itself */
.gradio-container {max-width: 1240px !important; width: 100%; margin: 0 auto !important;
  overflow: clip !important}
footer {display: none !important}
.command textarea {font-family: var(--font-mono); font-size: 13px}
.tiles .caption-label {font-size: 10px; padding: 0 5px; border: 0; bottom: 2px; right: 2px}
#pick img, .end img {width: 100% !important; height: 100% !important; object-fit: contain}
.tiles .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr)) !important}
@media (min-width: 760px) {#panel {position: sticky; top: 12px}}
@media (max-width: 759px) {
  /* On a phone the picture stays in sight while the controls below it are moved. */
  #panel {display: contents}
  #pick {position: sticky; top: 0; order: -1; z-index: 1000; height: 240px !important;
    background: var(--background-fill-primary) !important}
}
"""
CRISP = """
.gradio-container img {image-rendering: pixelated}
"""


class Page:
    """The page of one session; `serve` shows it.

    Attributes:
        session: What stands behind it.
    """

    def __init__(self, session: Session):
        self.session = session
        # Truncation says how far, and a slider of its own for some layers would say little more.
        self.options = [
            option
            for option in explore.find_options(session.model.game)
            if option.name != "truncated_layers"
        ]

    @contextmanager
    def serve(self, host: str, port: int) -> Iterator[str]:
        """Serves the page while the block runs, and yields its address."""
        import gradio as gr

        fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Arial", "sans-serif"]
        mono = ["ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace"]
        theme = gr.themes.Default(primary_hue="blue", font=fonts, font_mono=mono)
        blocks = self.build()
        small = max(size_of(self.session.loaded.tree["config"]["dataset"]["resolution"]))
        crisp = self.session.modality.pixels and small <= PIXELATED
        try:
            _, address, _ = blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                inbrowser=False,
                inline=False,
                quiet=True,
                debug=False,
                prevent_thread_lock=True,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                run_history=False,
                enable_monitoring=False,
                root_path="",
                footer_links=[],
                allowed_paths=[str(self.session.shown)],
                max_file_size=MOST_UPLOAD,
                theme=theme,
                css=CSS + (CRISP if crisp else ""),
            )
        except OSError as error:  # somebody took the port meanwhile
            raise UserError(f"port={port} cannot be used: {error}", "give another port") from error
        try:
            yield str(address)
        finally:
            blocks.close(verbose=False)

    def build(self) -> gr.Blocks:
        """Builds the page: of a model that translates another one than of one that draws."""
        import gradio as gr

        with gr.Blocks(title="gan explore", analytics_enabled=False) as blocks:
            words = describe_checkpoint(self.session.loaded).replace("`", "'")
            name = self.session.loaded.tree["config"]["model"]["_target_"].rsplit(".", 1)[-1]
            gr.Markdown(f"### gan explore: {name}\n`{words}`")
            if self.session.model.game.directions:
                Translating(self.session).build()
            else:
                Drawing(self.session, self.options, blocks).build()
        return blocks


class Drawing:
    """The part of the page for a model that makes items of noise.

    A pick is chosen in a gallery; the sliders move it; the panel shows it.
    """

    def __init__(self, session: Session, options: Sequence[Option], blocks: gr.Blocks):
        import gradio as gr

        self.session = session
        self.game = session.model.game
        self.options = options
        self.blocks = blocks
        self.drawn = gr.State([])  # the picks of the gallery
        self.way = gr.State([])  # those between A and B
        self.start = gr.State(None)  # what the sliders move
        self.pick = gr.State(None)  # what the panel shows
        self.ends = [gr.State(None), gr.State(None)]  # A and B
        self.movers: list[gr.components.Component] = []  # sliders of directions
        self.layers: gr.Dropdown | None = None
        self.codes: dict[str, gr.components.Component] = {}

    def build(self) -> None:
        """Lays out the controls on the left, and the panel of the pick on the right."""
        import gradio as gr

        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320), gr.Tabs():
                with gr.Tab("Seeds"):
                    self.add_seeds()
                if self.session.has_directions():
                    with gr.Tab("Directions"):
                        self.add_directions()
                with gr.Tab("A to B"):
                    self.add_way()
                if self.session.model.styled:
                    with gr.Tab("Styles"):
                        self.add_styles()
                if self.game.codes:
                    with gr.Tab("Codes"):
                        self.add_codes()
                if sampling.list_sweepable(self.game) and self.session.modality.pixels:
                    with gr.Tab("Sweep"):
                        self.add_sweep()
            with gr.Column(scale=2, min_width=300, elem_id="panel"):
                self.add_panel()
        self.connect()

    # the controls

    def add_seeds(self) -> None:
        """Adds the gallery of seeds, and what all of its pictures share."""
        import gradio as gr

        classes = self.session.classes
        with gr.Row():
            self.seed = gr.Number(
                self.session.options["seed"], label="first seed", precision=0, minimum=0
            )
            self.count = gr.Slider(1, MOST, value=12, step=1, label="pictures")
        self.label: gr.components.Component | None = None
        if self.game.classes and self.game.attributes:
            self.label = gr.CheckboxGroup(
                [(name, k) for k, name in enumerate(classes)], label="attributes", value=[]
            )
        elif self.game.classes:
            choices = [(EACH, -1), *((name, k) for k, name in enumerate(classes))]
            self.label = gr.Dropdown(choices, value=-1, label="class")
        self.values = [make_control(option, self.session) for option in self.options]
        self.next = gr.Button("Other seeds")
        self.gallery = make_gallery("click one", "gallery")

    def add_directions(self) -> None:
        """Adds a slider for each principal direction."""
        import gradio as gr

        what = "styles" if self.session.model.styled else "latents"
        gr.Markdown(
            f"Move the pick along the principal directions of its class's {what}, in standard "
            "deviations. The first move of a class takes longer: its directions are looked for."
        )
        if self.session.model.styled:
            self.layers = gr.Dropdown(
                [ALL_LAYERS, *sampling.PARTS], value=ALL_LAYERS, label="layers that move"
            )
        for k in range(SHOWN):
            self.movers.append(
                gr.Slider(-FARTHEST, FARTHEST, value=0, step=0.1, label=f"direction {k + 1}")
            )
        self.reset = gr.Button("Back to the pick")

    def add_way(self) -> None:
        """Adds the way from one pick to another."""
        import gradio as gr

        stays = (
            " The class stays A's." if self.game.classes and not self.session.model.styled else ""
        )
        gr.Markdown(
            "Choose A and B with the buttons under the picture; then walk between them." + stays
        )
        with gr.Row():
            self.shown_ends = [
                gr.Image(
                    label=name,
                    interactive=False,
                    height=140,
                    buttons=[],
                    type="filepath",
                    elem_classes=["end"],
                )
                for name in "AB"
            ]
        self.share = gr.Slider(0, 1, value=0.5, step=0.01, label="share of the way from A to B")
        with gr.Row():
            self.steps = gr.Slider(3, 24, value=8, step=1, label="steps")
            self.walk = gr.Button("Draw the way")
        self.way_gallery = make_gallery("from A to B", "way")

    def add_styles(self) -> None:
        """Adds style mixing: A with the styles of B in some layers."""
        import gradio as gr

        last = self.game.style_layers - 1
        coarse = sampling.find_layers(self.game, "coarse")
        gr.Markdown(
            "A takes the styles of B in these layers: coarse ones are pose and shape, fine "
            "ones are colour. Choose A and B with the buttons under the picture."
        )
        self.part = gr.Radio([*sampling.PARTS], value="coarse", label="layers")
        with gr.Row():
            self.first = gr.Slider(0, last, value=coarse[0], step=1, label="first layer")
            self.last = gr.Slider(0, last, value=coarse[1] - 1, step=1, label="last layer")
        self.mix = gr.Button("Mix these layers")

    def add_codes(self) -> None:
        """Adds a control for each code that the model has learnt (InfoGAN)."""
        import gradio as gr

        gr.Markdown("Codes that the model has found by itself; all else of the pick stays.")
        for k, name in enumerate(self.game.codes):
            if k < len(self.game.categories):
                self.codes[name] = gr.Radio(
                    list(range(self.game.categories[k])), value=0, label=name
                )
            else:
                self.codes[name] = gr.Slider(
                    -CODES_END, CODES_END, value=0, step=0.05, label=f"{name} (learnt from -1 to 1)"
                )

    def add_sweep(self) -> None:
        """Adds a picture of all values of one input."""
        import gradio as gr

        names = sampling.list_sweepable(self.game)
        with gr.Row():
            self.swept = gr.Dropdown(
                names, value=names[0], label="what varies; all else as the seed has it"
            )
            self.sweep = gr.Button("Draw the sweep")
        self.sweep_picture = gr.Image(
            label="sweep", interactive=False, buttons=["download", "fullscreen"], type="filepath"
        )
        self.sweep_command = make_command_box("the command that makes it")

    def add_panel(self) -> None:
        """Adds the picture of the pick, its command, and the buttons that keep it."""
        import gradio as gr

        self.picture = gr.Image(
            label="the pick",
            interactive=False,
            height=340,
            buttons=["download", "fullscreen"],
            type="filepath",
            elem_id="pick",
        )
        self.sound = gr.Audio(
            label="sound", interactive=False, visible=self.makes(".wav"), buttons=["download"]
        )
        self.text = gr.Textbox(label="text", interactive=False, visible=self.makes(".txt"))
        self.words = gr.Markdown("")
        self.command = make_command_box("the command that makes the same picture")
        with gr.Row():
            self.keep = [gr.Button(f"Use as {name}", size="sm", min_width=80) for name in "AB"]
            self.save = gr.Button("Save", size="sm", variant="primary", min_width=80)
        self.said = gr.Markdown("")

    def makes(self, suffix: str) -> bool:
        """Does a picture have a file of this kind beside it?"""
        return suffix in self.session.beside

    # what they do

    @property
    def panel(self) -> list[gr.components.Component]:
        """Lists what `show` fills."""
        return [self.pick, self.picture, self.sound, self.text, self.words, self.command, self.said]

    @property
    def sliders(self) -> list[gr.components.Component]:
        """Lists what a new start sets back."""
        return [*self.movers, *self.codes.values()]

    def connect(self) -> None:
        """Says what happens when a control is moved."""
        shared = [self.seed, self.count, *([self.label] if self.label else []), *self.values]
        chosen = [self.start, *self.panel, *self.sliders]
        self.blocks.load(
            explain(self.draw), shared, [self.drawn, self.gallery, *chosen], show_progress="hidden"
        )
        for event in itertools.chain.from_iterable(map(list_events, shared)):
            event(explain(self.redraw), shared, [self.drawn, self.gallery])
        self.next.click(explain(self.move_on), [self.seed, self.count], [self.seed]).then(
            explain(self.redraw), shared, [self.drawn, self.gallery]
        )
        self.gallery.select(explain_choice(self.choose), [self.drawn], chosen)
        self.way_gallery.select(explain_choice(self.choose), [self.way], chosen)
        moved = [self.start, *([self.layers] if self.layers else []), *self.movers]
        for event in itertools.chain.from_iterable(map(list_events, moved[1:])):
            event(explain(self.move), moved, self.panel)
        if self.movers:
            self.reset.click(explain(self.set_back), [self.start], [*self.panel, *self.sliders])
        for event in itertools.chain.from_iterable(map(list_events, self.codes.values())):
            event(
                explain(self.change_codes),
                [self.start, *self.codes.values()],
                [self.start, *self.panel, *self.movers],
            )
        for end, button, shown in zip(self.ends, self.keep, self.shown_ends, strict=True):
            button.click(explain(self.keep_end), [self.pick], [end, shown, self.said])
        self.share.release(
            explain(self.stop_between), [*self.ends, self.share], [self.start, *self.panel]
        )
        self.walk.click(
            explain(self.walk_between), [*self.ends, self.steps], [self.way, self.way_gallery]
        )
        if self.session.model.styled:
            self.part.input(explain(self.find_part), [self.part], [self.first, self.last]).then(
                explain(self.mix_styles),
                [*self.ends, self.first, self.last],
                [self.start, *self.panel],
            )
            self.mix.click(
                explain(self.mix_styles),
                [*self.ends, self.first, self.last],
                [self.start, *self.panel],
            )
        if sampling.list_sweepable(self.game) and self.session.modality.pixels:
            self.sweep.click(
                explain(self.draw_sweep),
                [self.pick, self.swept],
                [self.sweep_picture, self.sweep_command],
            )
        self.save.click(explain(self.save_pick), [self.pick], [self.command, self.said])

    def read_draws(self, *given: Any) -> list[Pick]:
        """Reads the controls of the seeds -> the picks that they ask for."""
        seed, count, *rest = given
        label = rest.pop(0) if self.label is not None else None
        options = {
            option.name: read
            for option, value in zip(self.options, rest, strict=True)
            if (read := read_control(option, value, self.session)) is not None
        }
        first = max(0, int(seed or 0))
        return [
            Draw(seed=first + k, label=self.read_label(label, k), options=options)
            for k in range(int(count))
        ]

    def read_label(self, given: Any, k: int) -> int | tuple[float, ...] | None:
        """Reads the control of the label for the picture k."""
        if self.label is None:
            return None
        if self.game.attributes:
            return tuple(float(j in given) for j in range(self.game.classes))
        return k % self.game.classes if given is None or given < 0 else int(given)

    def draw(self, *given: Any) -> list[Any]:
        """Fills the gallery and shows its first picture."""
        drawn, gallery = self.redraw(*given)
        return [drawn, gallery, *self.begin_at(drawn[0])]

    def redraw(self, *given: Any) -> tuple[list[Pick], Any]:
        """Fills the gallery."""
        drawn = self.read_draws(*given)
        return drawn, self.tile(drawn)

    def tile(self, picks: Sequence[Pick]) -> Any:
        """Makes what a gallery shows of picks."""
        found = []
        for pick in picks:
            shown = self.session.show(pick)
            found.append((str(shown.picture), self.name_tile(pick)))
        return found

    def name_tile(self, pick: Pick) -> str:
        """Names a picture of a gallery in a word or two: there is no room for more."""
        if isinstance(pick, Between):
            return f"{pick.share:.0%}"
        draw = explore.find_draw(pick)
        if not isinstance(draw.label, int):
            return str(draw.seed)
        return f"{draw.seed}: {self.session.classes[draw.label]}"

    def move_on(self, seed: Any, count: Any) -> int:
        """Goes on to the seeds behind those that are shown."""
        return int(seed or 0) + int(count)

    def choose(self, picks: list[Pick], number: int) -> list[Any]:
        """Shows the picture that was clicked."""
        return self.begin_at(picks[number])

    def begin_at(self, pick: Pick) -> list[Any]:
        """Starts from a pick: it is shown, and the sliders stand at what it is."""
        return [pick, *self.show(pick), *self.reset_sliders(pick)]

    def reset_sliders(self, pick: Pick) -> list[Any]:
        """Sets directions to 0, and codes to what the pick's draw has."""
        inputs = explore.draw_one(self.session.model, explore.find_draw(pick))
        codes = []
        for k, name in enumerate(self.codes):
            value = inputs[name].item()
            codes.append(int(value) if k < len(self.game.categories) else round(value, 2))
        return [0.0] * len(self.movers) + codes

    def show(self, pick: Pick) -> list[Any]:
        """Makes what the panel shows of a pick."""
        shown = self.session.show(pick)
        return [
            pick,
            str(shown.picture),
            str(shown.sound) if shown.sound else None,
            shown.text,
            shown.words,
            shown.command or "Save it first: then its latent lies in a file that gan sample reads.",
            "",
        ]

    def move(self, start: Pick, *given: Any) -> list[Any]:
        """Moves the start along directions."""
        steps = list(given)
        part = steps.pop(0) if self.layers is not None else ALL_LAYERS
        layers = None if part == ALL_LAYERS else sampling.find_layers(self.game, part)
        amounts = tuple(round(float(step or 0), 2) for step in steps)
        if not any(amounts):
            return self.show(start)
        return self.show(Moved(of=start, amounts=amounts, layers=layers))

    def set_back(self, start: Pick) -> list[Any]:
        """Shows the start again."""
        return [*self.show(start), *self.reset_sliders(start)]

    def change_codes(self, start: Pick, *given: Any) -> list[Any]:
        """Gives the start's draw other codes."""
        codes = {
            name: float(round(value, 2)) if k >= len(self.game.categories) else int(value)
            for k, (name, value) in enumerate(zip(self.codes, given, strict=True))
        }
        pick = replace(explore.find_draw(start), codes=codes)
        return [pick, *self.show(pick), *([0.0] * len(self.movers))]

    def keep_end(self, pick: Pick) -> list[Any]:
        """Keeps a pick as A or B."""
        return [pick, str(self.session.show(pick).picture), f"kept: {self.session.describe(pick)}"]

    def stop_between(self, first: Pick | None, second: Pick | None, share: float) -> list[Any]:
        """Shows what lies between A and B."""
        a, b = require_ends(first, second)
        pick = Between(first=a, second=b, share=round(float(share), 2))
        return [pick, *self.show(pick)]

    def walk_between(self, first: Pick | None, second: Pick | None, steps: float) -> list[Any]:
        """Shows the whole way from A to B."""
        way = explore.walk_between(*require_ends(first, second), int(steps))
        return [way, self.tile(way)]

    def find_part(self, part: str) -> list[int]:
        """Finds the first and the last layer of coarse, middle or fine."""
        first, last = sampling.find_layers(self.game, part)
        return [first, last - 1]

    def mix_styles(
        self, first: Pick | None, second: Pick | None, low: float, high: float
    ) -> list[Any]:
        """Shows A with the styles of B in some layers."""
        a, b = require_ends(first, second)
        layers = (int(min(low, high)), int(max(low, high)) + 1)
        pick = Mixed(of=a, other=b, layers=layers)
        return [pick, *self.show(pick)]

    def draw_sweep(self, pick: Pick, name: str) -> list[Any]:
        """Draws all values of one input."""
        path, command = self.session.sweep(explore.find_draw(pick), name)
        return [str(path), command]

    def save_pick(self, pick: Pick) -> list[str]:
        """Saves what the panel shows."""
        name, command = self.session.save(pick)
        return [command, f"saved as {name} in {self.session.out}"]


class Translating:
    """The part of the page for a model that makes images out of images."""

    def __init__(self, session: Session):
        self.session = session
        self.game = session.model.game

    def build(self) -> None:
        """Lays out what is uploaded on the left, and what becomes of it on the right."""
        import gradio as gr

        names = [*self.game.extras, *(["poses"] if "pose" in self.game.extras else [])]
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                self.source = make_upload("your picture", 320)
                self.extras = {name: make_upload(EXTRAS[name], 180) for name in names}
                with gr.Row():
                    ways = self.game.directions
                    self.direction = gr.Radio(
                        list(ways), value=ways[0], label="direction", visible=len(ways) > 1
                    )
                    self.seed = gr.Number(
                        self.session.options["seed"],
                        label="seed of the generator's noise",
                        precision=0,
                        minimum=0,
                        visible=self.session.needs_seed(ways[0]),
                    )
                self.start = gr.Button("Translate", variant="primary")
            with gr.Column(min_width=320):
                self.result = gr.Image(
                    label="what becomes of it",
                    interactive=False,
                    height=320,
                    buttons=["download", "fullscreen"],
                    type="filepath",
                    elem_id="pick",
                )
                self.command = make_command_box("the command that makes the same")
                self.save = gr.Button("Save", size="sm")
                self.said = gr.Markdown("")
        made = gr.State(None)
        inputs = [self.source, self.direction, self.seed, *self.extras.values()]
        outputs = [made, self.result, self.command, self.said]
        self.start.click(explain(self.translate), inputs, outputs)
        if not self.extras:
            self.source.upload(explain(self.translate), inputs, outputs)
        self.save.click(explain(self.keep), [made, self.command], [self.said])

    def translate(self, source: str | None, direction: str, seed: Any, *given: Any) -> list[Any]:
        """Translates what was uploaded."""
        if source is None:
            raise GanError("upload a picture first")
        extras = {
            name: path for name, path in zip(self.extras, given, strict=True) if path is not None
        }
        missing = [EXTRAS[name] for name in self.extras if name != "mask" and name not in extras]
        if missing:
            raise GanError(f"upload this too: {' and '.join(missing)}")
        path, command = self.session.translate(
            source, direction=direction, seed=int(seed or 0), extras=extras
        )
        return [str(path), str(path), command, ""]

    def keep(self, made: str | None, command: str) -> str:
        """Saves the translation."""
        if made is None:
            raise GanError("translate a picture first")
        name, _ = self.session.save_translation(made, command)
        return f"saved as {name} in {self.session.out}"


def require_ends(first: Pick | None, second: Pick | None) -> tuple[Pick, Pick]:
    """Returns A and B; raises GanError where one is missing."""
    if first is None or second is None:
        raise GanError("choose A and B first: show a picture, then press 'Use as A' or 'Use as B'")
    return first, second


def explain(deed: Callable[..., Any]) -> Callable[..., Any]:
    """Shows what a deed refuses as a message on the page."""
    import gradio as gr

    def run(*given: Any) -> Any:
        try:
            return deed(*given)
        except GanError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise gr.Error(f"{error.message}{hint}", print_exception=False) from error

    return run


def explain_choice(deed: Callable[[list[Pick], int], Any]) -> Callable[..., Any]:
    """Hands a deed what a gallery shows, and the number of the picture that was clicked."""
    import gradio as gr

    run = explain(deed)

    def run_choice(picks: list[Pick], event: gr.SelectData) -> Any:
        return run(picks, int(event.index))

    # Gradio looks for this very type, and in this module the name is known to checkers alone.
    run_choice.__annotations__ = {"event": gr.SelectData}
    return run_choice


def list_events(control: gr.components.Component) -> list[Callable[..., Any]]:
    """Lists the events that mean a user's new value: a slider let go of, a number typed to its end.

    What the page itself sets is none of them, or the controls would answer each other.
    """
    import gradio as gr

    if isinstance(control, gr.Slider):
        return [control.release]
    if isinstance(control, gr.Textbox | gr.Number):
        return [control.submit, control.blur]
    assert isinstance(control, gr.Dropdown | gr.Radio | gr.CheckboxGroup)
    return [control.input]


def make_command_box(label: str) -> gr.Textbox:
    """Makes a field that shows a command, with a button that copies it."""
    import gradio as gr

    return gr.Textbox(
        label=label, interactive=False, lines=2, buttons=["copy"], elem_classes=["command"]
    )


def make_upload(label: str, height: int) -> gr.Image:
    """Makes a box for a picture of the user's, which stays as it was uploaded."""
    import gradio as gr

    return gr.Image(
        label=label,
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        height=height,
        buttons=[],
        elem_classes=["end"],
    )


def make_gallery(label: str, elem_id: str) -> gr.Gallery:
    """Makes a gallery of tiles that can be clicked, and nothing else."""
    import gradio as gr

    return gr.Gallery(
        label=label,
        show_label=False,
        columns=4,
        height="auto",
        object_fit="contain",
        allow_preview=False,
        buttons=[],
        interactive=False,
        elem_classes=["tiles"],
        elem_id=elem_id,
    )


def make_control(option: Option, session: Session) -> gr.components.Component:
    """Makes the control of a sampling option by what its value may be."""
    import gradio as gr

    words = list_words(option)
    if words:
        start = option.default if option.default in words else words[0]
        return gr.Radio(words, value=start, label=option.name, info=option.help)
    if option.name == "truncation":
        end = 1.0 if session.model.styled else FREE
        return gr.Slider(
            0.0 if session.model.styled else 0.1,
            end,
            value=end,
            step=0.05,
            label="truncation",
            info=f"{option.help}; {end:g}: none",
        )
    if option.name == "level":
        last = session.model.game.levels - 1
        return gr.Slider(0, last, value=last, step=1, label="level", info=option.help)
    return gr.Textbox("", label=option.name, info=option.help, placeholder="a number, or nothing")


def list_words(option: Option) -> list[str]:
    """Lists the words that an option may be; [] where it is no word."""
    kinds = [option.type, *get_args(option.type)]
    return [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]


def read_control(option: Option, value: Any, session: Session) -> object:
    """Reads the control of an option; None where it asks for nothing."""
    control_ends: Mapping[str, float] = {
        "truncation": 1.0 if session.model.styled else FREE,
        "level": session.model.game.levels - 1,
    }
    if value is None or value == option.default or value == control_ends.get(option.name):
        return None
    if list_words(option):
        return value
    if isinstance(value, str) and not value.strip():
        return None
    try:
        number = round(float(value), 4)
    except ValueError as error:
        raise UserError(
            f"{option.name}={value} is no number", f"leave {option.name} empty"
        ) from error
    if not math.isfinite(number):
        raise UserError(f"{option.name}={value} does not fit", f"leave {option.name} empty")
    return int(number) if option.type in (int, int | None) else number
