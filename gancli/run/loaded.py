"""A trained model for use from Python: images as arrays, without files and without printing."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from gancli.checkpoint import Loaded, load_game, require_run
from gancli.data.base import pair
from gancli.data.decode import (
    BadImage,
    Decoder,
    File,
    plain,
    quiet,
    read_pixels,
)
from gancli.errors import UserError
from gancli.evaluation.probing import read_features
from gancli.game import Batch, Stage
from gancli.inference import projection, sampling
from gancli.inference.tiling import choose_way, find_translator, scale_pixels
from gancli.inference.translating import (
    find_transparent,
    find_white,
    prepare_pose,
    prepare_source,
    prepare_style,
    require_translating,
    translate_source,
)
from gancli.modality import Points, make_modality
from gancli.precision import resolve_device
from gancli.render import messages
from gancli.render.grids import from_pixels, to_uint8
from gancli.run.resume import read_config
from gancli.run.speaking import add_hints, route_messages
from gancli.seeding import seed_of

ImageLike = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
Space = Literal["auto", "w", "w_plus", "z"]
MOST_SIDE = 1536  # of the square that a translating network works on at once, as in `gan translate`


@dataclass(frozen=True)
class Projection:
    """The image that a generator can make which is most like a given one.

    Attributes:
        image: (H,W,C) uint8.
        distance: How far it is from the given image, by the measure that `measure` names.
        start_distance: How far the first guess was.
        measure: "pixels" or "lpips".
        inputs: The latent or the styles, with all else that `Game.sample` starts from.
        planes: The noise images of a StyleGAN that were found, or an empty list.
    """

    image: NDArray[np.uint8]
    distance: float
    start_distance: float
    measure: str
    inputs: Batch
    planes: list[Tensor]


class LoadedModel:
    """A trained model, rebuilt from its checkpoint alone; made by `gancli.load`.

    Pictures go in as a path, a `PIL.Image` or a uint8 array (H,W) or (H,W,C), and come out as
    uint8 arrays (...,H,W,C), where C is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA). The
    same arguments give the same bytes on the same machine. Whatever a model does not have is
    refused with `gancli.UserError`.

    Attributes:
        generator: The network itself, in eval mode, without gradients; for image models it makes
            float tensors (N,C,H,W) in [-1,1].
        config: The config that it was trained with.
        path: The checkpoint file.
        step: The training step of the checkpoint.
        classes: The names of the classes that the data had.
    """

    def __init__(self, loaded: Loaded):
        self.loaded = loaded
        self.game = loaded.game
        self.generator: nn.Module = loaded.generator
        self.config = read_config(loaded.tree["config"])
        self.modality = make_modality(self.config.dataset)
        self.path: Path = loaded.path
        self.step: int = loaded.tree["progress"]["step"]
        self.classes = tuple(str(name) for name in loaded.tree["data"]["classes"])

    def __repr__(self) -> str:
        return f"LoadedModel({str(self.path)!r}, step={self.step})"

    @property
    def makes_points(self) -> bool:
        """Was it trained on 2-D points instead of images?"""
        return isinstance(self.modality, Points)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.generator.parameters()).device

    def sample(
        self,
        n: int = 64,
        *,
        seed: int = 0,
        label: int | str | Sequence[float] | None = None,
        truncation: float | None = None,
        **options: object,
    ) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Draws images; the same seed gives the pixels that `gan sample` writes.

        Args:
            n: How many.
            seed: Of the latents and of the generator's noise.
            label: A class of a conditional model by name or number, or a value for each of its
                attributes; None takes the classes in turn.
            truncation: Bound on |z|, or of a StyleGAN the weight psi towards `w_avg`, 0 to 1; None
                draws freely.
            options: Whatever else the model's `sampling_options` declare for one image, such as a
                StyleGAN's `noise` or `level`, or an option of a game of your own.

        Returns:
            (N,H,W,C) uint8; of a model of 2-D points (N,2) float32 in the data's units.

        Raises:
            UserError: The model has no classes, no such class, no such option, or it translates
                images.
        """
        with add_hints(), route_messages(quiet=True):
            asked = options | ({} if truncation is None else {"truncation": truncation})
            inputs = self.draw(n, seed=seed, label=label, options=asked)
            given = sampling.pick_values(self.game, asked, Stage.SAMPLE)
            return self.make_array(inputs, seed, given)

    def interpolate(
        self,
        n: int = 8,
        *,
        steps: int = 8,
        seed: int = 0,
        label: int | str | Sequence[float] | None = None,
        truncation: float | None = None,
        **options: object,
    ) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Draws images on the way from one latent to another, both ends included.

        Args:
            n: How many pairs of latents.
            steps: Images from one end to the other, 2 or more.
            seed: The ends are the samples of `seed` and of `seed + 1`, as in
                `gan sample interpolate=`.
            label: As in `sample`; it stays the same along the way.
            truncation: As in `sample`.
            options: As in `sample`.

        Returns:
            (n,steps,H,W,C) uint8; of a model of points (n,steps,2) float32.

        Raises:
            UserError: As in `sample`, or `steps` is below 2.
        """
        with add_hints(), route_messages(quiet=True):
            if steps < 2:
                raise UserError(f"steps={steps} does not fit", "give 2 or more")
            asked = options | ({} if truncation is None else {"truncation": truncation})
            ends = [
                # Two seeds and not one draw of 2n: the ends are then samples that can be had alone.
                self.draw(n, seed=each, label=label, options=asked)
                for each in (seed, seed + 1)
            ]
            inputs = sampling.interpolate(ends[0], ends[1], steps)
            # One noise for all images: what else differs is to be seen.
            given = sampling.pick_values(self.game, asked, Stage.SAMPLE)
            images = self.make_array(inputs, seed, sampling.hold_still(self.game) | given)
            return images.reshape(n, steps, *images.shape[1:])

    def translate(
        self,
        image: ImageLike,
        *,
        direction: Literal["ab", "ba"] = "ab",
        mask: ImageLike | None = None,
        style: ImageLike | None = None,
        pose: ImageLike | None = None,
        new_pose: ImageLike | None = None,
        seed: int = 0,
        **options: object,
    ) -> NDArray[np.uint8]:
        """Translates one image of any size.

        Large ones go through in tiles where the network allows that.

        Args:
            image: The source.
            direction: "ba" is the way back, where the model knows it.
            mask: Of inpainting: white is filled; without it, what is transparent in the image.
            style: Of style transfer to any style: the image whose style is taken.
            pose: Of people in poses: the image of the pose that the image shows.
            new_pose: And that of the pose to move into.
            seed: Of the generator's noise, if it has some.
            options: What the model's `translation_options` declare.

        Returns:
            (H,W,C) uint8. Transparency of the source is kept, enlarged with it.

        Raises:
            UserError: The model does not translate, or lacks what was asked for, or the image
                cannot be used.
        """
        with add_hints(), route_messages(quiet=True):
            game = self.game
            require_translating(game, direction, instead="use sample()")
            asked = sampling.check_values(game.translation_options(), options)
            given = {"mask": mask, "style": style, "pose": pose, "new_pose": new_pose}
            taken = (*game.extras, *(("new_pose",) if "pose" in game.extras else ()))
            for name, value in given.items():
                if value is not None and name not in taken:
                    raise UserError(f"this checkpoint's model takes no {name}", f"leave {name} out")
            if "style" in game.extras and style is None:
                raise UserError(
                    "this checkpoint's model paints in the style of an image", "give style="
                )
            if "pose" in game.extras and (pose is None or new_pose is None):
                raise UserError(
                    "this checkpoint's model moves people into poses",
                    "give pose= of the image, and new_pose=",
                )
            pixels = read(image, "image")
            channels = int(self.config.dataset["channels"])
            network = find_translator(game, self.generator, direction)
            extras: Batch = {}
            if style is not None:
                extras["style"] = prepare_style(
                    network, read(style, "style"), channels, name="the style", max_size=MOST_SIDE
                )
            for key, value in (("pose_a", pose), ("pose_b", new_pose)):
                if value is not None:
                    extras[key] = prepare_pose(network, read(value, key))
            hidden = find_hidden(pixels, mask) if "mask" in game.extras else None
            alpha_is_mask = hidden is not None and mask is None
            source = prepare_source(pixels, channels, hidden=hidden, alpha_is_mask=alpha_is_mask)
            return translate_source(
                game,
                self.generator,
                source,
                choose_way(network, source.size, tile="auto", max_size=MOST_SIDE),
                direction=direction,
                extras=extras,
                seed=seed_of(seed, "translate", name_image(image), 0),
                options=asked,
            )

    def project(
        self,
        image: ImageLike,
        *,
        steps: int = 1000,
        lr: float = 0.1,
        space: Space = "auto",
        label: int | str | None = None,
        noise: bool = True,
        weights: str | os.PathLike[str] | None = None,
        lpips_heads: str | os.PathLike[str] | None = None,
        seed: int = 0,
        on_step: Callable[[int, float], None] | None = None,
    ) -> Projection:
        """Searches for the latent or style whose image is most like a given one.

        (Karras et al. 2020, appendix D)

        Args:
            image: The target; it is cut and resized to the model's size.
            steps: Of gradient descent.
            lr: The learning rate at its highest.
            space: "w" one style for all layers, "w_plus" one for each, "z" the latent; "auto"
                takes w where there is one.
            label: A class of a conditional model, by name or number.
            noise: Whether the noise images of a StyleGAN are searched for as well.
            weights: The file of torchvision's SqueezeNet 1.1; with `lpips_heads`, likeness is
                LPIPS, else by pixels.
            lpips_heads: The file lpips_v0.1_squeeze.pth.
            seed: Of the start and of the search.
            on_step: Called after each step with its number and distance, to show progress.

        Raises:
            UserError: The model has no latent, styles or classes to search, or a file cannot be
                used.
        """
        with add_hints(), route_messages(quiet=True):
            self.modality.refuse_files(int(self.config.dataset["channels"]))
            if steps < 1:
                raise UserError(f"steps={steps} does not fit", "give 1 or more")
            if not 0 < lr < 100:
                raise UserError(f"lr={lr} does not fit", "give a number above 0, e.g. 0.1")
            if (weights is None) != (lpips_heads is None):
                raise UserError("LPIPS needs two files", "give weights= and lpips_heads=")
            sampling.refuse_unknown(self.game, {"label": label})
            wanted = None if label is None else self.find_label(label)
            target = scale_pixels(self.decode([image])[0]).to(self.device)
            distance = choose_distance(target, weights, lpips_heads)
            start = projection.start_search(
                self.game,
                self.generator,
                distance,
                space=projection.choose_space(self.game, space),
                label=wanted,
                noise=noise,
                seed=seed,
            )
            look = functools.partial(
                projection.look, self.game, self.generator, distance, start, seed=seed
            )
            first = look().distance
            search = projection.project(
                self.game, self.generator, distance, start, steps=steps, lr=lr, seed=seed
            )
            for step, far in enumerate(search, start=1):
                if on_step is not None:
                    on_step(step, far)
            found = look()
            return Projection(
                image=to_uint8(found.image[0]).permute(1, 2, 0).cpu().numpy(),
                distance=found.distance,
                start_distance=first,
                measure=distance.name,
                inputs=found.inputs,
                planes=found.planes,
            )

    def features(
        self,
        images: NDArray[np.uint8] | NDArray[np.float32] | Sequence[ImageLike],
        *,
        seed: int = 0,
    ) -> NDArray[np.float32]:
        """Reads the discriminator's features of images, as `gan features` does.

        Labels do not show in them.

        Args:
            images: (N,H,W,C) uint8, or a sequence of pictures, each cut and resized to the model's
                size; of a model of points (N,2) float32 in the data's units.
            seed: Of a network that draws noise.

        Returns:
            (N,F) float32

        Raises:
            UserError: The discriminator scores no single images, or an image cannot be used.
        """
        with add_hints(), route_messages(quiet=True):
            game = self.game
            require_run(self.loaded.tree, self.path, what="features() needs the discriminator")
            if not game.judges_images:
                raise UserError(
                    "this checkpoint's discriminator scores no single images",
                    "load a model that makes images out of noise, such as dcgan or cgan",
                )
            shown = (
                self.decode_images(images)
                if self.modality.pixels
                else self.modality.from_array(images)
            )
            found, _ = read_features(game, shown, own=None, seed=seed)
            return found.numpy()

    def draw(
        self,
        n: int,
        *,
        seed: int,
        label: int | str | Sequence[float] | None,
        options: Mapping[str, object],
    ) -> Batch:
        """Draws what n images start from; options of the game by name, which are checked here."""
        if n < 1:
            raise UserError(f"n={n} does not fit", "give 1 or more")
        if self.game.directions:
            raise UserError(
                "this checkpoint's model makes images out of images, and not out of noise",
                "use translate(image)",
            )
        ours = {key: value for key, value in options.items() if key in sampling.COMMON}
        sampling.refuse_unknown(self.game, {"label": label} | ours)
        declared = [
            option
            for option in self.game.sampling_options()
            if option.stage is not Stage.PICTURES and option.name != "label"
        ]
        checked = sampling.check_values(declared, options)
        labels = sampling.choose_labels(
            self.game, n, label=convert_label(label), classes=self.classes
        )
        return sampling.draw_inputs(
            self.game,
            n,
            seed=seed,
            label=labels,
            options=sampling.pick_values(self.game, checked, Stage.INPUTS),
        )

    def find_label(self, label: int | str | Sequence[float]) -> Tensor:
        """Finds a class, given by name or number, or attributes."""
        found = convert_label(label)
        assert found is not None
        return sampling.find_label(self.game, found, self.classes)

    def make_array(
        self, inputs: Batch, seed: int, given: dict[str, object] | None = None
    ) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Generates the items of some inputs, as the array that Python gets."""
        batches = sampling.generate(self.game, self.generator, inputs, seed=seed, given=given)
        # Each batch at once: floats of all images would be four times as much as bytes.
        return np.concatenate([self.modality.to_array(batch) for batch in batches])

    def decode_images(self, images: object) -> Tensor:
        """Turns pictures of any size into (N,C,H,W) uint8 at the model's."""
        if isinstance(images, np.ndarray) and images.ndim not in (3, 4):
            raise UserError(f"images of shape {images.shape} do not fit", "give (N,H,W,C)")
        if not isinstance(images, Sequence | np.ndarray) or isinstance(images, str):
            raise UserError("features() takes several images", "put the one into a list")
        found = self.decode(list(images))
        if not found:
            raise UserError("there are no images to look at", "give one or more")
        return torch.from_numpy(np.stack(found))

    def decode(self, images: Sequence[ImageLike]) -> list[np.ndarray]:
        """Decodes each picture to (C,H,W) uint8 at the model's size."""
        self.modality.refuse_files(int(self.config.dataset["channels"]))
        decoder = Decoder(
            pair(self.config.dataset["resolution"]), int(self.config.dataset["channels"])
        )
        with explain_bad_images("image"):
            found = [decoder(encode_image(image)) for image in images]
        for note in sorted(decoder.notes):
            messages.warn(note)
        return found


