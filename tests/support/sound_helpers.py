"""WAV files by formula."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np


def tone(frequency: float, *, rate: int, seconds: float, level: float = 0.5) -> np.ndarray:
    """A sine (n,) in [-1,1]."""
    return level * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def write_wav(path: Path, samples: np.ndarray, *, rate: int = 8000, bits: int = 16) -> Path:
    """Writes samples (n,) or (n, channels) in [-1,1)."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    levels = np.rint(samples * 2 ** (bits - 1)).astype(np.int64)
    if bits == 8:
        data = (levels + 128).astype(np.uint8).tobytes()
    else:
        width = bits // 8
        data = levels.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def write_tones(folder: Path, *, each: int = 12, rate: int = 4000, length: int = 256) -> Path:
    """Writes two classes of tones, low and high, as CLASS/SPEAKER_k.wav."""
    rng = np.random.default_rng(0)
    for label, frequency in (("low", 300), ("high", 1200)):
        for k in range(each):
            samples = tone(
                frequency * rng.uniform(0.9, 1.1),
                rate=rate,
                seconds=length / rate * rng.uniform(0.8, 1),
                level=rng.uniform(0.3, 0.8),
            )
            write_wav(folder / label / f"{k:02d}.wav", samples, rate=rate)
    return folder
