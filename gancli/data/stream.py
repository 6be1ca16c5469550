"""Real batches as a pure function of position.

The sampler has no state beside the number of images shown.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gancli.data.balance import Balanced
from gancli.data.base import Decoded, pair, require, size_words
from gancli.data.draws import draws, permutation
from gancli.data.posed import Partners, find_background, find_foreground
from gancli.errors import UserError
from gancli.modality import Images, Modality
from gancli.seeding import seed_of

PAIRED = ("a", "b", "mask")
POSED = ("pose_a", "pose_b", "front")  # beside a and b, of people in poses
IMAGES = Images()


class Stream:
    """Shuffles every epoch anew, cuts windows and flips.

    All of it follows from (seed, position, salt) alone.
    """

    def __init__(
        self,
        decoded: Decoded,
        *,
        batch_size: int,
        seed: int,
        resolution: int | Sequence[int],
        flip: bool = False,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
        modality: Modality = IMAGES,
        balance: bool = False,
    ):
        """batch_size counts the images over all ranks; modality says what the networks see of one.

        balance: each class is drawn as often as any other.

        UserError if the images are smaller than `resolution`.
        """
        assert batch_size % world == 0, "ranks of unequal share would be weighed alike"
        require(
            len(decoded) > 0,
            f"the data set has no {modality.single}",
            "look at dataset.path and dataset.limit",
        )
        self.n = len(decoded)
        self.seed = seed
        self.modality = modality
        self.device = torch.device(device)
        self.local = batch_size // world
        self.first = rank * (batch_size // world)
        self.images = settle(decoded.images, self.device)
        self.labels = None if decoded.labels is None else decoded.labels.to(self.images.device)
        self.further = {key: settle(value, self.device) for key, value in decoded.further.items()}
        for key, value in self.further.items():
            require(
                len(value) == self.n and key not in ("image", "label", *PAIRED, *POSED),
                f"the data set gives {len(value)} of {key!r} for {modality.count(self.n)}",
                "Decoded.further holds tensors (N,...) under keys of their own",
            )
        self.flip = flip and modality.pixels
        size = modality.stored_size(pair(resolution))
        self.windows = windows(self.images, size)
        # What has the images' size is cut and flipped with them: maps of poses, of segments.
        self.maps = {
            key: windows(value, size)
            for key, value in self.further.items()
            if value.dtype == torch.uint8 and value.shape[2:] == self.images.shape[2:]
        }
        # Two epochs meet in one batch and a phase may draw its own: 4 cover a step, 8 are safe.
        self.epoch = functools.lru_cache(maxsize=8)(self.shuffle_epoch)
        self.balanced = Balanced(decoded.labels, seed=seed) if balance else None
        self.draw_seed = functools.lru_cache(maxsize=64)(functools.partial(seed_of, seed, "draw"))
        self.pairing = decoded.pairing
        self.people = decoded.people
        self.partners = None if decoded.people is None else Partners(decoded.people.person)
        # Another seed: with the first one's, two domains of equal length would go through in step,
        # as only those shall whose images are pairs.
        self.other = (
            None
            if decoded.other is None
            else Stream(
                decoded.other,
                batch_size=batch_size,
                seed=seed if decoded.matched else seed_of(seed, "other domain"),
                resolution=resolution,
                flip=flip,
                device=device,
                rank=rank,
                world=world,
                modality=modality,
            )
        )

    def shuffle_epoch(self, epoch: int, salt: str) -> np.ndarray:
        """Returns the order of an epoch."""
        return permutation(self.n, seed_of(self.seed, "epoch", epoch, salt))

    def __call__(self, nimg: int, keys: tuple[str, ...], *, salt: str = "") -> dict[str, Tensor]:
        """-> this rank's share of the images nimg ... nimg + batch_size - 1.

        image: (N,C,h,w) float32, the item as networks see it: images in [-1,1]; label: (N,)
        int64 classes or (N,K) float32 attributes. a, b: of pairs or of two domains, the source and
        the target; mask: (N,1,h,w), 1 in the holes of a. pose_a, pose_b: (N,C,h,w), maps of the
        poses; front: (N,1,h,w), 1 where b is not background.
        Further keys: (N,...) as the data set gives them. UserError for a key that the data lacks.
        """
        first = nimg + self.first
        index = torch.from_numpy(self.index(first, salt)).to(self.images.device, non_blocking=True)
        batch = {}
        views = self.views(nimg, index, salt, keys) if {*keys} & {*PAIRED, *POSED} else {}
        for key in keys:
            if key in views:
                batch[key] = views[key]
            elif key == "image" and self.is_single():
                batch[key] = self.pick_images(index, first, salt)
            elif key == "label" and self.labels is not None:
                batch[key] = self.labels.index_select(0, index).to(self.device, non_blocking=True)
            elif key in self.maps:
                batch[key] = self.cut(self.further[key], self.maps[key], index, first, salt)
            elif key in self.further:
                rows = self.further[key].index_select(0, index.to(self.further[key].device))
                batch[key] = rows.to(self.device, non_blocking=True)
            else:
                raise UserError(
                    f"the model needs {key!r}; the data set gives {', '.join(self.gives())}",
                    missing_hint(key, posed=self.people is not None),
                )
        return batch

    def gives(self) -> tuple[str, ...]:
        """Lists the keys that a batch may have."""
        paired = "a", "b"
        return (
            *(("image",) if self.is_single() else paired),
            *(POSED if self.people is not None else ()),
            *(("label",) if self.labels is not None else ()),
            *self.further,
        )

    def is_single(self) -> bool:
        """Says whether the data set is of single images: no pairs, and no two domains."""
        return self.pairing is None and self.other is None and self.people is None

    def views(
        self, nimg: int, index: Tensor, salt: str, keys: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Makes "a", "b" and what goes with them; {} where the data set is of single images."""
        first = nimg + self.first
        if self.people is not None:
            return self.pair_people(index, first, salt, keys)
        if self.other is not None:
            return {
                "a": self.pick_images(index, first, salt),
                "b": self.other(nimg, ("image",), salt=salt)["image"],
            }
        if self.pairing is None:
            return {}
        bits = draws(seed_of(self.seed, "pairing", salt), np.arange(first, first + self.local))
        return self.pairing(self.pick_images(index, first, salt), bits)

    def pair_people(
        self, index: Tensor, first: int, salt: str, keys: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Joins another picture of the same person to each, the source to the target."""
        assert self.people is not None and self.partners is not None
        bits = draws(seed_of(self.seed, "partner", salt), np.arange(first, first + self.local))
        partner = torch.from_numpy(self.partners.draw(index.cpu().numpy(), bits)).to(index.device)
        found = {}
        for side, rows in (("a", partner), ("b", index)):
            found[side] = self.pick_images(rows, first, salt)
            if f"pose_{side}" in keys:
                found[f"pose_{side}"] = self.pick_poses(rows, first, salt)
        if "front" in keys:
            levels = found["b"].add(1).mul(127.5).round()
            back = find_background(levels, self.people.background)
            found["front"] = find_foreground(levels, back).float()
        return found

    def pick_poses(self, index: Tensor, first: int, salt: str) -> Tensor:
        """Returns pose maps (local,C,h,w) as the pictures are cut and flipped."""
        assert self.people is not None
        if self.people.draw is None:
            return self.cut(self.further["pose"], self.maps["pose"], index, first, salt)
        joints = self.further["joints"]
        return self.people.draw(joints[index.to(joints.device)].to(self.device))

    def index(self, first: int, salt: str) -> np.ndarray:
        """Finds the images (local,) int64 at the positions first ... first + local - 1."""
        if self.balanced is not None:
            return self.balanced.index(first, self.local, salt)
        last = first + self.local
        pieces = []
        position = first
        # A batch may lie in two epochs, and in more where the data set is smaller than the batch.
        while position < last:
            epoch, start = divmod(position, self.n)
            piece = self.epoch(epoch, salt)[start : start + last - position]
            pieces.append(piece)
            position += len(piece)
        return np.concatenate(pieces)

    def pick_images(self, index: Tensor, first: int, salt: str) -> Tensor:
        """Returns images (local,C,h,w) as they are cut, flipped and scaled."""
        return self.cut(self.images, self.windows, index, first, salt)

    def cut(
        self, images: Tensor, windows: Tensor | None, index: Tensor, first: int, salt: str
    ) -> Tensor:
        """Picks items (N,C,H,W), cuts the draw's window, flips, and prepares them.

        The window and the flip follow from the position, so all images of a draw have the same.
        """
        dice = self.dice(first, salt) if self.flip or windows is not None else None
        index = index.to(images.device, non_blocking=True)
        if windows is None:
            x = images.index_select(0, index)
        else:
            assert dice is not None
            rows = dice.to(images.device, non_blocking=True)
            x = windows[index, :, rows[0], rows[1]]
        x = x.to(self.device, non_blocking=True)
        if self.flip:
            assert dice is not None
            flipped = dice[2].to(self.device, torch.uint8, non_blocking=True)[:, None, None, None]
            if x.dtype == torch.uint8:
                # x where the mask is 0, its mirror image where it is 255: torch.where takes five
                # times as long on bytes.
                mask = flipped.mul_(255)
                x = x.flip(3).bitwise_xor_(x).bitwise_and_(mask).bitwise_xor_(x)
            else:
                x = torch.where(flipped.bool(), x.flip(3), x)
        return self.modality.prepare(x)

    def dice(self, first: int, salt: str) -> Tensor:
        """Draws the window's row and column and whether to flip, (3, local) int64.

        By position, so that any number of ranks draws alike.
        """
        bits = draws(self.draw_seed(salt), np.arange(first, first + self.local))
        rows, columns = (
            (1, 1) if self.windows is None else (self.windows.shape[2], self.windows.shape[3])
        )
        # One 64-bit draw is cut: 31 bits for the row, 31 for the column, the top one for the flip.
        # Their remainders are uniform to 1 in 2^31 / windows.
        half = np.uint64(0x7FFFFFFF)
        row = (bits >> np.uint64(32) & half) % np.uint64(rows)
        column = (bits & half) % np.uint64(columns)
        dice = np.stack([row, column, bits >> np.uint64(63)])
        return torch.from_numpy(dice.astype(np.int64)).to(self.images.device, non_blocking=True)


def settle(images: Tensor, device: torch.device) -> Tensor:
    """Moves all items (N,C,H,W) to a CUDA device if they take half of what is free or less."""
    if device.type != "cuda" or images.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return images
    return images.to(device)


def windows(images: Tensor, size: tuple[int, int]) -> Tensor | None:
    """Returns a view (N,C,H-h+1,W-w+1,h,w) of all windows, or None.

    It is None if the images have that size already.
    """
    loaded = tuple(images.shape[-2:])
    require(
        loaded[0] >= size[0] and loaded[1] >= size[1],
        f"the data set gives images of {size_words(loaded)} pixels",
        f"they must have at least dataset.resolution, {size_words(size)}",
    )
    return None if loaded == size else images.unfold(2, size[0], 1).unfold(3, size[1], 1)


def missing_hint(key: str, *, posed: bool = False) -> str:
    """Returns what to do where the data set lacks a key; posed: it is of people in poses."""
    if posed:
        return "people in poses are moved from one pose to another: choose model=pose"
    if key in PAIRED:
        return (
            "the model translates images: choose dataset=paired, unpaired, superres, masked, "
            "degraded or outlined, or another model"
        )
    if key in POSED:
        return "the model moves people into poses: choose dataset=figures or posed"
    if key == "label":
        return (
            "model.conditional=auto trains without labels; or take a data set with classes (and "
            "dataset.classes not 0)"
        )
    if key == "image":
        return (
            "a model of pairs or domains takes this data set, such as model=pix2pix or cyclegan; "
            "single images come from dataset=folder"
        )
    if key == "seen":
        return (
            "the model learns from incomplete images: choose dataset=incomplete, or say what they "
            "are, model.measure=blur or noise"
        )
    return f"take a data set whose batches hold {key!r}, or a model that does without"
