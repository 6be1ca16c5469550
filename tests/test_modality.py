"""Every kind of item: how it is fed, shown, saved and judged."""

from __future__ import annotations

import ast
import io
import wave

import numpy as np
import pytest
import torch
from helpers import REPO, parse_module, read_modules

from gancli.data.decode import to_channels
from gancli.errors import UserError
from gancli.metrics.settings import (
    AUDIO_ITEMS,
    IMAGE_ITEMS,
    POINT_ITEMS,
    SERIES_ITEMS,
    TEXT_ITEMS,
)
from gancli.modality import (
    KINDS,
    Audio,
    Images,
    Points,
    Series,
    Spectrograms,
    Text,
    make_modality,
)
from gancli.render.sounds import GAP, SPECTRUM, WAVE, WIDTH


def test_the_config_alone_chooses():
    assert make_modality({"kind": "image"}) == make_modality({}) == Images()
    assert make_modality({"kind": "points"}) == Points(scale=1.0)
    assert make_modality({"kind": "points", "scale": 4}) == Points(scale=4)
    series = make_modality({"kind": "series", "scale": [2, 3], "shift": 1, "names": ["a", "b"]})
    assert series == Series(scale=(2.0, 3.0), shift=(1.0,), names=("a", "b"))
    with pytest.raises(UserError) as caught:
        make_modality({"kind": "smell"})
    assert caught.value.hint == f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"


def test_images_with_alpha_hide_in_files_and_metrics_what_nobody_sees():
    made = torch.tensor([[0.2, 0.2, 0.2], [-1.0, 0.0, 1.0]]).view(1, 2, 1, 3)
    kind = Images()
    assert kind.has_alpha(2) and kind.has_alpha(4)
    assert not any(map(kind.has_alpha, (1, 3, 5))) and not Points().has_alpha(2)
    stored = kind.restore(made)
    assert stored.flatten().tolist() == [255, 153, 153, 0, 128, 255]
    assert kind.to_array(made)[0, 0].tolist() == [[255, 0], [153, 128], [153, 255]]
    # as a file is read: twice makes no difference
    assert np.array_equal(to_channels(stored.numpy(), 2), stored.numpy())
    # as an image without alpha is read: 153 at half is 204 over white
    seen = kind.to_pictures(stored)
    assert seen[0, 1].tolist() == stored[0, 1].tolist()
    assert np.array_equal(to_channels(stored.numpy(), 1), seen[:, :1].numpy())
    assert seen[0, 0].flatten().tolist() == [255, 204, 153]
    for array in (Images(bits=8, deep=True), Images(deep=True, value_range=(0.0, 1.0))):
        assert not array.has_alpha(2) and array.to_pictures(stored) is stored
        assert array.restore(made).flatten().tolist() == [153, 153, 153, 0, 128, 255]


def test_each_kind_declares_items_of_its_own():
    assert KINDS == ("image", "points", "series", "text", "audio")
    every = [*IMAGE_ITEMS, *POINT_ITEMS, *SERIES_ITEMS, *TEXT_ITEMS]
    both = [item for item in SERIES_ITEMS if item in IMAGE_ITEMS]
    assert len(every) - len(both) == len(set(every))
    # A classifier looks at recordings as pictures of their spectra, and at series as bytes
    assert {*AUDIO_ITEMS} - {*IMAGE_ITEMS} == {"spectra"}
    assert {*both} == {*AUDIO_ITEMS} & {*SERIES_ITEMS} == {"classes", "cas"}


def test_no_other_module_asks_for_the_kind():
    """It compares `x.kind` or `x["kind"]` with a kind's name, or names it in a tuple."""
    chooser = REPO / "gancli" / "modality" / "choose.py"
    asking = [path for path, text in read_modules().items() if "kind" in text and path != chooser]
    assert len(asking) > 20, "nothing was looked at"
    for path in asking:
        for node in ast.walk(parse_module(path)):
            if isinstance(node, ast.Compare):
                words = {child.value for child in ast.walk(node) if isinstance(child, ast.Constant)}
                sides = ast.unparse(node)
                asks = "kind" in sides and words & {*KINDS}
                assert not asks, f"{path.name}:{node.lineno}: {sides}"


