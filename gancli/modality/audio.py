"""Audio: recordings, as waves or as spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gancli.errors import UserError
from gancli.modality.base import Modality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from gancli.modality.base import Labels


HEARD = 16  # samples of a run's preview that can be heard
DEVIATIONS = 3  # of a frequency's log magnitude become 1


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

    def describe_made(self) -> str:
        """Says what full scale is."""
        return "a wave from -1 to 1"


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

    def describe_made(self) -> str:
        """Says that a wave is made of it elsewhere."""
        return "a spectrogram as the network sees it; gan sample makes sound of it"
