# SPDX-License-Identifier: MIT
"""Datagrams - the rows of datagrams.c: an echo of datagrams alone and behind the broker, beside a bare one

Both sides receive and send 64 messages a call and have UDP_GRO and UDP_SEGMENT; the slices of all take turns, on one
core, and a ratio is made of two neighbouring slices.
"""
import json
import os
import statistics

from servers import Failed, Server

# name, sense, target, what; as in the table of the driver
ROWS = [
    ("udp64", ">=", 0.80, "echo of 64 B datagrams behind the broker, window 64, datagrams/s"),
    ("udp64-alone", None, None, "the same echo without the broker"),
    ("udp64-peers", None, None, "behind the broker, 16 clients with a window of 4 each"),
    ("udp64-runs", None, None, "behind the broker, the client's 64 being one run both ways"),
]
LOADS = {"udp64": ["-w", 64], "udp64-peers": ["-n", 16, "-w", 4], "udp64-runs": ["-g", "-w", 64]}


def bare(stage):
    process = stage.start([stage.path("bench/datagrams"), "echo"])
    stage.ready(process, lambda: process.output().startswith("READY"))
    return Server("bare", int(process.output().split()[1]), process)


def alone(stage, port):
    process = stage.start([stage.path("examples/udp_echo"), f"udp://127.0.0.1:{port}"])

    def is_bound():
        with open("/proc/net/udp") as table:
            return any(row.split()[1].endswith(f":{port:04X}") for row in table)

    stage.ready(process, is_bound)
    return Server("alone", port, process)


def broker(stage, port):
    control = os.path.join(stage.dir, f"control.udp.{port}")
    process = stage.start([stage.path("vanilla"), "run", "-w", "1", "-s", control, "--",
                           stage.path("examples/udp_echo"), f"udp://127.0.0.1:{port}"])
    server = Server("broker", port, process)
    server.control = control
    return stage.broker_wait(server, 1)


def rate(s):
    return s["requests"] * 1e9 / s["wall_ns"]


def busy_note(found):
    busy = statistics.median((s["load_ns"] + sum(s["server_ns"])) / s["wall_ns"] for s in found)
    return f"something else took {100 * (1 - busy):.0f}% of the core" if busy < 0.97 else None


def slices(bench, servers, load):
    options = bench.options
    client = bench.stage.client("datagrams", "load", *load, "-t", options.slice_ms, "-r", options.slices,
                                *[server.target() for server in servers])
    found = [[] for _ in servers]
    for _ in range(options.slices * len(servers)):
        line = client.stdout.readline()
        if not line.startswith("{"):
            raise Failed((line + client.stdout.read()).strip() or "the load ended early")
        slice_ = json.loads(line)
        found[slice_["target"]].append(slice_)
    client.wait()
    return found


def record(bench, name, base, ours):
    bench.record(name, f"{statistics.median(map(rate, base)):,.0f}", f"{statistics.median(map(rate, ours)):,.0f}",
                 [rate(o) / rate(b) for b, o in zip(base, ours)], busy_note(base + ours))


def measure(bench):
    stage = bench.stage
    servers = [bare(stage), broker(stage, 17301), alone(stage, 17302)]
    for name, load in LOADS.items():
        if not bench.wanted(name, *(["udp64-alone"] if name == "udp64" else [])):
            continue
        base, ours, by_itself = slices(bench, servers, load)
        record(bench, name, base, ours)
        if name == "udp64":
            record(bench, "udp64-alone", base, by_itself)
    for server in servers:
        stage.stop(server)
