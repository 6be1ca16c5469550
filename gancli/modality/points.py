"""Points: a few numbers each, in a plane or a space of more dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gancli.errors import UserError
from gancli.modality.base import Modality
from gancli.modality.tables import append_labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from gancli.modality.base import Labels


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

    def describe_made(self) -> str:
        """Says how coordinates become the data's."""
        return f"in the data's units x * {self.scale:g}"
