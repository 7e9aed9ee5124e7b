# SPDX-License-Identifier: MIT
"""Crowd - as many idle connections as the descriptor limit allows, and 1000 active ones beside them

Two brokers take turns on the measured core, one of them with the crowd; what a silent connection costs is printed
beside what it costs nginx and HAProxy, each of which waits there for a request that does not come.
"""
import json
import os
import resource
import shutil
import statistics

from meters import Memory
from servers import Failed, Server, answers, free_port, wait_for

N_ACTIVE = 1000
SPARE = 1000  # descriptors of other things, in the clients and in each server
N_CROWD = min(18000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - N_ACTIVE - SPARE)
N_HAPROXY = N_CROWD // 2 - 100  # it wants two descriptors for each
SETTLE_S = 20

ROWS = [
    ("crowd1000", ">=", 0.9, f"echo of 64 B, 1000 conns, beside {N_CROWD:,} idle ones over without"),
    ("crowd-memory", None, None, f"memory per connection of {N_CROWD:,} idle ones, bytes"),
]

HAPROXY = """
global
    nbthread 1
    maxconn {n}
defaults
    mode http
    timeout client 600s
frontend idle
    bind 127.0.0.1:{port}
    http-request return status 200
"""

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_rlimit_nofile {n};
events {{ worker_connections {n}; }}
http {{
    access_log off; client_header_timeout 600s; client_body_temp_path {folder}/nginx; proxy_temp_path {folder}/nginx;
    fastcgi_temp_path {folder}/nginx; uwsgi_temp_path {folder}/nginx; scgi_temp_path {folder}/nginx;
    server {{ listen 127.0.0.1:{port} backlog=4096; return 200; }}
}}
"""


def client_line(client):
    line = client.stdout.readline()
    if not line.startswith("{"):
        raise Failed((line + client.stdout.read()).strip() or f"{client.args[0]} ended early")
    return json.loads(line)


def n_sockets(pid):
    return sum(os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:") for fd in os.listdir(f"/proc/{pid}/fd"))


def crowd(stage, server, pid, n_wanted=N_CROWD):
    """Idle connections, and the growth of that process for each."""
    before, n_before = Memory(pid), n_sockets(pid)
    client = stage.client("idle", n_wanted, server.port, core=stage.elsewhere())
    client_line(client)
    wait_for(lambda: n_sockets(pid) >= n_before + n_wanted, SETTLE_S, 0.1)
    n = n_sockets(pid) - n_before
    if n < 0.9 * n_wanted:
        raise Failed(f"{server.name} took only {n} of {n_wanted} connections")
    return client, (Memory(pid).once - before.once) / n


def haproxy(stage):
    port = free_port()
    return Server("haproxy", port, stage.haproxy(HAPROXY.format(port=port, n=N_CROWD // 2), port))


def nginx(stage):
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        raise Failed("nginx is not there: run scripts/deps bench")
    port, config = free_port(), os.path.join(stage.dir, "nginx.conf")
    with open(config, "w") as f:
        f.write(NGINX.format(port=port, folder=stage.dir, n=N_CROWD + SPARE))
    process = stage.start([program, "-c", config, "-e", f"{stage.dir}/nginx.log"])
    stage.ready(process, lambda: answers(port))
    return Server("nginx", port, process)


def others_memory(stage):
    """Return: words for the note."""
    words = []
    for start in (nginx, haproxy):
        server = start(stage)
        client, per_conn = crowd(stage, server, server.process.pid, N_HAPROXY if start is haproxy else N_CROWD)
        words.append(f"{server.name} {per_conn:,.0f}")
        client.communicate()
        stage.stop(server)
    return ", ".join(words)


def measure(bench, slices, rate):
    stage = bench.stage
    if bench.wanted("crowd-memory", "crowd1000"):
        servers = [stage.broker(1), stage.broker(1)]
        client, per_conn = crowd(stage, servers[1], servers[1].roles["broker"])
        if bench.wanted("crowd1000"):
            alone, beside = slices(bench, servers, N_ACTIVE)
            bench.record("crowd1000", f"{statistics.median(map(rate, alone)):,.0f}",
                         f"{statistics.median(map(rate, beside)):,.0f}",
                         [rate(b) / rate(a) for a, b in zip(alone, beside)])
        client.communicate()
        for server in servers:
            stage.stop(server)
        bench.record("crowd-memory", "", f"{per_conn:,.0f}", [per_conn],
                     f"the broker's; {others_memory(stage)}; each beside what the kernel has")
