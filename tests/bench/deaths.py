# SPDX-License-Identifier: MIT
"""Deaths - what clients feel of a worker's death and of a reload, beside a proxy that loses a backend

The load is tests/chaos/load: it checks every byte and counts every connection that it loses. The other side is
HAProxy in TCP mode in front of two of the same program on Unix sockets; what is killed is started again at once by
this driver, as the broker does with its workers. Everything is on one core, and the sides take turns.
"""
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import time

from servers import Control, Failed, Server, free_port, wait_for

N_CONNS = 32
N_KILLS = 100         # of each row of single kills
KILL_EACH_S = 0.1
SLICE_S = 1.5
RELOADS = 10
ANSWER_S = 20

ROWS = [
    ("resume", None, None, "a kill to the first answer of its connection, ms"),
    ("resume-p99", None, None, "99th percentile of that, ms"),
    ("resume-busy", None, None, "the same beneath the load of 32 conns, ms"),
    ("kills-rate", None, None, "requests/s with a kill every 100 ms, over none"),
    ("kills-lost", None, None, "connections lost for each kill under that load"),
    ("reload-p99", None, None, "99th percentile of an answer during a reload, over before"),
]

CONFIG = """
global
    maxconn 4000
    nbthread 1
defaults
    mode tcp
    retries 3
    option redispatch
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    balance leastconn
    default-server check inter 100ms fastinter 20ms rise 1 fall 1 on-error mark-down observe layer4
    server a unix@{a}
    server b unix@{b}
"""


class Ours:
    """Two workers of tests/system/again behind the broker."""

    def __init__(self, stage):
        self.stage, self.port = stage, free_port()
        self.path = os.path.join(stage.dir, f"control.{self.port}")
        process = stage.start([stage.path("vanilla"), "run", "-w", "2", "-s", self.path, "--retries", "1000",
                               "--log-level", "error", "--", stage.path("system/again"), "until",
                               f"tcp://127.0.0.1:{self.port}"])
        self.server = Server("broker", self.port, process)
        stage.ready(process, lambda: len(self.pids()) == 2)

    def pids(self):
        with contextlib.suppress(OSError, Failed, ValueError):
            with Control(self.path) as control:
                return [w["pid"] for w in control.show("workers")["workers"] if w["state"] == "ready"]
        return []

    def kill_one(self):
        pids = self.pids()
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(pids), signal.SIGKILL)
        return len(pids) > 0

    def keep_up(self):
        """The broker does that."""

    def reload(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)
            sock.sendall(b"reload\n")
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while part := sock.recv(4096):
                answer += part
        if b"OK" not in answer:
            raise Failed(f"reload: {answer.decode().strip()}")

    def stop(self):
        self.stage.stop(self.server)


class Theirs:
    """HAProxy, and two of the same program, each on a Unix socket."""

    def __init__(self, stage):
        self.stage, self.port = stage, free_port()
        self.sockets = [os.path.join(stage.dir, f"{name}.{self.port}") for name in "ab"]
        self.backends = [self.begin(path) for path in self.sockets]
        stage.ready(self.backends[1], lambda: all(map(os.path.exists, self.sockets)))
        self.process = stage.haproxy(
            CONFIG.format(port=self.port, a=self.sockets[0], b=self.sockets[1]), self.port)

    def begin(self, path):
        return self.stage.start([self.stage.path("system/again"), "until", f"unix:{path}"])

    def kill_one(self):
        os.kill(random.choice(self.backends).pid, signal.SIGKILL)
        return True

    def keep_up(self):
        for i, path in enumerate(self.sockets):
            if not self.backends[i].alive():
                self.stage.processes.remove(self.backends[i])
                self.backends[i] = self.begin(path)

    def stop(self):
        for process in (self.process, *self.backends):
            process.stop()
            self.stage.processes.remove(process)


class Load:
    """Clients that ask one thing after the other; what they lost, they open again."""

    def __init__(self, stage, port):
        self.client = stage.client("../chaos/load", "-c", N_CONNS, "-z", 64, "-r", "-e", f"tcp://127.0.0.1:{port}",
                                   "again")
        self.status()

    def status(self):
        self.client.stdin.write("\n")
        self.client.stdin.flush()
        line = self.client.stdout.readline()
        while line.startswith("load: "):  # what it says of the connections that it lost
            line = self.client.stdout.readline()
        if not line.startswith("{"):
            raise Failed(line.strip() or "the load ended early")
        return json.loads(line)

    def stop(self):
        self.client.communicate(timeout=ANSWER_S)
        if self.client.returncode:
            raise Failed("the load has seen wrong bytes")


# A kill, and its connection

def ask(port, sock, request):
    """Return: the connection and its answer; a new connection when that one was lost, and how many were."""
    lost = 0
    while True:
        try:
            if not sock:
                sock = socket.create_connection(("127.0.0.1", port), ANSWER_S)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(request)
            if sock.recv(200).endswith(b"\n"):
                return sock, lost
        except ConnectionError:
            pass
        sock.close()
        sock, lost = None, lost + 1
        request = b"echo again\n"
        time.sleep(0.0005)


