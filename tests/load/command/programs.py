"""Programs for tests of commands: a server that may have children, and a load that knocks at it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

HERE = (sys.executable, "-I", str(Path(__file__).resolve()))


def serve(port: str, *more: str) -> None:
    """Take connections and close them.

    `busy` for how many milliseconds each takes, `children` for how many it has, `apart` for how many in sessions of
    their own.
    """
    options = dict(word.partition("=")[::2] for word in more)
    children = [subprocess.Popen([*HERE, "sleep"]) for _ in range(int(options.get("children", 0)))]
    for _ in range(int(options.get("apart", 0))):
        subprocess.Popen([*HERE, "sleep"], start_new_session=True)

    def leave(number: int, frame: FrameType | None) -> None:
        for child in children:
            child.kill()
            child.wait()
        if "marks" in options:
            Path(options["marks"]).write_text("it left in order")
        os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN if "deaf" in options else leave)
    with socket.create_server(("127.0.0.1", int(port))) as listener:
        sys.stdout.write(f"ready, told {options.get('told', '')}\n")
        sys.stdout.flush()
        while True:
            link, _ = listener.accept()
            end = time.process_time() + float(options.get("busy", 0)) / 1000
            while time.process_time() < end:
                pass
            link.close()


def knock(host: str, port: str, seconds: str, qps: str, *more: str) -> None:
    """Connect so many times a second, and print what came of it."""
    options = dict(word.partition("=")[::2] for word in more)
    if "fails" in options:
        sys.stdout.write("connection lost\n")
        sys.exit(3)
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    begun = time.monotonic()
    waits: list[float] = []
    while (due := begun + len(waits) / float(qps)) < begun + float(seconds):
        time.sleep(max(0.0, due - time.monotonic()))
        link = socket.create_connection((host, int(port)))
        while link.recv(100):
            pass
        link.close()
        waits.append(1e6 * (time.monotonic() - due))
    waits.sort()
    told = {
        "count": len(waits),
        "latency": {"p50": f"{waits[len(waits) // 2] / 1000:.6f} ms", "p99": waits[len(waits) * 99 // 100]},
        "queue": 7,
    }
    text = json.dumps(told)
    if "to" in options:
        Path(options["to"]).write_text(text)
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    work: dict[str, Callable[..., None]] = {"serve": serve, "knock": knock, "sleep": signal.pause}
    work[sys.argv[1]](*sys.argv[2:])
