# SPDX-License-Identifier: MIT
"""Shows - what somebody who looks at 10,000 connections all the time does to the answers that clients get

The broker, its worker and the client share a core; who looks reads on another. Slices with and without take turns:
a ratio is made of two neighbours.
"""
import json
import socket
import statistics
import threading

from meters import smaps_bytes
from servers import Failed

ROWS = [
    ("shows-p99", "<=", 1.10, "p99 of answers while `show conns` loops over 10,000"),
    ("shows-p50", None, None, "the same: p50"),
    ("shows-memory", "<=", 256 * 1024, "broker memory growth by that, bytes"),
]
N_IDLE, N_CONNS, RATE, REQUESTS, ROUNDS = 10000, 32, 4000, 4000, 9


class Looker(threading.Thread):
    """`show conns json`, again and again, while `wanted` is set."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.wanted, self.over = path, threading.Event(), False
        self.idle = threading.Event()
        self.idle.set()
        self.n_answers = self.n_bytes = 0

    def run(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)
            while True:
                if not self.wanted.is_set():
                    self.idle.set()
                self.wanted.wait()
                self.idle.clear()
                if self.over:
                    return
                sock.sendall(b"show conns json\n")
                tail = b""
                while not tail.endswith(b"OK\n\n"):
                    part = sock.recv(1 << 16)
                    if not part:
                        return
                    self.n_bytes += len(part)
                    tail = (tail + part)[-4:]
                self.n_answers += 1


def client_line(client):
    line = client.stdout.readline()
    if not line.startswith("{"):
        raise Failed((line + client.stdout.read()).strip() or f"{client.args[0]} ended early")
    return json.loads(line)


def slice_of(client):
    client.stdin.write("\n")
    client.stdin.flush()
    return client_line(client)


def measure(bench):
    stage = bench.stage
    server = stage.broker(1)
    idle = stage.client("idle", N_IDLE, server.port)
    client_line(idle)
    client = stage.client("latency", N_CONNS, server.port, RATE, REQUESTS)
    looker = Looker(server.control)
    looker.start()
    slice_of(client)  # warms up
    before = smaps_bytes(server.roles["broker"])
    quiet, looked = [], []
    for _ in range(ROUNDS):
        quiet.append(slice_of(client))
        looker.wanted.set()
        looked.append(slice_of(client))
        looker.wanted.clear()
        if not looker.idle.wait(30):
            raise Failed("show conns does not end")
    after = smaps_bytes(server.roles["broker"])
    looker.over = True
    looker.wanted.set()

    def middle(found, what):
        return statistics.median(s[what] for s in found)
    bench.record("shows-p99", f"{middle(quiet, 'p99_us'):,.0f}", f"{middle(looked, 'p99_us'):,.0f}",
                 [b["p99_us"] / a["p99_us"] for a, b in zip(quiet, looked)],
                 f"us, {RATE} requests/s; {looker.n_answers} answers of "
                 f"{looker.n_bytes / max(1, looker.n_answers):,.0f} "
                 f"bytes; longest {middle(quiet, 'max_us'):,.0f} and {middle(looked, 'max_us'):,.0f}")
    bench.record("shows-p50", f"{middle(quiet, 'p50_us'):,.0f}", f"{middle(looked, 'p50_us'):,.0f}",
                 [b["p50_us"] / a["p50_us"] for a, b in zip(quiet, looked)])
    bench.record("shows-memory", "", f"{after - before:,}", [max(0, after - before)])
    client.communicate()
    idle.communicate()
    stage.stop(server)