def test_what_is_said_of_made_values_is_what_restores_them():
    """A reader of an ONNX file has these words alone."""
    made = torch.tensor([-1.0, 0.25, 1.0]).view(1, 1, 3, 1)
    assert "(x + 1) * 127.5" in Images().describe_made()
    assert Images().restore(made).flatten().tolist() == [0, 159, 255]
    assert ((made + 1) * 127.5).round().flatten().tolist() == [0, 159, 255]
    assert "(x + 1) * 32767.5" in Images(bits=16).describe_made()
    assert "-1 is 0 and 1 is 8" in Images(value_range=(0.0, 8.0)).describe_made()
    assert "x * 2" in Points(scale=2.0).describe_made()
    assert "x * [2.0] + [1.0]" in Series(scale=(2.0,), shift=(1.0,)).describe_made()
    assert "['', 'a']" in Text(tokens=2, alphabet=("", "a")).describe_made()
    assert "-1 to 1" in Audio().describe_made()


def test_bytes_are_prepared_to_the_bit_and_restored_without_a_copy():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    seen = Images().prepare(pixels)
    assert torch.equal(seen, (pixels.float() - 127.5) * (1 / 127.5))
    assert torch.equal(Images().restore(seen), pixels)
    assert Images().restore(pixels) is pixels
    assert Images().prepare(seen) is seen


def test_points_are_restored_to_data_units():
    made = torch.tensor([[0.5, -1.0], [0.0, 2.0]])[..., None, None]
    points = Points(scale=4.0)
    assert points.restore(made).tolist() == [[2.0, -4.0], [0.0, 8.0]]
    assert torch.equal(points.from_array(points.to_array(made)), made)
    assert points.export(made, torch.tensor([1, 0]))["points.csv"] == (
        b"x,y,label\n2,-4,1\n0,8,0\n"
    )


def test_series_are_restored_feature_by_feature_and_come_back():
    made = torch.randn(3, 2, 5, 1)
    series = Series(scale=(2.0, 10.0), shift=(1.0, -3.0))
    restored = series.restore(made)
    assert torch.equal(restored[:, 0], made[:, 0] * 2 + 1)
    assert torch.equal(restored[:, 1], made[:, 1] * 10 - 3)
    array = series.to_array(made)
    assert array.shape == (3, 5, 2) and array.flags["C_CONTIGUOUS"]
    torch.testing.assert_close(series.from_array(array), made)


def test_series_are_saved_as_a_table_and_as_arrays():
    made = torch.arange(8.0).view(2, 2, 2, 1)
    series = Series(names=("a", "b,c"))
    label = torch.tensor([7, 9])
    files = series.export(made, label)
    assert tuple(files) == Series.files
    assert files["series.csv"].decode().splitlines() == [
        'series,step,a,"b,c",label',
        "0,0,0,2,7",
        "0,1,1,3,7",
        "1,0,4,6,9",
        "1,1,5,7,9",
    ]
    loaded = np.load(io.BytesIO(files["series.npz"]), allow_pickle=False)
    assert loaded["series"].tolist() == made.squeeze(3).transpose(1, 2).tolist()
    assert loaded["label"].tolist() == [7, 9] and loaded["names"].tolist() == ["a", "b,c"]
    assert series.export(made, label) == files, "the same samples, the same bytes"


def test_the_picture_of_series_has_a_tile_for_each():
    series = Series()
    made = torch.linspace(-1, 1, 12).view(3, 1, 4, 1)
    assert series.picture(made, made, columns=2).size == (4 + 2 * 164, 4 + 2 * 100)
    real = torch.zeros(70, 3, 6, 1)
    assert series.picture(real[:0], real, columns=8).size == (4 + 8 * 164, 4 + 8 * 100)
    broken = torch.full((1, 12, 4, 1), torch.nan)
    assert series.picture(broken, None, columns=8).size == (168, 104)
    single = series.picture(torch.zeros(1, 1, 1, 1), None, columns=1)
    assert (np.asarray(single) == (232, 84, 32)).all(2).any(), "a single step is a dot"


