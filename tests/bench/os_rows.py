# SPDX-License-Identifier: MIT
"""Os - the rows of os.c: pools, threads, programs and spawned processes, beside the system's own

Rows are measured in rounds: each stands between two slices of its raw side. Many short ones, so that most of them are
not interrupted; a slice's figure is the median of some. With BENCH_GO=1 and golang-go, a buffered channel between two
goroutines has a round after each of ours, both on all processors that there are, and is judged.
"""
import os
import shutil
import statistics
import subprocess
from collections import defaultdict

from hub import end, step
from lanes import CORES
from servers import Failed

# name, sense, target, what; as in the table of the driver
ROWS = [
    ("os-pool", "<=", 1.4, "a call in a pool, there and back, eventfds between threads"),
    ("os-threads", ">=", 3, "8 B to another thread's hub, batches of 32, over a pipe's"),
    ("os-threads-go", ">=", 1, "the same on two cores, over Go's buffered channel"),
    ("os-exec", "<=", 1.1, "/bin/true until its end is known, posix_spawn + waitid"),
    ("os-spawn", "<=", 1.1, "8 B to a spawned process and back, two hubs with lanes"),
]
ROUND_MS = 10
ROUNDS_PER_SLICE = 5


def by_slice(values):
    return [statistics.median(values[i:i + ROUNDS_PER_SLICE]) for i in range(0, len(values), ROUNDS_PER_SLICE)]


def figure(ns):
    return f"{ns / 1000:.1f} us" if ns >= 10000 else f"{ns:,.0f} ns"


def measure_rows(bench):
    names = [name for name in ("pool", "threads", "exec", "spawn") if bench.wanted(f"os-{name}")]
    if not names:
        return
    client, found = bench.stage.client("os", ROUND_MS, *names), defaultdict(list)
    for _ in range(bench.options.slices * ROUNDS_PER_SLICE):
        for answer in step(client):
            found[answer["row"]].append((answer["ns"], answer["raw_ns"]))
    end(client)
    for name, pairs in found.items():
        ns, raw = (statistics.median(column) for column in zip(*pairs))
        values = [r / n if name == "threads" else n / r for n, r in pairs]
        bench.record(f"os-{name}", figure(raw), figure(ns), by_slice(values))


# Beside Go

def go_client(bench):
    """Return: the program, or a sentence that says why there is none."""
    if os.environ.get("BENCH_GO", "0") in ("", "0"):
        return None, "measured with BENCH_GO=1 alone"
    if not shutil.which("go"):
        raise Failed("BENCH_GO: golang-go is not installed")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "os.go")
    path = bench.stage.path("bench/os-go")
    done = subprocess.run(["go", "build", "-o", path, source], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False,
                          env={**os.environ, "GO111MODULE": "off", "GOFLAGS": "",
                               "GOCACHE": bench.stage.path("go-cache")})
    if done.returncode:
        raise Failed(f"go build: {done.stderr.strip()[-400:]}")
    return everywhere(bench, "os-go", ROUND_MS), None


def everywhere(bench, *argv):
    """A client that is not on the measured core alone."""
    client = bench.stage.client(*argv)
    for thread in os.listdir(f"/proc/{client.pid}/task"):
        os.sched_setaffinity(int(thread), CORES)
    return client


def measure_go(bench):
    go, why = go_client(bench)
    if not go:
        bench.record("os-threads-go", "", "", [], why)
        return
    ours, found = everywhere(bench, "os", ROUND_MS, "threads"), []
    for _ in range(bench.options.slices * ROUNDS_PER_SLICE + 1):
        found.append([answer["ns"] for client in (ours, go) for answer in step(client)])
    for client in (ours, go):
        end(client)
    del found[0]  # caches and sizes of slices are found by it
    ns, go_ns = (statistics.median(column) for column in zip(*found))
    bench.record("os-threads-go", figure(go_ns), figure(ns), by_slice([g / n for n, g in found]),
                 f"on cores {', '.join(map(str, CORES))}")


def measure(bench):
    measure_rows(bench)
    if bench.wanted("os-threads-go"):
        measure_go(bench)
