"""Ports, and a server that is worse than none."""

import contextlib
import socket
import threading
from collections.abc import Iterator


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextlib.contextmanager
def silent_server(port: int) -> Iterator[list[socket.socket]]:
    """Accepts connections, which it gives, and never says a word."""
    accepted: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", port))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield accepted
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in accepted:
            connection.close()
