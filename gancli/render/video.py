"""Animations (WebP, GIF) and videos (MP4): the same frames give the same bytes.

No time and no path is inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from gancli.errors import UserError
from gancli.files import atomic

FPS = 25  # a frame's 40 ms are whole hundredths of a second, which is what a GIF counts in
ENDINGS = (".webp", ".gif", ".mp4")
MOST = 400_000_000  # pixels: Pillow holds all frames at once, 1.2 GB of them


def check_name(name: str) -> None:
    """Checks the name of an animation or video.

    Raises:
        UserError: it is no bare file name with a known ending, or what its format needs is missing.
    """
    if Path(name).name != name or Path(name).suffix.lower() not in ENDINGS:
        raise UserError(
            f"film={name} does not name an animation or video",
            "give a file name without a folder: walk.webp, walk.gif or walk.mp4",
        )
    if Path(name).suffix.lower() == ".mp4":
        mp4_writer()


def check_size(frames: int, size: tuple[int, int]) -> None:
    """Checks that all frames fit into memory.

    Args:
        frames: how many.
        size: width and height of a frame in pixels.

    Raises:
        UserError: they do not fit.
    """
    if frames * size[0] * size[1] > MOST:
        seconds = MOST // (size[0] * size[1]) / FPS
        raise UserError(
            f"an animation of {frames} frames of {size[0]}x{size[1]} pixels does not fit into "
            "memory",
            f"give at most {seconds:.0f} seconds, or fewer images: n=1",
        )


def write_animation(frames: Sequence[Image.Image], path: Path, *, fps: int = FPS) -> None:
    """Writes `path` whole or not at all; its ending chooses the format.

    Args:
        frames: pictures of one size and mode, shown again and again.
        path: a file that ends in .webp, .gif or .mp4.
        fps: frames a second.

    Raises:
        UserError: MP4 without its extra.
        OSError: as `grids.save_png`.
    """
    assert frames and fps > 0
    ending = path.suffix.lower()
    with atomic.replace_file(path) as aside:
        if ending == ".mp4":
            write_mp4(frames, aside, fps=fps)
            return
        first, *rest = [frame.convert("RGBA") if frame.mode == "LA" else frame for frame in frames]
        options = (
            {"quality": 90, "method": 4}
            if ending == ".webp"
            else {"disposal": 2 * (first.mode == "RGBA")}
        )
        first.save(
            aside,
            format=ending[1:].upper(),
            save_all=True,
            append_images=rest,
            duration=round(1000 / fps),
            loop=0,
            **options,
        )


def mp4_writer():
    """Imports the writer of MP4 files. Raises UserError where it is not installed."""
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise UserError(
            "an MP4 needs the package imageio-ffmpeg, which is not installed",
            "pip install 'gancli[mp4]', or choose an animation, which needs nothing: .webp or .gif",
        ) from error
    return write_frames


def write_mp4(frames: Sequence[Image.Image], path: Path, *, fps: int) -> None:
    """Writes H.264, which every browser plays.

    Transparency becomes white, and an odd side loses its last pixel.
    """
    width, height = (side - side % 2 for side in frames[0].size)
    writer = mp4_writer()(
        str(path),
        (width, height),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        quality=None,
        macro_block_size=2,
        output_params=[
            "-crf",
            "18",
            "-threads",
            "1",
            "-fflags",
            "+bitexact",
            "-flags:v",
            "+bitexact",
        ],
    )
    writer.send(None)
    for frame in frames:
        writer.send(opaque(frame).crop((0, 0, width, height)).tobytes())
    writer.close()


def opaque(frame: Image.Image) -> Image.Image:
    """Puts a frame on white and drops its transparency."""
    if frame.mode not in ("LA", "RGBA"):
        return frame.convert("RGB")
    frame = frame.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", frame.size, "white"), frame).convert("RGB")
