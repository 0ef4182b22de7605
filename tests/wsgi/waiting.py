"""The least prefork server, to see whom the kernel wakes: waiting.py accept|epoll|exclusive PORT WORKERS."""

import json
import os
import select
import signal
import socket
import sys


def serve(listener: socket.socket, how: str) -> None:
    """Wait for connections in one of three ways, and answer with this process's id."""
    poll = select.epoll()
    if how != "accept":
        listener.setblocking(False)
        poll.register(listener, select.EPOLLIN | (select.EPOLLEXCLUSIVE if how == "exclusive" else 0))
    while True:
        if how != "accept":
            poll.poll()
        try:
            connection, _ = listener.accept()
        except BlockingIOError:  # another process was faster
            continue
        with connection:
            connection.recv(65536)
            connection.sendall(json.dumps({"pid": os.getpid(), "": ""}).encode())


def main(how: str, port: int, workers: int) -> None:
    """Fork the workers, which share the listening socket; SIGTERM ends all."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        children = []
        for _ in range(workers):
            if not (child := os.fork()):
                serve(listener, how)
            children.append(child)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.sigwait([signal.SIGTERM])
    for child in children:
        os.kill(child, signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
