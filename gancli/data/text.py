"""Lines of text: names that are bundled, files of one's own, and SeqGAN's oracle."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gancli.data.base import Decoded, ScannedSource, digest_of, is_count, pair, require
from gancli.errors import UserError
from gancli.modality import END, UNITS, Text
from gancli.render.notes import note
from gancli.seeding import seed_of

log = logging.getLogger("gancli.data")
UNKNOWN = "<unk>"
LONGEST = 64  # tokens that length=auto takes at most
HELD_SHARE = 10  # holdout=auto: one line in so many
LEAST_LINES = 400
MOST_HELD = 3_000
MOST_BYTES = 1 << 28  # of a file


@dataclass(kw_only=True)
class TokenSource(ScannedSource):
    """The base of text: items (N,1,T,1) of token numbers, int32.

    Attributes:
        alphabet: The tokens in the order of their numbers; the first is "", which ends a line and
            fills what is left of it. auto is found; null: tokens are numbers, and no line ends.
        units: characters or words: what a token is, and so whether spaces stand between them.
    """

    kind: str = "text"
    classes: int | str = 0
    alphabet: list[str] | str | None = "auto"
    units: str = "characters"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            isinstance(self.modality(), Text),
            f"dataset.kind={self.kind}: this is text",
            "dataset.kind=text",
        )
        require(self.units in UNITS, f"dataset.units={self.units}", f"{UNITS[0]} or {UNITS[1]}")
        require(
            self.resolution == "auto" or pair(self.resolution)[1] == 1,
            f"dataset.resolution={self.resolution} is no length of a line",
            "[tokens,1], as dataset.resolution=[12,1]",
        )
        require(self.load_size is None, "lines are not cut at random", "dataset.load_size=null")
        require(self.classes in (0, "auto"), "lines have no labels", "dataset.classes=0")
        require(
            not isinstance(self.alphabet, str) or self.alphabet == "auto",
            f"dataset.alphabet={self.alphabet}",
            "a list of tokens, the first of which is '', or auto",
        )
        if isinstance(self.alphabet, list):
            require(
                len(self.alphabet) >= 2
                and self.alphabet[0] == END
                and len({*self.alphabet}) == len(self.alphabet),
                "dataset.alphabet: the first token must be '', the end of a line, and all differ",
                "auto finds it",
            )
            require(
                self.channels in ("auto", len(self.alphabet)),
                f"dataset.channels={self.channels} and {len(self.alphabet)} tokens",
                f"dataset.channels={len(self.alphabet)}, or auto",
            )


@dataclass(kw_only=True)
class Lines(TokenSource):
    """The base of lines that are read: each non-empty line is an item.

    Attributes:
        length: Tokens of an item; auto: those of the longest line, at most 64.
        longer: cut or skip: what happens to a longer line.
        vocabulary: Tokens that are known at most, the most frequent ones; others become <unk>.
        lower: Whether letters are made small.
        distinct: Whether equal lines are one item; else one may be trained on and held out.
    """

    length: int | str = "auto"
    longer: str = "cut"
    vocabulary: int = 5_000
    lower: bool = False
    distinct: bool = False
    holdout: int | str = "auto"  # type: ignore[assignment]  # wider than the base's until scan

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.length == "auto" or is_count(self.length, least=2),
            f"dataset.length={self.length}",
            "2 tokens or more, or auto",
        )
        require(self.longer in ("cut", "skip"), f"dataset.longer={self.longer}", "cut or skip")
        require(
            is_count(self.vocabulary, least=2), f"dataset.vocabulary={self.vocabulary}", "2 or more"
        )

    def read(self) -> list[tuple[str, str]]:
        """Reads (where, line), without empty ones. Raises UserError."""
        raise NotImplementedError

    def read_tokens(self) -> list[tuple[str, list[str]]]:
        """Reads (where, tokens) of every line. Raises UserError where there is none."""
        lines = self.read()
        require(bool(lines), "the text has no line", "look at dataset.path")
        texts = [(where, line.lower() if self.lower else line) for where, line in lines]
        if self.distinct:
            first: dict[str, str] = {}
            for where, line in texts:
                first.setdefault(line, where)
            texts = [(where, line) for line, where in first.items()]
        if self.units == UNITS[1]:
            return [(where, line.split()) for where, line in texts]
        return [(where, list(line)) for where, line in texts]

    def scan(self) -> dict:
        """Returns the values of what is "auto"; reads the files."""
        if "auto" not in vars(self).values():
            return {}
        lines = self.read_tokens()
        length = self.settle_length([len(tokens) for _, tokens in lines])
        kept = [tokens for _, tokens in lines if self.longer == "cut" or len(tokens) <= length]
        require(
            bool(kept),
            f"all lines are longer than dataset.length={length}",
            "a larger dataset.length, or dataset.longer=cut",
        )
        alphabet = self.alphabet
        if alphabet == "auto":
            alphabet = find_alphabet([tokens[:length] for tokens in kept], self.vocabulary)
        assert isinstance(alphabet, list)
        require(
            self.channels in ("auto", len(alphabet)),
            f"dataset.channels={self.channels}, and there are {len(alphabet)} tokens",
            f"dataset.channels={len(alphabet)}, or auto",
        )
        return self.answer(
            {
                "resolution": [length, 1],
                "channels": len(alphabet),
                "classes": 0,
                "length": length,
                "alphabet": alphabet,
                "holdout": self.choose_holdout(len(kept)) if self.holdout == "auto" else 0,
            }
        )

    def settle_length(self, lengths: Sequence[int]) -> int:
        """Chooses the tokens of an item."""
        length = self.length
        if length == "auto" and self.resolution != "auto":
            length = pair(self.resolution)[0]
        if length == "auto":
            length = max(2, min(LONGEST, max(lengths)))
        assert isinstance(length, int)
        require(
            self.resolution in ("auto", length, [length, 1]),
            f"dataset.resolution={self.resolution} and lines of {length} tokens",
            f"dataset.resolution=[{length},1]",
        )
        return length

    def choose_holdout(self, n: int) -> int:
        """Says how many of n lines are kept out of training, and tells the user."""
        if n < LEAST_LINES:
            return 0
        held = min(MOST_HELD, n // HELD_SHARE)
        note(
            log,
            "%d of %d lines are held out, for what perfect samples would reach; "
            "dataset.holdout=0 trains on all",
            held,
            n,
        )
        return held

    def load(self) -> Decoded:
        """Turns the lines into token numbers (N,1,T,1), filled up by token 0, which ends a line.

        Raises UserError where no line can be used.
        """
        source = self.settled()
        length = pair(source.resolution)[0]
        assert isinstance(source.alphabet, list), "settled() fills in what is auto"
        numbers = {token: k for k, token in enumerate(source.alphabet)}
        unknown = numbers.get(UNKNOWN)
        rows = []
        skipped = []
        too_long = 0
        for where, tokens in self.read_tokens():
            too_long += len(tokens) > length
            strange = next((t for t in tokens[:length] if t not in numbers), None)
            if self.longer == "skip" and len(tokens) > length:
                continue
            if strange is not None and unknown is None:
                skipped.append((where, f"{strange!r} is no token of dataset.alphabet"))
            else:
                # The 0 is never taken: without a token for unknown ones there is none left here.
                row = [numbers.get(token, unknown or 0) for token in tokens[:length]]
                # Token 0 ends a line, and fills it up.
                rows.append(row + [0] * (length - len(row)))
        require(bool(rows), "no line can be used", "look at dataset.alphabet and dataset.length")
        if too_long:
            done = "cut" if self.longer == "cut" else "left out"
            note(log, "%d lines of more than %d tokens are %s", too_long, length, done)
        ids = torch.tensor(rows, dtype=torch.int32)[:, None, :, None]
        digest = digest_of([type(self).__name__, repr(source.alphabet), ids.numpy().tobytes()])
        return Decoded(images=ids, digest=digest, skipped=tuple(skipped))


@dataclass(kw_only=True)
class Names(Lines):
    """29,463 different given names, bundled; public domain, see LICENSE-names.txt."""

    length: int | str = 12
    longer: str = "skip"
    distinct: bool = True

    def read(self) -> list[tuple[str, str]]:
        """Reads the bundled file."""
        return read_lines(Path(__file__).parent / "names.txt")


@dataclass(kw_only=True)
class TextFiles(Lines):
    """Lines of a .txt file, or of all .txt files of a folder."""

    path: str

    def read(self) -> list[tuple[str, str]]:
        """Reads the files in order of their names."""
        place = Path(self.path).expanduser()
        require(
            place.exists(),
            f"dataset.path={self.path}: there is no such file or folder",
            "check the path",
        )
        if place.is_file():
            return read_lines(place)
        files = sorted(file for file in place.glob("*.txt") if file.is_file())
        require(bool(files), f"{place}: there is no .txt file", "check dataset.path")
        return [line for file in files for line in read_lines(file)]


def read_lines(file: Path) -> list[tuple[str, str]]:
    """Reads (where, line) of a UTF-8 file, without empty lines. Raises UserError."""
    try:
        require(
            file.stat().st_size <= MOST_BYTES,
            f"{file} is larger than {MOST_BYTES >> 20} MB",
            "split it, and train on a part",
        )
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}", "give text in UTF-8") from error
    lines = [(f"{file}, line {k + 1}", line.strip()) for k, line in enumerate(text.split("\n"))]
    return [(where, line) for where, line in lines if line]


def find_alphabet(lines: Sequence[Sequence[str]], most: int) -> list[str]:
    """Lists the tokens: the end, the unknown where there are such, and the known in their order."""
    counts = Counter(token for tokens in lines for token in tokens)
    # A config would read these as references and as missing values.
    usable = [token for token in counts if "${" not in token and token not in ("???", UNKNOWN)]
    # Ties by the alphabet: equal counts must not depend on the order of the lines.
    usable.sort(key=lambda token: (-counts[token], token))
    known = sorted(usable[:most])
    return [END, *([UNKNOWN] if len(known) < len(counts) else []), *known]


@dataclass(kw_only=True)
class Oracle(TokenSource):
    """SeqGAN's synthetic benchmark: sentences of an LSTM with fixed random weights.

    Since the law of the data is known, samples are judged by it (Yu et al. 2017, section 4).

    Attributes:
        path: An .npz of the weights, as SeqGAN's own; null: drawn from N(0,1) by `oracle_seed`.
        n: Sentences.
        data_seed: Another gives other sentences of the same oracle.
        oracle_seed: Another gives another oracle.
        hidden: Units of a drawn oracle, and numbers of its embedding.
    """

    alphabet: list[str] | str | None = None
    units: str = "words"
    path: str | None = None
    n: int = 10_000
    data_seed: int = 0
    oracle_seed: int = 0
    hidden: int = 16
    holdout: int = 1_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.n >= 1, f"dataset.n={self.n} draws nothing", "1 or more")
        for key, seed in (("data_seed", self.data_seed), ("oracle_seed", self.oracle_seed)):
            require(
                0 <= seed < 2**32, f"dataset.{key}={seed}", "a whole number from 0 to 4294967295"
            )
        require(self.alphabet is None, "an oracle's tokens are numbers", "dataset.alphabet=null")

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        if self.path is None:
            return self.answer({"resolution": [10, 1], "channels": 64, "classes": 0})
        tokens = len(read_weights(self.path)["bout"])
        require(
            self.channels in ("auto", tokens),
            f"dataset.channels={self.channels}, and {self.path} has {tokens} tokens",
            f"dataset.channels={tokens}, or auto",
        )
        return self.answer({"resolution": [20, 1], "channels": tokens, "classes": 0})

    def weights(self) -> dict[str, np.ndarray]:
        """Reads or draws the oracle's weights by the names of SeqGAN's file."""
        if self.path is not None:
            return read_weights(self.path)
        tokens = self.settled().known_channels()
        dice = np.random.RandomState(self.oracle_seed)  # the same numbers for ever
        shapes: dict[str, tuple[int, ...]] = {"emb": (tokens, self.hidden)}
        for gate in "ifoc":
            square = (self.hidden, self.hidden)
            shapes |= {f"W{gate}": square, f"U{gate}": square, f"b{gate}": (self.hidden,)}
        shapes |= {"Wout": (self.hidden, tokens), "bout": (tokens,)}
        return {name: dice.standard_normal(shape) for name, shape in shapes.items()}

    def log_prob(self, tokens: Tensor) -> Tensor:
        """Measures log p of each token after those before it.

        Args:
            tokens: (N,T) numbers.

        Returns:
            (N,T) float64, in nats.
        """
        net = OracleNet(self.weights())
        found = []
        for part in tokens.long().split(1024):
            state = net.start(len(part))
            terms = []
            for t in range(part.shape[1]):
                logits, state = net.step(
                    part[:, t - 1] if t else torch.zeros_like(part[:, 0]), state
                )
                terms.append(logits.log_softmax(1).gather(1, part[:, t : t + 1]))
            found.append(torch.cat(terms, 1))
        return torch.cat(found)

    def load(self) -> Decoded:
        """Draws the sentences."""
        source = self.settled()
        steps = pair(source.resolution)[0]
        net = OracleNet(self.weights())
        dice = np.random.RandomState(seed_of("oracle", self.data_seed) % 2**32)
        parts = []
        for first in range(0, self.n, 1024):
            n = min(1024, self.n - first)
            state = net.start(n)
            token = torch.zeros(n, dtype=torch.int64)
            row = []
            for _ in range(steps):
                logits, state = net.step(token, state)
                cut = torch.from_numpy(dice.uniform(size=(n, 1)))
                # By numpy's uniform numbers: the same sentences whatever torch's version draws.
                token = (logits.softmax(1).cumsum(1) < cut).sum(1).clamp(max=logits.shape[1] - 1)
                row.append(token)
            parts.append(torch.stack(row, 1))
        ids = torch.cat(parts).to(torch.int32)[:, None, :, None]
        return Decoded(images=ids, digest=digest_of(["Oracle", ids.numpy().tobytes()]))


class OracleNet:
    """SeqGAN's target LSTM, in float64: the last digits of a judge should not depend on a CPU."""

    def __init__(self, weights: dict[str, np.ndarray]):
        self.emb, self.wout, self.bout = (
            torch.from_numpy(weights[name]).double() for name in ("emb", "Wout", "bout")
        )
        self.w, self.u, self.b = (
            torch.from_numpy(
                np.concatenate([weights[f"{kind}{gate}"] for gate in "ifoc"], axis=-1)
            ).double()
            for kind in "WUb"
        )

    def start(self, n: int) -> tuple[Tensor, Tensor]:
        """Returns the state (N,hidden) and (N,hidden) before the first token."""
        zero = torch.zeros(n, len(self.u), dtype=torch.float64)
        return zero, zero

    def step(
        self, token: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Reads a token (N,) and returns logits (N,V) of the next one, and the state."""
        h, c = state
        gates = self.emb[token] @ self.w + h @ self.u + self.b
        i, f, o, new = gates.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * new.tanh()
        h = o.sigmoid() * c.tanh()
        return h @ self.wout + self.bout, (h, c)


def read_weights(path: str) -> dict[str, np.ndarray]:
    """Reads the oracle's file. Raises UserError where it is none."""
    names = ["emb", "Wout", "bout", *(kind + gate for kind in "WUb" for gate in "ifoc")]
    try:
        with np.load(Path(path).expanduser(), allow_pickle=False) as file:
            return {name: np.asarray(file[name], np.float64) for name in names}
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise UserError(
            f"dataset.path={path} is no oracle: {error}",
            f"an .npz with {', '.join(names)}, as SeqGAN's; or null for a drawn one",
        ) from error