def load(
    path: str | os.PathLike[str],
    *,
    ema: bool = True,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    trust: str | Sequence[str] = (),
) -> LoadedModel:
    """Loads a trained model from a run folder (its newest sound checkpoint) or a file.

    The file is a .pt of a run, or a .safetensors that gan export wrote, which can sample,
    interpolate, translate and project; so can zoo/NAME, which comes with the package.

    Args:
        path: The run folder, the file or zoo/NAME.
        ema: The EMA generator; False takes the trained one.
        device: Where the networks go.
        trust: Packages of your own that the checkpoint names; nothing else outside gancli is
            imported.

    Raises:
        UserError: There is no checkpoint, it is damaged, or it names code that is not trusted.
    """
    with add_hints(), route_messages(quiet=True):
        packages = (trust,) if isinstance(trust, str) else tuple(trust)
        found = load_game(
            os.fspath(path), ema=ema, trust=packages, device=str(resolve_device(device))
        )
        return LoadedModel(found)


def convert_label(label: int | str | Sequence[float] | None) -> sampling.Label | None:
    """Converts a label to plain Python's numbers: an array's are others, and print otherwise."""
    if label is None or isinstance(label, str):
        return label
    if isinstance(label, Sequence | np.ndarray):
        return [float(value) for value in label]
    return int(label)


