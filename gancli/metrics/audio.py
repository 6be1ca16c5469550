"""How far made recordings are from real ones: their mean spectra, and how loud bands are.

All take 16-bit samples (N,1,L,1), as they are restored, whatever the networks make: a spectrogram
is judged by the wave that is found for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gancli.errors import UserError
from gancli.metrics.fid import frechet_from_moments, moments
from gancli.sound import FULL, PARTS, choose_fft, transform

BANDS = 16  # of a recording, each of as many frequencies
LEAST_POWER = 1e-6  # of the reals' mean: quieter counts as that
SILENCE = 1e-10  # a power that counts as silence in a band


def measure_powers(waves: Tensor) -> Iterator[Tensor]:
    """Computes the power (n,F,T) of short-time spectra, float64, some recordings at a time.

    Frequency k of F = fft/2+1 is k * rate / fft.
    """
    flat = waves.flatten(1)
    fft = choose_fft(flat.shape[1])
    hop = fft // 2
    for part in flat.split(PARTS):
        padded = torch.nn.functional.pad(part.double() / FULL, (0, -part.shape[1] % hop))
        yield transform(padded, fft=fft, hop=hop).abs().square()


def mean_spectrum(waves: Tensor) -> Tensor:
    """Computes the mean power (F,) at each frequency over recordings and frames."""
    powers = [part.mean(2).sum(0) for part in measure_powers(waves)]
    return torch.stack(powers).sum(0) / len(waves)


def spectral_distance(real: Tensor, fake: Tensor) -> float:
    """Returns the mean difference of log10 mean power over frequencies.

    Twice the amplitude everywhere is 0.602. real, fake: (N,1,L,1) int16.
    """
    check_recordings(real, fake)
    a = mean_spectrum(real)
    b = mean_spectrum(fake)
    least = (a.mean() * LEAST_POWER).clamp_min(SILENCE)
    return (torch.maximum(a, least).log10() - torch.maximum(b, least).log10()).abs().mean().item()


def measure_bands(waves: Tensor) -> Tensor:
    """Computes (N,2*BANDS) float32: of log10 power in bands, the mean and the deviation in time."""
    rows = []
    for power in measure_powers(waves):
        loudness = torch.stack([band.mean(1) for band in power.tensor_split(BANDS, 1)], 1)
        logs = (loudness + SILENCE).log10()
        rows.append(torch.cat([logs.mean(2), logs.std(2, correction=0)], 1).float())
    return torch.cat(rows)


def band_distance(real: Tensor, fake: Tensor) -> float:
    """Returns the Frechet distance of how loud bands are. real, fake: (N,1,L,1) int16."""
    check_recordings(real, fake)
    a = moments(measure_bands(real), "real")
    return frechet_from_moments(*a, *moments(measure_bands(fake), "generated"))


def check_recordings(real: Tensor, fake: Tensor) -> None:
    """Raises UserError where there are too few to compare."""
    if min(len(real), len(fake)) < 2:
        raise UserError("one recording has nothing to be compared by", "use more")
