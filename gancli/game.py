"""The contract: a game is networks, players and phases, and the trainer plays phases."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

# "image" (N,C,H,W) in [-1,1], 2-D points (N,2,1,1); "label" (N,) int64 classes or (N,K) float
# attributes; "a", "b" for pairs; and further keys (N,...) that a data set gives and a game needs.
Batch = dict[str, Tensor]
# Detached scalars; averaged over micro-batches and ranks; read on the host when a line is due.
Logs = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)


class Critic(Protocol):
    """What a loss sees of a model.

    Labels, sources, augmentation and instance noise are already bound.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> scores (M,...), where M divides N (packing)."""

    def features(self, x: Tensor) -> Tensor:
        """Gives (M,F) of (N,C,H,W), from the pass that met this very tensor in this phase."""


class Generator(nn.Module):
    """What `GAN` relies on in a generator.

    A view for reading and for type checkers: no network has to derive from it, any module that has
    these names will do. It is a Module and no Protocol, so that a game's class can say that its
    `generator`, a Module to `Game`, is one of these; other families narrow it further.

    z_dim: numbers in a latent. classes: that it can be asked for; 0 for a generator without labels
    """

    z_dim: int
    classes: int

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes images (N,C,H,W) of latents z (N,z_dim) and labels (N,), if it takes them."""
        raise NotImplementedError


class Discriminator(nn.Module):
    """What `GAN` relies on in a discriminator; a view as `Generator` is, to derive from or not.

    feature_dim: numbers that `trunk` leaves of an image, once they are flattened
    """

    feature_dim: int

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes features (N,...) of images (N,C,H,W); `BoundCritic` remembers them."""
        raise NotImplementedError

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes scores (N,...) of features as `trunk` leaves them."""
        raise NotImplementedError


class Loss(nn.Module):
    """What `Game` relies on in a loss; `AdversarialLoss` is the one that gancli has.

    n_critic: steps of the discriminator for each step of the generator
    """

    n_critic: int

    def constrain(self, discriminator: nn.Module) -> None:
        """Keeps the discriminator in its set after each of its updates (WGAN's clip)."""


@dataclass
class Progress:
    """The integers from which every seed, schedule and draw follows."""

    step: int = 0  # real batches drawn: the clock of logging, saving and the budget
    nimg: int = 0  # real images shown, over all ranks: what every schedule reads
    # Rollbacks so far; part of every noise seed, or a replay would meet the same NaN.
    attempt: int = 0


