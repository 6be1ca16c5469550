"""Several ranks of which one differs, fails, freezes, or loses its launcher: the others notice, say
it, and end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import REPO, differences, frozen
from ranks_helpers import finish, start_ranks
from train_helpers import ENV, TINY, last

from gancli import distributed
from gancli.config.run_config import RunConfig
from gancli.errors import Elsewhere, GanError, Problems, RankLost, UserError
from gancli.run.agreement import describe_run

BAD = """
import os, signal, time
import torch
from gancli.games.gan import GAN

class Bad(GAN):
    def __init__(
        self, *, generator, discriminator, loss, conditional, latent, pack,
        generator_batch, heads, deed: str
    ):
        super().__init__(generator=generator, discriminator=discriminator, loss=loss, latent=latent)
        self.deed = deed

    def g_loss(self, batch):
        if self.progress.step == 4 and os.environ["RANK"] == self.deed[-1]:
            if "raise" in self.deed:
                raise ZeroDivisionError("on purpose")
            if "memory" in self.deed:
                raise torch.OutOfMemoryError("on purpose")
            if "freeze" in self.deed:
                os.kill(os.getpid(), signal.SIGSTOP)
            if "sleep" in self.deed:
                time.sleep(1000)
        return super().g_loss(batch)
"""
RUN = ("train", *TINY, "trainer.steps=8", "trainer.save_every=2", "hydra.run.dir=run")


def bad(folder: Path, deed: str) -> tuple[str, ...]:
    (folder / "bad.py").write_text(BAD)
    return (*RUN, "model._target_=bad.Bad", f"+model.deed={deed}")


@pytest.mark.full  # what is compared, and the words, are tested in this process below
def test_ranks_with_other_settings_end_before_the_first_step(tmp_path):
    done = finish(start_ranks(tmp_path, RUN, (*RUN, "seed=1", "trainer.steps=9")))
    assert [code for code, *_ in done] == [1, 1], done
    said = done[0][2]
    assert "the ranks disagree: seed is 0 on rank 0 and 1 on rank 1" in said
    assert "trainer.steps is 8 on rank 0 and 9 on rank 1" in said and "Traceback" not in said
    assert "disagree" not in done[1][2], "said once"
    assert not (tmp_path / "run").exists()


@pytest.mark.full
def test_a_rank_that_is_refused_alone_tells_it_and_the_other_ends(tmp_path):
    done = finish(start_ranks(tmp_path, RUN, (*RUN, "trainer.batch_size=7")))
    assert [code for code, *_ in done] == [1, 2], done
    assert "rank 1: trainer.batch_size=7 does not divide into 2 ranks" in done[1][2]
    assert "Traceback" not in done[0][2] + done[1][2]


@pytest.mark.parametrize("deed", ["raise1", pytest.param("memory1", marks=pytest.mark.slow)])
def test_a_rank_that_fails_tells_its_error_and_the_other_ends_soon(tmp_path, deed):
    words = bad(tmp_path, deed)
    done = finish(start_ranks(tmp_path, words, words))
    assert [code for code, *_ in done] == [1, 1], done
    assert "on purpose" in done[1][2] or "rank 1: out of memory" in done[1][2]
    assert "Traceback" not in done[0][2], (
        "the error of the rank that failed is the one that is shown"
    )
    assert "rank 0 at step 5, phase g waited for the sum of the gradients" in done[0][2]
    assert last(tmp_path / "run")["progress"]["step"] == 4


@pytest.mark.parametrize(
    "frozen",
    [pytest.param(0, marks=pytest.mark.full), pytest.param(1, marks=pytest.mark.slow)],
)
def test_a_frozen_rank_is_given_up_and_named(tmp_path, frozen):
    words = bad(tmp_path, f"freeze{frozen}")
    ranks = start_ranks(tmp_path, words, words, timeout_s=6)
    other = 1 - frozen
    code, _, err = finish([ranks[other]], within_s=60)[0]
    assert code == 1, err
    assert f"rank {other}" in err and f"rank {frozen}" in err and "step 5" in err
    assert "Traceback" not in err
    assert finish([ranks[frozen]], within_s=0.1)[0][0] == -signal.SIGKILL, "it was frozen until now"
    assert last(tmp_path / "run")["progress"]["step"] == 4


@pytest.mark.full
def test_ranks_do_not_outlive_their_launcher(tmp_path):
    """A launcher in the middle, as torchrun is, is killed while its ranks train."""
    words = (*RUN, "trainer.steps=100000000", "log.every=1")
    launcher = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(REPO / "tests" / "support")!r})
from ranks_helpers import finish, start_ranks
ranks = start_ranks(Path({str(tmp_path)!r}), {words!r}, {words!r})
print(*[rank.pid for rank in ranks], flush=True)
time.sleep(1000)
"""
    middle = subprocess.Popen(
        [sys.executable, "-c", launcher], env=ENV, stdout=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in middle.stdout.readline().split()]
    wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists(), within_s=90)
    middle.kill()
    middle.wait()
    wait_for(lambda: not any(map(is_alive, pids)), within_s=30)
    assert last(tmp_path / "run")["progress"]["step"] > 0


def wait_for(condition, *, within_s: float) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "in vain"
        time.sleep(0.2)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.slow
