"""What a muster that is in its herd, and has nothing to do, holds in memory: all of it is taken from a workload."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.herding import shepherd
from tests.waiting import until

pytestmark = pytest.mark.process

UNNEEDED = {
    "hashlib": "3.6 MB, OpenSSL with it: the journal's check is wanted before the first setting",
    "secrets": "it loads OpenSSL by way of hmac",
    "shutil": "0.6 MB, every way to compress a file with it: folders are rarely removed",
    "sqlite3": "0.2 MB: a muster has no store",
    "ctypes": "0.4 MB: a real machine's muster alone calls the kernel by it",
    "importlib.metadata": "1.4 MB: a kind of node that is ours is opened without",
    "mustherd.metrics": "0.3 MB: a muster judges nothing",
    "mustherd.scrape": "a muster that no Prometheus asks answers none",
    "asyncio": "a muster has one loop of its own",
    "http.server": "a muster serves no pages",
    "numpy": "a muster reckons nothing",
    "pydantic": "its configuration is checked by msgspec",
}
"""Modules that have been in a muster's memory, or would come with one import in the wrong place; what each costs."""

IDLE = """\
import sys, threading
from mustherd.muster import __main__ as program

serve = program.serve

def told(file, ready):
    def began(stop):
        def tell():
            sys.stdin.readline()
            print(*sys.modules)
            stop()
        ready(stop)
        threading.Thread(target=tell).start()
    return serve(file, began)

program.serve = told
sys.exit(program.main())
"""


def test_an_idle_muster_has_loaded_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    file = tmp_path / "muster.toml"
    with shepherd() as (running, ports):
        file.write_text(
            f'muster = "muster-1"\nstate = "{tmp_path / "state"}"\n[twin]\n'
            "[ranges]\ndvfs = {low = 1200, high = 2800}\n"
            f"[ports]\npulse = {ports.pulse}\nlog = {ports.log}\ncontrol = {ports.control}\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", IDLE, "--config", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            until(running.musters)
            told, _ = process.communicate("tell\n", timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    loaded = set(told.split())
    assert "mustherd.muster.muster" in loaded
    assert {name: why for name, why in UNNEEDED.items() if name in loaded} == {}