def due(step: int, every: int, start: int = 0, stop: int | None = None) -> bool:
    """Tells whether something happens at a step; phases and penalties must count alike."""
    return start <= step and (stop is None or step < stop) and (step + 1) % every == 0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One loss, the players that it moves, and when."""

    name: str  # prefix of its log keys: "d", "g", "d_r1", "g_pl"
    loss: Callable[[Batch], tuple[Tensor, Logs]]  # sees one micro-batch; the scalar is minimised
    updates: tuple[str, ...]  # players that move; every other parameter is frozen
    every: int = 1
    start: int = 0
    stop: int | None = None
    fresh: bool = False  # draws a real batch of its own; nimg does not count it
    # Players whose networks it runs with their graph, for a later phase of the same step to use.
    builds: tuple[str, ...] = ()
    # An extra, rarer update of its players: corrects their Adam (StyleGAN2, appendix B).
    lazy: bool = False
    # Sees the whole local batch, before it is cut.
    prepare: Callable[[Batch, torch.Generator], Batch] | None = None
    # Sees the averaged logs (with prefix), so all ranks decide alike.
    after: Callable[[Logs], None] | None = None

    def due(self, step: int) -> bool:
        """Is it played at this step?"""
        return due(step, self.every, self.start, self.stop)


class Stage(Enum):
    """What receives the value of an option."""

    INPUTS = "inputs"  # `Game.inputs`, as a keyword argument
    SAMPLE = "sample"  # `Game.sample`, as a keyword argument
    PICTURES = "pictures"  # `gan sample` itself, for pictures that it makes by other methods


@dataclass(frozen=True, kw_only=True)
class Option:
    """Something that a user may ask of a trained game, as NAME=VALUE of `gan sample`.

    Args:
        name: The key, which is also the keyword argument that receives the value.
        type: What a value must be: a type, a union or a `Literal`.
        help: One line for the help of a checkpoint.
        default: The value where nothing is given; shown in the help. It is not passed, so the
            keyword argument must have the same default.
        stage: Which method receives the value; options of `gan translate` go to `Game.sample`.
        still: The value in pictures and animations where nothing is given: randomness that is held
            fixed, so that what else differs can be seen. None leaves it as it is.
    """

    name: str
    type: object
    help: str
    default: object = None
    stage: Stage = Stage.INPUTS
    still: object = None


LABEL = Option(
    name="label", type=int | str | None, help="one class for all images; null: each in turn"
)
ATTRIBUTES = Option(
    name="label",
    type=int | str | list[float] | None,
    help="attributes of all images, [1,0,1], or the name of one; null: each in turn",
)
PER_CLASS = Option(
    name="per_class",
    type=int | None,
    help="this many of every class, a folder for each",
    stage=Stage.PICTURES,
)
SWEEP = Option(
    name="sweep",
    type=str | None,
    help="one input varied and all else fixed: sweep.png",
    stage=Stage.PICTURES,
)


class Game(nn.Module):
    """Networks and losses of one family.

    generator: what sampling needs, and what the EMA shadows; may be a ModuleDict or ModuleList
    discriminator: likewise, or None where nothing is scored
    loss: an `AdversarialLoss`; each discriminator gets a copy of its own
    penalisable: can the gradient of a score at an image reach all of the discriminator? Gate 2
    refuses penalties where it cannot
    attributes: are labels (N,K) float attributes? Else they are (N,) classes
    has_likelihood: does `log_likelihood` measure items?
    judges_images: does `image_critic` give a critic of single images?
    directions: ways in which it translates images, "ab" and perhaps "ba"; () makes images of noise
    extras: what a translation needs beside its source: "mask", "style", "pose" or nothing
    categories: sizes of the categorical codes, which are the first of `codes`
    """

    # A family narrows these three in its own class; nobody has to guess what they are.
    generator: nn.Module
    discriminator: nn.Module | None
    adversarial: nn.Module | None
    penalisable = True
    attributes: bool = False
    judges_images: bool = False
    has_likelihood: bool = False
    directions: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    categories: Sequence[int] = ()

    def __init__(
        self, *, generator: nn.Module, discriminator: nn.Module | None, loss: nn.Module | None
    ):
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        # After both networks: the copies follow the discriminator's keys.
        self.adversarial = per_critic(loss, discriminator)
        self.n_critic = 1 if loss is None else cast(Loss, loss).n_critic
        self.progress = Progress()  # one object: the trainer moves it, losses read it

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys that the data set must give."""
        return ("image",)

    def players(self) -> dict[str, list[nn.Module]]:
        """Lists the networks that each optimizer moves; no player d without a discriminator."""
        if self.discriminator is None:
            return {"g": [self.generator]}
        return {"g": [self.generator], "d": [self.discriminator]}

    def phases(self) -> list[Phase]:
        """Lists what a step plays, in this order."""
        return [
            Phase(name="d", loss=self.d_loss, updates=("d",), after=self.constrain),
            Phase(name="g", loss=self.g_loss, updates=("g",), every=self.n_critic),
        ]

    def ready(self) -> None:
        """Reads what training needs and a checkpoint does not hold.

        Raises ValueError where it is missing.
        """

    def example(self, n: int, channels: int, size: tuple[int, int]) -> Batch:
        """Makes a batch of the right shapes, for a look at networks on the meta device.

        A game that needs further keys overrides it.
        """
        batch = {
            "image": torch.zeros(n, channels, *size),
            "label": torch.zeros(n, self.classes)
            if self.attributes
            else torch.zeros(n, dtype=torch.int64),
        }
        return {key: batch[key] for key in self.needs}

    def advance(self, progress: Progress) -> bool:
        """Moves the curriculum to `progress`, of which it is a pure function.

        True: drop the optimizers' moments.
        """
        return False

    def constrain(self, logs: Logs) -> None:
        """Keeps the discriminator in its set after each of its updates (WGAN's clip)."""
        for loss, critic in zip(
            children(self.adversarial), children(self.discriminator), strict=True
        ):
            cast(Loss, loss).constrain(critic)

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Computes the scalar that the discriminator minimises, and what is logged of it."""
        raise NotImplementedError

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Computes the scalar that the generator minimises, and what is logged of it."""
        raise NotImplementedError

    def inputs(self, n: int, rng: torch.Generator | None) -> Batch:
        """Draws what sampling starts from.

        An override adds a keyword argument for each option of `sampling_options` at
        `Stage.INPUTS`; where labels are needed that is `label`, (n,) or (n,K), which evaluations
        draw from the data. Whatever is not given it draws itself.

        Args:
            n: How many images.
            rng: Draws on the CPU; None draws from the global generator, on the device of the
                generator network (training).

        Returns:
            Tensors (n,...) by name, of which `sample` makes images.
        """
        raise NotImplementedError

    def sample(self, inputs: Batch, generator: nn.Module) -> Tensor:
        """Makes images.

        An override adds a keyword argument for each option of `sampling_options` at
        `Stage.SAMPLE`; one that translates takes `direction` and each of `translation_options`.

        Args:
            inputs: What `inputs` drew; of a translation "a", the source (N,C,H,W).
            generator: Training passes its own, sampling the EMA generator.

        Returns:
            (N,C,H,W) in [-1,1]
        """
        raise NotImplementedError

    # From here on: what a family can do beside training. The defaults say that it cannot.

    @property
    def makes_samples(self) -> bool:
        """Does the generator learn what it makes yet? The watchdog looks at no samples before."""
        return True

    def keep_average(self, ema: nn.Module) -> None:
        """Sees the EMA generator after each step, whose weights it may copy where a stage ends."""

    def list_stages(self) -> dict[str, nn.Module]:
        """Lists generators that stages of training have left by name, to be measured beside."""
        return {}

    def log_likelihood(self, batch: Batch, generator: nn.Module) -> Tensor:
        """Measures log p (N,T) of the T parts of items in nats; asked where `has_likelihood`."""
        raise NotImplementedError

    def sampling_options(self) -> tuple[Option, ...]:
        """Declares what `gan sample` may ask; those of labels are there where labels are needed."""
        if "label" not in self.needs or self.directions:
            return ()
        return (ATTRIBUTES,) if self.attributes else (LABEL, PER_CLASS, SWEEP)

    def translation_options(self) -> tuple[Option, ...]:
        """Declares what `gan translate` may ask; `sample` receives the values."""
        return ()

    @property
    def classes(self) -> int:
        """How many classes or attributes it can be asked for; 0 where labels are not needed."""
        return cast(Generator, self.generator).classes if "label" in self.needs else 0

    def preview_inputs(self, columns: int, rng: torch.Generator) -> Batch:
        """Draws the fixed inputs of a run's sample grid, `columns` in a row."""
        return self.inputs(8 * columns, rng)

    def draw_panels(self, batch: Batch, generator: nn.Module) -> dict[str, Tensor]:
        """Makes what the sample grid of a translation shows side by side, by name.

        Args:
            batch: Sources "a" and targets "b"; both are the images where only "image" is needed.
            generator: As in `sample`.
        """
        return {"source": batch["a"], "output": self.sample(batch, generator)}

    def translator(self, generator: nn.Module, direction: str) -> nn.Module:
        """Finds the network of a direction, a `gancli.networks.translation.Translator`."""
        return generator

    def cycle_error(self, batch: Batch, generator: nn.Module) -> Tensor | None:
        """Measures (N,) how far images are from what comes back of them; None: nothing does."""
        return None

    def image_critic(self, batch: Batch) -> Critic:
        """Binds the critic of single images to the labels of a batch; see `judges_images`."""
        raise NotImplementedError

    def describe_critic_input(self) -> str:
        """Says what the discriminator is shown where it scores no single images."""
        return "translated images" if self.directions else "no single images"

    @property
    def codes(self) -> tuple[str, ...]:
        """Names of inputs that mean something each, the categorical ones first (InfoGAN)."""
        return ()

    def code_values(self, name: str, steps: int) -> Tensor:
        """Lists what a sweep shows of a code: all categories, or `steps` numbers."""
        raise NotImplementedError

    def recognise_codes(self, image: Tensor) -> Batch:
        """Reads the codes (N,) in images (N,C,H,W); asked where there are `categories`."""
        raise NotImplementedError

    @property
    def levels(self) -> int:
        """How many sizes an image can be shown at, 0 where it is made at once."""
        return 0

    @property
    def inactive_levels(self) -> int:
        """How many of the levels have an image layer that no longer learns."""
        return 0

    @property
    def style_layers(self) -> int:
        """How many layers have a style each, two in a level; 0 where there are no styles."""
        return 0

    def mix_styles(self, inputs: Batch, source: Batch, *, first: int, last: int) -> Batch:
        """Gives `inputs` the styles of `source` in the layers first to last - 1, one by one."""
        raise NotImplementedError


def children(module: nn.Module | None) -> list[nn.Module]:
    """Lists the members of a ModuleDict or ModuleList, or the module alone."""
    if module is None:
        return []
    if isinstance(module, nn.ModuleDict):
        return list(module.values())
    return list(module) if isinstance(module, nn.ModuleList) else [module]


def members_of(container: nn.ModuleDict, kind: type[M]) -> dict[str, M]:
    """Lists the members of a ModuleDict by name, typed; to torch they are Modules alone."""
    found = {}
    for name, module in container.items():
        assert isinstance(module, kind), f"{name} is of {type(module).__name__}"
        found[name] = module
    return found


def per_critic(loss: nn.Module | None, discriminator: nn.Module | None) -> nn.Module | None:
    """Copies the loss for each discriminator: a shared one would mix running means."""
    if loss is None:
        return None
    if isinstance(discriminator, nn.ModuleDict):
        return nn.ModuleDict({key: copy.deepcopy(loss) for key in discriminator})
    if isinstance(discriminator, nn.ModuleList):
        return nn.ModuleList(copy.deepcopy(loss) for _ in discriminator)
    return loss
