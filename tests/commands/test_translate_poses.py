"""gan translate moves people into poses: what it takes, writes, and refuses."""

from __future__ import annotations

import numpy as np
import pytest
import translate_helpers
from PIL import Image
from translate_helpers import make, noise, pixels, put

from gancli.data.figures import write_figures

runs = pytest.fixture(scope="module")(translate_helpers.runs)
gan = pytest.fixture(translate_helpers.gan)


@pytest.fixture
def figures(gan):
    write_figures("own", people=2, poses=3, side=16)
    return gan


def test_a_picture_for_each_pose(figures):
    written = make(
        figures,
        "pose",
        "input=own/pictures/person00/pose00.png",
        "pose=own/poses/person00/pose00.png",
        "poses=own/poses",
    )
    names = {f"pose00-person{k:02d}-pose{j:02d}.png" for k in range(2) for j in range(3)}
    assert {*written} == names | {"sheet.png"}
    first, second = (pixels(f"out/pose00-person00-pose{k:02d}.png") for k in (1, 2))
    assert first.shape == (16, 16, 3) and (first != second).any()
    alone = make(
        figures,
        "pose",
        "input=own/pictures/person00/pose00.png",
        "pose=own/poses/person00/pose00.png",
        "poses=own/poses/person00/pose02.png",
    )
    assert {*alone} == {"pose00-pose02.png", "sheet.png"}
    assert alone["pose00-pose02.png"] == written["pose00-person00-pose02.png"]


def test_a_folder_of_pictures_has_a_folder_of_poses(figures):
    written = make(
        figures, "pose", "input=own/pictures", "pose=own/poses", "poses=own/poses/person01"
    )
    assert len(written) == 6 * 3 + 1 and "person01/pose02-pose01.png" in written


def test_the_pose_of_the_input_counts(figures):
    words = ("input=own/pictures/person00/pose00.png", "poses=own/poses/person01/pose01.png")
    one = make(figures, "pose", *words, "pose=own/poses/person00/pose00.png")
    other = make(figures, "pose", *words, "pose=own/poses/person01/pose02.png")
    assert one["pose00-pose01.png"] != other["pose00-pose01.png"]


def test_pictures_and_poses_of_another_size_are_resized(figures):
    for name in ("picture", "pose"):
        put(f"large/{name}.png", noise((40, 24)))
    make(figures, "pose", "input=large/picture.png", "pose=large/pose.png", "poses=large/pose.png")
    assert Image.open("out/picture-pose.png").size == (40, 24)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "pose= and poses= are not given"),
        (["pose=own/poses/person00/pose00.png"], "poses= is not given"),
        (["poses=own/poses"], "pose= is not given"),
        (["pose=nowhere", "poses=own/poses"], "nowhere"),
        (["pose=own/poses/person00/pose00.png", "poses=empty"], "poses=empty: no image in it"),
        (["pose=own/poses/person01", "poses=own/poses"], "no image in it has the name of one in"),
    ],
)
def test_what_is_missing_is_said(figures, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    put("in/a.png", noise((16, 16)))
    code, _, err = figures("pose", "input=in", *words)
    assert code == 2 and said in err and "FILE_OR_FOLDER" in err + "FILE_OR_FOLDER"


def test_a_picture_without_its_pose_is_passed_over(figures):
    put("own/pictures/person09/pose00.png", noise((16, 16)))
    code, _, err = figures(
        "pose", "input=own/pictures", "pose=own/poses", "poses=own/poses/person00", "out=out"
    )
    assert code == 0 and "person09/pose00.png: no image of pose= has its name" in err
    assert "skipped 1 of 7 images" in err


def test_other_models_take_no_poses(figures):
    code, _, err = figures("pix2pix", "input=own/pictures", "poses=own/poses")
    assert code == 2 and "its model moves nobody into a pose" in err


def test_maps_of_joints_are_no_image(runs, figures, tmp_path):
    from helpers import small

    translate_helpers.saved(tmp_path / "joints", small("pose", "dataset.maps=gaussians"), n=0)
    path = "own/poses/person00/pose00.png"
    code, _, err = figures(
        str(tmp_path / "joints"), "input=own/pictures", f"pose={path}", f"poses={path}"
    )
    assert code == 2 and "knows a pose as 13 maps of joints" in err


def test_from_python(runs, figures):
    import gancli

    model = gancli.load(str(runs / "pose"))
    path = "own/{}/person00/pose{:02d}.png"
    made = model.translate(
        path.format("pictures", 0), pose=path.format("poses", 0), new_pose=path.format("poses", 2)
    )
    make(
        figures,
        "pose",
        f"input={path.format('pictures', 0)}",
        f"pose={path.format('poses', 0)}",
        f"poses={path.format('poses', 2)}",
    )
    np.testing.assert_array_equal(made, pixels("out/pose00-pose02.png"))
    with pytest.raises(gancli.UserError, match="moves people into poses"):
        model.translate(path.format("pictures", 0))
