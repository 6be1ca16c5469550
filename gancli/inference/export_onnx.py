"""A trained generator as an ONNX network, which onnxruntime has compared with torch."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from gancli.errors import UserError, first_line
from gancli.game import Batch, Game
from gancli.networks.style_layers import make_filter
from gancli.networks.stylegan2 import ModulatedConv2d
from gancli.networks.text import RecurrentTextGenerator
from gancli.networks.translation import PresentDropout
from gancli.seeding import fork_random, seed_of

Noise = Literal["fixed", "none", "inputs"]
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
INSTALL = "pip install 'gancli[onnx]'"
TRACED = 3  # items of the batch that is traced: 1 would be taken for a constant
CHECKED = (1, 5)  # and of the batches that are compared
CLOSE = 1e-4  # onnxruntime to torch, of values in about [-1,1]
UNGROUPED = 1e-5  # a network with its convolutions ungrouped, to its own
INSTEAD = "gan export format=safetensors, for those who have gancli"


@runtime_checkable
class HasPlanes(Protocol):
    """What adds noise inside: a network of a StyleGAN, or the game of LAPGAN.

    planes: height and width of each
    """

    @property
    def planes(self) -> list[tuple[int, int]]:
        """Lists the sizes in the order in which they are added."""


@dataclass(frozen=True)
class Exported:
    """An ONNX network that agrees with torch.

    Attributes:
        content: The bytes of its file.
        inputs: Name, type, shape with N for the batch, and what it means, of each.
        outputs: Likewise.
        distance: The largest difference of any value in onnxruntime.
        runtime: The version of onnxruntime.
    """

    content: bytes
    inputs: list[str]
    outputs: list[str]
    distance: float
    runtime: str


def require_libraries() -> None:
    """Raises UserError where a library is missing; none is imported."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"format=onnx needs {' and '.join(missing)}", INSTALL)


