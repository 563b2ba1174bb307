"""A process that makes intlog rows and, told so by a line on its input, writes them into FIFOs as fast as they go.

`python -m tests.benchmarks._log_rows ROWS FIFO...`: ROWS in all, shared among the FIFOs, each a core's.
"""

import fcntl
import os
import select
import sys

from tests.log_herd import F_SETPIPE_SZ, render, rows

CHUNK_ROWS = 100_000
WRITE_BYTES = 1 << 19


def main() -> None:
    count, fifos = int(sys.argv[1]), sys.argv[2:]
    each = count // len(fifos)
    texts = []
    for core in range(len(fifos)):
        text = bytearray()
        for start in range(0, each, CHUNK_ROWS):
            text += render(rows(min(CHUNK_ROWS, each - start), core, start))
        texts.append(memoryview(text))
    # For reading too, so that none of them ends when its writer is done.
    pipes = {os.open(fifo, os.O_RDWR | os.O_NONBLOCK): core for core, fifo in enumerate(fifos)}
    poller = select.poll()
    for pipe in pipes:
        fcntl.fcntl(pipe, F_SETPIPE_SZ, 1 << 20)
        poller.register(pipe, select.POLLOUT)
    print(sum(map(len, texts)), flush=True)
    sys.stdin.readline()
    at, left = [0] * len(fifos), len(fifos)
    while left:
        for pipe, _ in poller.poll():
            core = pipes[pipe]
            left_over = texts[core]
            try:
                at[core] += os.write(pipe, left_over[at[core] : at[core] + WRITE_BYTES])
            except BlockingIOError:
                continue
            if at[core] == len(left_over):
                poller.unregister(pipe)
                left -= 1
    sys.stdin.read()


if __name__ == "__main__":
    main()