WORDS = Text(tokens=4, alphabet=("", "<unk>", "cat", "the"), units="words")


def test_text_is_prepared_as_one_hot_vectors_and_restored():
    ids = torch.tensor([[3, 2, 0, 0], [2, 0, 3, 0]], dtype=torch.int32)[:, None, :, None]
    hot = WORDS.prepare(ids)
    assert hot.shape == (2, 4, 4, 1) and hot.dtype == torch.float32
    assert torch.equal(hot.argmax(1, keepdim=True).int(), ids) and hot.sum() == 8
    ended = [[3, 2, 0, -1], [2, 0, -1, -1]]
    for made in (ids, hot, WORDS.restore(hot)):
        assert WORDS.restore(made)[:, 0, :, 0].tolist() == ended
    assert WORDS.to_lines(hot) == ["the cat", "cat"]
    numbers = Text(tokens=4)
    assert numbers.to_lines(hot) == ["3 2 0 0", "2 0 3 0"], "no token of an oracle ends a line"
    letters = Text(tokens=3, alphabet=("", "a", "b"))
    assert letters.to_lines(torch.tensor([2, 1, 0]).view(1, 1, 3, 1)) == ["ba"]


def test_text_is_saved_as_lines_and_comes_back():
    hot = WORDS.prepare(torch.tensor([[3, 2, 0], [2, 0, 0]])[:, None, :, None])
    assert WORDS.export(hot, None) == {"lines.txt": b"the cat\ncat\n"}
    assert WORDS.export(hot, torch.tensor([7, 9])) == {"lines.txt": b"7\tthe cat\n9\tcat\n"}
    assert WORDS.extra(hot) == {".txt": b"the cat\ncat\n"}
    array = WORDS.to_array(hot)
    assert array.tolist() == ["the cat", "cat"]
    assert torch.equal(WORDS.from_array(array), hot[:, :, :2])
    with pytest.raises(UserError, match="'dog' is no token"):
        WORDS.from_array(["the dog"])
    with pytest.raises(UserError, match="does not fit"):
        WORDS.from_array(np.zeros((2, 2)))


def test_the_picture_of_text_has_lines_in_columns():
    hot = WORDS.prepare(torch.full((6, 1, 3, 1), 2))
    one, three = (WORDS.picture(hot, None, columns=columns) for columns in (1, 3))
    assert one.height > three.height and one.width < three.width
    with_reals = WORDS.picture(hot, hot.argmax(1, keepdim=True), columns=3)
    assert with_reals.height > three.height
    assert WORDS.picture(hot[:0], hot, columns=3).size == three.size
    assert WORDS.picture(hot * 0, None, columns=3).width < three.width, "an empty line is a dot"


def test_deep_images_keep_16_bits_and_say_which_channels_are_shown():
    deep = make_modality({"kind": "image", "bits": 16, "shown": [5, 0, 2]})
    levels = torch.tensor([-1.0, 0.0, 1.0, 2.0, torch.nan]).view(1, 1, 1, 5)
    assert deep.to_array(levels).flatten().tolist() == [0, 32768, 65535, 65535, 0]
    assert (deep.suffix(1), deep.suffix(3), Images().suffix(3)) == (".tiff", ".npy", ".png")
    made = torch.arange(6.0).view(1, 6, 1, 1)
    assert deep.show(made).flatten().tolist() == [5, 0, 2]
    assert Images(deep=True).show(made).flatten().tolist() == [0, 1, 2]
    assert deep.takes_channels(6) and not Images().takes_channels(6)


