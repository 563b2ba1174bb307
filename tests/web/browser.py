"""Chromium without a window: a page at a width and in a colour scheme, examined by axe-core, and photographed."""

import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WAIT_SECONDS = 240
"""For Chromium to start and end: a machine may have other work."""

EXAMINE = """
<script src="/axe.js"></script><script>
addEventListener("load", () => setTimeout(async () => {
  let found;
  try {
    const result = await axe.run(document, { iframes: false });
    const letters = [...document.querySelectorAll("th, td")].filter((c) => {
      const text = c.innerText.trim(), range = document.createRange(); range.selectNodeContents(c);
      const lines = new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size;
      return lines >= 3 && text.replace(/\\s/g, "").length < 2.5 * lines && !/\\n/.test(text); });
    found = { letters: letters.map((c) => c.innerText.slice(0, 40)),
      violations: result.violations.map((v) => ({ id: v.id, nodes: v.nodes.map((n) => n.html.slice(0, 160)) })),
      passes: result.passes.length, wide: document.documentElement.scrollWidth, window: innerWidth,
      high: document.documentElement.scrollHeight,
      dark: matchMedia("(prefers-color-scheme: dark)").matches, text: document.body.innerText };
  } catch (e) { found = { error: String(e) }; }
  parent.postMessage(JSON.stringify(found), "*");
}, %d));
</script>
"""

FRAME = """<!DOCTYPE html><title>frame</title><pre id="found"></pre>
<script>addEventListener("message", (e) => { document.getElementById("found").textContent = e.data; });</script>
<iframe src="/page" width="%d" height="%d" style="border:0"></iframe>"""


class _Proxy(BaseHTTPRequestHandler):
    server: "Stage"

    def do_GET(self) -> None:
        stage = self.server
        if self.path == "/axe.js":
            body, kind = stage.axe.read_bytes(), "text/javascript"
        elif self.path == "/frame":
            body, kind = (FRAME % (stage.width, stage.height)).encode(), "text/html"
        elif self.path == "/page":
            page = stage.page()
            # The page forbids itself scripts of others: examined, it has to take ours.
            page = re.sub(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", "", page)
            body, kind = (
                page.replace("</body>", EXAMINE % stage.wait_ms + "</body>").encode(),
                "text/html; charset=utf-8",
            )
        elif stage.behind and self.path == "/state.json":
            with urllib.request.urlopen(stage.behind + self.path, timeout=20) as answer:  # noqa: S310
                body, kind = answer.read(), "application/json"
        else:
            stage.strange.append(self.path)
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Stage(ThreadingHTTPServer):
    """Serves a page with axe-core added to it."""

    daemon_threads = True

    def __init__(self, axe: Path, width: int, page: Any, behind: str = "", wait_ms: int = 500) -> None:
        super().__init__(("127.0.0.1", 0), _Proxy)
        self.axe, self.width, self.page, self.behind, self.wait_ms = axe, width, page, behind, wait_ms
        self.height = 900
        self.strange: list[str] = []


@contextmanager
def _served(stage: Stage) -> Iterator[str]:
    thread = threading.Thread(target=stage.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{stage.server_address[1]}"
    finally:
        stage.shutdown()
        thread.join()
        stage.server_close()


def chromium(home: Path, *words: str) -> str:
    """What Chromium printed."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
    quiet = ("--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update")
    command = ["chromium", *flags, *quiet, f"--user-data-dir={home}", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_SECONDS)
    return done.stdout


def scheme(dark: bool) -> str:
    return f"--blink-settings=preferredColorScheme={0 if dark else 1}"


def examine(stage: Stage, home: Path, *, dark: bool) -> dict[str, Any]:
    """What axe-core and the window say of a page."""
    with _served(stage) as address:
        printed = chromium(
            home, scheme(dark), "--virtual-time-budget=15000", "--window-size=1400,1000", "--dump-dom",
            f"{address}/frame",
        )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', printed, re.DOTALL)
    assert found is not None, printed[:500]
    told: dict[str, Any] = json.loads(unescape(found[1]))
    assert stage.strange in ([], ["/favicon.ico"]), "the page asked for something"
    return told


def photograph(stage: Stage, to: Path, home: Path, height: int, *, dark: bool) -> None:
    """A picture of a page in a frame of its width, which a window can't have, and `height` high."""
    stage.height = height
    with _served(stage) as address:
        size = f"--window-size={max(stage.width + 16, 500)},{height + 50}"
        chromium(home, scheme(dark), "--virtual-time-budget=15000", size, f"--screenshot={to}", f"{address}/frame")
