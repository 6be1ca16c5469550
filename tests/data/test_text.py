"""Lines of text: names, files and their faults, and the oracle, whose law is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import TEST_DATA

from gancli.data.base import split
from gancli.data.text import Names, Oracle, TextFiles
from gancli.errors import UserError
from gancli.modality import Text

ORACLE = TEST_DATA / "beyond" / "oracle" / "seqgan_oracle.npz"


def test_names_are_bundled_and_no_name_is_twice():
    source = Names().settled()
    assert source.scan() == {} and source.holdout == 2946 and source.resolution == [12, 1]
    assert source.alphabet == ["", *"abcdefghijklmnopqrstuvwxyz"] and source.channels == 27
    decoded = source.load()
    assert decoded.images.shape == (29_463, 1, 12, 1) and decoded.images.dtype == torch.int32
    lines = source.modality().to_lines(decoded.images)
    assert lines[:2] == ["emma", "olivia"] and len(set(lines)) == len(lines)
    train, held = split(decoded, limit=None, holdout=source.holdout)
    assert len(held) == 2946 and not {*source.modality().to_lines(held.images)} & {
        *source.modality().to_lines(train.images)
    }


def test_characters_of_a_file(tmp_path):
    (tmp_path / "a.txt").write_text("Ab c\n\n  bca\r\nab\n", encoding="utf-8")
    source = TextFiles(path=str(tmp_path / "a.txt"), lower=True).settled()
    assert source.alphabet == ["", " ", "a", "b", "c"] and source.length == 4
    ids = source.load().images[:, 0, :, 0]
    assert ids.tolist() == [[2, 3, 1, 4], [3, 4, 2, 0], [2, 3, 0, 0]]
    assert source.modality().to_lines(source.load().images) == ["ab c", "bca", "ab"]


def test_words_of_a_folder_and_the_unknown(tmp_path):
    (tmp_path / "a.txt").write_text("the cat\nthe ${dog} is ???\n")
    (tmp_path / "b.txt").write_text("a cat\n")
    source = TextFiles(path=str(tmp_path), units="words", vocabulary=2).settled()
    assert source.alphabet == ["", "<unk>", "cat", "the"]
    made = source.modality().to_lines(source.load().images)
    assert made == ["the cat", "the <unk> <unk> <unk>", "<unk> cat"]


def test_longer_lines_are_cut_or_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("abcd\nab\nab\n")
    keys = {"path": str(tmp_path / "a.txt"), "length": 3}
    assert len(TextFiles(**keys).load()) == 3
    assert len(TextFiles(**keys, longer="skip").load()) == 2
    assert len(TextFiles(**keys, longer="skip", distinct=True).load()) == 1
    assert TextFiles(**keys, longer="skip").settled().alphabet == ["", "a", "b"]


@pytest.mark.parametrize(
    ("text", "keys", "words"),
    [
        ("", {}, "no line"),
        ("abc\n", {"length": 2, "longer": "skip"}, "longer than dataset.length=2"),
        ("abc\n", {"channels": 9}, "dataset.channels=9"),
        ("abc\n", {"resolution": [2, 1], "length": 3}, "dataset.resolution=[2, 1]"),
        ("abc\n", {"alphabet": ["a", "b"]}, "the first token"),
        ("abc\n", {"alphabet": ["", "b"]}, "no line can be used"),
        ("abc\n", {"units": "syllables"}, "dataset.units"),
        ("abc\n", {"longer": "wrap"}, "dataset.longer"),
        ("abc\n", {"classes": 2}, "no labels"),
        ("abc\n", {"flip": True}, "cannot be flipped"),
        ("abc\n", {"kind": "series"}, "this is text"),
        (b"\xff\xfe", {}, "cannot be read"),
    ],
)
def test_faults_are_told(tmp_path, text, keys, words):
    file = tmp_path / "a.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        TextFiles(path=str(file), **keys).load()
    assert words in caught.value.message and caught.value.hint


def test_a_drawn_oracle_is_the_same_for_ever_and_judges():
    oracle = Oracle(n=4000).settled()
    ids = oracle.load().images[:, 0, :, 0]
    assert ids.shape == (4000, 10) and oracle.channels == 64 and ids.max() == 63
    assert isinstance(oracle.modality(), Text)
    assert torch.equal(ids[:3], Oracle(n=4000).load().images[:3, 0, :, 0])
    assert not torch.equal(ids, Oracle(n=4000, data_seed=1).load().images[:, 0, :, 0])
    own = -oracle.log_prob(ids).mean()
    other = -Oracle(oracle_seed=1).log_prob(ids).mean()
    noise = -oracle.log_prob(torch.randint(64, (4000, 10))).mean()
    assert own < other and own < noise
    assert own.item() == pytest.approx(GOLDEN_FLOOR, abs=0.02)
    assert ids[0].tolist() == GOLDEN_LINE


def test_an_oracle_of_zeros_knows_nothing(tmp_path):
    weights = {name: value * 0 for name, value in Oracle(hidden=3).weights().items()}
    np.savez(tmp_path / "o.npz", **weights)
    oracle = Oracle(path=str(tmp_path / "o.npz"), n=5).settled()
    ids = oracle.load().images[:, 0, :, 0]
    assert oracle.resolution == [20, 1]
    assert torch.allclose(oracle.log_prob(ids), torch.tensor(-math.log(64)).double())
    with pytest.raises(UserError, match="has 64 tokens"):
        Oracle(path=str(tmp_path / "o.npz"), channels=5).settled()
    with pytest.raises(UserError, match="no oracle"):
        Oracle(path=str(tmp_path / "none.npz")).settled()


@pytest.mark.skipif(not ORACLE.exists(), reason="no oracle of SeqGAN's")
def test_the_oracle_of_the_paper_reaches_its_floor():
    oracle = Oracle(path=str(ORACLE), n=500).settled()
    assert oracle.channels == 5000
    floor = -oracle.log_prob(oracle.load().images[:, 0, :, 0]).mean()
    assert floor.item() == pytest.approx(5.749, abs=0.03)


GOLDEN_FLOOR = 3.097
GOLDEN_LINE = [26, 53, 10, 10, 5, 39, 39, 6, 51, 16]
