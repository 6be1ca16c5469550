"""Images: pictures of any number of channels, stored as bytes or floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.modality.base import Modality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from gancli.modality.base import Labels


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

    def has_alpha(self, channels: int) -> bool:
        """Tells whether the last of so many channels is alpha; arrays of any number have none."""
        return channels in (2, 4) and not self.deep and not self.value_range

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
        """Rounds to bytes, hidden colours to white; what is stored stays, and stays mapped."""
        from gancli.render.grids import to_uint8, whiten_hidden

        if not items.is_floating_point():
            return items
        pixels = to_uint8(items)
        return whiten_hidden(pixels) if self.has_alpha(pixels.shape[-3]) else pixels

    def to_pictures(self, restored: Tensor) -> Tensor:
        """Lays colours over white where there is alpha, which stays: what nobody sees counts not.

        In whole numbers, as files are read that have no alpha then.
        """
        import torch

        if not self.has_alpha(restored.shape[-3]):
            return restored
        colour, alpha = restored[..., :-1, :, :].int(), restored[..., -1:, :, :].int()
        shown = (colour * alpha + 255 * (255 - alpha) + 127) // 255
        return torch.cat([shown, alpha], -3).to(torch.uint8)

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

        if self.value_range:
            low, high = self.value_range
            shares = (made.detach().double().nan_to_num(nan=-1.0).clamp(-1, 1) + 1) / 2
            values = (shares * (high - low) + low).permute(0, 2, 3, 1)
            return np.ascontiguousarray(values.cpu().numpy().astype(np.float32))
        if self.bits == 8:
            return self.restore(made).permute(0, 2, 3, 1).numpy()
        levels = (made.detach().double() * 32767.5 + 32767.5).nan_to_num(nan=0.0)
        rounded = levels.clamp(0, 65535).round().permute(0, 2, 3, 1)
        return np.ascontiguousarray(rounded.cpu().numpy().astype(np.uint16))

    def describe_item(self, size: Sequence[int], channels: int) -> str:
        """Says the size and the channels of an image."""
        return f"{size[1]}x{size[0]} pixels, {channels} channel{'s' if channels != 1 else ''}"

    def describe_values(self) -> str:
        """Says that bytes are told as shares of white."""
        return "from 0 to 1"

    def describe_made(self) -> str:
        """Says which numbers are black and white, or what they are in the data."""
        if self.value_range:
            return f"-1 is {self.value_range[0]:g} and 1 is {self.value_range[1]:g} in the data"
        if self.bits == 16:
            return "-1 is black, 1 is white; 16 bits are (x + 1) * 32767.5, rounded and clipped"
        return "-1 is black, 1 is white; a byte is (x + 1) * 127.5, rounded and clipped"
