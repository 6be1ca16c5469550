"""What every kind of item can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gancli.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    Labels = tuple[Tensor, Tensor]  # of samples and of reals


class Modality:
    """One kind of item. Items are four-dimensional tensors whatever the kind.

    Three forms of an item: *stored* in `Decoded.images`; *prepared*, as the networks see and make
    it; *restored*, as it is measured and saved.

    Attributes:
        kind: What `dataset.kind` says.
        noun: What people call several of them.
        single: What people call one of them.
        items: Names of the metrics that it can have, those that need the least first.
        n: Samples of an evaluation, unless the config says how many.
        output: The last activation of a generator where `output: auto`.
        dropout: Of hidden units, where `dropout: auto`.
        dropout_in: Of the values of an item, where `dropout_in: auto`.
        of_tokens: Whether an item is made of tokens, so that a softmax over them makes one.
        pixels: Whether an item is a picture by itself: it has colours, may be flipped and
            augmented, and a grid shows it. Else `picture` draws samples and reals together.
        drawn: Samples in one picture; None: as many rows as a grid has.
        value_bytes: Of one stored value.
        probed: Whether `gan features` can look at stored items.
        files: The names of the files that hold samples; () where each has a file of its own.
        models: Options of `model=` that learn such items, the most usual first; () where it is up
            to the user.
        advice: What to do where a model does not fit such data; "" where nothing is known.
        channel_words: How many channels an item may have.
        example_size: The (h, w) of an item where there are no data to say it.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]
    single: ClassVar[str]
    items: ClassVar[tuple[str, ...]]
    n: ClassVar[int]
    output: ClassVar[str] = "linear"
    dropout: ClassVar[float] = 0.0
    dropout_in: ClassVar[float] = 0.0
    of_tokens: ClassVar[bool] = False
    pixels: ClassVar[bool] = False
    drawn: ClassVar[int | None] = None
    value_bytes: ClassVar[int] = 4
    probed: ClassVar[bool] = True
    files: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[tuple[str, ...]] = ()
    advice: ClassVar[str] = ""
    channel_words: ClassVar[str] = "1 or more"
    example_size: ClassVar[tuple[int, int]] = (24, 1)

    def count(self, n: int) -> str:
        """Counts items in words: "1 image", "2 images"."""
        return f"{n:,} {self.single if n == 1 else self.noun}"

    def describe_data(self) -> str:
        """Says what a set of such items is, after "the data are"."""
        return self.noun

    def takes_channels(self, channels: object) -> bool:
        """Tells whether an item may have so many; `channel_words` say which."""
        return isinstance(channels, int) and not isinstance(channels, bool) and channels >= 1

    def has_alpha(self, channels: int) -> bool:
        """Tells whether the last of so many channels is alpha, which hides what lies below."""
        return False

    def stored_channels(self, channels: int) -> int:
        """Counts the channels that are stored of an item of so many."""
        return channels

    def stored_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Says the (h, w) of a stored item whose prepared one has `size`."""
        return size

    def prepare(self, stored: Tensor) -> Tensor:
        """Turns stored items (N,C,H,W) into what the networks see, float32."""
        import torch

        return stored.to(torch.float32)

    def restore(self, items: Tensor) -> Tensor:
        """Turns items, stored or made by a network, into what is measured and saved."""
        raise NotImplementedError

    def to_pictures(self, restored: Tensor) -> Tensor:
        """Turns restored items into the pictures that metrics look at, uint8 (N,C,H,W)."""
        return restored

    def picture(
        self,
        made: Tensor,
        real: Tensor | None,
        *,
        columns: int,
        labels: Labels | None = None,
        titles: Sequence[str] = (),
    ) -> Image:
        """Draws samples.

        Args:
            made: (N,C,H,W) as a network makes them; N may be 0 where there are reals.
            real: (M,C,H,W) stored, for a background; None without.
            columns: In a row, where each has a tile of its own.
            labels: The classes of both, (N,) and (M,): a sample then lies over reals of its own.
            titles: What may stand in each sample's tile, such as the name of its class.
        """
        raise NotImplementedError

    def show(self, items: Tensor) -> Tensor:
        """Picks what a grid shows of pictures (...,C,H,W)."""
        return items

    def refuse_files(self, channels: int) -> None:
        """Raises UserError where no picture file holds such an item, which could be read."""
        if not self.pixels:
            raise UserError(
                f"this checkpoint's model makes {self.noun}, which no image shows",
                "take a model of images",
            )
        if channels > 4:
            raise UserError(
                f"this checkpoint's images have {channels} channels, which no picture file holds",
                "take a model of images of 1 to 4 channels",
            )

    def suffix(self, channels: int) -> str:
        """Gives the suffix of the file of one item, where each has its own."""
        raise NotImplementedError

    def write(self, item: Tensor, path: Path) -> None:
        """Writes one item (C,H,W) as a file, where each has its own. Raises OSError."""
        raise NotImplementedError

    def export(self, made: Tensor, label: Tensor | None) -> dict[str, bytes]:
        """Turns samples into the `files` that hold them all: the same samples, the same bytes.

        Args:
            made: (N,C,H,W) as a network makes them.
            label: (N,) classes or (N,K) attributes; None without.

        Returns:
            Contents by file name.
        """
        raise NotImplementedError

    def extra(self, made: Tensor) -> dict[str, bytes]:
        """Makes what lies beside the picture of a run's samples, by suffix; {} for nothing."""
        return {}

    def to_array(
        self, made: Tensor
    ) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32] | NDArray[np.str_]:
        """Turns a batch (N,C,H,W) on the CPU into the array that Python gets, items first."""
        raise NotImplementedError

    def from_array(self, array: object) -> Tensor:
        """Turns such an array into items as networks see them. Raises UserError."""
        raise NotImplementedError

    def describe_item(self, size: Sequence[int], channels: int) -> str:
        """Says what one item is, in words; size: (h, w)."""
        raise NotImplementedError

    def describe_values(self) -> str:
        """Says in which units stored values are told."""
        raise NotImplementedError

    def describe_made(self) -> str:
        """Says what the numbers mean that a generator makes of an item."""
        raise NotImplementedError
