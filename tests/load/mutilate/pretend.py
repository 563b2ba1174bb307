"""A program that prints what mutilate would, for tests of what happens around it. It offers no load."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

LINES = """\
#type       avg     std     min     5th    10th    90th    95th    99th
read      {latency}   553.9    11.9    19.6    25.2   134.3   602.2  3431.8
update      0.0     0.0     0.0     0.0     0.0     0.0     0.0     0.0
op_q        1.0     0.0     1.0     1.0     1.0     1.1     1.1     1.1

Total QPS = {qps} ({count} / {seconds}s)

Misses = 0 (0.0%)
Skipped TXs = 0 (0.0%)

RX   24613056 bytes :    4.7 MB/s
TX    3587328 bytes :    0.7 MB/s
"""


def install(program: Path, before: str = "") -> Path:
    """Make it a program of that name, which runs the lines `before` first."""
    program.write_text(f'#!/bin/sh\n{before}exec {sys.executable} {Path(__file__).resolve()} "$@"\n')
    program.chmod(0o755)
    return program


def main() -> None:
    options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:])
    mode = os.environ.get("PRETEND", "well")
    if "agentmode" in options:
        if mode == "agent-dies":
            return
        with socket.create_server(("127.0.0.1", int(options["agent_port"]))) as listener:
            while True:
                listener.accept()[0].close()
    if "loadonly" in options:
        return
    if mode == "refused":
        sys.exit("mutilate.cc(300): BEV_EVENT_ERROR: Connection refused")
    if mode == "hangs":
        signal.pause()
    time.sleep(0.05)  # fixed: as a program that has to connect first
    print(f"mutilate.cc(979): started at {time.time():.6f}", file=sys.stderr, flush=True)
    if mode == "hangs-later":
        signal.pause()
    if mode == "out-of-sync":
        sys.exit("mutilate.cc(332): sync_agent[M]: out of sync [1]")
    seconds, qps = int(options["time"]), float(options["qps"])
    if "agent" in options:
        own = 500.0 if mode == "slow-leader" else float(options["measure_qps"])
        print(f"mutilate.cc(740): Local QPS = {own} ({round(own * seconds)} / {seconds:.1f}s)", file=sys.stderr)
    if "save" in options:
        with Path(options["save"]).open("w") as file:
            file.writelines(f"{k / 1000} {k}.5\n" for k in range(1000))
    latency = "0.0" if mode == "nothing-sampled" else "181.6"
    text = LINES.format(qps=qps, count=round(qps * seconds), seconds=float(seconds), latency=latency)
    if mode == "nothing-sampled":
        for number in ("553.9", "11.9", "19.6", "25.2", "134.3", "602.2", "3431.8"):
            text = text.replace(number, "0.0")
    print(text)


if __name__ == "__main__":
    main()
