"""How one kind of item is fed, shown, saved and judged.

The set is closed, and `dataset.kind` chooses: no other module asks which kind it is. Known without
torch, which only the methods need.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

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
        """Turns restored items into what a classifier of pictures looks at, uint8 (N,C,H,W)."""
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


@dataclass(frozen=True)
class Images(Modality):
    """Pictures (N,C,H,W), stored as bytes or as floats in [-1,1].

    Attributes:
        bits: 8, or 16: of a value that is saved. Metrics and grids see 8.
        shown: The channels that a grid shows, 1 to 4 of them; () shows all, or the first three.
        deep: Whether there may be any number of channels.
        value_range: The values of the data that became -1 and 1, in whose units floats are saved;
            () saves whole numbers of so many bits.
    """

    bits: int = 8
    shown: tuple[int, ...] = ()
    deep: bool = False
    value_range: tuple[float, ...] = ()

    kind = "image"
    noun = "images"
    single = "image"
    # What needs no network first, then what needs features, then what needs labels or the
    # discriminator; codes: only models that have some.
    items = (
        "swd",
        "ms_ssim",
        "lpips",
        "frechet",
        "kernel",
        "inception_score",
        "prdc",
        "memorisation",
        "classes",
        "overfitting",
        "cas",
        "codes",
    )
    n = 10_000  # the papers'
    output = "tanh"
    dropout = 0.5
    dropout_in = 0.2
    pixels = True
    value_bytes = 1
    channel_words = "1 grey, 2 grey + alpha, 3 RGB, 4 RGBA"

    def takes_channels(self, channels: object) -> bool:
        """Allows 1 to 4: grey, grey + alpha, RGB, RGBA."""
        return super().takes_channels(channels) and (self.deep or channels in (1, 2, 3, 4))

    def prepare(self, stored: Tensor) -> Tensor:
        """Scales bytes to [-1,1].

        Symmetric and the same bits on every device: x - 127.5 is exact, so 0 and 255 become -1 and
        1.
        """
        import torch

        if stored.is_floating_point():
            return stored.to(torch.float32)
        return stored.to(torch.float32).sub_(127.5).mul_(1 / 127.5)

    def restore(self, items: Tensor) -> Tensor:
        """Rounds to bytes; what is stored as bytes stays, and stays mapped."""
        from gancli.render.grids import to_uint8

        return to_uint8(items) if items.is_floating_point() else items

    def picture(
        self,
        made: Tensor,
        real: Tensor | None,
        *,
        columns: int,
        labels: Labels | None = None,
        titles: Sequence[str] = (),
    ) -> Image:
        """Tiles the samples."""
        from gancli.render.grids import grid

        return grid(self.show(made), columns=columns)

    def show(self, items: Tensor) -> Tensor:
        """Picks the channels that are shown."""
        if self.shown:
            return items[..., list(self.shown), :, :]
        return items if items.shape[-3] <= 4 else items[..., :3, :, :]

    def suffix(self, channels: int) -> str:
        """Chooses PNG where it can hold the image, else TIFF, else an array."""
        if self.value_range:
            return ".npy"
        if self.bits == 8 and channels <= 4:
            return ".png"
        return ".tiff" if channels == 1 else ".npy"

    def write(self, item: Tensor, path: Path) -> None:
        """Writes a PNG, a grey TIFF of 16 bits, or an array (H,W,C)."""
        import numpy as np
        from PIL import Image

        from gancli.files import atomic
        from gancli.render.grids import save_image

        if path.suffix == ".png":
            save_image(item, path)
            return
        pixels = self.to_array(item[None].cpu())[0]
        if path.suffix == ".tiff":
            picture = Image.fromarray(pixels[..., 0])
            atomic.write(path, lambda file: picture.save(file, format="TIFF"))
        else:
            atomic.write(path, lambda file: np.save(file, pixels, allow_pickle=False))

    def to_array(
        self, made: Tensor
    ) -> NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]:
        """Converts to (N,H,W,C) of so many bits, or to floats in the data's units."""
        import numpy as np

        from gancli.render.grids import to_uint8

        if self.value_range:
            low, high = self.value_range
            shares = (made.detach().double().nan_to_num(nan=-1.0).clamp(-1, 1) + 1) / 2
            values = (shares * (high - low) + low).permute(0, 2, 3, 1)
            return np.ascontiguousarray(values.cpu().numpy().astype(np.float32))
        if self.bits == 8:
            return to_uint8(made).permute(0, 2, 3, 1).numpy()
        levels = (made.detach().double() * 32767.5 + 32767.5).nan_to_num(nan=0.0)
        rounded = levels.clamp(0, 65535).round().permute(0, 2, 3, 1)
        return np.ascontiguousarray(rounded.cpu().numpy().astype(np.uint16))

    def describe_item(self, size: Sequence[int], channels: int) -> str:
        """Says the size and the channels of an image."""
        return f"{size[1]}x{size[0]} pixels, {channels} channel{'s' if channels != 1 else ''}"

    def describe_values(self) -> str:
        """Says that bytes are told as shares of white."""
        return "from 0 to 1"


