"""Recordings of one's own: a folder of WAV files, or arrays of samples."""

from __future__ import annotations

import functools
import logging
import math
import re
import wave
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gancli.data import cache
from gancli.data.base import (
    Decoded,
    ScannedSource,
    digest_of,
    is_count,
    pair,
    places,
    require,
)
from gancli.errors import UserError
from gancli.modality import Audio
from gancli.render.notes import note
from gancli.sound import FULL, choose_fft, measure_log_magnitude

log = logging.getLogger("gancli.data")
SHORTEST = 256  # samples that length=auto takes at least
LONGEST = 16_384  # and at most: the paper's
FIT = 0.9  # the share of recordings that length=auto holds whole
PEAK = 0.95  # of full scale, what normalise=true brings each recording to
HELD_SHARE = 20  # holdout=auto: one recording in so many, as of a folder's images
LEAST_RECORDINGS = 400
MOST_HELD = 1_000
MOST_MEASURED = 10_000  # recordings that the mean of each frequency is taken from
LEAST_DEVIATION = 1e-3  # of a frequency, where all recordings are silent
ZEROS = 32  # zero crossings of the low-pass on each side of its middle
MOST_WEIGHED = 1 << 22  # samples at a time
ROLL_OFF = 0.95  # of the lower of two rates: where the low-pass ends
NAME = re.compile(r"([^_]+)_([^_]+)_(\d+)")  # 3_jackson_12: class, speaker, index
WAVES = ("samples", "audio", "waves", "recordings", "x", "data")  # names of an .npz's samples
LENGTHS = ("length", "lengths")
LABELS = ("label", "labels", "y")
RATES = ("rate", "sample_rate", "sr")


class BadRecording(Exception):
    """A file that cannot be used; the message says why."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording as it lies in a file.

    Attributes:
        where: The file, or the file and the place in it.
        label: Its class; None without.
        index: Its number among those of its class and speaker; None where there is none.
        rate: Samples a second.
        frames: Samples of each channel.
        channels: How many are mixed down.
        read: The first n samples as (n,) float64 in [-1,1), all of them of None. Raises
            BadRecording.
    """

    where: str
    label: str | None
    index: int | None
    rate: int
    frames: int
    channels: int
    read: Callable[[int | None], np.ndarray]


