"""Sound as numbers: short-time spectra, the way back from their magnitudes, and WAV files."""

from __future__ import annotations

import io
import math
import wave

import numpy as np
import torch
from torch import Tensor

FULL = 32_768  # a 16-bit sample of this size is 1
ITERATIONS = 16  # of Griffin-Lim, as SpecGAN's
PHASE_SEED = 0  # of the phases that Griffin-Lim starts from
RANGE = 6.9  # of natural logarithms that a picture tells apart: 60 dB
QUIET = 1e-6  # a magnitude that counts as silence in a picture
PARTS = 256  # waves at a time: their frames take several times their own memory


def choose_fft(length: int) -> int:
    """Chooses the samples of a frame so that a spectrogram is about square.

    16,384 samples: 256, and so 128 frequencies and 128 frames (SpecGAN's); 4,096 samples: 128.
    """
    side = 4
    while 4 * side * side <= length:
        side *= 2
    return 2 * side


def make_window(fft: int, like: Tensor) -> Tensor:
    """Makes a periodic Hann window (fft,) of a tensor's kind."""
    # Periodic: overlapping by half, such windows sum to a constant.
    return torch.hann_window(fft, periodic=True, dtype=like.dtype, device=like.device)


def transform(waves: Tensor, *, fft: int, hop: int) -> Tensor:
    """Computes short-time spectra; frames stand around the middle of each hop.

    Args:
        waves: (N,L) floats, L a multiple of hop.
        fft: Samples of a frame, a multiple of hop.
        hop: From one frame to the next.

    Returns:
        (N,fft/2+1,L/hop) complex.
    """
    left = (fft - hop) // 2
    padded = torch.nn.functional.pad(waves, (left, fft - hop - left))
    frames = padded.unfold(1, fft, hop) * make_window(fft, waves)
    return torch.fft.rfft(frames, dim=2).transpose(1, 2)


def transform_back(spectra: Tensor, *, fft: int, hop: int) -> Tensor:
    """Finds the waves (N,L) whose spectra are nearest to (N,fft/2+1,T), in the least squares."""
    window = make_window(fft, spectra.real)
    frames = torch.fft.irfft(spectra.transpose(1, 2), n=fft, dim=2) * window
    weights = (window * window).expand(1, frames.shape[1], fft)
    left = (fft - hop) // 2
    length = frames.shape[1] * hop
    # Windowed again and divided by the squared windows: the least squares solution (Griffin and Lim
    # 1984, equation 6).
    sums = add_overlapping(frames, hop)[:, left : left + length]
    return sums / add_overlapping(weights, hop)[:, left : left + length]


def add_overlapping(frames: Tensor, hop: int) -> Tensor:
    """Adds frames (N,T,fft) where they overlap: (N,(T-1)*hop+fft)."""
    n, count, fft = frames.shape
    pieces = frames.unflatten(2, (fft // hop, hop))
    sums = frames.new_zeros(n, count + fft // hop - 1, hop)
    for k in range(fft // hop):
        sums[:, k : k + count] += pieces[:, :, k]
    return sums.flatten(1)


def measure_log_magnitude(waves: Tensor, *, fft: int, hop: int, floor: float) -> Tensor:
    """Computes log(magnitude + floor) of short-time spectra, without the highest frequency.

    Args:
        waves: (N,L) floats.
        fft: As in `transform`.
        hop: Likewise.
        floor: A magnitude that counts as silence, above 0.

    Returns:
        (N,fft/2,L/hop), natural logarithms.
    """
    return (transform(waves, fft=fft, hop=hop)[:, :-1].abs() + floor).log()


def invert_log_magnitude(
    spectra: Tensor, *, hop: int, floor: float, iterations: int = ITERATIONS
) -> Tensor:
    """Finds waves of given log magnitudes: Griffin and Lim's iteration, from fixed phases.

    Args:
        spectra: (N,F,T) as `measure_log_magnitude` makes them.
        hop: From one frame to the next.
        floor: As there.
        iterations: Times that the phases are taken from the waves found so far.

    Returns:
        (N,T*hop), the same for the same spectra.
    """
    bins = spectra.shape[1]
    fft = 2 * bins
    # The highest frequency is not in them
    magnitude = torch.nn.functional.pad((spectra.exp() - floor).clamp_min(0), (0, 0, 0, 1))
    rng = torch.Generator().manual_seed(PHASE_SEED)
    angle = torch.rand(bins + 1, spectra.shape[2], generator=rng) * (2 * torch.pi)
    phase = torch.polar(torch.ones_like(angle), angle).to(spectra.device)
    found = []
    for part in magnitude.split(PARTS) if len(magnitude) else ():
        waves = transform_back(part * phase, fft=fft, hop=hop)
        for _ in range(iterations):
            now = transform(waves, fft=fft, hop=hop)
            # The wanted magnitudes with the phases of the waves found so far; silence has none.
            waves = transform_back(part * now / now.abs().clamp_min(1e-12), fft=fft, hop=hop)
        found.append(waves)
    return torch.cat(found) if found else magnitude.new_zeros(0, spectra.shape[2] * hop)


def draw_spectra(waves: Tensor) -> Tensor:
    """Draws recordings as pictures that do not depend on how loud they are.

    Args:
        waves: (N,1,L,1) 16-bit samples.

    Returns:
        (N,1,F,T) uint8: 255 is the loudest magnitude of a recording, 0 is 60 dB below it.
    """
    flat = waves.flatten(1)
    fft = choose_fft(flat.shape[1])
    pictures = []
    for part in flat.split(PARTS):
        padded = torch.nn.functional.pad(part.float() / FULL, (0, -part.shape[1] % (fft // 2)))
        logs = measure_log_magnitude(padded, fft=fft, hop=fft // 2, floor=QUIET)
        # Silence has no loudest: it is dark
        loudest = logs.amax((1, 2), keepdim=True).clamp_min(math.log(QUIET) + RANGE)
        share = 1 + (logs - loudest) / RANGE
        pictures.append((share.clamp(0, 1) * 255).round().to(torch.uint8)[:, None])
    return torch.cat(pictures)


def to_int16(waves: Tensor) -> Tensor:
    """Rounds waves in [-1,1] to 16 bits; what is not finite becomes silence."""
    # 1 would be 32,768, one more than 16 bits hold: it is clamped below.
    levels = (waves.detach().float() * FULL).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return levels.round().clamp(-FULL, FULL - 1).to(torch.int16)


def encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """Makes a mono WAV file of 16 bits: the same samples, the same bytes.

    Args:
        samples: (L,) int16.
        rate: Samples a second.
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(samples, "<i2").tobytes())
    return buffer.getvalue()