class Traced(nn.Module):
    """A generator as a function of tensors alone.

    Args:
        game: Whose `sample` makes images.
        generator: A copy that may have been changed for the trace.
        names: Of the inputs, in order.
        given: Values of the game's options.
        planes: Noise that is the same for all images; None where there is none.
        halves: Whether the game makes two images side by side, which are told apart (CoGAN).
    """

    def __init__(
        self,
        game: Game,
        generator: nn.Module,
        *,
        names: Sequence[str],
        given: Mapping[str, Any],
        planes: Sequence[Tensor] | None,
        halves: bool,
    ):
        super().__init__()
        self.game = game
        self.generator = generator
        self.names = names
        self.given = given
        self.planes = planes
        self.halves = halves

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Makes what the game makes of these inputs, in the order of `names`."""
        named = dict(zip(self.names, inputs, strict=True))
        if isinstance(self.generator, RecurrentTextGenerator):
            tokens = self.generator.draw(named["uniform"], named.get("label"))
            return self.generator.to_items(tokens)
        given = dict(self.given)
        drawn = [name for name in named if name.startswith("noise")]
        if drawn:
            given["noise"] = [named.pop(name) for name in drawn]
        elif self.planes is not None:
            n = inputs[0].shape[0]
            given["noise"] = [plane.expand(n, -1, -1, -1) for plane in self.planes]
        images = self.game.sample(named, self.generator, **given)
        return tuple(images.chunk(2, 3)) if self.halves else images


class Source:
    """What draws the inputs of a model, names them, and makes torch's own result of them.

    Args:
        game: In eval mode, without gradients.
        generator: The EMA generator.
        noise: Of the planes inside, or the dropout that is noise.
        truncation: Psi of styles towards w_avg; None leaves them.
        direction: Of a translation.
        channels: Of the data.
        size: Height and width of the data.
    """

    def __init__(
        self,
        game: Game,
        generator: nn.Module,
        *,
        noise: Noise,
        truncation: float | None,
        direction: str,
        channels: int,
        size: tuple[int, int],
    ):
        self.game = game
        self.generator = generator
        self.truncation = truncation
        self.channels = channels
        self.size = size
        self.text = isinstance(generator, RecurrentTextGenerator)
        options = {option.name for option in game.sampling_options()}
        self.given: dict[str, Any] = {"direction": direction} if game.directions else {}
        self.planes: list[tuple[int, int]] = []
        self.halves = "domain" in options
        if self.halves:
            self.given["domain"] = "both"
        if "noise" in options:
            holder = generator if isinstance(generator, HasPlanes) else game
            if noise == "inputs" and isinstance(holder, HasPlanes):
                self.planes = holder.planes
            else:
                self.given["noise"] = noise

    def draw(self, n: int, seed: int) -> Batch:
        """Draws n inputs by name."""
        rng = torch.Generator().manual_seed(seed_of(seed, "onnx", n))
        if self.game.directions:
            return self.draw_sources(n, rng)
        asked = {} if self.truncation is None else {"truncation": self.truncation}
        drawn = self.game.inputs(n, rng, **asked)
        if self.text:
            # Not z: its distribution function in float64 is more than onnxruntime has.
            drawn = {"uniform": torch.special.ndtr(drawn["z"].double())} | {
                key: value for key, value in drawn.items() if key != "z"
            }
        planes = {
            f"noise{k}": torch.randn(n, 1, *size, generator=rng)
            for k, size in enumerate(self.planes)
        }
        return drawn | planes

    def draw_sources(self, n: int, rng: torch.Generator) -> Batch:
        """Draws the images of a translation: noise in [-1,1], and masks of zeros and ones."""
        blank = self.game.example(n, self.channels, self.size)
        wanted = ["a", *self.game.extras]
        if "pose" in wanted:
            wanted = ["a", "pose_a", "pose_b"]
        found = {}
        for name in wanted:
            shape = blank["b" if name == "style" else name].shape
            values = torch.rand(shape, generator=rng) * 2 - 1
            found[name] = (values > 0).float() if name == "mask" else values
        z_dim = vars(self.generator).get("z_dim", 0)
        if z_dim:
            found["z"] = torch.randn(n, z_dim, generator=rng)
        return found

    def make_own(self, inputs: Batch) -> list[Tensor]:
        """Makes what `gan sample` or `gan translate` makes of such inputs."""
        inputs = dict(inputs)
        given = dict(self.given)
        planes = [inputs.pop(f"noise{k}") for k in range(len(self.planes))]
        if planes:
            given["noise"] = planes
        if self.text:
            generator = self.generator
            assert isinstance(generator, RecurrentTextGenerator)
            return [generator.to_items(generator.draw(inputs["uniform"], inputs.get("label")))]
        images = self.game.sample(inputs, self.generator, **given)
        return list(images.chunk(2, 3)) if self.halves else [images]

    def trace(self, names: Sequence[str]) -> Traced:
        """Makes the module that is traced, with what a graph cannot hold brought into its form."""
        generator = copy.deepcopy(self.generator)
        for module in generator.modules():
            if isinstance(module, ModulatedConv2d):
                # One kernel for all: N kernels would make a graph for one size of batch.
                module.grouped = use_one_kernel  # type: ignore[method-assign]  # of a copy
        planes = None
        given = dict(self.given)
        if given.get("noise") == "fixed":
            planes = find_fixed_planes(self.game, generator)
            given.pop("noise")
        return Traced(
            self.game, generator, names=names, given=given, planes=planes, halves=self.halves
        ).eval()


def use_one_kernel(x: Tensor) -> bool:
    """Stands for `ModulatedConv2d.grouped` in a network that is traced."""
    return False


def find_fixed_planes(game: Game, generator: nn.Module) -> list[Tensor]:
    """Draws the planes of noise=fixed, of which a graph holds the numbers.

    Args:
        game: Of LAPGAN, whose planes are its own.
        generator: Of a StyleGAN, whose layers draw them.
    """
    if not isinstance(generator, HasPlanes):
        assert isinstance(game, DrawsPlanes)
        return [game.draw_planes(torch.zeros(1, 1, *size), "fixed") for size in game.planes]
    found: list[Tensor] = []
    for layer in generator.modules():
        if isinstance(layer, DrawsNoise):
            found.append(
                layer.draw_noise(torch.zeros(1, 1, *generator.planes[len(found)]), fixed=True)
            )
        elif isinstance(layer, DrawsPlane):
            found.append(layer.plane(torch.zeros(1, 1, *generator.planes[len(found)]), fixed=True))
    return found


@runtime_checkable
class DrawsPlanes(Protocol):
    """The game of LAPGAN."""

    planes: list[tuple[int, int]]

    def draw_planes(self, low: Tensor, noise: Literal["random", "fixed", "none"]) -> Tensor:
        """Draws the noise beside a coarse image."""


@runtime_checkable
class DrawsNoise(Protocol):
    """A layer of StyleGAN."""

    def draw_noise(self, x: Tensor, *, fixed: bool) -> Tensor:
        """Draws the noise that is added to x."""


@runtime_checkable
class DrawsPlane(Protocol):
    """A layer of StyleGAN2."""

    def plane(self, x: Tensor, *, fixed: bool) -> Tensor:
        """Draws the noise that is added to x."""


def export_network(
    game: Game,
    generator: nn.Module,
    *,
    noise: Noise,
    truncation: float | None,
    direction: str,
    channels: int,
    size: tuple[int, int],
    seed: int,
    output: str,
    facts: Mapping[str, str],
) -> Exported:
    """Traces a generator, and compares the result with torch at two sizes of batches.

    Args:
        game: As a checkpoint holds it, on the CPU.
        generator: The EMA generator.
        noise: "fixed" numbers of the planes inside stand in the graph, "none", or "inputs".
        truncation: Psi of styles, in the graph; None leaves them.
        direction: "ab" or "ba" of a translation.
        channels: Of the data.
        size: Height and width of the data.
        seed: Of what is compared.
        output: What one item is called: the name of the network's output.
        facts: Stand in the file's metadata.

    Raises:
        UserError: The model cannot be exported, in words.
    """
    generator, noise = settle_dropout(generator, noise)
    source = Source(
        game,
        generator,
        noise=noise,
        truncation=truncation,
        direction=direction,
        channels=channels,
        size=size,
    )
    inputs = source.draw(TRACED, seed)
    names = list(inputs)
    traced = source.trace(names)
    with torch.no_grad():
        # In torch first, which also fills the cache of filters with numbers and not with symbols.
        for own, ours in zip(
            source.make_own(inputs), as_list(traced(*inputs.values())), strict=True
        ):
            far = float((own - ours).abs().max())
            if not far <= UNGROUPED:
                raise UserError(
                    f"the network as it is traced differs from its own by {far:.2g}", INSTEAD
                )
        outputs = ["a", "b"] if source.halves else [output]
        program = trace_program(traced, inputs, outputs)
    make_filter.cache_clear()
    content = write_proto(program, facts)
    distance, ports, version = compare_in_runtime(content, source, seed)
    return Exported(
        content=content,
        inputs=[describe_port(port, source) for port in ports[0]],
        outputs=[describe_port(port, source) for port in ports[1]],
        distance=distance,
        runtime=version,
    )


def settle_dropout(generator: nn.Module, noise: Noise) -> tuple[nn.Module, Noise]:
    """Leaves dropout that is a generator's noise out, where that is asked for.

    Raises:
        UserError: It has such dropout, and is to keep it.
    """
    if not any(isinstance(module, PresentDropout) for module in generator.modules()):
        return generator, noise
    if noise != "none":
        raise UserError(
            "this generator's noise is dropout, which it keeps when it is used (pix2pix, section "
            "3.3): onnxruntime draws it otherwise than torch, and nothing could be compared",
            "noise=none exports it without",
        )
    quiet = copy.deepcopy(generator)
    for module in list(quiet.modules()):
        for name, child in module.named_children():
            if isinstance(child, PresentDropout):
                module.add_module(name, nn.Identity())
    return quiet, noise


def as_list(made: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    """Gives one or several results as a list."""
    return list(made) if isinstance(made, tuple) else [made]


def trace_program(traced: Traced, inputs: Batch, outputs: list[str]) -> Any:
    """Traces a module for batches of any size.

    Raises:
        UserError: torch's exporter refuses it.
    """
    batch = torch.export.Dim("batch")
    shapes = {"inputs": tuple({0: batch} for _ in inputs)}
    try:
        with keep_quiet():
            program = torch.export.export(
                traced, tuple(inputs.values()), dynamic_shapes=shapes, strict=False
            )
            return torch.onnx.export(
                program, dynamo=True, input_names=list(inputs), output_names=outputs, verbose=False
            )
    except Exception as error:  # what an exporter can meet in a network has no end
        raise UserError(
            f"this model cannot be exported as ONNX; torch's exporter says: {first_line(error)}",
            INSTEAD,
        ) from error


@contextlib.contextmanager
def keep_quiet() -> Iterator[None]:
    """Keeps torch's exporter from printing, warning and logging."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def write_proto(program: Any, facts: Mapping[str, str]) -> bytes:
    """Makes the bytes of a file, without what the exporter notes of this machine's sources."""
    import onnx

    proto = program.model_proto
    graphs = [proto.graph, *proto.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        graph.doc_string = ""
        del graph.value_info[:]
        for node in graph.node:
            # Traces of the Python stack: paths.
            del node.metadata_props[:]
            node.doc_string = ""
    for item in [*proto.graph.input, *proto.graph.output, *proto.graph.initializer]:
        del item.metadata_props[:]
        item.doc_string = ""
    for port in [*proto.graph.input, *proto.graph.output]:
        first = port.type.tensor_type.shape.dim[0]
        if first.dim_param:
            first.dim_param = "batch"
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, dict(facts))
    content: bytes = proto.SerializeToString()
    return content


