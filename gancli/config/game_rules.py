"""What only the built game shows: that its parts fit each other, the data and the memory."""

from __future__ import annotations

import logging

from torch import nn

from gancli import distributed
from gancli.config.build import SMALLER, locate
from gancli.config.fill import list_per_sample_penalties
from gancli.config.ghost import build_ghost
from gancli.config.hints import suggest_name
from gancli.config.optimizer_rules import try_player_optimizers
from gancli.config.own_networks import find_absent_names, find_wrong_shape
from gancli.config.plain import Plain
from gancli.config.values import is_spec
from gancli.data.balance import NO_LABELS, NO_LABELS_HINT
from gancli.data.base import pair
from gancli.errors import Problem, Problems, UserError
from gancli.game import Game
from gancli.losses.adversarial import AdversarialLoss
from gancli.losses.objectives import RelativisticPairing
from gancli.modality import make_modality
from gancli.precision import free_memory
from gancli.render.notes import note

log = logging.getLogger("gancli")

OVER_WHITE = "gancli.augment.alpha.OverWhite"
TEXT_NETWORKS = "gancli.networks.text."


def check_game(frozen: Plain, *, data: bool = True) -> list[Problem]:
    """Finds what no single key shows: the game is built on the meta device, at no cost.

    Args:
        frozen: The plain config; recurrent networks change its precision.
        data: Check also what a run needs and the networks alone do not: that a batch fits, and
            that the optimizers take the networks.
    """
    if frozen["model"].get("conditional") and not frozen["dataset"]["classes"]:
        return [
            (
                "model.conditional=true, but the data set has no labels (dataset.classes=0)",
                suggest_for_no_labels(frozen["model"]),
            )
        ]
    if frozen["dataset"].get("balance") and not frozen["dataset"]["classes"]:
        return [(NO_LABELS, NO_LABELS_HINT)]
    for_others = find_parts_for_images(frozen) or find_network_of_tokens(frozen)
    if for_others:
        return for_others
    try:
        absent = find_absent_names(locate_game(frozen), frozen["model"])
        if absent:
            return absent
        game = build_ghost(frozen, trust=None)
        players = game.players()
    except UserError as error:
        return [(error.message, error.hint or make_modality(frozen["dataset"]).advice)]
    misfits = find_misplaced_networks(game, frozen) or find_wrong_shape(game, frozen)
    if misfits:
        return misfits
    settle_precision(game, frozen)
    found: list[Problem] = []
    if data:  # torch loads its compiler with the first optimizer, which takes half a second
        found += try_player_optimizers(game, frozen["optimizer"])
        found += find_memory_problems(game, frozen)
    found += find_misplaced_alpha(game, frozen)
    loss = game.adversarial
    if (
        isinstance(loss, AdversarialLoss)
        and isinstance(loss.objective, RelativisticPairing)
        and loss.fake_target != 0
    ):
        log.warning(
            "loss.fake_target has no effect: a paired relativistic loss has one term, and "
            "loss.real_target is its target"
        )
    objective = (frozen["loss"] or {}).get("objective")
    adapts = (frozen["augment"] or {}).get("target") is not None
    if (
        objective
        and adapts
        and getattr(locate(objective["_target_"], trust=None), "boundary", 0.0) is None
    ):
        log.warning(
            "augment.target reads the sign of real scores, and with this loss only their "
            "differences count: add augment.target=null augment.p=0.2"
        )
    if not game.penalisable and (penalised := list_per_sample_penalties(frozen)):
        found.append(
            (
                f"loss.penalties.{penalised[0]} cannot reach this model's discriminator, "
                "whose score lets no gradient through to the image",
                "choose a loss without gradient penalties, such as loss=non_saturating",
            )
        )
    shard = frozen["trainer"]["batch_size"] // (
        distributed.launched_world() * frozen["trainer"]["accumulate"]
    )
    if frozen["model"].get("shared_fakes") is True and frozen["trainer"]["accumulate"] > 1:
        found.append(
            (
                "model.shared_fakes=true keeps the fakes of one batch, and "
                f"trainer.accumulate={frozen['trainer']['accumulate']} cuts it",
                "choose trainer.accumulate=1, or model.shared_fakes=false",
            )
        )
    if shard % frozen["model"].get("pack", 1):
        found.append(
            (
                f"model.pack={frozen['model']['pack']} does not divide the {shard} images "
                "that the discriminator scores at a time",
                "choose trainer.batch_size so that it does",
            )
        )
    return found + [
        (
            f"optimizer.{name} moves nothing: the model's players are {', '.join(players)}",
            suggest_name(name, list(players)),
        )
        for name in frozen["optimizer"]
        if name not in players and name != "d"
    ]


