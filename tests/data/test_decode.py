"""Decoding: every mode to the right grey, every orientation upright, every bad file to a reason."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gancli.data.decode import (
    BadImage,
    Decoder,
    extensions,
    fit,
    open_image,
    orientation,
    plain,
    quiet,
    resize_all,
    to_channels,
)

GREY = 102  # 0.4 of white: survives 8 bits, 16 bits, float and CMYK


def stored(image: Image.Image, form: str, **kwargs) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, form, **kwargs)
    return io.BytesIO(file.getvalue())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> io.BytesIO:
    """A 1-bit PNG of a few KB that claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))


def solid(mode: str, value=GREY, size=(20, 10)) -> Image.Image:
    return Image.new(mode, size, value)


def noise(size=(64, 48), mode="RGB") -> Image.Image:
    channels = len(mode)
    shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8))


def see_through(alpha: int, size=(20, 10)) -> Image.Image:
    return Image.new("RGBA", size, (0, 0, 0, alpha))


def palette(transparent: bool) -> io.BytesIO:
    image = Image.new("P", (20, 10), 1)
    image.putpalette([255, 0, 0, GREY, GREY, GREY])
    return stored(image, "PNG", **({"transparency": 0} if transparent else {}))


def animated(form: str) -> io.BytesIO:
    frames = [solid("RGB", (GREY,) * 3), solid("RGB", (250, 0, 0)), solid("RGB", (0, 250, 0))]
    return stored(
        frames[0],
        form,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if form == "WEBP" else {}),
    )


def array(values: np.ndarray, form: str) -> io.BytesIO:
    return stored(Image.fromarray(values), form)


SAME_GREY = {
    "L png": lambda: stored(solid("L"), "PNG"),
    "LA png": lambda: stored(solid("LA", (GREY, 255)), "PNG"),
    "RGB png": lambda: stored(solid("RGB", (GREY,) * 3), "PNG"),
    "RGBA png": lambda: stored(solid("RGBA", (GREY, GREY, GREY, 255)), "PNG"),
    "black at alpha 0.6": lambda: stored(see_through(153), "PNG"),  # over white: 0.4
    "LA at alpha 0.6": lambda: stored(solid("LA", (0, 153)), "PNG"),
    "P png": lambda: palette(False),
    "P png, other entry transparent": lambda: palette(True),
    "L png with tRNS of another grey": lambda: stored(solid("L"), "PNG", transparency=7),
    "RGB png with tRNS": lambda: stored(solid("RGB", (GREY,) * 3), "PNG", transparency=(1, 2, 3)),
    "16-bit png": lambda: array(np.full((10, 20), GREY * 257, np.uint16), "PNG"),
    "16-bit tiff": lambda: array(np.full((10, 20), GREY * 257, np.uint16), "TIFF"),
    "16-bit big-endian tiff": lambda: big_endian_tiff(),
    "16-bit pgm": lambda: io.BytesIO(b"P5 20 10 65535\n" + struct.pack(">H", GREY * 257) * 200),
    "16-bit rgb ppm": lambda: io.BytesIO(b"P6 20 10 65535\n" + struct.pack(">H", GREY * 257) * 600),
    "32-bit int tiff": lambda: array(np.full((10, 20), GREY * 257, np.int32), "TIFF"),
    "float tiff": lambda: array(np.full((10, 20), GREY / 255, np.float32), "TIFF"),
    "CMYK jpeg": lambda: stored(solid("CMYK", (0, 0, 0, 255 - GREY)), "JPEG", quality=100),
    "CMYK tiff": lambda: stored(solid("CMYK", (0, 0, 0, 255 - GREY)), "TIFF"),
    "YCbCr tiff": lambda: stored(solid("YCbCr", (GREY, 128, 128)), "TIFF"),
    "JPEG": lambda: stored(solid("RGB", (GREY,) * 3), "JPEG", quality=100),
    "grey JPEG": lambda: stored(solid("L"), "JPEG", quality=100),
    "animated gif": lambda: animated("GIF"),
    "animated webp": lambda: animated("WEBP"),
    "animated png": lambda: animated("PNG"),
    "bmp": lambda: stored(solid("RGB", (GREY,) * 3), "BMP"),
    "tga": lambda: stored(solid("RGB", (GREY,) * 3), "TGA"),
    "jpeg 2000": lambda: stored(solid("RGB", (GREY,) * 3), "JPEG2000"),
}


