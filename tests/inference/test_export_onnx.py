"""An ONNX file of a model makes in onnxruntime what torch makes, or is refused in words."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import SMALL, TINY, frozen, small, steps, trainer_for
from translate_helpers import STYLE

from gancli.errors import UserError
from gancli.inference import export_onnx
from gancli.inference.export_onnx import LIBRARIES, export_network
from gancli.networks.layers import size_of

for library in LIBRARIES:
    pytest.importorskip(library)

REFUSED = {"pix2pix": "dropout"}


def make(model: str, *overrides: str):
    """A game that has trained, whose samples are not all alike, and its config."""
    config = small(model, *overrides)
    trainer = steps(trainer_for(config), 3)
    game = trainer.game.eval().requires_grad_(False)
    generator = copy.deepcopy(game.generator)
    torch.manual_seed(1)
    for name, value in generator.state_dict().items():
        if name.endswith(("strength", "const")):
            value.copy_(torch.randn(value.shape))
    return game, generator.eval().requires_grad_(False), config


def export(game, generator, config, **options):
    given = {"noise": "fixed", "truncation": None, "direction": "ab", "seed": 0} | options
    return export_network(
        game,
        generator,
        channels=config["dataset"]["channels"],
        size=size_of(config["dataset"]["resolution"]),
        output="image",
        facts={"makes": "images"},
        **given,
    )


def test_a_generator_agrees_with_torch_and_names_no_file_of_this_machine():
    game, generator, config = make("mlp")
    found = export(game, generator, config)
    assert found.distance <= 1e-4
    assert found.inputs == ["z (N,100) float: uniform, as the game draws it"]
    assert found.outputs == ["image (N,1,8,8) float"]
    assert b"/gancli/" not in found.content and b".py" not in found.content


@pytest.mark.full
@pytest.mark.parametrize("model", SMALL)
def test_every_model_is_exported_or_refused_in_words(model):
    game, generator, config = make(model)
    if model in REFUSED:
        with pytest.raises(UserError, match=REFUSED[model]):
            export(game, generator, config)
        export(game, generator, config, noise="none")
        return
    assert export(game, generator, config).distance <= 1e-4


@pytest.mark.full
def test_style_transfer_takes_source_and_style():
    config = frozen("model=styletransfer", *STYLE, *TINY)
    game = trainer_for(config).game.eval().requires_grad_(False)
    found = export(game, copy.deepcopy(game.generator), config)
    assert [line.split()[0] for line in found.inputs] == ["a", "style"]


@pytest.mark.full
@pytest.mark.parametrize("noise", ["none", "inputs"])
@pytest.mark.parametrize("model", ["stylegan", "stylegan2", "lapgan"])
def test_noise_inside_can_be_left_out_or_be_an_input(model, noise):
    game, generator, config = make(model)
    found = export(game, generator, config, noise=noise)
    assert any(line.startswith("noise0 ") for line in found.inputs) == (noise == "inputs")


@pytest.mark.full
def test_classes_truncation_and_the_way_back_are_exported():
    game, generator, config = make("stylegan2", "model.conditional=true")
    found = export(game, generator, config, truncation=0.5)
    assert [line.split()[0] for line in found.inputs][:2] == ["z", "label"]
    game, generator, config = make("cyclegan")
    assert export(game, generator, config, direction="ba").distance <= 1e-4


@pytest.mark.full
def test_a_network_that_differs_is_refused(monkeypatch):
    game, generator, config = make("mlp")
    monkeypatch.setattr(export_onnx, "CLOSE", -1.0)
    with pytest.raises(UserError, match="onnxruntime differs from torch by"):
        export(game, generator, config)


def test_one_kernel_for_all_equals_the_grouped_convolution_of_large_images():
    layer = export_onnx.ModulatedConv2d(3, 4, w_dim=5)
    x = torch.randn(2, 3, 64, 64)
    w = torch.randn(2, 5)
    assert layer.grouped(x)
    own = layer(x, w)
    layer.grouped = export_onnx.use_one_kernel
    assert not torch.equal(own, layer(x, w)) and (own - layer(x, w)).abs().max() <= 1e-5
