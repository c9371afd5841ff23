# SPDX-License-Identifier: ISC
"""A wire that takes time: a relay for TCP which gives each piece on as it came, so much later, and
never two of them as one. Loopback answers within microseconds, so that a proxy on it mostly learns
what a server thinks of one octet before the next one is sent; over a network it does not.
"""
import contextlib
import queue
import select
import socket
import threading
import time


class Wire:
    """Listens on a port, and connects to PORT for each connection. Octets take DELAY_S each way."""

    def __init__(self, port, delay_s):
        self.to, self.delay_s = port, delay_s
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.sockets, self.threads = [], []
        self.start(self.accept)

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        for each in [self.socket, *self.sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for each in self.threads:
            each.join()
        for each in [self.socket, *self.sockets]:
            each.close()

    def start(self, run, *arguments):
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.socket.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.to))
                self.sockets += near, far
                for each in near, far:
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for a, b in (near, far), (far, near):
                    pieces = queue.Queue()
                    self.start(self.take, a, pieces)
                    self.start(self.give, b, pieces)

    def take(self, sock, pieces):
        """Up to the end of the stream, which is an empty piece; so is a reset."""
        octets = b"x"
        while octets:
            try:
                octets = sock.recv(1 << 20)
            except OSError:
                octets = b""
            pieces.put((time.monotonic() + self.delay_s, octets))

    def give(self, sock, pieces):
        octets = b"x"
        while octets:
            due, octets = pieces.get()
            time.sleep(max(due - time.monotonic(), 0))
            with contextlib.suppress(OSError):
                if octets:
                    sock.sendall(octets)
                else:
                    sock.shutdown(socket.SHUT_WR)


def push(peer, pieces, pause_s):
    """Sends PIECES one by one with a pause after each, as far as PEER takes them."""
    with contextlib.suppress(OSError):
        for piece in pieces:
            peer.send(piece)
            time.sleep(pause_s)


def hear(peer, seconds):
    """What PEER says until it ends, or is silent for SECONDS."""
    heard = peer.got
    peer.got = b""
    while select.select([peer.socket], [], [], seconds)[0]:
        try:
            octets = peer.socket.recv(1 << 16)
        except OSError:
            break
        if not octets:
            break
        heard += octets
    return heard