def big_endian_tiff() -> io.BytesIO:
    tags = [
        (256, 3, 1, 20 << 16),
        (257, 3, 1, 10 << 16),
        (258, 3, 1, 16 << 16),
        (259, 3, 1, 1 << 16),
        (262, 3, 1, 1 << 16),
        (273, 4, 1, 122),
        (277, 3, 1, 1 << 16),
        (278, 3, 1, 10 << 16),
        (279, 4, 1, 400),
    ]
    entries = b"".join(struct.pack(">HHII", *tag) for tag in tags)
    return io.BytesIO(
        b"MM\0*"
        + struct.pack(">IH", 8, len(tags))
        + entries
        + bytes(4)
        + struct.pack(">H", GREY * 257) * 200
    )


@pytest.mark.parametrize("name", SAME_GREY)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_mode_gives_the_same_grey(name, channels):
    with quiet():
        pixels = Decoder((8, 8), channels)(SAME_GREY[name]())
    assert (
        pixels.shape == (channels, 8, 8)
        and pixels.dtype == np.uint8
        and pixels.flags["C_CONTIGUOUS"]
    )
    colour = pixels[:-1] if channels in (2, 4) else pixels
    if channels in (2, 4) and "0.6" in name:
        assert set(pixels[-1].flat) == {153} and set(colour.flat) == {0}
    else:
        assert np.abs(colour.astype(int) - GREY).max() <= 2
        assert channels in (1, 3) or set(pixels[-1].flat) == {255}


def test_what_was_scaled_is_noted_once():
    decoder = Decoder((8, 8), 1)
    for name in ("16-bit png", "16-bit pgm", "L png"):
        decoder(SAME_GREY[name]())
    assert decoder.notes == {"16-bit pixels were scaled to 8 bits"}


def test_16_bits_keep_the_whole_range():
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    pixels = Decoder((16, 16), 1)(array(ramp, "PNG"))
    assert pixels.ravel().tolist() == list(range(256))


def test_palette_transparency_is_seen():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    file = stored(image, "PNG", transparency=0)
    assert set(Decoder((8, 8), 3)(file).flat) == {255}  # red, but transparent: the page shows
    assert Decoder((8, 8), 4)(file)[:, 0, 0].tolist() == [255, 255, 255, 0]


def test_transparent_colours_do_not_bleed():
    """A red dot on transparent green: no green may appear around it, whatever the size."""
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[..., 1] = 255
    pixels[8:24, 8:24] = (255, 0, 0, 255)
    file = stored(Image.fromarray(pixels), "PNG")
    for size in (32, 20, 64):
        rgba = Decoder((size, size), 4)(file)
        visible = rgba[3] > 8
        assert rgba[1][visible].max() <= 8 and rgba[0][visible].min() >= 247
        assert (rgba[:3, rgba[3] == 0] == 255).all()
        assert (
            Decoder((size, size), 3)(file)[0] >= 250
        ).all()  # red over white has full red everywhere


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation(turn, form):
    """Stored so that the viewer turns it: the decoder must give the upright picture, red in its
    upper left.
    """
    upright = Image.new("RGB", (64, 32), "white")
    upright.paste((255, 0, 0), (0, 0, 16, 16))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # transposes that the turn undoes
    image = upright if turn == 1 else upright.transpose(Image.Transpose(undo[turn]))
    exif = Image.Exif()
    exif[0x0112] = turn
    file = stored(image, form, exif=exif, **({"quality": 100} if form != "PNG" else {}))
    with open_image(file) as header:
        assert orientation(header) == turn
    pixels = Decoder((32, 64), 3)(io.BytesIO(file.getvalue()))
    assert pixels.shape == (3, 32, 64)
    assert pixels[1, 4, 4] < 60 and all(
        pixels[1, y, x] > 200 for y, x in ((4, 60), (28, 4), (28, 60), (4, 28), (24, 8))
    )