def test_a_killed_rank_is_started_again_and_the_run_ends_in_the_same_bits(tmp_path):
    words = ("train", *TINY, "trainer.steps=400", "trainer.save_every=50", "resume=auto")
    for place in ("whole", "broken"):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", "--max-restarts", "3", "-m", "gancli", *words]
        run = subprocess.Popen(
            [*command, f"hydra.run.dir={place}"],
            cwd=tmp_path,
            env=ENV | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        )
        if place == "broken":
            saved = tmp_path / place / "checkpoints" / "step-00000100.pt"
            wait_for(saved.exists, within_s=90)
            children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
            os.kill(int(children[1]), signal.SIGKILL)
        assert run.wait(timeout=180) == 0
    whole, broken = last(tmp_path / "whole"), last(tmp_path / "broken")
    for part in ("game", "buffers", "ema", "optimizers", "progress"):
        assert differences(whole[part], broken[part]) == [], part


# in this process


@pytest.fixture
def two(monkeypatch):
    """This process as one of two ranks; the other's words are given."""

    def be(rank: int, other: object):
        monkeypatch.setattr(distributed, "world", lambda: 2)
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(
            distributed, "gather", lambda own: [own, other] if rank == 0 else [other, own]
        )

    return be


def fail(error: Exception):
    raise error


def test_errors_are_told_once_by_the_first_rank_that_has_them(two):
    two(0, None)
    assert distributed.run_together(lambda: 3) == 3
    two(0, "UserError: a")
    with pytest.raises(Elsewhere):
        distributed.run_together(lambda: 3)
    two(1, "UserError: a")
    with pytest.raises(Elsewhere):
        distributed.run_together(lambda: fail(UserError("a")))
    two(1, None)
    with pytest.raises(UserError, match="rank 1: a") as caught:
        distributed.run_together(lambda: fail(UserError("a")))
    assert caught.value.alone
    with pytest.raises(Problems) as caught:
        distributed.run_together(lambda: fail(Problems([("a", "b"), ("c", "d")])))
    assert caught.value.problems == [("rank 1: a", "b"), ("rank 1: c", "d")]
    two(0, None)
    with pytest.raises(UserError) as caught:
        distributed.run_together(lambda: fail(UserError("a")))
    assert caught.value.message == "a" and not caught.value.alone


def test_what_ranks_disagree_on_is_named(two):
    two(0, {"a": "1", "b": "2"})
    distributed.agree({"a": "1", "b": "2"})
    with pytest.raises(GanError, match=r"b is 3 on rank 0 and 2 on rank 1$") as caught:
        distributed.agree({"a": "1", "b": "3"})
    assert caught.value.code == 1
    with pytest.raises(GanError, match="c is 3 on rank 0 and absent on rank 1"):
        distributed.agree({"a": "1", "b": "2", "c": "3"})


def test_the_facts_of_a_run_hold_the_source_of_the_users_code(tmp_path, monkeypatch):
    (tmp_path / "mine_of_ranks.py").write_text("a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import mine_of_ranks  # noqa: F401

    mine = {"seed": 1, "dataset": {"path": "x"}, "model": {"_target_": "mine_of_ranks.A"}}
    config = RunConfig.from_plain(frozen("model=mlp", "trainer.device=cpu") | mine)
    before = describe_run(config)
    assert before["seed"] == "1" and "dataset.path" not in before and "gancli" in before
    (tmp_path / "mine_of_ranks.py").write_text("a = 2\n")
    after = describe_run(config)
    assert [key for key in before if before[key] != after[key]] == ["the source of mine_of_ranks"]


def test_the_time_to_wait_is_read_from_the_environment(monkeypatch):
    assert distributed.timeout_s() == 1800
    monkeypatch.setenv("GANCLI_RANK_TIMEOUT", "20")
    assert distributed.timeout_s() == 20
    for text in ("x", "0", "nan", "inf", "-1"):
        monkeypatch.setenv("GANCLI_RANK_TIMEOUT", text)
        with pytest.raises(UserError, match="GANCLI_RANK_TIMEOUT"):
            distributed.timeout_s()


def test_an_error_of_the_group_is_a_sentence_and_others_pass():
    with pytest.raises(RankLost, match="another rank has ended"), distributed.meeting("word"):
        raise RuntimeError("Connection closed by peer")
    with pytest.raises(RankLost, match="did not come"), distributed.meeting("word"):
        raise RuntimeError("Timed out waiting 20ms for recv")
    with pytest.raises(torch.OutOfMemoryError), distributed.tell_own_failure():
        raise torch.OutOfMemoryError("much")


@pytest.mark.dist
def test_a_script_gets_the_run_on_every_rank(tmp_path):
    """gancli.train under torchrun: all ranks go on with the same folder, and none says it.

    No thread of the process group outlives it: one that asks for the interpreter while that is
    taken down would abort the script.
    """
    script = tmp_path / "script.py"
    script.write_text(
        "import gancli, pathlib, sys, threading\n"
        "print(gancli.train(*sys.argv[1:]).folder)\n"
        "names = [p.read_text() for p in pathlib.Path('/proc/self/task').glob('*/comm')]\n"
        "print(threading.active_count(), sum('gloo' in name for name in names))\n"
    )
    words = (*TINY, "trainer.steps=2")
    for code, out, err in finish(start_ranks(tmp_path, words, words, program=(str(script),))):
        assert (code, out.split()) == (0, [str(newest_run(tmp_path)), "1", "0"]), err


def newest_run(folder: Path) -> Path:
    """The only run below outputs/, as its own process names it."""
    (checkpoints,) = (folder / "outputs").glob("*/*/checkpoints")
    return checkpoints.parent.relative_to(folder)