def find_misplaced_alpha(game: Game, frozen: Plain) -> list[Problem]:
    """Finds images shown over white that have no alpha; says so where they have, and are not."""
    augment = frozen["augment"] or {}
    channels = frozen["dataset"]["channels"]
    whitens = augment.get("over_white") is True or augment.get("_target_") == OVER_WHITE
    alone = frozen["augment"] is None or augment.get("_target_") == OVER_WHITE
    word = "augment=over_white" if alone else "augment.over_white=true"
    known = frozen["augment"] is None or "over_white" in augment
    if make_modality(frozen["dataset"]).has_alpha(channels):
        if not whitens and known and hasattr(game, "augment") and game.adversarial is not None:
            note(
                log,
                "the images have alpha, and the discriminator sees the colours below it, which can "
                "give fakes away: %s shows it what is seen",
                word,
            )
    elif whitens and make_modality({}).has_alpha(channels):
        return [
            (
                f"{word} takes the last of the data's {channels} channels for alpha, and these "
                "arrays have none",
                "leave it out",
            )
        ]
    elif whitens:
        log.warning("%s has no effect: the images have no alpha", word)
    return []


def settle_precision(game: Game, frozen: Plain) -> None:
    """Chooses fp32 for a game with recurrent layers, and says so; in place.

    Their sums over many steps lose too much in bf16, and CPU autocast runs an LSTM in bf16 but
    leaves a GRU in fp32.
    """
    if is_recurrent(game) and frozen["trainer"]["precision"] == "bf16":
        frozen["trainer"]["precision"] = "fp32"
        log.info("precision: recurrent networks run in fp32, not in bf16")


def is_recurrent(game: nn.Module) -> bool:
    """Tells whether any of its networks, a user's too, has recurrent layers or cells."""
    return any(isinstance(module, nn.RNNBase | nn.RNNCellBase) for module in game.modules())


def find_parts_for_images(frozen: Plain) -> list[Problem]:
    """Finds what only pictures can have, where the data are none."""
    modality = make_modality(frozen["dataset"])
    if modality.pixels:
        return []
    found = [
        (f"{name} is for images, and the data are {modality.describe_data()}", f"{name}=none")
        for name in ("augment", "perceptual")
        if frozen[name] is not None
    ]
    game: type[Game] = locate_game(frozen)
    one = (modality.models or ("mlp",))[0]
    if game.directions:
        found.append(
            (
                f"this model translates images, and the data are {modality.describe_data()}",
                f"choose a model that learns single items, such as model={one}",
            )
        )
    return found


def find_network_of_tokens(frozen: Plain) -> list[Problem]:
    """Finds a network of text where the data are none: it would learn numbers as if one-hot."""
    modality = make_modality(frozen["dataset"])
    if modality.of_tokens:
        return []
    for role in ("generator", "discriminator"):
        spec = frozen["model"].get(role)
        if is_spec(spec) and spec["_target_"].startswith(TEXT_NETWORKS):
            name = spec["_target_"].removeprefix(TEXT_NETWORKS)
            one = (modality.models or ("dcgan",))[0]
            data = modality.describe_data()
            return [
                (
                    f"model.{role}: {name} is for text, and the data are {data}",
                    f"choose model={one}, or text: dataset=names",
                )
            ]
    return []