def kill_times(side):
    """Milliseconds from the request that kills its worker to an answer, and the connections lost."""
    sock, times, lost = None, [], 0
    for _ in range(N_KILLS):
        sock, _ = ask(side.port, sock, b"echo before\n")
        start = time.monotonic()
        sock, n = ask(side.port, sock, b"crash 1 counted\n")
        times.append((time.monotonic() - start) * 1000)
        lost += n
        while not wait_for(lambda: is_whole(side), 0.05):
            side.keep_up()
    sock.close()
    return sorted(times), lost


def is_whole(side):
    side.keep_up()
    return len(side.pids()) == 2 if isinstance(side, Ours) else all(b.alive() for b in side.backends)


def p99(values):
    return values[min(len(values) - 1, int(0.99 * len(values)))]


def measure_resume(bench, ours, theirs):
    mine, lost = kill_times(ours)
    other, their_lost = kill_times(theirs)
    note = (f"bare is HAProxy, until another connection has its answer: {their_lost} were lost in {N_KILLS} kills, "
            f"those that were opened too early among them; {lost} of ours were")
    bench.record("resume", f"{statistics.median(other):.2f}", f"{statistics.median(mine):.2f}", mine, note)
    bench.record("resume-p99", f"{p99(other):.2f}", f"{p99(mine):.2f}", [p99(mine)])
    load = Load(bench.stage, ours.port)
    mine, _ = kill_times(ours)
    load.stop()
    load = Load(bench.stage, theirs.port)
    other, _ = kill_times(theirs)
    load.stop()
    bench.record("resume-busy", f"{statistics.median(other):.2f}", f"{statistics.median(mine):.2f}", mine,
                 f"99th percentile {p99(mine):.2f}, of HAProxy's {p99(other):.2f}")


# A kill every so often

def rate(load, side, kills):
    """Return: requests per second, kills, connections lost."""
    before, n, end = load.status(), 0, time.monotonic() + SLICE_S
    while time.monotonic() < end:
        if kills:
            n += side.kill_one()
        until = time.monotonic() + KILL_EACH_S
        while time.monotonic() < until:
            side.keep_up()
            time.sleep(0.005)
    after = load.status()
    return ((after["answers"] - before["answers"]) * 1e9 / (after["ns"] - before["ns"]), n,
            after["resets"] - before["resets"])


def rates(bench, side):
    """Return: for each round the rate with kills over that without; all kills, all losses; the rates."""
    load = Load(bench.stage, side.port)
    rounds = [(rate(load, side, False), rate(load, side, True)) for _ in range(bench.options.slices)]
    load.stop()
    with_kills = [beneath for _, beneath in rounds]
    return ([beneath[0] / calm[0] for calm, beneath in rounds], sum(r[1] for r in with_kills),
            sum(r[2] for r in with_kills), statistics.median(r[0] for r in with_kills))


def measure_rate(bench, ours, theirs):
    mine, n, lost, per_s = rates(bench, ours)
    other, their_n, their_lost, their_per_s = rates(bench, theirs)
    bench.record("kills-rate", f"{statistics.median(other):.3f}", f"{statistics.median(mine):.3f}", mine,
                 f"bare is HAProxy; {their_per_s:,.0f} and {per_s:,.0f} requests/s with {their_n} and {n} kills")
    bench.record("kills-lost", f"{their_lost / their_n:.2f}", f"{lost / n:.2f}", [lost / n],
                 f"{their_lost} of HAProxy's, {lost} of ours")


# A reload

def measure_reload(bench, ours):
    load, values, during = Load(bench.stage, ours.port), [], []
    for _ in range(RELOADS):
        load.status()
        time.sleep(0.5)
        before = load.status()["p99_us"]
        ours.reload()
        during.append(load.status()["p99_us"])
        values.append(during[-1] / before)
    lost = load.status()["resets"]
    load.stop()
    bench.record("reload-p99", f"{statistics.median(d / v for d, v in zip(during, values)):.0f} us",
                 f"{statistics.median(during):.0f} us", values,
                 f"bare is before the reload; {RELOADS} reloads, {lost} connections lost")


def measure(bench):
    ours = Ours(bench.stage)
    try:
        if bench.wanted("reload-p99"):
            measure_reload(bench, ours)
        if not bench.wanted(*[name for name, *_ in ROWS if name != "reload-p99"]):
            return
        theirs = Theirs(bench.stage)
        if bench.wanted("resume", "resume-p99", "resume-busy"):
            measure_resume(bench, ours, theirs)
        if bench.wanted("kills-rate", "kills-lost"):
            measure_rate(bench, ours, theirs)
        theirs.stop()
    finally:
        ours.stop()
