"""The page of gan explore in a browser that reaches this machine alone: it is drawn, and neither it
nor its server asks any other host for anything.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser_helpers import CHROMIUM, HOST, Browser, browsing, read_hosts
from helpers import small, steps, trainer_for
from PIL import Image
from train_helpers import ENV

from gancli.checkpoint import save

pytestmark = pytest.mark.full
pytest.importorskip("gradio", reason="the extra explore is not installed")

# Notes every host that the server connects to or looks up.
WATCHED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
def note(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        print(args[1][0], file=asked, flush=True)
    if event == "socket.getaddrinfo" and args[0] is not None:
        print(args[0], file=asked, flush=True)
asked = open(sys.argv[1], "w")
sys.addaudithook(note)
from gancli.cli import main
sys.exit(main(sys.argv[2:]))
"""


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


class Server:
    """A page that is served by another process."""

    def __init__(self, model: str, folder: Path):
        run = folder / "run" / "checkpoints"
        run.mkdir(parents=True)
        save(steps(trainer_for(small(model)), 1).state_dict(), run, keep=1)
        self.port = find_free_port()
        self.asked = folder / "asked.txt"
        words = ["explore", "ckpt=run", f"port={self.port}", "device=cpu"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WATCHED, str(self.asked), *words],
            cwd=folder,
            env=ENV | {"GRADIO_ANALYTICS_ENABLED": "True", "GRADIO_SHARE": "True"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.first = [self.process.stdout.readline() for _ in range(2)]


@pytest.fixture(scope="module", params=["cgan", "cyclegan"])
def served(request, tmp_path_factory) -> Iterator[tuple[str, Server]]:
    server = Server(request.param, tmp_path_factory.mktemp("served"))
    yield request.param, server
    server.process.kill()
    server.process.wait()


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here")
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_the_page_works_and_asks_no_other_host(served, size, tmp_path):
    model, server = served
    url = f"http://{HOST}:{server.port}/"
    assert server.first[1] == f"open {url} in a browser on this machine; Ctrl-C ends it\n"
    with browsing(tmp_path) as browser:
        browser.open(url, width=size[0], height=size[1])
        DRIVES[model](browser)
        assert browser.ask("document.documentElement.scrollWidth") <= size[0], "it has to be moved"
        browser.shoot(tmp_path / "page.png")
    assert read_hosts(tmp_path, url.rstrip("/")) == {HOST}
    picture = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert picture.shape == size[::-1] and (picture < 128).mean() > 0.002, "a blank page"


COMMAND = "document.querySelector('.command textarea')?.value"
TILES = "document.querySelectorAll('#gallery .grid-container img')"


def drive_drawing(browser: Browser) -> None:
    """Chooses the third picture, moves it along a direction, and saves it."""
    browser.wait_for(f"{TILES}.length == 12 && [...{TILES}].every(image => image.naturalWidth)")
    assert browser.wait_for(COMMAND) == "gan sample ckpt=run n=1 seed=0 label=0 device=cpu"
    browser.ask(f"{TILES}[2].closest('button').click()")
    browser.wait_for(f"{COMMAND} == 'gan sample ckpt=run n=1 seed=2 label=2 device=cpu'")
    browser.press("[role=tab]", "Directions")
    slider = "[...document.querySelectorAll('input[type=range]')].find(e => e.max == '4')"
    browser.wait_for(f"{slider} != null")
    browser.ask(
        f"(e => {{ e.value = 2; for (const kind of ['input', 'change', 'pointerup'])"
        f" e.dispatchEvent(new Event(kind, {{bubbles: true}})) }})({slider})"
    )
    browser.wait_for(f"{COMMAND}.startsWith('Save it first')")
    browser.press("button", "Save")
    browser.wait_for(f"{COMMAND}.includes('latent=run/explore/pick-')")


def drive_translating(browser: Browser) -> None:
    """Finds the box for a picture, and presses the button without one."""
    browser.wait_for("document.querySelector('input[type=file]') != null")
    browser.press("button", "Translate")
    browser.wait_for("document.body.innerText.includes('upload a picture first')")


DRIVES = {"cgan": drive_drawing, "cyclegan": drive_translating}


def test_the_server_asks_no_other_host_and_ends_with_the_code_of_its_signal(served):
    _, server = served
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=60) == 130
    assert server.process.stdout is not None
    assert server.process.stdout.read().startswith("explore has ended: ")
    assert set(server.asked.read_text().split()) <= {HOST, "localhost", "None"}
