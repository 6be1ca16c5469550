"""Short-time spectra, the way back, and WAV files."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
import torch
from sound_helpers import tone

from gancli.sound import (
    FULL,
    choose_fft,
    draw_spectra,
    encode_wav,
    invert_log_magnitude,
    measure_log_magnitude,
    to_int16,
    transform,
    transform_back,
)


@pytest.mark.parametrize(("length", "fft"), [(16_384, 256), (8_192, 128), (4_096, 128), (64, 16)])
def test_a_spectrogram_is_about_square(length, fft):
    assert choose_fft(length) == fft


@pytest.mark.parametrize("hop", [32, 16, 8])
def test_a_wave_comes_back_of_its_spectra(hop):
    waves = torch.randn(3, 320, dtype=torch.float64)
    spectra = transform(waves, fft=64, hop=hop)
    assert spectra.shape == (3, 33, 320 // hop)
    torch.testing.assert_close(transform_back(spectra, fft=64, hop=hop), waves)


def test_a_sine_stands_at_its_frequency():
    # 8 * 8000 / 64 Hz; of a Hann window the middle has half of 64/2 samples
    wave_form = torch.from_numpy(tone(1000, rate=8000, seconds=0.4, level=1.0))[None]
    power = transform(wave_form, fft=64, hop=32).abs()[0, :, 5:-5].mean(1)
    assert int(power.argmax()) == 8
    assert power[8].item() == pytest.approx(16, rel=1e-6)
    assert power[[7, 9]].tolist() == pytest.approx([8, 8], rel=1e-6) and power[12] < 1e-9


def test_silence_is_the_floor():
    logs = measure_log_magnitude(torch.zeros(1, 128), fft=32, hop=16, floor=1e-3)
    assert logs.shape == (1, 16, 8)
    assert torch.allclose(logs, torch.tensor(1e-3).log())
    assert invert_log_magnitude(logs, hop=16, floor=1e-3).abs().max() < 1e-7


def test_griffin_lim_comes_nearer_with_every_iteration_and_is_the_same_again():
    wave_form = torch.from_numpy(
        tone(500, rate=8000, seconds=0.256) * np.hanning(2048)
        + tone(1310, rate=8000, seconds=0.256)
    ).float()[None]
    logs = measure_log_magnitude(wave_form, fft=64, hop=16, floor=1e-6)
    gaps = []
    for iterations in (0, 4, 16):
        found = invert_log_magnitude(logs, hop=16, floor=1e-6, iterations=iterations)
        assert found.shape == (1, 2048)
        again = invert_log_magnitude(logs, hop=16, floor=1e-6, iterations=iterations)
        assert torch.equal(found, again)
        magnitude = transform(found, fft=64, hop=16).abs()[:, :-1]
        gaps.append((magnitude - logs.exp()).norm() / logs.exp().norm())
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.25
    assert invert_log_magnitude(logs[:0], hop=16, floor=1e-6).shape == (0, 2048)


def test_sixteen_bits_and_what_is_not_finite():
    made = torch.tensor([-2.0, -1.0, 0.25, 1.0, torch.nan, torch.inf])
    assert to_int16(made).tolist() == [-FULL, -FULL, FULL // 4, FULL - 1, 0, 0]


def test_a_wav_file_holds_the_samples():
    samples = np.array([0, 1, -1, FULL - 1, -FULL], np.int16)
    data = encode_wav(samples, 4000)
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (1, 2, 4000, 5)
        assert np.frombuffer(file.readframes(5), "<i2").tolist() == samples.tolist()
    assert encode_wav(samples, 4000) == data


def test_pictures_do_not_depend_on_loudness():
    loud = to_int16(torch.from_numpy(tone(1000, rate=8000, seconds=0.1, level=0.9)))
    both = torch.stack([loud, loud // 8])[:, None, :, None]
    pictures = draw_spectra(both)
    assert pictures.dtype == torch.uint8 and pictures.shape == (2, 1, 16, 50)
    assert (pictures.int().amax((1, 2, 3)) == 255).all()
    assert (pictures[0].int() - pictures[1].int()).abs().float().mean() < 6
    assert draw_spectra(both * 0).unique().tolist() == [0], "silence is dark"