def encode_image(image: ImageLike) -> File:
    """Encodes a picture as the decoder reads it: every form of it meets the same code."""
    if isinstance(image, str | os.PathLike):
        return os.path.expanduser(os.fspath(image))
    picture = plain(image, set()) if isinstance(image, Image.Image) else make_picture(image)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return io.BytesIO(buffer.getvalue())


def make_picture(pixels: object) -> Image.Image:
    """Makes a picture of (H,W) or (H,W,C) uint8.

    Raises:
        UserError: It is something else: floats have no agreed range.
    """
    array = np.asarray(pixels)
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise UserError(
            f"an array of {array.dtype} and shape {shape} is no picture",
            "give uint8 of shape (H,W) or (H,W,C), 0 to 255",
        )
    return from_pixels(array)


def read(image: ImageLike, name: str) -> np.ndarray:
    """Reads (C,H,W) uint8 in its own size. Raises UserError."""
    notes: set[str] = set()
    with explain_bad_images(name):
        found = read_pixels(encode_image(image), notes)
    for note in sorted(notes):
        messages.warn(note)
    return found


@contextmanager
def explain_bad_images(name: str) -> Iterator[None]:
    """Turns what the decoder says of a picture into an error for the user."""
    try:
        with quiet():
            yield
    except BadImage as error:
        raise UserError(f"{name}: {error}", "give a picture") from error


