"""gan explore: a page in the browser to walk through what a checkpoint makes."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gancli.commands import checkpoint_verbs
from gancli.errors import Problems, UserError
from gancli.render import messages, status
from gancli.run import checkpoint_options

if TYPE_CHECKING:
    from omegaconf import DictConfig

HOST = "127.0.0.1"
ENDS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}  # exit codes; Windows knows no SIGHUP
NEAR = 100  # ports beyond a taken one, among which a free one is sought
# What gradio reads before it speaks to anyone: no telemetry, no version check, no hub, no tunnel.
SILENCE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SHARE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return run(checkpoint_options.compose_options("explore", argv, missing=True).cfg)


def run(cfg: DictConfig) -> int:
    """Serves the page until a signal ends it; returns that signal's exit code.

    Raises:
        UserError: An option is wrong, gradio is missing, the port is taken, or the checkpoint makes
            nothing that the page can show.
    """
    options = read_options(cfg)
    require_gradio()
    refuse_taken_port(options["port"])
    status.say("loading torch…")
    from gancli.commands.explore_session import Session, describe_checkpoint
    from gancli.config.build import read_trust
    from gancli.precision import resolve_device

    loaded = checkpoint_options.open_game(
        str(options["ckpt"]),
        ema=options["ema"],
        trust=read_trust(options["trust"]),
        device=str(resolve_device(options["device"])),
    )
    out = checkpoint_verbs.out_folder(options["out"], loaded.path, "explore")
    with tempfile.TemporaryDirectory(prefix="gan-explore-") as folder:
        session = Session(loaded, options=options, out=out, shown=Path(folder))
        session.refuse_unfit()
        status.say("starting the page…")
        silence_gradio(Path(folder))
        from gancli.commands.explore_page import Page

        with listening() as ended, Page(session).serve(HOST, options["port"]) as address:
            messages.say(f"explore: {describe_checkpoint(loaded)}")
            messages.say(f"open {address} in a browser on this machine; Ctrl-C ends it")
            sys.stdout.flush()
            if options["open"]:
                open_browser(address)
            with status.paused():
                code = ended.wait()
    words = f"{session.saved} saved in {out}" if session.saved else "nothing was saved"
    messages.say(f"explore has ended: {words}")
    return code


def read_options(cfg: DictConfig) -> dict[str, Any]:
    """Reads the options as plain data. Raises Problems with all that is wrong."""
    kinds: dict[str, object] = {
        "port": int,
        "open": bool,
        "seed": int,
        "out": str | None,
        "ema": bool,
        "device": Literal["auto", "cpu", "cuda", "mps"],
    }
    options, found = checkpoint_options.read_options(
        cfg,
        kinds,
        needs=("ckpt",),
        usage="gan explore ckpt=outputs/<model>-<dataset>/<stamp>",
    )
    if not found and not 1 <= options["port"] <= 65535:
        found = [(f"port={options['port']} does not fit", "give 1024 to 65535, such as port=7860")]
    if not found and options["seed"] < 0:
        found = [(f"seed={options['seed']} does not fit", "give 0 or more")]
    if found:
        raise Problems(found)
    return options


def require_gradio() -> None:
    """Raises UserError where gradio, which draws the page, is not installed."""
    if importlib.util.find_spec("gradio") is None:
        raise UserError(
            "gan explore needs the package gradio, which is not installed",
            "pip install 'gancli[explore]'",
        )


def refuse_taken_port(port: int) -> None:
    """Raises UserError where the page cannot be served at a port."""
    error = find_port_error(port)
    if error is None:
        return
    later = range(port + 1, min(port + NEAR, 65535) + 1)
    free = next((other for other in later if find_port_error(other) is None), None)
    if isinstance(error, PermissionError):
        raise UserError(f"port={port} may not be used: {error.strerror}", "port=7860")
    raise UserError(
        f"port={port} is taken: something else listens there, perhaps another gan explore",
        "give another port" if free is None else f"port={free}",
    )


def find_port_error(port: int) -> OSError | None:
    """Tries to listen at a port of this machine; returns what the system says, None if it can."""
    with socket.socket() as listener:
        # As the server will: a port that has just been left may be taken at once.
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            return error
    return None


def silence_gradio(folder: Path) -> None:
    """Sets what gradio reads when it is imported, so that it speaks to this machine alone.

    Args:
        folder: Takes what is uploaded and shown; it goes when the command ends.
    """
    # A server name, a root path, a tunnel or allowed files of somebody's shell are not ours.
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ.update(SILENCE | {"GRADIO_TEMP_DIR": str(folder / "cache")})
    for name in ("NO_PROXY", "no_proxy"):
        # It asks itself whether it is up, which no proxy could answer.
        given = os.environ.get(name)
        os.environ[name] = f"{given},{HOST},localhost" if given else f"{HOST},localhost"


class Ended:
    """The signal that ended the page, once there is one."""

    def __init__(self) -> None:
        self.code = 0
        self.happened = threading.Event()

    def handle(self, number: int, _frame: object) -> None:
        """Notes a signal; the first one counts."""
        self.code = self.code or ENDS[signal.Signals(number).name]
        self.happened.set()

    def wait(self) -> int:
        """Waits for a signal and returns the exit code that belongs to it."""
        # In pieces: on Windows a wait without end would not hear Ctrl-C.
        while not self.happened.wait(timeout=0.5):
            pass
        return self.code


@contextmanager
def listening() -> Iterator[Ended]:
    """Listens to the signals that end the page; one that was ignored before stays ignored."""
    ended = Ended()
    numbers = [number for number in signal.Signals if number.name in ENDS]
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, ended.handle) for number in heard}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_browser(address: str) -> None:
    """Opens the page, or says that this system names no browser."""
    import webbrowser

    if not webbrowser.open(address):
        messages.warn(f"open=true: no browser was found; open {address} yourself")
