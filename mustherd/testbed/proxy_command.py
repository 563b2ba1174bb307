"""ssh's way into a test bed from outside: `python -m mustherd.testbed.proxy_command ADDRESS PORT` as ProxyCommand.

It is run inside the bed's network namespace and joins its standard input and output to the host's port.
"""

import os
import select
import socket
import sys


def main(address: str, port: int) -> None:
    """Until the host has said its last."""
    with socket.create_connection((address, port), timeout=15) as host:
        host.settimeout(None)
        waited: list[int | socket.socket] = [0, host]
        while True:
            for source in select.select(waited, [], [])[0]:
                if source is host:
                    data = host.recv(65536)
                    if not data:
                        return
                    while data:
                        data = data[os.write(1, data) :]
                elif data := os.read(0, 65536):
                    host.sendall(data)
                else:
                    waited.remove(0)
                    host.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except OSError as error:
        sys.exit(f"{sys.argv[1]} port {sys.argv[2]}: {error}")
