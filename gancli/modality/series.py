"""Series: values that change with time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gancli.errors import UserError
from gancli.modality.base import Modality
from gancli.modality.tables import append_labels, quote

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from gancli.modality.base import Labels


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

    def describe_made(self) -> str:
        """Says how values become the data's, feature by feature."""
        return f"in the data's units x * {[*self.scale]} + {[*self.shift]}, for each feature or all"