def compare_in_runtime(
    content: bytes, source: Source, seed: int
) -> tuple[float, tuple[list[Any], list[Any]], str]:
    """Compares onnxruntime with torch.

    Returns:
        The largest difference, inputs and outputs of the session, and the version.

    Raises:
        UserError: They differ, or onnxruntime cannot run it.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            content, settings, providers=["CPUExecutionProvider"]
        )
        taken = [port.name for port in session.get_inputs()]
        largest = 0.0
        for n in CHECKED:
            inputs = source.draw(n, seed)
            with torch.no_grad(), fork_random(seed_of(seed, "onnx"), torch.device("cpu")):
                wanted = source.make_own(inputs)
            fed = {key: value.numpy() for key, value in inputs.items() if key in taken}
            for own, made in zip(wanted, session.run(None, fed), strict=True):
                if tuple(own.shape) != made.shape:
                    raise UserError(
                        f"onnxruntime makes {made.shape} of a batch of {n}, torch "
                        f"{tuple(own.shape)}",
                        INSTEAD,
                    )
                far = float(np.abs(own.numpy() - made).max())
                if not far <= CLOSE:  # NaN is not
                    raise UserError(
                        f"onnxruntime differs from torch by {far:.2g} at a batch of {n}, and at "
                        f"most {CLOSE:g} is allowed: nothing was written",
                        INSTEAD,
                    )
                largest = max(largest, far)
    except UserError:
        raise
    except Exception as error:  # its errors have no common type
        raise UserError(
            f"onnxruntime cannot run this model: {first_line(error)}", INSTEAD
        ) from error
    ports = session.get_inputs(), session.get_outputs()
    return largest, ports, str(onnxruntime.__version__)


WORDS = {
    "label": "the class, from 0 on; or a number for each attribute",
    "uniform": "uniform numbers from 0 to 1: they decide the tokens",
    "mask": "1 where the image is filled, else 0",
    "style": "the image whose style is taken, -1 to 1",
    "pose_a": "the pose of the source, -1 to 1",
    "pose_b": "the pose to move into, -1 to 1",
    "psi": "the weight of styles against w_avg",
    "psi_layers": "how many layers it counts for",
}


def describe_port(port: Any, source: Source) -> str:
    """Says what an input or output is: name, shape, type, meaning."""
    shape = ",".join("N" if not isinstance(side, int) else str(side) for side in port.shape)
    kind = port.type.removeprefix("tensor(").removesuffix(")")
    words = WORDS.get(port.name, "")
    if port.name == "z":
        latent = vars(source.game).get("latent", "normal")
        words = "standard normal" if latent == "normal" else "uniform, as the game draws it"
    elif port.name == "a" and source.game.directions:
        words = "the source, -1 to 1"
    elif port.name.startswith("noise"):
        words = "standard normal"
    elif port.name.startswith("code"):
        words = "a code: a category from 0 on, or a number from -1 to 1"
    return f"{port.name} ({shape}) {kind}" + (f": {words}" if words else "")
