"""Recordings: WAV files and arrays, their rates, lengths, channels, labels and faults."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TEST_DATA
from sound_helpers import tone, write_tones, write_wav

from gancli.data.audio import Recordings, resample
from gancli.data.base import split
from gancli.errors import UserError
from gancli.modality import Spectrograms
from gancli.render.notes import NOTE
from gancli.sound import FULL

FSDD = TEST_DATA / "beyond" / "audio" / "fsdd_8khz_int16.npz"


@pytest.fixture(autouse=True)
def notes(caplog):
    caplog.set_level(NOTE, logger="gancli.data")


def stored(source: Recordings) -> np.ndarray:
    return source.load().images[:, 0, :, 0].numpy()


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_every_width_gives_the_same_sixteen_bits(tmp_path, bits):
    levels = np.array([-128, -5, 0, 7, 127] * 20)
    write_wav(tmp_path / "a.wav", levels / 128, bits=bits)
    source = Recordings(path=str(tmp_path), length=100).settled()
    assert (source.rate, source.resolution, source.channels) == (8000, [100, 1], 1)
    images = source.load().images
    assert images.dtype == torch.int16 and images.shape == (1, 1, 100, 1)
    assert images[0, 0, :, 0].tolist() == (levels * 256).tolist()
    seen = source.modality().prepare(images)
    assert seen.dtype == torch.float32 and seen.min() == -1
    assert torch.equal(source.modality().restore(seen), images)


def test_channels_are_mixed_down_and_said(tmp_path, caplog):
    both = np.stack([np.full(64, 0.5), np.full(64, -0.25)], 1)
    write_wav(tmp_path / "a.wav", both)
    assert stored(Recordings(path=str(tmp_path), length=64))[0, 0] == FULL // 8
    assert "1 recordings of several channels are mixed down" in caplog.text


def test_lengths_are_cut_and_filled_and_counted(tmp_path, caplog):
    for k, n in enumerate([200] * 8 + [300, 500]):
        write_wav(tmp_path / f"{k}.wav", np.full(n, 0.25))
    source = Recordings(path=str(tmp_path)).settled()
    assert source.length == 512, "a power of two that holds nine of ten"
    assert Recordings(path=str(tmp_path), length=300).settled().resolution == [300, 1]
    assert "of 10 recordings 1 are cut to 300 samples, and 8 shorter ones" in caplog.text
    waves = stored(Recordings(path=str(tmp_path), length=300))
    assert (waves != 0).sum(1).tolist() == [200] * 8 + [300, 300]


def test_class_folders_are_labels_and_the_order_is_by_name(tmp_path, caplog):
    write_tones(tmp_path, each=3)
    write_wav(tmp_path / "loose.wav", np.zeros(10))
    write_wav(tmp_path / "_background_noise_" / "long.wav", np.zeros(10))
    source = Recordings(path=str(tmp_path)).settled()
    decoded = source.load()
    assert decoded.classes == ("high", "low") and decoded.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert "1 .wav files beside the class sub-folders are passed over" in caplog.text
    assert Recordings(path=str(tmp_path), classes=0).load().labels is None


def test_names_of_the_spoken_digits_say_the_class_and_what_is_held_out(tmp_path, caplog):
    for digit in (0, 10, 2):
        for speaker in ("ann", "bob"):
            for k in range(3):
                write_wav(tmp_path / f"{digit}_{speaker}_{k}.wav", np.full(40, 0.1 * (k + 1)))
    source = Recordings(path=str(tmp_path), length=40, held_index=1).settled()
    assert source.classes == 3 and source.holdout == 6
    assert "their names say the class" in caplog.text
    decoded = source.load()
    assert decoded.classes == ("0", "2", "10"), "by size"
    train, held = split(decoded, limit=None, holdout=source.holdout)
    loudness = [
        set((part.images[:, 0, 0, 0].double() / FULL * 10).round().tolist())
        for part in (train, held)
    ]
    assert loudness == [{2, 3}, {1}]
    with pytest.raises(UserError, match="gives? one|holds out 6") as caught:
        Recordings(path=str(tmp_path), held_index=1, holdout=5).settled()
    assert caught.value.hint == "give one of the two"


def test_a_tone_keeps_its_frequency_at_another_rate_and_what_cannot_stand_goes():
    low = resample(tone(400, rate=8000, seconds=0.5), 8000, 3000)
    assert len(low) == 1500
    inside = slice(100, -100)
    expected = tone(400, rate=3000, seconds=0.5)
    np.testing.assert_allclose(low[inside], expected[inside], atol=2e-3)
    high = resample(tone(2500, rate=8000, seconds=0.5), 8000, 3000)
    assert np.abs(high[inside]).max() < 2e-3, "it would come back as 500 Hz"
    up = resample(tone(400, rate=3000, seconds=0.5), 3000, 8000)
    np.testing.assert_allclose(up[inside], tone(400, rate=8000, seconds=0.5)[inside], atol=2e-3)
    assert np.allclose(resample(np.ones(500), 44100, 16000)[50:-50], 1), "a constant stays"


def test_the_commonest_rate_is_taken_and_the_others_are_resampled(tmp_path, caplog):
    for k, rate in enumerate([4000, 4000, 8000]):
        write_wav(tmp_path / f"{k}.wav", tone(500, rate=rate, seconds=0.25), rate=rate)
    source = Recordings(path=str(tmp_path), length=1000).settled()
    assert source.rate == 4000
    assert "1 of 3 recordings are resampled to 4000 Hz, from 8000 Hz" in caplog.text
    first, _, third = stored(source) / FULL
    np.testing.assert_allclose(first[100:900], third[100:900], atol=5e-3)


def test_one_peak_for_all(tmp_path):
    for k, level in enumerate([0.01, 0.9]):
        write_wav(tmp_path / f"{k}.wav", tone(500, rate=8000, seconds=0.05, level=level))
    peaks = np.abs(stored(Recordings(path=str(tmp_path), normalise=True)).astype(int)).max(1)
    assert (np.abs(peaks / FULL - 0.95) < 1e-3).all()


def test_bad_files_are_named_and_left_out_or_refused(tmp_path):
    for k in range(6):
        write_wav(tmp_path / f"{k}.wav", np.full(40, 0.1))
    (tmp_path / "text.wav").write_text("this is no sound")
    cut = write_wav(tmp_path / "cut.wav", np.full(40, 0.1))
    cut.write_bytes(cut.read_bytes()[:-20])
    write_wav(tmp_path / "empty.wav", np.zeros(0))
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 3, 1, 8000, 32000, 4, 32)
    body = b"WAVE" + form + b"data" + struct.pack("<I", 8) + bytes(8)
    (tmp_path / "floats.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    decoded = Recordings(path=str(tmp_path)).load()
    reasons = dict(decoded.skipped)
    assert len(decoded) == 6 and sorted(reasons) == [
        "cut.wav",
        "empty.wav",
        "floats.wav",
        "text.wav",
    ]
    assert "floats" in reasons["floats.wav"] and "fewer samples" in reasons["cut.wav"]
    for name in ("cut.wav", "empty.wav", "floats.wav", "text.wav"):
        folder = tmp_path / name.partition(".")[0]
        write_wav(folder / "a.wav", np.zeros(9))
        (folder / name).write_bytes((tmp_path / name).read_bytes())
        with pytest.raises(UserError, match=name):
            Recordings(path=str(folder), on_error="fail").load()


def test_arrays_of_both_layouts(tmp_path):
    flat = np.arange(60, dtype=np.int16)
    np.savez(
        tmp_path / "a.npz",
        samples=flat,
        length=np.array([10, 20, 30]),
        label=np.array([3, 1, 3]),
        rate=4000,
    )
    source = Recordings(path=str(tmp_path / "a.npz"), length=20).settled()
    decoded = source.load()
    assert source.rate == 4000 and decoded.classes == ("1", "3")
    assert decoded.labels.tolist() == [1, 0, 1]
    assert decoded.images[1, 0, :, 0].tolist() == list(range(10, 30))
    assert decoded.images[0, 0, :, 0].tolist() == [*range(10), *[0] * 10]
    np.savez(tmp_path / "b.npz", audio=np.linspace(-1, 1, 40).reshape(2, 20).astype(np.float32))
    both = stored(Recordings(path=str(tmp_path / "b.npz"), file_rate=8000, length=20))
    assert both.shape == (2, 20) and both[0, 0] == -FULL and both[1, -1] == FULL - 1


@pytest.mark.parametrize(
    ("arrays", "keys", "words"),
    [
        ({"samples": np.zeros(4, np.int16)}, {"file_rate": 8000}, "where does each recording end"),
        ({"samples": np.zeros((2, 4), np.int16)}, {}, "samples a second"),
        (
            {"samples": np.zeros(4, np.int16), "length": np.array([3])},
            {"file_rate": 8000},
            "add up to 3",
        ),
        ({"samples": np.full((2, 4), 3.0)}, {"file_rate": 8000}, "to lie in [-1,1]"),
        ({"samples": np.zeros((2, 4), np.int32)}, {"file_rate": 8000}, "int32"),
        ({"sound": np.zeros((2, 4), np.int16)}, {"file_rate": 8000}, "which array"),
        (
            {"samples": np.zeros((2, 4), np.int16), "label": np.zeros(3)},
            {"file_rate": 8000},
            "label has the shape",
        ),
        (
            {"samples": np.zeros((2, 4), np.int16)},
            {"file_rate": 8000, "held_index": 3},
            "none has an index",
        ),
        ({"samples": np.zeros((2, 4), np.int16)}, {"file_rate": 8}, "dataset.file_rate=8"),
        ({"samples": np.zeros((2, 4), np.int16)}, {"kind": "series"}, "these are recordings"),
        ({"samples": np.zeros((2, 4), np.int16)}, {"channels": 2}, "dataset.channels=2"),
        ({"samples": np.zeros((2, 4), np.int16)}, {"flip": True}, "cannot be flipped"),
        (
            {"samples": np.zeros((2, 4), np.int16)},
            {"file_rate": 8000, "length": 100, "spectrogram": True},
            "no multiple of 8",
        ),
        (
            {"samples": np.zeros((2, 4), np.int16)},
            {"file_rate": 8000, "spectrogram": True, "hop": 7},
            "does not divide",
        ),
    ],
)
def test_faults_of_arrays_are_told(tmp_path, arrays, keys, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError) as caught:
        Recordings(path=str(tmp_path / "a.npz"), **keys).load()
    assert words in caught.value.message and caught.value.hint


def test_what_is_no_data_set_of_recordings_is_told(tmp_path):
    (tmp_path / "a.mp3").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no .wav file \(there are 1 .mp3\)"):
        Recordings(path=str(tmp_path)).settled()
    with pytest.raises(UserError, match="no such file or folder"):
        Recordings(path=str(tmp_path / "none")).settled()
    one = write_wav(tmp_path / "b.wav", np.zeros(9))
    with pytest.raises(UserError, match="is one recording"):
        Recordings(path=str(one)).settled()


def test_spectrograms_are_standardised_by_what_the_scan_found(tmp_path):
    folder = write_tones(tmp_path, each=20)
    source = Recordings(path=str(folder), spectrogram=True, floor=1e-3).settled()
    assert source.resolution == [16, 16] and source.hop == 16 and len(source.bin_mean) == 16
    assert source.scan() == {}, "nothing is open any more"
    modality = source.modality()
    assert isinstance(modality, Spectrograms)
    images = source.load().images
    assert images.shape == (40, 1, 256, 1) and images.dtype == torch.int16
    seen = modality.prepare(images)
    assert seen.shape == (40, 1, 16, 16) and seen.abs().max() <= 1
    assert seen.mean((0, 1, 3)).abs().max() < 0.05
    assert (seen.std((0, 1, 3)) - 1 / 3).abs().max() < 0.05
    made = modality.restore(seen)
    assert made.dtype == torch.int16 and made.shape == images.shape
    assert torch.equal(made, modality.restore(seen)), "the same spectrograms, the same samples"
    assert torch.equal(made[:1], modality.restore(seen[:1])) or (
        (made[:1] - modality.restore(seen[:1])).abs().max() <= 1
    )
    # What is heard has the spectrum that was asked for, where it is loud
    again = modality.prepare(made)
    loud = seen > 0.5
    assert (again - seen).abs()[loud].mean() < 0.1


@pytest.mark.skipif(not FSDD.exists(), reason="no spoken digits")
@pytest.mark.full
def test_spoken_digits_with_their_official_split():
    keys = {"path": str(FSDD), "file_rate": 8000, "rate": 4000, "held_index": 5}
    source = Recordings(**keys).settled()
    assert (source.length, source.holdout, source.classes) == (4096, 300, 10)
    train, held = split(source.load(), limit=None, holdout=300)
    assert torch.bincount(held.labels).tolist() == [30] * 10 and len(train) == 2700


def test_a_limit_keeps_the_held_out_ones_apart(tmp_path):
    write_tones(tmp_path, each=10)
    decoded = Recordings(path=str(tmp_path), holdout=4).load()
    train, held = split(decoded, limit=6, holdout=4)
    assert (len(train), len(held)) == (6, 4)
    more, same = split(decoded, limit=None, holdout=4)
    assert torch.equal(same.images, held.images) and len(more) == 16


def test_folders_below_one_class_folder_are_no_labels(tmp_path):
    write_wav(tmp_path / "all" / "a.wav", np.zeros(20))
    write_wav(Path(tmp_path / "all" / "b.wav"), np.zeros(20))
    assert Recordings(path=str(tmp_path)).load().labels is None