def test_damaged_exif_does_not_cost_the_image():
    file = stored(solid("RGB", (GREY,) * 3), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    with quiet():
        assert abs(int(Decoder((8, 8), 3)(file).mean()) - GREY) <= 2


def test_the_shorter_side_fits_and_the_centre_stays():
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("blue", (100, 0, 200, 100))
    pixels = Decoder((50, 50), 3)(stored(wide, "PNG"))
    assert (pixels[2, :, 2:-2] > 250).all() and (pixels[0, :, 2:-2] < 5).all()
    tall = Image.new("RGB", (100, 300), "red")
    tall.paste("blue", (0, 125, 100, 175))
    assert (Decoder((32, 64), 3)(stored(tall, "PNG"))[2, 2:-2] > 250).all()


def test_resizing_is_antialiased_down_and_smooth_up():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    down = Decoder((16, 16), 1)(stored(Image.fromarray(stripes), "PNG"))
    assert (
        np.abs(down[0, 2:-2, 2:-2].astype(int) - 127).max() <= 8
    )  # without it one phase of the stripes survives
    step = np.zeros((4, 4), np.uint8)
    step[:, 2:] = 255
    up = Decoder((64, 64), 1)(stored(Image.fromarray(step), "PNG"))[0].astype(int)
    assert np.abs(np.diff(up, axis=1)).max() < 40
    same = noise((16, 16))
    assert fit(same, (16, 16)) is same


def test_draft_of_a_large_jpeg_agrees_with_the_full_one():
    smooth = Image.fromarray(
        np.random.RandomState(0).randint(0, 256, (9, 12, 3), dtype=np.uint8)
    ).resize((1200, 900), 3)
    file = stored(smooth, "JPEG", quality=95)
    drafted = Decoder((64, 64), 3)(file).astype(int)
    full = np.asarray(
        fit(plain(Image.open(io.BytesIO(file.getvalue())), set()), (64, 64))
    ).transpose(2, 0, 1)
    assert np.abs(drafted - full).mean() < 2


def test_channels_of_arrays():
    grey = np.array([0, 100, 255], np.uint8).reshape(1, 1, 3)
    assert to_channels(grey, 3).tolist() == [grey[0].tolist()] * 3
    assert to_channels(grey, 4)[3].tolist() == [[255] * 3]
    rgb = np.random.RandomState(0).randint(0, 256, (5, 3, 6, 7), dtype=np.uint8)
    pillow = np.stack([np.asarray(Image.fromarray(x.transpose(1, 2, 0)).convert("L")) for x in rgb])
    assert (to_channels(rgb, 1)[:, 0] == pillow).all()
    assert (to_channels(to_channels(rgb, 4), 3) == rgb).all()


def test_resizing_arrays_agrees_with_pillow():
    pixels = np.random.RandomState(0).randint(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    for size in (32, 16):
        pillow = np.stack(
            [
                np.asarray(Image.fromarray(x[0]).resize((size, size), Image.Resampling.BICUBIC))
                for x in pixels
            ]
        )
        off = np.abs(resize_all(pixels, (size, size))[:, 0].astype(int) - pillow)
        assert (
            (off <= 1).mean() > 0.95 and off.max() < 20
        )  # Pillow clips to 8 bits between rows and columns, noise hits that
    assert resize_all(pixels, (28, 28)) is pixels
    many = np.repeat(pixels[:1], 1500, axis=0)  # more than one block
    assert (resize_all(many, (32, 32)) == resize_all(pixels[:1], (32, 32))).all()


def test_contain_keeps_the_whole_and_cover_the_centre():
    white = np.full((2, 1, 8, 8), 255, np.uint8)
    inside = resize_all(white, (16, 32), contain=True)
    assert (
        (inside[..., 8:24] == 255).all()
        and not inside[..., :8].any()
        and not inside[..., 24:].any()
    )
    assert (resize_all(white, (16, 32)) == 255).all()


def truncated(file: io.BytesIO, share: float) -> io.BytesIO:
    data = file.getvalue()
    return io.BytesIO(data[: int(share * len(data))])


BAD = {
    "empty": (lambda: io.BytesIO(b""), "empty file"),
    "zeros": (lambda: io.BytesIO(bytes(1000)), "begins with zeros"),
    "html": (lambda: io.BytesIO(b"\n<!DOCTYPE html><html><body>404</body>"), "web page"),
    "text": (lambda: io.BytesIO(b"not an image at all" * 50), "not an image"),
    "random bytes": (lambda: io.BytesIO(np.random.RandomState(3).bytes(3000)), "not an image"),
    "truncated jpeg": (lambda: truncated(stored(noise(), "JPEG"), 0.5), "truncated"),
    "truncated png": (lambda: truncated(stored(noise(), "PNG"), 0.5), "corrupt"),
    "truncated webp": (lambda: truncated(stored(noise(), "WEBP"), 0.5), "corrupt"),
    "truncated gif": (lambda: truncated(stored(noise(), "GIF"), 0.5), "corrupt"),
    "truncated tiff": (lambda: truncated(stored(noise(), "TIFF"), 0.5), "corrupt"),
    "header only": (
        lambda: io.BytesIO(stored(noise(), "PNG").getvalue()[:40]),
        "corrupt|not an image",
    ),
    "bomb of 400 Mpx": (lambda: bomb(20000, 20000), "too large: 20000x20000"),
    "bomb of 144 Mpx": (lambda: bomb(12000, 12000), "too large: 12000x12000"),
    "float beyond 1": (
        lambda: array(np.full((8, 8), 3.5, np.float32), "TIFF"),
        "float pixels outside",
    ),
    "float nan": (
        lambda: array(np.full((8, 8), np.nan, np.float32), "TIFF"),
        "float pixels outside",
    ),
    "32-bit beyond 16": (
        lambda: array(np.full((8, 8), 70000, np.int32), "TIFF"),
        "32-bit pixels outside",
    ),
    "postscript": (
        lambda: io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
        "not an image",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_have_a_reason(name):
    make, reason = BAD[name]
    with quiet(), pytest.raises(BadImage, match=reason):
        Decoder((8, 8), 3)(make())


def test_bad_files_have_the_same_reason_on_disk(tmp_path):
    for name in ("empty", "html", "bomb of 400 Mpx"):
        make, reason = BAD[name]
        (tmp_path / "x.png").write_bytes(make().getvalue())
        with pytest.raises(BadImage, match=reason):
            Decoder((8, 8), 3)(str(tmp_path / "x.png"))
    with pytest.raises(BadImage, match="no such file"):
        Decoder((8, 8), 3)(str(tmp_path / "gone.png"))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000"])
def test_flipped_bits_give_a_picture_or_a_reason(form):
    """A bit within the pixels may decode to other pixels; it must never end the process or raise
    anything else.
    """
    file = stored(noise().resize((96, 64)), form)
    random = np.random.RandomState(1)
    bad = 0
    for _ in range(60):
        data = bytearray(file.getvalue())
        data[random.randint(len(data))] ^= 1 << random.randint(8)
        try:
            with quiet():
                assert Decoder((8, 8), 3)(io.BytesIO(bytes(data))).shape == (3, 8, 8)
        except BadImage:
            bad += 1
    assert bad >= (1 if form in ("PNG", "WEBP", "JPEG2000") else 0)


def test_pillows_own_limit_is_put_back():
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(BadImage):
        Decoder((8, 8), 3)(bomb(20000, 20000))
    assert limit == Image.MAX_IMAGE_PIXELS


def test_endings():
    assert {
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".ppm",
    } <= extensions()
    assert not {".pdf", ".eps", ".ps", ".mpg", ".txt", ".zip", ""} & extensions()
