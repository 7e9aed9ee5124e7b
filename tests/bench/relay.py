# SPDX-License-Identifier: MIT
"""Relay - the relay example behind the broker, beside HAProxy in TCP mode with one thread

Each relay has the measured core to itself, the clients and the server behind it are on another one, if there is one:
what is compared is how much one core relays. The sides take turns, a slice each.
"""
import json
import statistics

from servers import Failed, Server, free_port

N_CONNS = 64

ROWS = [
    ("relay64", ">=", 1.2, "relay of 64 B behind the broker over HAProxy, 64 conns, requests/s"),
    ("relay-cpu64", None, None, "CPU of the relay per request, over HAProxy's, us"),
    ("relay-bulk", ">=", 0.7, "relay in bulk, there and back on one connection, over HAProxy, MiB/s"),
]

CONFIG = """
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen relay
    bind 127.0.0.1:{port}
    server there 127.0.0.1:{there}
"""


def theirs(stage, there):
    port = free_port()
    return Server("haproxy", port, stage.haproxy(CONFIG.format(port=port, there=there), port))


def ours(stage, there):
    return stage.broker(1, program="relay", args=[f"tcp://127.0.0.1:{there}"])


def line_of(client):
    line = client.stdout.readline()
    if not line.startswith("{"):
        raise Failed((line + client.stdout.read()).strip() or f"{client.args[0]} ended early")
    return json.loads(line)


def rate(s):
    return s["requests"] * 1e9 / s["wall_ns"]


def cpu_us(s):
    return sum(s["server_ns"]) / s["requests"] / 1000


def used(s):
    return sum(s["server_ns"]) / s["wall_ns"]


def middle(found, figure):
    return statistics.median(map(figure, found))


def measure_small(bench, servers):
    options, found = bench.options, [[], []]
    client = bench.stage.client("load", "-n", N_CONNS, "-t", options.slice_ms, "-r", options.slices,
                                *[s.target() for s in servers], core=bench.stage.elsewhere())
    for _ in range(2 * options.slices):
        line = line_of(client)
        found[line["target"]].append(line)
    client.wait()
    hap, van = found
    note = (f"of its core HAProxy used {middle(hap, used):.2f}, ours {middle(van, used):.2f}: what is left was "
            "others', or waited for the clients")
    bench.record("relay64", f"{middle(hap, rate):,.0f}", f"{middle(van, rate):,.0f}",
                 [rate(o) / rate(b) for b, o in zip(hap, van)], note)
    bench.record("relay-cpu64", f"{middle(hap, cpu_us):.2f}", f"{middle(van, cpu_us):.2f}",
                 [cpu_us(o) / cpu_us(b) for b, o in zip(hap, van)])


def bulk_once(bench, server):
    client = bench.stage.client("bulk", bench.options.bulk_mib // 4, server.port, core=bench.stage.elsewhere())
    line = line_of(client)
    client.communicate()
    if not line["whole"]:
        raise Failed(f"{server.name}: what came back is not what was sent: {line}")
    return line["bytes"] * 1e9 / line["wall_ns"] / (1 << 20)


def measure_bulk(bench, servers):
    found = [[bulk_once(bench, server) for server in servers] for _ in range(bench.options.slices)]
    hap, van = zip(*found)
    bench.record("relay-bulk", f"{statistics.median(hap):,.0f}", f"{statistics.median(van):,.0f}",
                 [o / b for b, o in found],
                 f"{len(found)} times {bench.options.bulk_mib // 4} MiB, each came back whole by its checksum")


def measure(bench):
    stage = bench.stage
    server = stage.bare(stage.elsewhere())
    servers = [theirs(stage, server.port), ours(stage, server.port)]
    if bench.wanted("relay64", "relay-cpu64"):
        measure_small(bench, servers)
    if bench.wanted("relay-bulk"):
        measure_bulk(bench, servers)
    for s in (*servers, server):
        stage.stop(s)
