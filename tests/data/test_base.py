"""Sources and the rule that sets images apart."""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gancli.data.base import Decoded, DeepSource, Source, digest_of, pair, split
from gancli.errors import UserError


def data(n: int, **kwargs) -> Decoded:
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None]
    return Decoded(images, torch.arange(n), tuple(map(str, range(n))), "d", **kwargs)


@dataclass(kw_only=True)
class Stripes(Source):
    """A user's own data set: the least that one must write."""

    n: int = 10

    def load(self) -> Decoded:
        return Decoded(
            torch.zeros(self.n, 1, 8, 8, dtype=torch.uint8),
            digest=digest_of(["stripes", str(self.n)]),
        )


def test_a_source_of_your_own():
    assert (
        list(inspect.signature(Stripes).parameters)[-1] == "n"
        and "resolution" in inspect.signature(Stripes).parameters
    )
    source = Stripes(resolution=8, channels=1, classes=0)
    assert source.scan() == {} and len(source.load()) == 10 and source.settled() is source
    with pytest.raises(
        UserError, match="dataset.channels, dataset.classes=auto: Stripes cannot tell"
    ):
        Stripes(resolution=8).scan()


def test_annotations_can_be_read_from_a_module_that_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "my_data.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom "
        "gancli.data.base import Source\n\n"
        "@dataclass(kw_only=True)\nclass Mine(Source):\n    path: str\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_data

    hints = typing.get_type_hints(my_data.Mine.__init__)
    assert hints["limit"] == int | None and hints["path"] is str


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"limit": 0}, "dataset.limit=0"),
        ({"holdout": -1}, "dataset.holdout=-1"),
        ({"workers": 0}, "dataset.workers=0"),
        ({"channels": 5}, "dataset.channels=5"),
        ({"kind": "series", "channels": 0}, "dataset.channels=0"),
        ({"kind": "series", "flip": True}, "series cannot be flipped"),
        ({"classes": -1}, "dataset.classes=-1"),
        ({"resolution": 0}, "dataset.resolution=0"),
        ({"resolution": [8]}, "dataset.resolution"),
        ({"resolution": "big"}, "dataset.resolution=big"),
        ({"resolution": [8, 2.5]}, "dataset.resolution"),
        ({"resolution": 8, "load_size": 7}, "dataset.load_size=7"),
        ({"resolution": [8, 16], "load_size": [32, 8]}, "dataset.load_size"),
        ({"kind": "points", "flip": True}, "dataset.flip"),
        ({"kind": "sound"}, "dataset.kind=sound"),
        ({"on_error": "ignore"}, "dataset.on_error=ignore"),
    ],
)
def test_values_that_make_no_sense_are_named(values, words):
    with pytest.raises(UserError) as caught:
        Stripes(**values)
    assert words in caught.value.message and caught.value.hint


def test_size_is_the_load_size_where_there_is_one():
    assert Stripes(resolution=8).size() == (8, 8) and Stripes(
        resolution=[8, 4], load_size=[9, 9]
    ).size() == (9, 9)
    assert pair(3) == pair([3, 3]) == (3, 3)


def test_labels_follow_the_configuration():
    labels = np.array([0, 1, 1])
    assert Stripes(classes=0).labelled(labels, ("a", "b")) == (None, ())
    tensor, names = Stripes(classes=2).labelled(labels.astype(np.uint8), ["a", "b"])
    assert tensor.dtype == torch.int64 and names == ("a", "b")
    with pytest.raises(UserError, match="2 classes, dataset.classes=3"):
        Stripes(classes=3).labelled(labels, ("a", "b"))


@given(
    n=st.integers(1, 60), limit=st.one_of(st.none(), st.integers(1, 70)), holdout=st.integers(0, 70)
)
@settings(max_examples=80, deadline=None)
def test_split_keeps_its_promises(n, limit, holdout):
    if holdout >= n:
        with pytest.raises(UserError, match="leaves none"):
            split(data(n), limit=limit, holdout=holdout)
        return
    train, held = split(data(n), limit=limit, holdout=holdout)
    assert len(train) == min(n - holdout, limit or n) and (held is None) == (holdout == 0)
    assert train.labels.tolist() == sorted(train.labels.tolist())
    if held is not None:
        assert len(held) == holdout and not set(held.labels.tolist()) & set(train.labels.tolist())
        assert torch.equal(
            split(data(n), limit=None, holdout=holdout)[1].labels, held.labels
        )  # whatever the limit
    again, _ = split(data(n), limit=limit, holdout=holdout)
    assert torch.equal(again.labels, train.labels) and again.digest == train.digest


def test_a_larger_limit_only_adds():
    small, large = (set(split(data(50), limit=k, holdout=10)[0].labels.tolist()) for k in (7, 20))
    assert small < large
    assert sorted(small) != list(range(7)), "the first files of a folder would all be of one class"


def test_place_decides_where_it_is_given():
    place = torch.tensor([2, 0, 3, 1])
    train, held = split(data(4, place=place), limit=2, holdout=1)
    assert train.labels.tolist() == [1, 3] and held.labels.tolist() == [2]
    assert train.place.tolist() == [0, 1]


def test_subset_of_a_range_is_a_view():
    whole = data(10)
    part = whole.subset(np.arange(3, 7))
    gaps = whole.subset([1, 5])
    assert part.images.data_ptr() == whole.images[3:].data_ptr() and part.labels.tolist() == [
        3,
        4,
        5,
        6,
    ]
    assert gaps.labels.tolist() == [1, 5] and gaps.classes == whole.classes
    assert len({whole.digest, part.digest, gaps.digest}) == 3
    assert len(whole.subset([])) == 0
    assert replace(whole, digest="e").subset([1, 5]).digest != gaps.digest


def test_digest_sees_every_part_and_where_it_ends():
    assert digest_of(["ab", "c"]) != digest_of(["a", "bc"]) and digest_of([b"x"]) == digest_of(
        ["x"]
    )
    assert digest_of(["\udcff"])  # a file name that is no UTF-8


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bits": 12}, "dataset.bits=12"),
        ({"shown": [0, 6]}, "dataset.shown"),
        ({"shown": []}, "dataset.shown"),
        ({"channels": 0}, "dataset.channels=0"),
    ],
)
def test_deep_images_refuse_what_makes_no_sense(values, words):
    good = {"resolution": 8, "channels": 6, "classes": 0}
    assert DeepSource(**good).channels == 6
    with pytest.raises(UserError) as caught:
        DeepSource(**(good | values))
    assert words in caught.value.message
