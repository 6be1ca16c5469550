"""What every mistake is told that Hydra lets through."""

from __future__ import annotations

from config_helpers import problems_of, write

from gancli.config import compose as config


def test_trainer_epochs_may_be_switched_off_beside_steps():
    assert (
        config.compose("train", ["trainer.steps=3", "trainer.epochs=null"]).cfg.trainer.steps == 3
    )


def test_sample_needs_a_checkpoint_and_knows_its_keys():
    assert "ckpt=outputs/" in problems_of([], name="sample")["ckpt is not given"]
    assert problems_of(["sed=3"], name="sample")["unknown key 'sed'"] == "did you mean 'seed'?"
    assert "unknown key 'trainer'" in problems_of(["ckpt=x", "+trainer.steps=3"], name="sample")
    assert config.compose("sample", [], missing=True).cfg.n == 64


def test_a_primary_config_that_does_not_start_from_ours(tmp_path):
    write(tmp_path, {"bare.yaml": "seed: 7\n"})
    found = problems_of(["-cd", str(tmp_path), "-cn", "bare"])
    assert found == {
        "the config has no resume, init, trust, name, model, loss, dataset, optimizer, trainer, "
        "ema, augment, perceptual, metrics, log, logger, watch, "
        "published": "start your config from `defaults: [train, _self_]`"
    }


def test_an_unknown_key_in_a_users_file_is_named_with_its_line(tmp_path):
    write(
        tmp_path,
        {
            "trainer/mine.yaml": "# Mine\ndefaults: [default, _self_]\nstepz: 5\n",
            "mine.yaml": "# Mine\ndefaults: [train, _self_]\noptimzer: {lr: 1}\n",
        },
    )
    assert problems_of(["-cd", str(tmp_path), "trainer=mine", "-cn", "mine"]) == {
        f"unknown key 'optimzer' in {tmp_path / 'mine.yaml'}, line 3": "did you mean 'optimizer'?",
        f"unknown key 'trainer.stepz' in {tmp_path / 'trainer/mine.yaml'}, line 3": (
            "did you mean 'trainer.steps'?"
        ),
    }
