"""A headless Chromium without a network, driven by WebDriver over plain HTTP."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1280,900", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy is set
KEYS = {"enter": "\ue007", "right": "\ue014", "escape": "\ue00c", "tab": "\ue004"}


@dataclass(frozen=True, kw_only=True)
class Browser:
    """One session; `base` is its address."""

    base: str

    def call(self, method: str, path: str, **body: Any) -> Any:
        """One WebDriver command; the answer's value."""
        data = None if method == "GET" else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base}{path}", data=data, method=method)
        try:
            with _DIRECT.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def open(self, path: Path) -> None:
        """Load a file."""
        self.call("POST", "/url", url=path.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.call("POST", "/execute/sync", script=script, args=list(arguments))

    def find(self, selector: str) -> str:
        """The element of a CSS selector, in view."""
        found = self.call("POST", "/element", using="css selector", value=selector)[ELEMENT]
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})",
                 {ELEMENT: found})  # fmt: skip
        return str(found)

    def click(self, selector: str) -> None:
        """A real click."""
        self.call("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Keys into an element."""
        self.call("POST", f"/element/{self.find(selector)}/value", text=text)

    def choose(self, selector: str, value: str) -> None:
        """An option of a select, by its value."""
        self.click(f'{selector} option[value="{value}"]')

    def text(self, selector: str) -> str:
        """Text of an element, seen or not."""
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def click_at(self, selector: str, x: int, y: int) -> None:
        """A mouse click so many pixels from the middle of an element."""
        origin = {ELEMENT: self.find(selector)}
        steps = [
            {"type": "pointerMove", "duration": 0, "origin": origin, "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._point(steps)

    def drag(self, selector: str, begin: tuple[int, int], end: tuple[int, int]) -> None:
        """The mouse, pressed, from one place to another."""
        origin = {ELEMENT: self.find(selector)}
        moves = [{"type": "pointerMove", "duration": 50, "origin": origin, "x": x, "y": y}
                 for x, y in (begin, end)]  # fmt: skip
        down, up = ({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))
        self._point([moves[0], down, moves[1], up])

    def _point(self, steps: list[dict[str, Any]]) -> None:
        actions = [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"},
                    "actions": steps}]  # fmt: skip
        self.call("POST", "/actions", actions=actions)

    def errors(self) -> list[str]:
        """What the console says, worse than information, since it was last asked."""
        found = self.call("POST", "/se/log", type="browser")
        return [each["message"] for each in found if each["level"] in ("SEVERE", "WARNING")]

    def devtools(self, command: str, **parameters: Any) -> None:
        """A command of the Chrome DevTools protocol."""
        self.call("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def narrow(self, width: int, height: int) -> None:
        """Be a phone of this size."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=2, mobile=True)  # fmt: skip

    def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def until(self, script: str, seconds: float = 10.0) -> None:
        """Wait until a script returns something true."""
        deadline = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.05)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with the new, empty folder `profile`; skips the test where there is none."""
    driver, binary = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or binary is None:
        pytest.skip("chromium and chromedriver are not installed")
    process = subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = next(line.split("port ")[1].strip(" .\n") for line in process.stdout
                    if "successfully on port" in line)  # fmt: skip
        service = Browser(base=f"http://127.0.0.1:{port}")
        options = {"binary": binary, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        session = service.call("POST", "/session", capabilities={"alwaysMatch": {
            "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}})  # fmt: skip
        browser = Browser(base=f"{service.base}/session/{session['sessionId']}")
        try:
            yield browser
        finally:
            browser.call("DELETE", "")
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