def name_image(image: ImageLike) -> str:
    """Names what the noise of a translation depends on beside the seed.

    It is the file's name, as in `gan translate input=FILE`.
    """
    return Path(image).name if isinstance(image, str | os.PathLike) else "image"


def find_hidden(pixels: np.ndarray, mask: ImageLike | None) -> np.ndarray:
    """Finds (H,W) bool: where the mask is white or, without one, the image transparent.

    Raises:
        UserError: Nothing is hidden, or the mask does not fit.
    """
    if mask is None:
        hidden = find_transparent(pixels)
        if not hidden.any():
            raise UserError("nothing in the image is transparent, and no mask is given")
        return hidden
    hidden = find_white(read(mask, "mask"))
    if hidden.shape != pixels.shape[1:]:
        raise UserError("the mask and the image differ in size", "give a mask of its size")
    if not hidden.any():
        raise UserError("nothing in the mask is white")
    return hidden


def choose_distance(
    target: Tensor,
    weights: str | os.PathLike[str] | None,
    lpips_heads: str | os.PathLike[str] | None,
) -> projection.Pixels | projection.Perceptual:
    """Chooses LPIPS where both files are given, else pixels.

    Raises:
        UserError: A file is none of these, or the image has an alpha channel.
    """
    if weights is None or lpips_heads is None:
        return projection.Pixels(target)
    from gancli.metrics.lpips import Lpips

    files = (os.path.expanduser(os.fspath(file)) for file in (weights, lpips_heads))
    distance = projection.Perceptual(Lpips(*files).eval().to(target.device), target)
    distance(target)  # images with alpha are refused here
    return distance