@dataclass(frozen=True)
class Points(Modality):
    """Points in the plane (N,2,1,1), stored divided by `scale`; restored (N,2) in data units.

    Attributes:
        scale: What the data are divided by for the networks.
    """

    scale: float = 1.0

    kind = "points"
    noun = "points"
    single = "point"
    items = ("modes", "w1")
    n = 2_500  # the papers'
    drawn = 2_500
    files = ("points.csv",)
    models = ("mlp",)
    advice = "the data are points in the plane: model=mlp learns them"

    def restore(self, items: Tensor) -> Tensor:
        """Restores data units: (N,2)."""
        return items.flatten(1) * self.scale

    def picture(
        self,
        made: Tensor,
        real: Tensor | None,
        *,
        columns: int,
        labels: Labels | None = None,
        titles: Sequence[str] = (),
    ) -> Image:
        """Draws the samples over the reals as two clouds."""
        from gancli.render.grids import scatter

        return scatter(self.restore(made), real=None if real is None else self.restore(real))

    def export(self, made: Tensor, label: Tensor | None) -> dict[str, bytes]:
        """Writes a row for each point."""
        # Nine digits name every float32.
        rows = [f"{x:.9g},{y:.9g}" for x, y in self.restore(made).tolist()]
        head = "x,y" if label is None else "x,y,label"
        lines = [head, *append_labels(rows, label)]
        return {"points.csv": ("\n".join(lines) + "\n").encode()}

    def to_array(self, made: Tensor) -> NDArray[np.float32]:
        """Converts to (N,2) in data units."""
        return self.restore(made).numpy()

    def from_array(self, array: object) -> Tensor:
        """Reads (N,2) in the data's units as (N,2,1,1)."""
        import numpy as np
        import torch

        found = np.asarray(array, dtype=np.float32)
        if found.ndim != 2 or found.shape[1] != 2:
            raise UserError(f"points of shape {found.shape} do not fit", "give (N,2)")
        return torch.from_numpy(found)[..., None, None] / self.scale

    def describe_item(self, size: Sequence[int], channels: int) -> str:
        """Says nothing of a size: points are all of one."""
        return "points in the plane"

    def describe_values(self) -> str:
        """Says how stored coordinates are scaled for the networks."""
        return "divided by dataset.scale"


