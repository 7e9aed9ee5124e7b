# SPDX-License-Identifier: MIT
"""Servers - starts what is measured, on one core, and ends it again by its pid

A Stage owns everything: a private directory for sockets and logs, the core, each process. Leaving it
(normally, by an error, by Ctrl-C) terminates what is still there, newest first: SIGTERM, and SIGKILL to
what has not gone after STOP_S. Servers are sessions of their own, so that Ctrl-C reaches the driver alone.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

STOPPERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_S = 20
STOP_S = 10
POLL_S = 0.0002


class Failed(Exception):
    """What cannot be measured, and why, in one sentence."""


class Process:
    """A child with its output in a log file. Made by posix_spawn: a fork of this interpreter would be
    the larger part of what the start rows measure."""

    def __init__(self, argv, log):
        if not os.access(argv[0], os.X_OK):
            raise Failed(f"{argv[0]} is not there: run make first")
        self.argv, self.log, self.status = argv, log, None
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
                   (os.POSIX_SPAWN_DUP2, 1, 2)]
        self.pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsid=True,
                                  setsigmask=(), setsigdef=(*STOPPERS, signal.SIGPIPE))

    def alive(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is None

    def stop(self):
        """SIGTERM, wait, and SIGKILL to one that does not go."""
        for sig, seconds in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, STOP_S)):
            if not self.alive():
                return
            os.kill(self.pid, sig)
            wait_for(lambda: not self.alive(), seconds)

    def output(self):
        with open(self.log, errors="replace") as log:
            return log.read()


class Control:
    """A connection to the control socket: a line is a command, an empty line ends its answer."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(START_S)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.lines = self.socket.makefile("r")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def show(self, what):
        self.socket.sendall(f"show {what} json\n".encode())
        answer = []
        for line in self.lines:
            if line == "\n" and answer:
                break
            answer.append(line)
        if not answer or answer[-1].split()[0] != "OK":
            raise Failed(f"show {what}: {''.join(answer).strip() or 'no answer'}")
        return json.loads("".join(answer[:-1]))


class Server:
    """A port that echoes, and the processes behind it by role."""

    def __init__(self, name, port, process):
        self.name, self.port, self.process = name, port, process
        self.control = None
        self.roles = {name: process.pid}

    def target(self):
        return f"{self.port}={','.join(str(pid) for pid in self.roles.values())}"

    def workers(self):
        """Pids of the READY workers. Refused and reset connections are for the caller to retry."""
        with Control(self.control) as control:
            return ready_pids(control)

    def n_attached(self):
        """Connections that workers have now."""
        with Control(self.control) as control:
            return sum(w["conns"] for w in control.show("workers")["workers"])


def ready_pids(control):
    return [w["pid"] for w in control.show("workers")["workers"] if w["state"] == "ready"]


def wait_for(true, seconds, poll_s=POLL_S):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(poll_s)
    return True


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def free_port():
    """Below the range from which the kernel takes the ports of clients."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Stage:
    def __init__(self, build, core):
        self.build, self.core = os.path.abspath(build), core
        self.others = os.sched_getaffinity(0) - {core} or {core}
        self.dir = tempfile.mkdtemp(prefix="vanilla-bench-")
        self.processes, self.clients, self.strays, self.n_logs = [], [], set(), 0
        os.sched_setaffinity(0, self.others)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.kill()
            client.wait()
        for process in reversed(self.processes):
            process.stop()
        for pid in self.strays:
            self.end_stray(pid)
        shutil.rmtree(self.dir, ignore_errors=True)

    def end_stray(self, pid):
        """A worker ends with its broker. One that did not is ours only if it still runs our binary."""
        try:
            if os.readlink(f"/proc/{pid}/exe").startswith(self.build):
                os.kill(pid, signal.SIGKILL)
        except OSError:
            pass

    def path(self, name, variant=""):
        """A variant is built of the same sources with something left out, in a folder of its own."""
        return os.path.join(self.build, variant, name)

    def elsewhere(self):
        """A core that is not measured, if there is one: always the same."""
        return min(self.others)

    def start(self, argv, core=None):
        """A process on the measured core, or another. A signal waits until we know the child's pid."""
        self.n_logs += 1
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPERS)
        os.sched_setaffinity(0, {self.core if core is None else core})
        try:
            process = Process(argv, os.path.join(self.dir, f"log.{self.n_logs}"))
            self.processes.append(process)
        finally:
            os.sched_setaffinity(0, self.others)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPERS)
        return process

    def client(self, name, *args, core=None):
        """A client on the measured core, or another, its stdin and stdout ours. It ends by itself if we do."""
        argv = [self.path(f"bench/{name}"), *map(str, args)]
        os.sched_setaffinity(0, {self.core if core is None else core})
        try:
            client = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, start_new_session=True)
            self.clients.append(client)
            return client
        except FileNotFoundError:
            raise Failed(f"{argv[0]} is not there: run make bench") from None
        finally:
            os.sched_setaffinity(0, self.others)

    def stop(self, server):
        server.process.stop()
        self.processes.remove(server.process)

    def ready(self, process, true):
        if not wait_for(lambda: true() or not process.alive(), START_S) or not process.alive():
            raise Failed(f"{' '.join(process.argv)} did not start: {process.output().strip()[-400:]}")

    def bare(self, core=None):
        process = self.start([self.path("bench/bare"), "0"], core)
        self.ready(process, lambda: process.output().startswith("READY"))
        return Server("bare", int(process.output().split()[1]), process)

    def haproxy(self, config, port):
        """HAProxy with this configuration, in which it listens on this port."""
        haproxy = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        if not haproxy:
            raise Failed("haproxy is not there: run scripts/deps bench")
        path = os.path.join(self.dir, f"haproxy.{port}")
        with open(path, "w") as f:
            f.write(config)
        process = self.start([haproxy, "-db", "-f", path])
        self.ready(process, lambda: answers(port))
        return process

    def alone_begin(self):
        port = free_port()
        process = self.start([self.path("examples/echo"), f"tcp://127.0.0.1:{port}"])
        return Server("alone", port, process)

    def alone_wait(self, server):
        self.ready(server.process, lambda: answers(server.port))
        return server

    def alone(self):
        return self.alone_wait(self.alone_begin())

    def broker_begin(self, n_workers, *options, variant="", program="echo", args=()):
        """The broker, not yet ready: for the rows that measure the start."""
        port = free_port()
        url = f"tcp://127.0.0.1:{port}"
        control = os.path.join(self.dir, f"control.{port}")
        process = self.start([self.path("vanilla", variant), "run", "-w", str(n_workers), "-s", control,
                              *options, "--", self.path(f"examples/{program}", variant), url, *args])
        server = Server(variant or "broker", port, process)
        server.control = control
        return server

    def broker_wait(self, server, n_workers, last_pids=()):
        """Until n_workers are READY, none of them in last_pids."""
        pids = []

        def all_ready():
            try:
                pids[:] = server.workers()
            except (OSError, Failed, ValueError):
                return False
            return len(pids) == n_workers and not set(pids) & set(last_pids)

        self.ready(server.process, all_ready)
        self.strays.update(pids)
        server.roles = {"broker": server.process.pid}
        server.roles.update({f"worker{i or ''}": pid for i, pid in enumerate(pids)})
        return server

    def broker(self, n_workers, *options, **what):
        server = self.broker_wait(self.broker_begin(n_workers, *options, **what), n_workers)
        self.ready(server.process, lambda: answers(server.port))
        return server
