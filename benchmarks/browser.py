"""A headless Chromium, driven through the DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PATIENCE = 120
"""Seconds that it may take to answer, or a page to become what is waited for, on a busy machine."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--hide-scrollbars"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--remote-debugging-port=0"),
)


def chromium() -> str | None:
    """Where a Chromium is: what GENCOMP_CHROMIUM names, or on the path."""
    return os.environ.get("GENCOMP_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser with one page."""

    def __init__(self, command: str, folder: Path) -> None:
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        profile = folder / "profile"
        with (folder / "browser.log").open("wb") as log:
            self._process = subprocess.Popen(
                [command, *QUIET, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log
            )
        self.events: list[dict[str, Any]] = []
        self._calls = 0
        self._page: ClientConnection | None = None
        try:
            self._page = connect(self._target(profile / "DevToolsActivePort"), max_size=None, open_timeout=PATIENCE)
            for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
                self.call(f"{domain}.enable")
            self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it."""
        if self._page is not None:
            self._page.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """What a method of the protocol returns; events that come before are kept."""
        assert self._page is not None
        self._calls += 1
        self._page.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._page.recv(timeout=PATIENCE))
            if message.get("id") != self._calls:
                self.events.append(message)
            elif "error" in message:
                raise RuntimeError(f"{method}: {message['error']}")
            else:
                return dict(message["result"])

    def open(self, url: str, width: int, height: int, *, touch: bool = False, dark: bool = False) -> None:
        """A page at a size in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, promises awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until it is true."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.value(expression):
                return
            time.sleep(0.05)
        raise TimeoutError(f"never true: {expression}; {self.value('document.body.innerText')}")

    def choose(self, selector: str, file: Path) -> None:
        """Pick a file in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def drop(self, selector: str, file: Path) -> None:
        """Drag a file from outside onto an element."""
        x, y = self.middle(selector)
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def press(self, *keys: str) -> None:
        """Keys by their names, one after the other."""
        codes = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9, "Home": 36, "End": 35, "Enter": 13, "Escape": 27}
        for key in keys:
            known = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
            text = "\r" if key == "Enter" else "" if known else key
            for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text, **known)

    def swipe(self, points: Sequence[tuple[float, float]]) -> None:
        """A finger put down, moved and lifted."""
        for kind, point in zip(("touchStart", *["touchMove"] * (len(points) - 1)), points, strict=True):
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": point[0], "y": point[1]}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def middle(self, selector: str) -> tuple[float, float]:
        """Of an element, scrolled into view; CSS pixels."""
        box = self.box(selector)
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def box(self, selector: str) -> dict[str, float]:
        """Where an element is, once it is scrolled into view; CSS pixels."""
        found = self.value(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            "one.scrollIntoView({block: 'center', behavior: 'instant'});"
            "return one.getBoundingClientRect().toJSON(); })()"
        )
        return dict(found)

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """Write what is to be seen as a PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    def requests(self) -> list[str]:
        """All addresses that were asked for."""
        self.value("0")  # takes in what is under way
        sent = (event for event in self.events if event["method"] == "Network.requestWillBeSent")
        return [str(event["params"]["request"]["url"]) for event in sent]

    def complaints(self) -> list[str]:
        """Exceptions and errors on its console, but answers of 4xx and 5xx."""
        self.value("0")
        thrown = [str(e["params"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        entries = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        logged = [str(e) for e in entries if e["level"] in ("error", "warning") and e["source"] != "network"]
        return thrown + logged

    def _target(self, port_file: Path) -> str:
        """The address of the page's own socket."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the browser ended with {self._process.returncode}")
            try:
                port = int(port_file.read_text().splitlines()[0])
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as answer:
                    pages = [one for one in json.load(answer) if one["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            except (OSError, IndexError, ValueError):
                pass  # not yet
            time.sleep(0.05)
        raise TimeoutError("the browser does not answer")