@pytest.mark.parametrize(("modality", "channels"), [(Series(), 3), (Images(deep=True), 6)])
def test_no_picture_file_is_read_where_none_holds_such_an_item(modality, channels):
    with pytest.raises(UserError, match="which no"):
        modality.refuse_files(channels)
    Images().refuse_files(4)


def waves(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, 1, 64, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_recordings_are_prepared_restored_and_come_back():
    audio = make_modality({"kind": "audio", "rate": 4000})
    assert audio == Audio(rate=4000) and make_modality({"kind": "audio", "rate": "auto"})
    stored = torch.tensor([-32768, -1, 0, 1, 32767], dtype=torch.int16).view(1, 1, 5, 1)
    seen = audio.prepare(stored)
    assert seen.min() == -1 and seen.max() < 1 and torch.equal(audio.restore(seen), stored)
    assert audio.restore(stored) is stored
    assert torch.equal(audio.prepare(seen), seen), "floats of a data set of one's own"
    array = audio.to_array(seen)
    assert array.shape == (1, 5) and array.dtype == np.float32
    for given in (array, stored[0, 0].T.numpy()):
        assert torch.equal(audio.from_array(given), seen)
    with pytest.raises(UserError, match="do not fit"):
        audio.from_array(np.zeros((2, 3, 4)))
    assert audio.describe_item([4096, 1], 1) == "recordings of 4,096 samples, 1.02 s at 4,000 Hz"


def test_recordings_are_written_as_wav_files_and_heard_one_after_the_other(tmp_path):
    audio = Audio(rate=4000)
    made = waves(20)
    audio.write(made[3], tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 4000, 64)
        samples = np.frombuffer(file.readframes(64), "<i2")
    assert np.array_equal(samples, audio.restore(made[3:4]).flatten().numpy())
    with wave.open(io.BytesIO(audio.extra(made)[".wav"])) as file:
        assert file.getnframes() == 16 * 64 + 15 * 1000
    assert audio.suffix(1) == ".wav" and not audio.files


def test_spectrograms_are_made_of_the_config_alone():
    facts = {"kind": "audio", "rate": 4000, "spectrogram": True, "hop": 4, "floor": 1e-3}
    bins = {"bin_mean": [0.5, 0, 1, 2], "bin_deviation": [1, 2, 3, 4]}
    spectra = make_modality(facts | bins)
    assert isinstance(spectra, Spectrograms) and spectra.bin_deviation == (1.0, 2.0, 3.0, 4.0)
    assert spectra.models[0] == "dcgan" and Audio().models == ("wavegan",)
    assert spectra.stored_size((4, 16)) == (64, 1) and Audio().stored_size((64, 1)) == (64, 1)
    stored = Audio().restore(waves(3))
    seen = spectra.prepare(stored)
    assert seen.shape == (3, 1, 4, 16) and seen.min() >= -1 and seen.max() <= 1
    assert spectra.restore(seen).shape == (3, 1, 64, 1)
    assert spectra.restore(seen * torch.nan).shape == (3, 1, 64, 1)
    assert spectra.describe_item([4, 16], 1) == (
        "spectrograms of 4 frequencies and 16 frames, of recordings of 64 samples, "
        "0.02 s at 4,000 Hz"
    )
    assert make_modality(facts | {"bin_mean": "auto", "bin_deviation": "auto"}).bin_mean == ()


def test_the_picture_of_recordings_has_waves_and_spectra_over_grey_reals():
    audio = Audio(rate=4000)
    made = waves(5)
    real = audio.restore(made)
    tile = WAVE + SPECTRUM + GAP
    assert audio.picture(made, None, columns=4).size == (GAP + 4 * (WIDTH + GAP), GAP + 2 * tile)
    assert audio.picture(made, real, columns=4).height == GAP + 4 * tile, "two rows of reals"
    assert audio.picture(made[:0], real, columns=4).height == GAP + 2 * tile
    short = audio.picture(torch.full((1, 1, 2, 1), torch.nan), None, columns=4)
    assert short.size == (GAP + WIDTH + GAP, GAP + tile)
