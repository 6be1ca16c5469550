"""Numbers of recordings: mean spectra and how loud bands are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sound_helpers import tone

from gancli.errors import UserError
from gancli.metrics.audio import (
    BANDS,
    band_distance,
    mean_spectrum,
    measure_bands,
    spectral_distance,
)
from gancli.metrics.legend import find_line
from gancli.sound import FULL, to_int16


def recordings(n: int, *, level: float = 0.1, seed: int = 0, length: int = 1024) -> torch.Tensor:
    noise = np.random.default_rng(seed).normal(0, level, (n, 1, length, 1))
    return to_int16(torch.from_numpy(noise))


def test_a_sine_is_in_its_bin():
    wave = to_int16(torch.from_numpy(tone(1000, rate=8000, seconds=0.128)))[None, None, :, None]
    spectrum = mean_spectrum(wave)
    assert spectrum.shape == (33,) and int(spectrum.argmax()) == 8, "8 * 8000 / 64 Hz"


def test_equal_sets_have_no_distance_and_loudness_has_a_closed_form():
    real = recordings(40)
    assert spectral_distance(real, real) == 0
    assert band_distance(real, real) == pytest.approx(0, abs=1e-9)
    twice = (real.int() * 2).to(torch.int16)
    assert spectral_distance(real, twice) == pytest.approx(math.log10(4), abs=1e-3)
    # All bands move by log10(4), their spread stays
    assert band_distance(real, twice) == pytest.approx(BANDS * math.log10(4) ** 2, rel=0.02)


def test_white_noise_has_a_flat_spectrum_of_its_variance():
    spectrum = mean_spectrum(recordings(200, level=0.1, length=4096))
    # Of a Hann window of 128 the squares add up to 48
    assert spectrum[2:-2] / (48 * 0.01) == pytest.approx(np.ones(61), abs=0.1)


def test_bands_know_how_loudness_changes():
    steady = recordings(4)
    fading = (steady * torch.linspace(1, 0.01, 1024)[:, None]).to(torch.int16)
    bands = measure_bands(torch.cat([steady, fading]))
    assert bands.shape == (8, 2 * BANDS) and bands.isfinite().all()
    assert (bands[4:, BANDS:].mean() > 2 * bands[:4, BANDS:].mean()).item()
    assert measure_bands(steady * 0).isfinite().all(), "silence"
    assert spectral_distance(steady, steady * 0) > 3


def test_one_recording_is_too_few():
    with pytest.raises(UserError, match="nothing to be compared"):
        spectral_distance(recordings(1), recordings(5))


@pytest.mark.parametrize("key", ["spectral", "fd_bands"])
def test_every_number_is_explained(key):
    line = find_line(key)
    assert line is not None and line.better == "lower" and line.item == "spectra"
    assert FULL == 2**15