@dataclass(frozen=True)
class Series(Modality):
    """Series of T steps and C features (N,C,T,1), stored as (data - shift) / scale.

    Restored, they are floats (N,C,T,1) in data units.

    Attributes:
        scale: What each feature is divided by, or all of them.
        shift: What is taken from it before.
        names: Of the features; () numbers them.
    """

    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)
    names: tuple[str, ...] = ()

    kind = "series"
    noun = "series"
    single = "series"
    items = (
        "marginal",
        "autocorrelation",
        "spectrum",
        "cross_correlation",
        "discriminative",
        "predictive",
        "classes",
        "marginal_by_class",
        "discriminative_by_class",
        "cas",
    )
    n = 2_500
    files = ("series.csv", "series.npz")
    models = ("wavegan", "rcgan", "timegan", "mlp")
    advice = "the data are series: model=wavegan, rcgan, timegan or mlp learns them"

    def restore(self, items: Tensor) -> Tensor:
        """Restores data units: (N,C,T,1)."""
        return items * self.column(self.scale, items) + self.column(self.shift, items)

    def to_pictures(self, restored: Tensor) -> Tensor:
        """Rounds stored values in [-1,1] to bytes (N,C,T,1)."""
        from gancli.render.grids import to_uint8

        shift = self.column(self.shift, restored)
        return to_uint8((restored - shift) / self.column(self.scale, restored))

    def column(self, values: tuple[float, ...], items: Tensor) -> Tensor:
        """Shapes one number or one for each feature as (1,1 or C,1,1)."""
        return items.new_tensor(values)[None, :, None, None]

    def picture(
        self,
        made: Tensor,
        real: Tensor | None,
        *,
        columns: int,
        labels: Labels | None = None,
        titles: Sequence[str] = (),
    ) -> Image:
        """Draws each series as lines in a tile under its title, over grey reals, without units.

        So features of any size are seen together.
        """
        from gancli.render.grids import draw_lines

        return draw_lines(made, real=real, columns=columns, labels=labels, titles=titles)

    def export(self, made: Tensor, label: Tensor | None) -> dict[str, bytes]:
        """Writes a row for each step of each series, and the arrays."""
        import numpy as np

        values = self.to_array(made)
        names = self.names or tuple(f"x{k}" for k in range(values.shape[2]))
        head = ["series", "step", *map(quote, names), *([] if label is None else ["label"])]
        rows = [
            ",".join([f"{k},{t}", *(f"{value:.9g}" for value in step)])
            for k, one in enumerate(values.tolist())
            for t, step in enumerate(one)
        ]
        each = None if label is None else label.repeat_interleave(values.shape[1], 0)
        lines = [",".join(head), *append_labels(rows, each)]
        arrays = {"series": values, "names": np.array(names, dtype=np.str_)}
        if label is not None:
            arrays["label"] = label.cpu().numpy()
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)  # its entries bear no time
        return {
            "series.csv": ("\n".join(lines) + "\n").encode(),
            "series.npz": buffer.getvalue(),
        }

    def to_array(self, made: Tensor) -> NDArray[np.float32]:
        """Converts to (N,T,C) in data units."""
        import numpy as np

        return np.ascontiguousarray(self.restore(made).squeeze(3).transpose(1, 2).cpu().numpy())

    def from_array(self, array: object) -> Tensor:
        """Reads (N,T,C) in the data's units as (N,C,T,1)."""
        import numpy as np
        import torch

        found = np.asarray(array, dtype=np.float32)
        if found.ndim != 3:
            raise UserError(f"series of shape {found.shape} do not fit", "give (N,T,C)")
        items = torch.from_numpy(found).transpose(1, 2)[..., None]
        return (items - self.column(self.shift, items)) / self.column(self.scale, items)

    def describe_item(self, size: Sequence[int], channels: int) -> str:
        """Says the steps and the features of a series."""
        return f"series of {size[0]} steps, {channels} feature{'s' if channels != 1 else ''}"

    def describe_values(self) -> str:
        """Says how stored values are shifted and scaled for the networks."""
        return "less dataset.shift, divided by dataset.scale"


END = ""  # the token that ends a line and fills what is left of it
UNITS = ("characters", "words")  # what a token is
HEARD = 16  # samples of a run's preview that can be heard
DEVIATIONS = 3  # of a frequency's log magnitude become 1


