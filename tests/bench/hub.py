# SPDX-License-Identifier: MIT
"""Hub - the rows of hub.c: what switches, messages, timers and parked coroutines cost beside the raw switch

Rows are measured in rounds: each stands between two slices of the raw operation that it is a multiple of.
Many short rounds, so that most of them are not interrupted. With BENCH_GO=1 and golang-go, hub.go has a
round after each of ours; its figures are printed and judge nothing.
"""
import json
import os
import re
import shutil
import statistics
import subprocess
from collections import defaultdict

from meters import smaps_bytes
from servers import Failed

# name, sense, target, what; as in the table of the driver
ROWS = [
    ("hub-yield", "<=", 3.0, "yield: one coroutine to the next, raw jumps"),
    ("hub-spawn", "<=", 2.6, "spawn and finish, raw make + enter + leave"),
    ("hub-pipe", "<=", 7, "a message through a pipe, raw jumps"),
    ("hub-queue64", "<=", 0.25, "a message through a queue of 64, over one through a pipe"),
    ("hub-select2", "<=", 10, "a message by a select over 2 pipes, raw jumps"),
    ("hub-select16", "<=", 20, "a message by a select over 16 pipes, raw jumps"),
    ("hub-timer10", "<=", 10, "a timer armed and cancelled, 10 armed, raw jumps"),
    ("hub-timer10k", "<=", 10, "a timer armed and cancelled, 10,000 armed, raw jumps"),
    ("hub-timer1m", "<=", 10, "a timer armed and cancelled, 1,000,000 armed, raw jumps"),
    ("hub-timers", "<=", 1.5, "the slowest of these three over the fastest"),
    ("hub-parked", "<=", 4710, "a parked coroutine, three calls deep, resident bytes"),
    ("hub-many", ">=", 1, "parked coroutines at a time, of 1,000,000 (see below)"),
]
TIMERS = ("timer10", "timer10k", "timer1m")
PROCESSES = (("yield", "spawn", "pipe", "queue64", "select2", "select16"), *((name,) for name in TIMERS))
ROUND_MS = 2
ROUNDS_PER_SLICE = 7  # a slice's figure is their median
N_MANY, N_MANY_HEAVY = 1000000, 100000  # with light guards, without
N_GO = 100000


def step(client, line="\n"):
    """One line to the client, if there is one; its answers, up to the one that ends a round."""
    if line:
        client.stdin.write(line)
        client.stdin.flush()
    while True:
        answer = client.stdout.readline()
        if not answer.startswith("{"):
            raise Failed((answer + client.stdout.read()).strip() or f"{client.args[0]} ended early")
        answer = json.loads(answer)
        if answer.get("row", "") is None:
            return
        yield answer
        if "row" not in answer:
            return


def end(client):
    client.communicate()
    if client.returncode:
        raise Failed(f"{' '.join(client.args)} ended with status {client.returncode}")


# Go, if it is wanted and there

def go_program(bench):
    """Return: (whether it was built, why not)."""
    if os.environ.get("BENCH_GO", "0") in ("", "0"):
        return False, None
    if not shutil.which("go"):
        return False, "BENCH_GO: golang-go is not installed"
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hub.go")
    done = subprocess.run(["go", "build", "-o", bench.stage.path("bench/hub-go"), source],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          env={**os.environ, "GO111MODULE": "off", "GOFLAGS": "",
                               "GOCACHE": bench.stage.path("go-cache")})
    if done.returncode:
        raise Failed(f"go build: {done.stderr.strip()[-400:]}")
    return True, None


def go_note(go, name, bare_ns):
    if name not in go:
        return None
    ns = statistics.median(go[name])
    expire = ", none expiring" if name in TIMERS else ""
    return f"Go: {ns:,.1f} ns, {ns / bare_ns:,.1f} of the raw operation{expire}"


# Rows in rounds