@dataclass(frozen=True, eq=False)
class Found:
    """All recordings of a folder or a file.

    Attributes:
        recordings: In a fixed order.
        refused: (file, reason) of those that cannot be used.
        remarks: What is ignored or assumed, in sentences.
    """

    recordings: tuple[Recording, ...]
    refused: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Recordings(ScannedSource):
    """Recordings of a folder of WAV files or of an .npz, stored as (N,1,length,1) int16.

    Longer ones are cut, shorter ones end in silence, several channels are mixed down, and other
    rates are resampled; each is said with its count.

    Attributes:
        path: A folder: .wav files in sub-folders, one for each class, or side by side without
            labels; where all are called CLASS_SPEAKER_INDEX.wav, the names say the class. Or an
            .npz: `samples` one after the other with `length` of each, or `samples` (N,T); with
            `label`, `rate` and `index` where there are such.
        rate: Samples a second; auto: the commonest one of the files.
        file_rate: Of an .npz that does not say it.
        length: Samples of an item; auto: a power of two that holds nine recordings of ten.
        normalise: Whether each recording is brought to one peak.
        held_index: Recordings whose index is below it are held out; null: as `holdout` says.
        spectrogram: Whether items are spectrograms, for image models.
        hop: Samples from one frame to the next; auto: half of a frame.
        floor: A magnitude that counts as silence in a spectrogram.
        bin_mean: Of each frequency's logarithms; auto is measured.
        bin_deviation: Likewise.
    """

    path: str
    kind: str = "audio"
    channels: int | str = 1
    holdout: int | str = "auto"  # type: ignore[assignment]  # wider than the base's until scan
    rate: int | str = "auto"
    file_rate: int | None = None
    length: int | str = "auto"
    normalise: bool = False
    held_index: int | None = None
    spectrogram: bool = False
    hop: int | str | None = "auto"
    floor: float = 1e-6
    bin_mean: list[float] | str | None = "auto"
    bin_deviation: list[float] | str | None = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            isinstance(self.modality(), Audio),
            f"dataset.kind={self.kind}: these are recordings",
            "dataset.kind=audio",
        )
        for key, value in (("rate", self.rate), ("file_rate", self.file_rate)):
            require(
                value in ("auto", None) or is_count(value, least=100),
                f"dataset.{key}={value}",
                "samples a second, as 16000",
            )
        require(
            self.length == "auto" or is_count(self.length, least=16),
            f"dataset.length={self.length}",
            "16 samples or more, or auto",
        )
        require(
            self.load_size is None, "recordings are not cut at random", "dataset.load_size=null"
        )
        require(
            self.held_index is None or is_count(self.held_index, least=1),
            f"dataset.held_index={self.held_index}",
            "1 or more, or null",
        )
        require(0 < self.floor < 1, f"dataset.floor={self.floor}", "between 0 and 1, as 1e-6")
        require(
            self.hop in ("auto", None) or is_count(self.hop, least=2),
            f"dataset.hop={self.hop}",
            "2 samples or more, or auto",
        )

    def find(self) -> Found:
        """Lists the recordings. Raises UserError."""
        found = find_recordings(self.path, rate=self.file_rate)
        if found.refused and self.on_error == "fail":
            name, reason = found.refused[0]
            raise UserError(f"{name}: {reason}", "repair or remove it, or dataset.on_error=skip")
        require(
            len(found.recordings) >= max(1, len(found.refused)),
            f"{self.path}: {len(found.refused)} of "
            f"{len(found.refused) + len(found.recordings)} recordings cannot be used"
            + (f": {found.refused[0][0]}: {found.refused[0][1]}" if found.refused else ""),
            "give WAV files of 8 to 32 bits: ffmpeg -i IN -c:a pcm_s16le OUT.wav",
        )
        return found

    def scan(self) -> dict:
        """Returns the values of what is "auto"; reads headers, and all samples of spectrograms."""
        if "auto" not in vars(self).values():
            return {}
        found = self.find()
        for remark in found.remarks:
            note(log, "%s", remark)
        rates = Counter(one.rate for one in found.recordings)
        rate = (
            max(rates, key=lambda some: (rates[some], some)) if self.rate == "auto" else self.rate
        )
        assert isinstance(rate, int)
        self.say_differences(found, rate)
        lengths = sorted(count_resampled(one, rate) for one in found.recordings)
        length = self.settle_length(lengths)
        classes = class_names(found)
        held = self.choose_holdout(found)
        facts: dict[str, object] = {
            "rate": rate,
            "length": length,
            "resolution": [length, 1],
            "channels": 1,
            "classes": len(classes),
            "holdout": held,
            "hop": None,
            "bin_mean": None,
            "bin_deviation": None,
        }
        if self.spectrogram:
            facts |= self.measure_bins(found, rate, length)
        require(
            self.resolution in ("auto", facts["resolution"]),
            f"dataset.resolution={self.resolution}, and items are {facts['resolution']}",
            "leave it out, and give dataset.length",
        )
        return self.answer(facts)

    def say_differences(self, found: Found, rate: int) -> None:
        """Says what is resampled and mixed down."""
        other = Counter(one.rate for one in found.recordings if one.rate != rate)
        if other:
            most = other.most_common(1)[0][0]
            note(
                log,
                "%d of %d recordings are resampled to %d Hz, from %d Hz%s",
                sum(other.values()),
                len(found.recordings),
                rate,
                most,
                " and others" if len(other) > 1 else "",
            )
        mixed = sum(one.channels > 1 for one in found.recordings)
        if mixed:
            note(log, "%d recordings of several channels are mixed down to one", mixed)

    def settle_length(self, lengths: Sequence[int]) -> int:
        """Chooses the samples of an item, and says what is cut and filled up."""
        length = self.length
        if length == "auto":
            # Not the longest: one long recording would fill all others up with silence.
            wanted = lengths[math.ceil(FIT * len(lengths)) - 1]
            length = SHORTEST
            while length < min(wanted, LONGEST):
                length *= 2
        assert isinstance(length, int)
        cut = sum(some > length for some in lengths)
        short = sum(some < length for some in lengths)
        if cut or short:
            note(
                log,
                "of %d recordings %d are cut to %d samples, and %d shorter ones end in silence",
                len(lengths),
                cut,
                length,
                short,
            )
        return length

    def choose_holdout(self, found: Found) -> int:
        """Says how many recordings are kept out of training, and tells the user."""
        n = len(found.recordings)
        if self.held_index is not None:
            held = sum(mark_held(found, self.held_index))
            require(
                0 < held < n,
                f"dataset.held_index={self.held_index} holds out {held} of {n} recordings: "
                + ("none has an index" if not held else "all of them"),
                "dataset.held_index=null, or names as CLASS_SPEAKER_INDEX.wav",
            )
            require(
                self.holdout in ("auto", held),
                f"dataset.holdout={self.holdout}, and dataset.held_index={self.held_index} holds "
                f"out {held}",
                "give one of the two",
            )
            note(log, "%d of %d recordings are held out: index below %d", held, n, self.held_index)
            return held
        if isinstance(self.holdout, int):
            return self.holdout
        if n < LEAST_RECORDINGS:
            return 0
        held = min(MOST_HELD, n // HELD_SHARE)
        note(
            log,
            "%d of %d recordings are held out, for what perfect samples would reach; "
            "dataset.holdout=0 trains on all",
            held,
            n,
        )
        return held

    def measure_bins(self, found: Found, rate: int, length: int) -> dict[str, object]:
        """Measures the mean and the deviation of each frequency of the recordings trained on."""
        fft = choose_fft(length)
        hop = self.hop
        if hop in ("auto", None):
            hop = fft // 2
        assert isinstance(hop, int)
        require(
            hop <= fft // 2 and fft % hop == 0,
            f"dataset.hop={hop} does not divide a frame of {fft} samples",
            f"dataset.hop={fft // 2} or {fft // 4}",
        )
        require(
            length % hop == 0,
            f"dataset.length={length} is no multiple of {hop}, which a frame moves by",
            f"dataset.length={-(-length // hop) * hop}",
        )
        held = mark_held(found, self.held_index or 0)
        rows = [k for k, aside in enumerate(held) if not aside]
        rows = [
            rows[k]
            for k in np.linspace(0, len(rows) - 1, min(len(rows), MOST_MEASURED)).astype(int)
        ]
        few = replace(found, recordings=tuple(found.recordings[k] for k in rows))
        waves, _, _ = read_all(few, rate=rate, length=length, normalise=self.normalise)
        total = torch.zeros(fft // 2, dtype=torch.float64)
        square = total.clone()
        for part in torch.from_numpy(waves).split(256):
            logs = measure_log_magnitude(
                part.float() / FULL, fft=fft, hop=hop, floor=self.floor
            ).double()
            total += logs.sum((0, 2))
            square += logs.square().sum((0, 2))
        count = len(waves) * (length // hop)
        mean = total / count
        # In float64, where a mean of squares less a squared mean keeps enough digits.
        deviation = (square / count - mean.square()).clamp_min(LEAST_DEVIATION**2).sqrt()
        return {
            "resolution": [fft // 2, length // hop],
            "hop": hop,
            # As many digits as the config needs to be the same for ever
            "bin_mean": [round(value, 5) for value in mean.tolist()],
            "bin_deviation": [round(value, 5) for value in deviation.tolist()],
        }

    def load(self) -> Decoded:
        """Reads the recordings. Raises UserError."""
        source = self.settled()
        found = self.find()
        assert isinstance(source.rate, int), "settled() fills in what is auto"
        length, _ = source.modality().stored_size(pair(source.resolution))
        need = 2 * length * len(found.recordings)
        require(
            cache.fits(2 * need),
            f"{len(found.recordings)} recordings take {cache.gigabytes(need)}, too much for the "
            "memory",
            "a smaller dataset.length or dataset.rate, or fewer files",
        )
        waves, rows, bad = read_all(
            found, rate=source.rate, length=length, normalise=self.normalise
        )
        if bad and self.on_error == "fail":
            raise UserError(f"{bad[0][0]}: {bad[0][1]}", "dataset.on_error=skip trains without it")
        skipped = (*found.refused, *bad)
        if skipped:
            log.warning("skipped %d recordings, the first: %s (%s)", len(skipped), *skipped[0])
        classes = class_names(found)
        kept = [found.recordings[k] for k in rows]
        labels = np.array([classes.index(one.label or "") for one in kept] if classes else [])
        labelled, names = source.labelled(labels if classes else None, classes)
        stored = torch.from_numpy(waves)[:, None, :, None]
        place = places(len(found.recordings))
        held = np.array(mark_held(found, self.held_index or 0))
        # Those that are held out by their index come last in the order that `split` cuts
        order = np.lexsort((place, held))
        place[order] = np.arange(len(place))
        return Decoded(
            images=stored,
            labels=labelled,
            classes=names,
            digest=digest_of(
                [
                    type(self).__name__,
                    repr((stored.shape, source.rate)),
                    waves.tobytes(),
                    b"" if labelled is None else labelled.numpy().tobytes(),
                ]
            ),
            skipped=skipped,
            place=torch.from_numpy(place[rows]),
        )


def class_names(found: Found) -> tuple[str, ...]:
    """Names the classes, numbers by their size; () without labels."""
    names = {one.label for one in found.recordings if one.label is not None}
    if all(name.lstrip("-").isdigit() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def mark_held(found: Found, below: int) -> list[bool]:
    """Says which recordings have an index below a number."""
    return [one.index is not None and one.index < below for one in found.recordings]


def count_resampled(one: Recording, rate: int) -> int:
    """Counts the samples of a recording at another rate."""
    return -(-one.frames * rate // one.rate)


def read_all(
    found: Found, *, rate: int, length: int, normalise: bool
) -> tuple[np.ndarray, list[int], list[tuple[str, str]]]:
    """Reads recordings at one rate and length.

    Returns:
        (M,length) int16, which of the recordings those are, and (file, reason) of the others.
    """
    waves = np.zeros((len(found.recordings), length), np.int16)
    rows: list[int] = []
    bad: list[tuple[str, str]] = []
    for k, one in enumerate(found.recordings):
        need = (
            length if one.rate == rate else math.ceil(length * one.rate / rate) + reach(one, rate)
        )
        try:
            samples = one.read(need)
        except BadRecording as error:
            bad.append((one.where, str(error)))
            continue
        if one.rate != rate:
            samples = resample(samples, one.rate, rate)
        samples = samples[:length]
        if normalise:
            samples = samples * (PEAK / max(np.abs(samples).max(initial=0), 1 / FULL))
        levels = np.rint(samples * FULL).clip(-FULL, FULL - 1)
        waves[len(rows), : len(levels)] = levels.astype(np.int16)
        rows.append(k)
    return waves[: len(rows)], rows, bad


def reach(one: Recording, rate: int) -> int:
    """Says how many samples beyond a moment its resampled value depends on."""
    return math.ceil(ZEROS * max(1.0, one.rate / rate) / ROLL_OFF) + 1


@functools.lru_cache(maxsize=8)
def make_low_pass(first: int, second: int) -> np.ndarray:
    """Makes the weights of a windowed sinc for each phase of the new rate.

    Args:
        first: The rate of what is resampled, both without their common divisor.
        second: The new rate.

    Returns:
        (second,taps): row k weighs the samples around k * first / second, from taps/2 - 1 before
        the last of those up to it.
    """
    share = ROLL_OFF * min(1.0, second / first)  # of half the old rate
    half = math.ceil(ZEROS / share)
    phase = np.arange(second) * first % second / second
    distance = np.arange(-half + 1, half + 1)[None] - phase[:, None]
    window = np.where(np.abs(distance) < half, np.cos(np.pi * distance / (2 * half)) ** 2, 0)
    weights = share * np.sinc(share * distance) * window
    return weights / weights.sum(1, keepdims=True)


def resample(samples: np.ndarray, first: int, second: int) -> np.ndarray:
    """Resamples (n,) from one rate to another, without what the new rate cannot hold."""
    divisor = math.gcd(first, second)
    first //= divisor
    second //= divisor
    weights = make_low_pass(first, second)
    taps = weights.shape[1]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(samples, taps), taps)
    count = -(-len(samples) * second // first)
    parts = []
    for at in np.array_split(np.arange(count), max(1, count * taps // MOST_WEIGHED)):
        begin = at * first // second + taps // 2 + 1
        parts.append(np.einsum("nt,nt->n", windows[begin], weights[at % second]))
    return np.concatenate(parts)


def find_recordings(path: str, *, rate: int | None) -> Found:
    """Lists what a folder or a file holds.

    Args:
        path: A folder or an .npz.
        rate: Of an .npz that does not say it.

    Raises:
        UserError: There are none.
    """
    place = Path(path).expanduser()
    require(
        place.exists(),
        f"dataset.path={path}: there is no such file or folder",
        "check the path",
    )
    if place.is_dir():
        return find_files(place)
    if place.suffix.lower() == ".wav":
        raise UserError(
            f"{place} is one recording", f"give its folder: dataset.path={place.parent}"
        )
    require(
        place.suffix.lower() == ".npz",
        f"{place}: recordings are read from a folder of .wav files, or from an .npz",
        "ffmpeg -i IN -c:a pcm_s16le OUT.wav makes a .wav of nearly any file",
    )
    return read_npz(place, rate)


def find_files(root: Path) -> Found:
    """Lists the .wav files of a folder. Raises UserError where there are none."""
    files = sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() == ".wav"
        and file.is_file()
        and not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    )
    if not files:
        others = Counter(f.suffix.lower() for f in root.rglob("*") if f.is_file() and f.suffix)
        there = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(3))
        raise UserError(
            f"{root}: there is no .wav file" + (f" (there are {there})" if there else ""),
            "ffmpeg -i IN -c:a pcm_s16le OUT.wav makes one",
        )
    remarks = []
    tops = {file.relative_to(root).parts[0] for file in files if file.parent != root}
    names = [NAME.fullmatch(file.stem) for file in files]
    labels: list[str | None] = [None] * len(files)
    if len(tops) > 1:
        loose = [file for file in files if file.parent == root]
        if loose:
            remarks.append(
                f"{len(loose)} .wav files beside the class sub-folders are passed over, as "
                f"{loose[0].name}"
            )
        files = [file for file in files if file.parent != root]
        names = [NAME.fullmatch(file.stem) for file in files]
        labels = [file.relative_to(root).parts[0] for file in files]
    elif all(names):
        labels = [name[1] for name in names if name]
        remarks.append(
            "all files are called CLASS_SPEAKER_INDEX.wav: their names say the class; "
            "dataset.classes=0 leaves it out"
        )
    indices = [int(name[3]) if name else None for name in names]
    recordings = []
    refused = []
    for file, label, index in zip(files, labels, indices, strict=True):
        try:
            recordings.append(open_wav(file, str(file.relative_to(root)), label, index))
        except BadRecording as error:
            refused.append((str(file.relative_to(root)), str(error)))
    return Found(tuple(recordings), tuple(refused), tuple(remarks))


def open_wav(file: Path, where: str, label: str | None, index: int | None) -> Recording:
    """Reads the header of a WAV file. Raises BadRecording."""
    try:
        with wave.open(str(file), "rb") as opened:
            head = opened.getparams()
    except (wave.Error, EOFError, OSError, ValueError) as error:
        words = str(error) or "it ends within its header"
        if words.endswith("format: 65534"):
            words = (
                "this Python reads no extensible WAV, 3.12 does: "
                "ffmpeg -i IN -c:a pcm_s16le OUT.wav"
            )
        elif "unknown format" in words:
            words = (
                "its samples are floats or compressed, and only whole numbers are read: "
                "ffmpeg -i IN -c:a pcm_s16le OUT.wav"
            )
        raise BadRecording(words) from error
    if head.nframes == 0:
        raise BadRecording("it holds no samples")
    if head.framerate < 100:
        raise BadRecording(f"it has {head.framerate} samples a second")
    return Recording(
        where=where,
        label=label,
        index=index,
        rate=head.framerate,
        frames=head.nframes,
        channels=head.nchannels,
        read=functools.partial(read_wav, file),
    )


def read_wav(file: Path, most: int | None) -> np.ndarray:
    """Reads the first samples of a WAV file, mixed down: (n,) in [-1,1). Raises BadRecording."""
    try:
        with wave.open(str(file), "rb") as opened:
            head = opened.getparams()
            wanted = head.nframes if most is None else min(most, head.nframes)
            data = opened.readframes(wanted)
    except (wave.Error, EOFError, OSError, ValueError) as error:
        raise BadRecording(str(error) or "it ends within its header") from error
    if len(data) < wanted * head.nchannels * head.sampwidth:
        raise BadRecording("it is cut off: it holds fewer samples than its header says")
    return to_floats(data, head.sampwidth).reshape(-1, head.nchannels).mean(1)


def to_floats(data: bytes, width: int) -> np.ndarray:
    """Turns the bytes of samples of `width` bytes into float64 in [-1,1)."""
    if width == 1:  # of 8 bits alone, 128 is silence
        return (np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128
    if width == 3:
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3)
        whole = np.zeros((len(parts), 4), np.uint8)
        whole[:, 1:] = parts
        return whole.view("<i4")[:, 0].astype(np.float64) / 2**31
    if width not in (2, 4):
        raise BadRecording(f"its samples have {8 * width} bits: 8, 16, 24 and 32 are read")
    return np.frombuffer(data, f"<i{width}").astype(np.float64) / 2.0 ** (8 * width - 1)


def read_npz(file: Path, rate: int | None) -> Found:
    """Reads recordings out of arrays. Raises UserError."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{file} cannot be read: {error}", "check the file") from error
    name = next((name for name in WAVES if name in found), "")
    samples = found.get(name)
    if samples is None or samples.ndim not in (1, 2) or samples.dtype.kind not in "if":
        shapes = ", ".join(f"{key} {array.shape}" for key, array in found.items())
        raise UserError(
            f"{file}: which array holds the samples? There are {shapes or 'none'}",
            "name it 'samples': int16 or floats in [-1,1], (N,T), or one after the other with "
            "'length'",
        )
    samples = scale_samples(samples, f"{file}, {name}")
    bounds = find_bounds(found, samples, file)
    n = len(bounds) - 1
    stated = next((found[key] for key in RATES if key in found), None)
    if stated is not None:
        rate = int(np.asarray(stated).reshape(-1)[0])
    if rate is None:
        raise UserError(
            f"{file} does not say how many samples a second it has",
            "dataset.file_rate=8000, or an array 'rate' in the file",
        )
    labels = pick_column(found, LABELS, n, file)
    indices = pick_column(found, ("index",), n, file)
    flat = samples.reshape(-1)
    recordings = tuple(
        Recording(
            where=f"{file}, {name}[{k}]",
            label=None if labels is None else str(labels[k]),
            index=None if indices is None else int(indices[k]),
            rate=rate,
            frames=int(bounds[k + 1] - bounds[k]),
            channels=1,
            read=functools.partial(pick_samples, flat[bounds[k] : bounds[k + 1]]),
        )
        for k in range(n)
    )
    empty = [one.where for one in recordings if one.frames == 0]
    return Found(
        tuple(one for one in recordings if one.frames),
        tuple((where, "it holds no samples") for where in empty),
    )


def scale_samples(samples: np.ndarray, where: str) -> np.ndarray:
    """Returns samples as int16 or as floats in [-1,1]. Raises UserError."""
    if samples.dtype.kind == "f":
        require(
            bool(np.isfinite(samples).all()) and np.abs(samples).max(initial=0) <= 1,
            f"{where}: floats are to lie in [-1,1], and the largest is "
            f"{np.abs(samples).max(initial=0):g}",
            "divide them by the largest",
        )
        return samples
    require(
        samples.dtype == np.int16,
        f"{where}: samples of type {samples.dtype}",
        "give int16, or floats in [-1,1]",
    )
    return samples


def find_bounds(found: dict[str, np.ndarray], samples: np.ndarray, file: Path) -> np.ndarray:
    """Says where each recording begins, and where the last ends: (N+1,). Raises UserError."""
    if samples.ndim == 2:
        return np.arange(len(samples) + 1) * samples.shape[1]
    lengths = next((found[key] for key in LENGTHS if key in found), None)
    if lengths is None:
        raise UserError(
            f"{file}: where does each recording end?",
            "add an array 'length', samples of each; or give samples (N,T)",
        )
    bounds = np.concatenate([[0], np.cumsum(lengths.astype(np.int64))])
    require(
        lengths.ndim == 1 and lengths.min(initial=0) >= 0 and bounds[-1] == len(samples),
        f"{file}: the lengths add up to {bounds[-1]}, and there are {len(samples)} samples",
        "check the file",
    )
    return bounds


def pick_column(
    found: dict[str, np.ndarray], names: Sequence[str], n: int, file: Path
) -> np.ndarray | None:
    """Picks the first of some arrays that there is; None without. Raises UserError."""
    name = next((name for name in names if name in found), None)
    if name is None:
        return None
    require(
        found[name].shape == (n,),
        f"{file}: {name} has the shape {found[name].shape} for {n} recordings",
        "give one for each",
    )
    return found[name]


def pick_samples(samples: np.ndarray, most: int | None) -> np.ndarray:
    """Returns the first samples of an array as float64 in [-1,1]."""
    some = samples[:most].astype(np.float64)
    return some if samples.dtype.kind == "f" else some / FULL