@dataclass(frozen=True)
class Text(Modality):
    """Lines of T tokens out of V: stored as numbers (N,1,T,1), prepared as one-hot (N,V,T,1).

    Restored, they are numbers (N,1,T,1) int32, and -1 after the end of a line.

    Attributes:
        tokens: V.
        alphabet: The tokens; the first is END. () where numbers stand for themselves, and no line
            ends before T.
        units: One of UNITS; words have spaces between them.
    """

    tokens: int = 0
    alphabet: tuple[str, ...] = ()
    units: str = "characters"

    kind = "text"
    noun = "lines"
    of_tokens = True
    single = "line"
    items = ("ngrams", "likelihood", "oracle", "uniqueness")
    n = 10_000  # the papers'
    probed = False
    files = ("lines.txt",)
    models = ("textgan", "seqgan")
    advice = "the data are text: model=textgan or seqgan learns it"
    channel_words = "2 tokens or more"

    def describe_data(self) -> str:
        """Says "text", not "lines"."""
        return self.kind

    def takes_channels(self, channels: object) -> bool:
        """Allows as many as there are tokens."""
        return super().takes_channels(channels) and channels != 1

    def stored_channels(self, channels: int) -> int:
        """Counts one: a token's number stands for its one-hot vector."""
        return 1

    def prepare(self, stored: Tensor) -> Tensor:
        """Turns numbers into one-hot vectors."""
        import torch

        n, _, steps, _ = stored.shape
        hot = torch.zeros(n, self.tokens, steps, 1, device=stored.device)
        return hot.scatter_(1, stored.long(), 1.0)

    def restore(self, items: Tensor) -> Tensor:
        """Takes the likeliest token of each place, and -1 after the end of a line."""
        import torch

        ids = items.argmax(1, keepdim=True) if items.is_floating_point() else items
        ids = ids.to(torch.int32)
        if not self.alphabet:
            return ids
        ended = (ids <= 0).int().cumsum(2) - (ids <= 0).int() > 0
        return ids.masked_fill(ended, -1)

    def to_lines(self, items: Tensor) -> list[str]:
        """Spells items out."""
        rows = self.restore(items)[:, 0, :, 0].tolist()
        if not self.alphabet:
            return [" ".join(map(str, row)) for row in rows]
        between = " " if self.units == UNITS[1] else ""
        return [between.join(self.alphabet[k] for k in row if k > 0) for row in rows]

    def picture(
        self,
        made: Tensor,
        real: Tensor | None,
        *,
        columns: int,
        labels: Labels | None = None,
        titles: Sequence[str] = (),
    ) -> Image:
        """Writes the samples, and some reals in grey below them."""
        from gancli.render.pages import write_page

        return write_page(
            self.to_lines(made),
            real=[] if real is None else self.to_lines(real[:100]),
            columns=columns,
        )

    def export(self, made: Tensor, label: Tensor | None) -> dict[str, bytes]:
        """Writes a line for each sample; its class stands before it, and a tab between."""
        lines = self.to_lines(made)
        if label is not None:
            heads = append_labels([END] * len(lines), label)
            lines = [f"{head[1:]}\t{line}" for head, line in zip(heads, lines, strict=True)]
        return {"lines.txt": ("\n".join(lines) + "\n").encode()}

    def extra(self, made: Tensor) -> dict[str, bytes]:
        """Gives the lines as text."""
        return {".txt": self.export(made, None)["lines.txt"]}

    def to_array(self, made: Tensor) -> NDArray[np.str_]:
        """Converts to (N,) strings."""
        import numpy as np

        return np.array(self.to_lines(made), dtype=np.str_)

    def from_array(self, array: object) -> Tensor:
        """Reads (N,) strings as one-hot (N,V,T,1), T being the longest line's."""
        import numpy as np
        import torch

        found = np.asarray(array)
        if found.ndim != 1 or found.dtype.kind != "U":
            raise UserError(f"text of shape {found.shape} does not fit", "give (N,) strings")
        names = self.alphabet or tuple(map(str, range(self.tokens)))
        numbers = {name: k for k, name in enumerate(names)}
        words = self.units == UNITS[1] or not self.alphabet
        lines = [line.split() if words else list(line) for line in found.tolist()]
        strange = next((token for line in lines for token in line if token not in numbers), None)
        if strange is not None:
            raise UserError(f"{strange!r} is no token of this model", "see dataset.alphabet")
        ids = torch.zeros(len(lines), 1, max(map(len, lines), default=0), 1, dtype=torch.int32)
        for row, line in zip(ids, lines, strict=True):
            row[0, : len(line), 0] = torch.tensor([numbers[token] for token in line])
        return self.prepare(ids)

    def describe_item(self, size: Sequence[int], channels: int) -> str:
        """Says the length of a line, and how many tokens there are."""
        return f"lines of {size[0]} tokens out of {channels}"

    def describe_values(self) -> str:
        """Says that a stored value is the number of a token."""
        return "numbers of tokens"


