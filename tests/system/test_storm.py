# SPDX-License-Identifier: MIT
"""test_storm - random clients and random deaths at once, and the books must balance afterwards

storm.c is the clients; it checks every byte and knows which of its connections are at rest. Here workers are
killed beneath it, and the broker is made to run out of everything: small windows, little memory, no depth, and
connections taken back all the time. Whatever was reset must be in the broker's own account, for a reason that
was allowed; afterwards there is no connection, nobody is busy, and every block is home.

VANILLA_STORM_SECONDS makes each storm longer than the second that it takes in `make test`;
VANILLA_STORM_SEED repeats one.
"""
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import unittest

from support import ANY_PORT, Case, ask, example, eventually, helper, receive_all

SECONDS = float(os.environ.get("VANILLA_STORM_SECONDS", "0.7"))
SEED = int(os.environ.get("VANILLA_STORM_SEED", time.time_ns() % 1_000_000_007))
SCARCE = ("--depth", "2", "--window", "64k", "--lane-memory", "1M", "--release-after", "20ms")

POOR = ("--depth", "1000", "--lane-memory", "1M", "--release-after", "20ms")


class Storm(Case):

    def setUp(self):
        self.seed = SEED + sum(self.id().encode())
        self.random = random.Random(self.seed)

    def books(self, service):
        """What must be the same before and after, whatever happened in between."""
        info = service.show("info")
        return {
            "conns": info["conns"],
            "open": info["accepted_total"] - info["closed_total"],
            "workers": [(w["state"], w["conns"], w["busy"]) for w in service.show("workers")],
            "free": [lane["blocks_free_bytes"] for lane in service.show("lanes")],
        }

    def reap(self, service, stop, kills):
        while not stop.wait(self.random.uniform(0.1, 0.4)):
            ready = [w for w in service.show("workers") if w["state"] == "ready"]
            if ready:
                os.kill(self.random.choice(ready)["pid"], signal.SIGKILL)
                kills.append(time.monotonic())

    def clients(self, service, kind, conns):
        """Runs storm.c to its end; what it reports."""
        argv = [str(a) for a in (helper("storm"), service.url, kind, conns, SECONDS, self.seed)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS + 90, check=False)
        if done.returncode or not done.stdout:
            raise AssertionError(f"seed {self.seed}: {' '.join(argv)}\n{done.stdout}{done.stderr}"
                                 f"{service.output()}{service.state()}{service.command('show lanes')}")
        return json.loads(done.stdout)

    def storm(self, program, kind, workers, *flags, conns=48, deaths=True, url=ANY_PORT, args=()):
        service = self.service(program, *args, url, workers=workers,
                               flags=("--queue-timeout", "60s", "--retries", "1000", "--log-level", "error", *flags))
        before = self.books(service)
        stop, kills = threading.Event(), []
        reaper = threading.Thread(target=self.reap, args=(service, stop, kills))
        if deaths:
            reaper.start()
        try:
            result = self.clients(service, kind, conns)
        finally:
            stop.set()
            if deaths:
                reaper.join()
        text = f"seed {self.seed}: {result}, {len(kills)} deaths"
        self.assertGreater(result["answers"], 0, text)
        self.assert_accounted(service, result, kills, text)
        try:
            eventually("balanced books", lambda: self.books(service) == before)
        except AssertionError as failure:
            raise AssertionError(f"{text}: {failure}\n{before}\n{self.books(service)}\n"
                                 f"{service.output()}{service.state()}") from None
        service.stop()
        return result

    def assert_accounted(self, service, result, kills, text):
        info = service.show("info")
        resets = {k.split(".")[1]: v for k, v in flatten(info).items() if k.startswith("resets_total.")}
        died = resets.pop("worker_died")
        self.assertEqual(info["violations_total"], 0, text + service.output())
        self.assertEqual(set(resets.values()), {0}, f"{text}: {resets}")
        self.assertLessEqual(result["resets"], died, text)
        if kills:
            self.assertGreater(info["deaths_total"], 0, text)
        else:
            self.assertEqual(died, 0, text)

    def test_echo_in_peace(self):
        self.storm(example("echo"), "echo", 2, deaths=False)

    def test_lines_in_peace_with_little_of_everything(self):
        self.storm(example("upper"), "upper", 2, *SCARCE, deaths=False)

    def test_echo_in_peace_with_little_of_everything(self):
        self.storm(example("echo"), "echo", 2, *SCARCE, deaths=False, conns=128)

    def test_lines_in_peace_with_little_memory(self):
        self.storm(example("upper"), "upper", 1, *POOR, deaths=False, conns=400)

    def test_echo_with_deaths_and_little_memory(self):
        self.storm(example("echo"), "echo", 2, *POOR, conns=400)

    def test_echo_with_deaths(self):
        self.storm(example("echo"), "echo", 3)

    def test_echo_with_deaths_of_the_only_worker(self):
        self.storm(example("echo"), "echo", 1, "--release-after", "20ms")

    def test_lines_with_deaths(self):
        self.storm(example("upper"), "upper", 4, "--release-after", "20ms")

    def test_echo_with_deaths_and_little_of_everything(self):
        self.storm(example("echo"), "echo", 2, *SCARCE)

    def test_lines_with_deaths_and_little_of_everything(self):
        self.storm(example("upper"), "upper", 3, *SCARCE)

    def test_connections_that_are_not_resumable_in_peace(self):
        self.storm(helper("probe"), "probe", 2, *SCARCE, deaths=False)

    def test_unix_sockets_with_deaths(self):
        self.storm(example("echo"), "echo", 2, "--release-after", "20ms", url=f"unix:{self.folder()}/s")


class Ends(Case):

    def reasons(self, service):
        return {k: v for k, v in service.show("info")["resets_total"].items() if v}

    def test_client_that_never_takes_its_last_answer_is_reset(self):
        service = self.service(helper("probe"), "-r", ANY_PORT, workers=1, flags=("--linger-timeout", "300ms"))
        with service.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(b"big 3000\nbig 60000\nclose goodbye\n")
            sock.setblocking(False)
            eventually("an answer on its way", lambda: service.show("conns")[0]["queued"] > 64 * 3000)
            self.drip(sock, service)
            eventually("its reset", lambda: self.reasons(service) == {"linger": 1})
            sock.settimeout(5)
            self.assert_closed_by_reset(sock)
        eventually("nothing left", lambda: service.show("info")["conns"] == 0)
        service.stop()

    def drip(self, sock, service):
        """Reads until the handler has closed and only the rest is on its way."""
        while service.show("conns")[0]["queued"] < 64 * 63000 + 8:
            with contextlib.suppress(BlockingIOError):
                sock.recv(65536)

    def test_stop_serves_those_in_line_for_the_worker_that_has_them(self):
        service = self.service(helper("probe"), "-r", ANY_PORT, workers=1, flags=("--depth", "1"))
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(service.connect()) for _ in range(50)]
            for sock in socks:
                self.assertEqual(ask(sock, "echo once"), "once")
            socks[0].sendall(b"work 300\n")
            eventually("the only place taken", lambda: any(w["busy"] for w in service.show("workers")))
            for sock in socks[1:]:
                sock.shutdown(socket.SHUT_WR)
            os.kill(service.pid, signal.SIGTERM)
            self.assertEqual([receive_all(sock) for sock in socks[1:]], [b""] * 49)
            socks[0].shutdown(socket.SHUT_WR)
            service.ended()


def flatten(document, prefix=""):
    flat = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


if __name__ == "__main__":
    unittest.main()
