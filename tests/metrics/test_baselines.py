"""What the copied source and the mean image reach stands beside the number of the outputs."""

from __future__ import annotations

from gancli.metrics.baselines import find_measure, list_baselines, list_unreached

VALUES = {"psnr": 20.0, "psnr_source": 12.0, "psnr_mean": 21.0, "ssim": 0.5, "ssim_mean": 0.4}


def test_a_baseline_is_known_by_its_ending_and_by_the_number_beside_it():
    assert list_baselines(VALUES) == {"source": "copied source", "mean": "mean image"}
    assert list_baselines({"psnr": 1.0, "ssim_mean": 1.0}) == {}, "no ssim of outputs"
    assert [find_measure(name, VALUES) for name in VALUES] == ["", "psnr", "psnr", "", "ssim"]


def test_what_is_not_reached_is_said_in_words():
    assert list_unreached(VALUES) == ["mean image"]
    assert list_unreached(VALUES | {"ssim_source": 0.6}) == ["copied source", "mean image"]
    assert list_unreached({"psnr": 20.0, "psnr_mean": 20.0}) == []
