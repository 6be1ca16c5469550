"""A headless Chromium that reaches this machine alone, driven through a pipe by DevTools."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHROMIUM = Path("/usr/bin/chromium")
HOST = "127.0.0.1"
PATIENCE_S = 120.0


class Browser:
    """One page.

    Args:
        sink: What the browser reads from.
        source: What it writes to.
    """

    def __init__(self, sink: int, source: int):
        self.sink = sink
        self.source = source
        self.read = b""
        self.count = 0
        self.session = ""

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Sends a command and waits for its answer."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.sink, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]

    def receive(self) -> dict[str, Any]:
        while b"\0" not in self.read:
            part = os.read(self.source, 2**16)
            assert part, "the browser has gone"
            self.read += part
        first, _, self.read = self.read.partition(b"\0")
        return json.loads(first)

    def open(self, url: str, *, width: int, height: int) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = found["sessionId"]
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Page.navigate", url=url)

    def ask(self, expression: str) -> Any:
        """Evaluates JavaScript in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Asks until the answer is true."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if answer := self.ask(expression):
                return answer
            time.sleep(0.2)
        raise AssertionError(
            f"{expression} did not come true; {self.ask('document.body.innerText')}"
        )

    def press(self, kind: str, words: str) -> None:
        """Clicks the element of a selector that says these words, once it is there."""
        found = f"[...document.querySelectorAll({json.dumps(kind)})]"
        said = f"each => each.textContent.trim() == {json.dumps(words)}"
        self.wait_for(f"(found => found && (found.click(), true))({found}.find({said}))")

    def shoot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """Runs a browser whose log of requests lies in `folder` afterwards."""
    ours = os.pipe()
    theirs = os.pipe()
    words = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={folder / 'profile'}",
        f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
        f"--log-net-log={folder / 'requests.json'}",
        "--remote-debugging-pipe",
    ]
    # It reads from descriptor 3 and writes to 4.
    line = f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}'
    process = subprocess.Popen(
        ["bash", "-c", line, "bash", *words],
        pass_fds=(ours[0], theirs[1]),
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(folder)},
    )
    os.close(ours[0])
    os.close(theirs[1])
    try:
        browser = Browser(ours[1], theirs[0])
        yield browser
        browser.session = ""
        browser.call("Browser.close")
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
        os.close(ours[1])
        os.close(theirs[0])


def read_hosts(folder: Path, origin: str) -> set[str | None]:
    """Lists the hosts that pages of an origin asked: the browser's own business is not theirs."""
    events = json.loads((folder / "requests.json").read_text())["events"]
    asked = [event.get("params", {}) for event in events]
    return {
        urlsplit(params["url"]).hostname
        for params in asked
        if params.get("url", "").startswith(("http", "ws")) and params.get("initiator") == origin
    }