def rounds(bench, with_go):
    """Return: for each row its (ns, raw ns) by round, and Go's ns."""
    ours, go = defaultdict(list), defaultdict(list)
    clients = [bench.stage.client("hub", "rows", ROUND_MS, *names) for names in PROCESSES]
    go_clients = [bench.stage.client("hub-go", "rows", ROUND_MS)] if with_go else []
    for _ in range(bench.options.slices * ROUNDS_PER_SLICE):
        for answer in (a for client in clients for a in step(client)):
            ours[answer["row"]].append((answer["ns"], answer["raw_ns"]))
        for answer in (a for client in go_clients for a in step(client)):
            go[answer["row"]].append(answer["ns"])
    for client in clients + go_clients:
        end(client)
    return ours, go


def by_slice(values):
    return [statistics.median(values[i:i + ROUNDS_PER_SLICE])
            for i in range(0, len(values), ROUNDS_PER_SLICE)]


def record_rounds(bench, ours, go):
    for name, found in ours.items():
        if name == "queue64":
            continue
        ns, raw = (statistics.median(column) for column in zip(*found))
        bench.record(f"hub-{name}", f"{raw:.2f} ns", f"{ns:.1f} ns", by_slice([n / r for n, r in found]),
                     go_note(go, name, raw))
    pipe, queue = ([ns for ns, _ in ours[name]] for name in ("pipe", "queue64"))
    bench.record("hub-queue64", f"{statistics.median(pipe):.1f} ns", f"{statistics.median(queue):.1f} ns",
                 by_slice([q / p for q, p in zip(queue, pipe)]),
                 go_note(go, "queue64", statistics.median(raw for _, raw in ours["queue64"])))
    sizes = [by_slice([ns for ns, _ in ours[name]]) for name in TIMERS]
    bench.record("hub-timers", "", "", [max(s) / min(s) for s in zip(*sizes)])


# Memory

def page_table_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmPTE:\s+(\d+)", status.read()).group(1)) * 1024


def park(bench, program, n):
    """Return: bytes per coroutine: resident, page tables; ns to make one and let it run until it waits."""
    client = bench.stage.client(program, "parked", n)
    found = []
    for line in (None, "\n"):
        answer = next(step(client, line))
        found.append((smaps_bytes(client.pid), page_table_bytes(client.pid)))
    end(client)
    (rss, tables), (rss_after, tables_after) = found
    return (rss_after - rss) / n, (tables_after - tables) / n, answer["ns"]


def has_light_guards(bench):
    client = bench.stage.client("hub", "guards")
    light = next(step(client, None))["light"]
    end(client)
    return light


def measure_parked(bench, with_go):
    light = has_light_guards(bench)
    n = N_MANY if light else N_MANY_HEAVY
    bytes_each, tables, ns = park(bench, "hub", n)
    with open("/proc/sys/vm/max_map_count") as f:
        limit = int(f.read())
    notes = []
    if with_go:
        go_bytes, go_tables, _ = park(bench, "hub-go", N_GO)
        notes.append(f"Go, {N_GO:,} goroutines: {go_bytes:,.0f} bytes, page tables {go_tables:,.0f} each")
    bench.record("hub-parked", "", f"{bytes_each:,.0f}", [bytes_each],
                 f"page tables: {tables:,.0f} bytes each; {n:,} at a time", *notes)
    bench.record("hub-many", "", f"{n:,}", [1],
                 f"vm.max_map_count is {limit:,}, the kernel has {'' if light else 'no '}light guards, so "
                 f"{n:,} were wanted; {ns:,.0f} ns each, from spawn to its wait")


def measure(bench):
    with_go, why = go_program(bench)
    if bench.wanted(*(row[0] for row in ROWS[:-2])):
        ours, go = rounds(bench, with_go)
        record_rounds(bench, ours, go)
    if bench.wanted("hub-parked", "hub-many"):
        measure_parked(bench, with_go)
    if why:
        raise Failed(why)