@dataclass(frozen=True)
class Audio(Modality):
    """Recordings of one channel, stored as 16-bit samples (N,1,L,1), prepared as waves in [-1,1].

    Restored, they are 16-bit samples again.

    Attributes:
        rate: Samples a second.
    """

    rate: int = 16_000

    kind = "audio"
    noun = "recordings"
    single = "recording"
    items = (
        "spectra",
        "frechet",
        "kernel",
        "inception_score",
        "prdc",
        "memorisation",
        "classes",
        "cas",
    )
    n = 2_500
    output = "tanh"
    value_bytes = 2
    probed = False
    models: ClassVar[tuple[str, ...]] = ("wavegan",)
    advice = (
        "the data are recordings: model=wavegan learns their waves, and image models, such as "
        "model=dcgan, learn them as pictures with dataset.spectrogram=true"
    )
    channel_words = "1: channels are mixed down"
    example_size: ClassVar[tuple[int, int]] = (16_384, 1)

    def takes_channels(self, channels: object) -> bool:
        """Allows one."""
        return super().takes_channels(channels) and channels == 1

    def prepare(self, stored: Tensor) -> Tensor:
        """Scales 16 bits to [-1,1); floats of a data set of one's own stay."""
        import torch

        from gancli.sound import FULL

        waves = stored.to(torch.float32)
        return waves if stored.is_floating_point() else waves / FULL

    def restore(self, items: Tensor) -> Tensor:
        """Rounds waves to 16 bits; what is stored stays."""
        from gancli.sound import to_int16

        return to_int16(items).cpu() if items.is_floating_point() else items

    def to_pictures(self, restored: Tensor) -> Tensor:
        """Spectrograms, whatever the networks make."""
        from gancli.sound import draw_spectra

        return draw_spectra(restored)

    def picture(
        self,
        made: Tensor,
        real: Tensor | None,
        *,
        columns: int,
        labels: Labels | None = None,
        titles: Sequence[str] = (),
    ) -> Image:
        """Draws the wave and the spectrogram of each, and a row or two of grey reals below."""
        import torch

        from gancli.render.sounds import draw_recordings
        from gancli.sound import FULL

        stored = [self.restore(made)] if len(made) else []
        shown = 0
        if real is not None:
            shown = min(len(real), 2 * columns if len(made) else 8 * columns)
            rows = torch.linspace(0, len(real) - 1, shown).round().long()
            stored.append(self.restore(real[rows]))
        waves = torch.cat(stored).cpu()
        return draw_recordings(
            waves.flatten(1).numpy() / FULL,
            self.to_pictures(waves)[:, 0].numpy(),
            columns=columns,
            real=shown,
        )

    def suffix(self, channels: int) -> str:
        """Gives each sample a WAV file of its own."""
        return ".wav"

    def write(self, item: Tensor, path: Path) -> None:
        """Writes a WAV file of 16 bits."""
        from gancli.files import atomic

        data = self.encode(item[None])
        atomic.write(path, lambda file: file.write(data))

    def encode(self, items: Tensor) -> bytes:
        """Makes one WAV file of items, a quarter of a second between them."""
        import torch

        from gancli.sound import encode_wav

        waves = self.restore(items).flatten(1)
        pause = waves.new_zeros(len(waves), self.rate // 4)
        line = torch.cat([waves, pause], 1).flatten()[: -self.rate // 4]
        return encode_wav(line.numpy(), self.rate)

    def extra(self, made: Tensor) -> dict[str, bytes]:
        """Gives the first of the samples, one after the other."""
        return {".wav": self.encode(made[:HEARD])}

    def to_array(self, made: Tensor) -> NDArray[np.float32]:
        """Converts to (N,L) in [-1,1)."""
        import numpy as np

        from gancli.sound import FULL

        waves = self.restore(made).flatten(1).float() / FULL
        return np.ascontiguousarray(waves.numpy())

    def from_array(self, array: object) -> Tensor:
        """Reads (N,L) floats in [-1,1], or 16-bit samples, as items that networks see."""
        import numpy as np
        import torch

        from gancli.sound import to_int16

        found = np.asarray(array)
        if found.ndim != 2 or found.dtype.kind not in "fi":
            raise UserError(
                f"recordings of shape {found.shape} and type {found.dtype} do not fit",
                "give (N,L), floats in [-1,1] or 16-bit samples",
            )
        if found.dtype.kind == "f":
            stored = to_int16(torch.from_numpy(found.astype(np.float32)))
        else:
            stored = torch.from_numpy(found.astype(np.int16))
        return self.prepare(stored[:, None, :, None])

    def describe_item(self, size: Sequence[int], channels: int) -> str:
        """Samples, and the seconds that they last."""
        return f"recordings of {size[0]:,} samples, {size[0] / self.rate:.2f} s at {self.rate:,} Hz"

    def describe_values(self) -> str:
        """Says that values are samples of 16 bits."""
        return "16-bit samples, full scale is 32,768"


@dataclass(frozen=True)
class Spectrograms(Audio):
    """Recordings that are learnt as pictures (N,1,F,T): log magnitudes of short-time spectra.

    Each frequency is standardised, three deviations become 1, and what lies beyond is cut
    (SpecGAN, Donahue 2019). They are stored and restored as recordings are.

    Attributes:
        hop: Samples from one frame to the next.
        floor: A magnitude that counts as silence.
        bin_mean: Of the logarithms at each frequency.
        bin_deviation: Likewise.
    """

    hop: int = 128
    floor: float = 1e-6
    bin_mean: tuple[float, ...] = ()
    bin_deviation: tuple[float, ...] = ()

    models: ClassVar[tuple[str, ...]] = ("dcgan", "sngan", "acgan")
    advice = (
        "the data are spectrograms of recordings: image models, such as model=dcgan, learn them; "
        "model=wavegan learns waves (dataset.spectrogram=false)"
    )

    example_size = (128, 128)

    def prepare(self, stored: Tensor) -> Tensor:
        """Turns samples into standardised log magnitudes in [-1,1]."""
        from gancli.sound import measure_log_magnitude

        waves = super().prepare(stored).flatten(1)
        logs = measure_log_magnitude(
            waves, fft=2 * len(self.bin_mean), hop=self.hop, floor=self.floor
        )
        unit = (logs - self.column(self.bin_mean, logs)) / self.column(self.bin_deviation, logs)
        return (unit / DEVIATIONS).clamp(-1, 1)[:, None]

    def restore(self, items: Tensor) -> Tensor:
        """Finds waves of such spectrograms (Griffin and Lim), as 16-bit samples."""
        from gancli.sound import invert_log_magnitude

        if not items.is_floating_point():
            return items
        unit = items.detach().float().cpu()[:, 0].nan_to_num(nan=-1.0).clamp(-1, 1) * DEVIATIONS
        logs = unit * self.column(self.bin_deviation, unit) + self.column(self.bin_mean, unit)
        waves = invert_log_magnitude(logs, hop=self.hop, floor=self.floor)
        return super().restore(waves[:, None, :, None])

    def column(self, values: tuple[float, ...], items: Tensor) -> Tensor:
        """Shapes one value for each frequency as (1,F,1)."""
        return items.new_tensor(values)[None, :, None]

    def stored_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Counts the samples of so many frames."""
        return size[1] * self.hop, 1

    def describe_item(self, size: Sequence[int], channels: int) -> str:
        """Says the size of the picture, and what it is of."""
        samples = self.stored_size((size[0], size[1]))
        return (
            f"spectrograms of {size[0]} frequencies and {size[1]} frames, of "
            f"{super().describe_item(samples, channels)}"
        )


KINDS = (Images.kind, Points.kind, Series.kind, Text.kind, Audio.kind)
# of the part `dataset`, beside kind
KEYS = (
    *("scale", "shift", "names", "bits", "shown", "value_range", "alphabet", "units"),
    *("rate", "spectrogram", "hop", "floor", "bin_mean", "bin_deviation"),
)


def make_modality(dataset: Mapping[str, Any]) -> Modality:
    """Chooses how items are treated by a config's part `dataset`, which alone decides.

    Raises UserError for a kind that there is not.
    """
    kind = dataset.get("kind", "image")
    if kind == "image":
        return Images(
            bits=16 if dataset.get("bits") == 16 else 8,
            shown=tuple(dataset.get("shown") or ()),
            deep=dataset.get("bits") is not None,
            value_range=tuple(map(float, dataset.get("value_range") or ())),
        )
    if kind == "points":
        return Points(scale=dataset.get("scale", 1.0))
    if kind == "series":
        return Series(
            scale=as_tuple(dataset.get("scale", 1.0)),
            shift=as_tuple(dataset.get("shift", 0.0)),
            names=tuple(map(str, dataset.get("names") or ())),
        )
    if kind == "text":
        channels = dataset.get("channels")
        return Text(
            tokens=channels if isinstance(channels, int) else 0,
            alphabet=tuple(map(str, dataset.get("alphabet") or ())),
            units=str(dataset.get("units", UNITS[0])),
        )
    if kind == "audio":
        rate = dataset.get("rate")
        if not dataset.get("spectrogram"):
            return Audio(rate=rate if isinstance(rate, int) else 16_000)
        hop = dataset.get("hop")
        return Spectrograms(
            rate=rate if isinstance(rate, int) else 16_000,
            hop=hop if isinstance(hop, int) else 128,
            floor=float(dataset.get("floor") or 1e-6),
            bin_mean=find_numbers(dataset.get("bin_mean")),
            bin_deviation=find_numbers(dataset.get("bin_deviation")),
        )
    raise UserError(f"dataset.kind={kind}", list_kinds())


def find_noun(kind: object) -> str:
    """Says what items of a kind are called; "images" for one that there is not."""
    if kind not in KINDS:
        return Images.noun
    return make_modality({"kind": kind}).noun


def list_kinds() -> str:
    """Names the kinds in words."""
    return f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"


def as_tuple(value: float | Sequence[float]) -> tuple[float, ...]:
    """Keeps one number for all features, or one for each."""
    return (float(value),) if isinstance(value, int | float) else tuple(map(float, value))


def find_numbers(value: object) -> tuple[float, ...]:
    """Finds the numbers of a list; () in what is none yet."""
    return tuple(map(float, value)) if isinstance(value, list | tuple) else ()


def append_labels(rows: list[str], label: Tensor | None) -> list[str]:
    """Appends to each row of a table its class, or its attributes one after the other."""
    if label is None:
        return rows
    values = label.flatten(1) if label.ndim > 1 else label[:, None]
    return [
        ",".join([row, *(f"{value:g}" for value in each)])
        for row, each in zip(rows, values.tolist(), strict=True)
    ]


def quote(name: str) -> str:
    """Quotes a name for a CSV file where it must be."""
    if not set(name) & set(',"\n\r'):
        return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
