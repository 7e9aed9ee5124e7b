# SPDX-License-Identifier: MIT
"""load - clients that keep lanes full, and look at every byte

Each client has lines of its own that no other one sends, some of them in flight at any time; what comes back must
be exactly those, in order. A connection may be reset, where somebody died, and is made anew; it may never end as
if all had been said, and never bring a byte that is not its own.
"""
import collections
import contextlib
import selectors
import threading

from support import connect_to

IN_FLIGHT = 8
ROW = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"  # of the probe's "big"


class Cut(Exception):
    """It ended as if all had been said."""


class Client:
    def __init__(self, name, url):
        self.name = name
        self.url = url
        self.n_resets = self.n_right = 0
        self.open()

    def open(self):
        self.sock = connect_to(self.url)
        self.sock.setblocking(False)
        self.n_sent = self.n_answered = 0
        self.wanted, self.n_wanted, self.ends = b"", 0, collections.deque()

    def exchange(self, i):
        if i % 4 == 3:  # an answer that is written in two pieces
            return b"big 2\n", 2 * ROW
        line = b"%s.%d.%s\n" % (self.name, i, b"x" * (i * 97 % 900))
        return b"echo " + line, line

    def ask(self):
        text = b""
        while self.n_sent - self.n_answered < IN_FLIGHT:
            question, answer = self.exchange(self.n_sent)
            text += question
            self.wanted += answer
            self.n_wanted += len(answer)
            self.ends.append(self.n_wanted)
            self.n_sent += 1
        if text:
            self.sock.sendall(text)  # a few kilobytes, which the kernel takes

    def hear(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise Cut(f"{self.name}: ended, with {len(self.wanted)} bytes to come")
        if not self.wanted.startswith(data):
            raise AssertionError(f"{self.name}: got {data[:60]!r} instead of {self.wanted[:60]!r}")
        self.wanted = self.wanted[len(data):]
        while self.ends and self.n_wanted - len(self.wanted) >= self.ends[0]:
            self.ends.popleft()
            self.n_answered += 1
            self.n_right += 1


class Load:
    """Clients in a thread; start(), then look at errors and n_right, then stop()."""

    def __init__(self, url, n, tag):
        self.errors = []
        self.stopping = self.forgiving = False
        self.clients = [Client(b"%s-%d" % (tag.encode(), i), url) for i in range(n)]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with selectors.DefaultSelector() as selector:
            for client in self.clients:
                self.begin(selector, client)
            while not self.stopping and not self.errors:
                for key, _ in selector.select(0.05):
                    self.serve(selector, key.data)
        for client in self.clients:
            client.sock.close()

    def begin(self, selector, client):
        selector.register(client.sock, selectors.EVENT_READ, client)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.ask()

    def serve(self, selector, client):
        try:
            client.hear()
            client.ask()
        except AssertionError as wrong:
            self.errors.append(str(wrong))
        except BlockingIOError:
            pass
        except (OSError, Cut) as failure:
            selector.unregister(client.sock)
            client.sock.close()
            client.n_resets += 1
            if self.forgiving:
                return
            if not isinstance(failure, (ConnectionResetError, BrokenPipeError)):
                self.errors.append(f"{client.name}: {failure!r}")
                return
            client.open()
            self.begin(selector, client)

    def right(self):
        """How many right answers the unluckiest client got."""
        if self.errors:
            raise AssertionError(self.errors)
        return min(client.n_right for client in self.clients)

    def forgive(self):
        """The broker dies: only wrong bytes are errors from here on."""
        self.forgiving = True

    def stop(self):
        self.stopping = True
        self.thread.join()
        if self.errors:
            raise AssertionError(self.errors)

