"""Text: lines of characters, words or numbers."""

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


END = ""  # the token that ends a line and fills what is left of it
UNITS = ("characters", "words")  # what a token is


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

    def describe_made(self) -> str:
        """Says which token each place of a softmax stands for."""
        return f"at each step one of these is 1, the others are 0: {[*self.alphabet]}"