def find_misplaced_networks(game: Game, frozen: Plain) -> list[Problem]:
    """Finds what a game of a user's own forgets: labels, and who moves what.

    Parameters that no phase moves are legal, since a game may freeze some, and so only warned of.

    Args:
        game: On the meta device.
        frozen: The plain config.
    """
    if frozen["model"].get("conditional") and not game.classes:
        return [
            (
                "model.conditional=true, but its generator takes no labels (its `classes` is 0)",
                "give it the number of classes, such as model.generator.classes="
                f"{frozen['dataset']['classes']} where it has that key, or model.conditional=false",
            )
        ]
    players = game.players()
    phases = game.phases()
    unknown = [
        (
            f"phase {phase.name} updates a player {name}, which players() does not give",
            suggest_name(name, list(players)),
        )
        for phase in phases
        for name in phase.updates
        if name not in players
    ]
    if unknown:
        return unknown
    moved = {
        parameter
        for phase in phases
        for name in phase.updates
        for module in players[name]
        for parameter in module.parameters()
    }
    resting: dict[str, int] = {}
    for name, parameter in game.named_parameters():
        if parameter.requires_grad and parameter not in moved:
            part = name.partition(".")[0]
            resting[part] = resting.get(part, 0) + parameter.numel()
    for part, count in resting.items():
        log.warning(
            "no phase moves the %s parameters of %s: they stay as they are made; a module is "
            "trained by a player in players() that stands in `updates` of a phase",
            f"{count:,}",
            part,
        )
    return []


def find_memory_problems(game: Game, frozen: Plain) -> list[Problem]:
    """Finds a batch that no memory holds.

    Counted are its images as floats beside the weights and their gradients; layers keep more.
    """
    data = frozen["dataset"]
    trainer = frozen["trainer"]
    free = free_memory(frozen["trainer"]["device"])
    if free is None:
        return []
    height, width = pair(data["resolution"])
    image = 4 * data["channels"] * height * width
    networks = 2 * sum(p.numel() * p.element_size() for p in game.parameters())
    ranks = distributed.launched_world()
    need = networks + image * trainer["batch_size"] // ranks
    if need <= free:
        return []
    fits = (free - networks) // image * ranks // 2  # layers need room as well
    have = f"{free / 1e9:.1f} GB are free on {trainer['device']}"
    if fits < ranks:
        return [
            (
                f"the model's weights and gradients take {networks / 1e9:,.1f} GB, and {have}",
                SMALLER,
            )
        ]
    fits = 2 ** (fits.bit_length() - 1)
    return [
        (
            f"trainer.batch_size={trainer['batch_size']} does not fit: weights, gradients and the "
            f"images of a batch take {need / 1e9:,.1f} GB, and {have}",
            f"trainer.batch_size={fits} or less may, depending on the layers",
        )
    ]


def suggest_for_no_labels(model: Plain) -> str:
    """Says what to type where a model is to be conditional and the data has no labels."""
    heads = [locate(spec["_target_"], trust=None) for spec in (model.get("heads") or {}).values()]
    if any(getattr(head, "needs_labels", False) for head in heads):
        return (
            "this model learns from classes: put each class into a sub-folder of its own, "
            "or take a model that needs none, such as model=dcgan"
        )
    return "model.conditional=auto follows the data; or put each class into a sub-folder of its own"


def locate_game(frozen: Plain) -> type:
    """Finds the game's class; raises Problems where it is none."""
    try:
        cls = locate(frozen["model"].get("_target_"), trust=None)
    except UserError as error:
        raise Problems([(f"model._target_: {error.message}", error.hint)]) from error
    if not issubclass(cls, Game):
        raise Problems(
            [
                (
                    f"model._target_: {cls.__name__} is no Game",
                    "derive it from gancli.game.Game or gancli.games.gan.GAN",
                )
            ]
        )
    return cls
