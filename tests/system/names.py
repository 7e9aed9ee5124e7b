# SPDX-License-Identifier: MIT
"""names - a name server that says what a test wants it to say, by UDP and TCP on one port of loopback

    with Names() as names:
        names.has("both.test", A=["127.0.0.1"], AAAA=["::1"])
        names.late("both.test", "AAAA", 0.4)
        ... VANILLA_DNS=names.address

A name that it was not told of does not exist. `asked` is what came, as (how, name, type).
"""
import select
import socket
import struct
import threading
import time

TYPES = {1: "A", 28: "AAAA"}
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


class Names:
    def __init__(self):
        self.udp, self.tcp = self.sockets()
        self.address = "127.0.0.1:%d" % self.udp.getsockname()[1]
        self.records = {}
        self.delays = {}
        self.codes = {}
        self.truncated = set()
        self.silent = set()
        self.asked = []
        self.pending = []  # (when, send)
        self.conns = []
        self.ends, self.wakes = socket.socketpair()
        self.thread = threading.Thread(target=self.run, daemon=True)

    @staticmethod
    def sockets():
        """Both on one port, which is free for both."""
        for _ in range(50):
            tcp = socket.create_server(("127.0.0.1", 0))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname())
                return udp, tcp
            except OSError:
                tcp.close()
                udp.close()
        raise AssertionError("no port is free for UDP and TCP")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.wakes.send(b"x")
        self.thread.join()
        for sock in [self.udp, self.tcp, self.ends, self.wakes, *self.conns]:
            sock.close()

    # What it is to say.

    def has(self, name, **addresses):
        for kind, values in addresses.items():
            self.records[name, kind] = values
        for kind in TYPES.values():
            self.records.setdefault((name, kind), [])

    def late(self, name, kind, seconds):
        self.delays[name, kind] = seconds

    def fails(self, name, code):
        self.codes[name] = code

    def truncates(self, name):
        """By UDP it says that there is more, and nothing else."""
        self.truncated.add(name)

    def ignores(self, name):
        self.silent.add(name)

    # How it says it.

    def answer(self, query, how):
        """The whole message and when it is to be sent; None: never."""
        number, _flags = struct.unpack(">HH", query[:4])
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = TYPES.get(struct.unpack(">H", query[at + 1:at + 3])[0], "?")
        question, name = query[12:at + 5], ".".join(labels).lower()
        self.asked.append((how, name, kind))
        if name in self.silent:
            return None
        known = any((name, k) in self.records for k in TYPES.values())
        code = self.codes.get(name, NOERROR if known else NXDOMAIN)
        cut = how == "udp" and name in self.truncated
        values = self.records.get((name, kind), []) if code == NOERROR and not cut else []
        rows = b""
        for value in values:
            data = socket.inet_pton(socket.AF_INET if kind == "A" else socket.AF_INET6, value)
            rows += b"\xc0\x0c" + struct.pack(">HHIH", 1 if kind == "A" else 28, 1, 60, len(data)) + data
        flags = 0x8180 | code | (0x0200 if cut else 0)
        head = struct.pack(">HHHHHH", number, flags, 1, len(values), 0, 0)
        return head + question + rows, time.monotonic() + self.delays.get((name, kind), 0)

    def take(self, query, how, send):
        found = self.answer(query, how)
        if found:
            self.pending.append((found[1], send, found[0]))

    def take_udp(self):
        query, peer = self.udp.recvfrom(4096)
        self.take(query, "udp", lambda message: self.udp.sendto(message, peer))

    def take_tcp(self, conn):
        """One query at a time comes whole: it is short, and this is loopback."""
        data = conn.recv(4096)
        if not data:
            self.conns.remove(conn)
            conn.close()
            return
        while len(data) > 2:
            size = struct.unpack(">H", data[:2])[0]
            self.take(data[2:2 + size], "tcp",
                      lambda message: conn.sendall(struct.pack(">H", len(message)) + message))
            data = data[2 + size:]

    def run(self):
        while True:
            now = time.monotonic()
            due = [p for p in self.pending if p[0] <= now]
            self.pending = [p for p in self.pending if p[0] > now]
            for _, send, message in due:
                try:
                    send(message)
                except OSError:
                    pass  # who asked is gone
            wait = min((p[0] for p in self.pending), default=now + 1) - now
            for sock in select.select([self.udp, self.tcp, self.ends, *self.conns], [], [], max(wait, 0))[0]:
                if sock is self.ends:
                    return
                if sock is self.udp:
                    self.take_udp()
                elif sock is self.tcp:
                    self.conns.append(self.tcp.accept()[0])
                else:
                    self.take_tcp(sock)
