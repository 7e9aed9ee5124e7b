# SPDX-License-Identifier: MIT
"""test_hostile - a worker that lies, beside one that does not

The first worker is hostile.c, liar.c or shifty.c, the last an honest echo with clients that check every byte.
Whatever the first one publishes, the broker kills it at worst: the other one's clients notice nothing, when the
liar's clients are gone there is nothing left of them, and at no time does the broker hold more memory than the
lanes of its workers and its ledger.

VANILLA_HOSTILE_HITS is how often each rule is broken (100; 30 with a sanitizer), VANILLA_HOSTILE_SECONDS how long
the worker lives that changes what it has published.
"""
import contextlib
import json
import os
import pathlib
import random
import re
import select
import shlex
import subprocess
import threading
import time
import unittest

from support import ANY_PORT, SANITIZED, VANILLA, Case, connect_to, example, eventually, helper, reset

SECONDS = float(os.environ.get("VANILLA_STORM_SECONDS", "0.7"))
SEED = int(os.environ.get("VANILLA_STORM_SEED", time.time_ns() % 1_000_000_007))
HITS = int(os.environ.get("VANILLA_HOSTILE_HITS", "30" if SANITIZED else "100"))
SHIFTY_SECONDS = float(os.environ.get("VANILLA_HOSTILE_SECONDS", "2"))
MIB = 1 << 20
LANE = MIB + (1 << 17)  # a segment: --lane-memory, the slots and the header
FLAGS = ("--lane-memory", "1M", "--window", "64k", "--release-after", "20ms", "--linger-timeout", "500ms",
         "--queue-timeout", "1s", "--drain-timeout", "1s")


HONEST = "tcp://127.0.0.2:0"


class Memory(threading.Thread):
    """What the broker has in memory, looked at all the time."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.status = pathlib.Path(f"/proc/{service.pid}/status")
        self.over = threading.Event()
        self.first = self.most = self.look()

    def look(self):
        rows = re.findall(r"^(Rss\w+):\s+(\d+) kB", self.status.read_text(), re.M)
        return {name: int(kib) * 1024 for name, kib in rows}

    def run(self):
        while not self.over.wait(0.02):
            now = self.look()
            self.most = {name: max(now[name], self.most[name]) for name in now}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


class Askers(threading.Thread):
    """Clients that always have a request open, whatever becomes of them."""

    def __init__(self, url, n):
        super().__init__(daemon=True)
        self.url, self.n, self.over = url, n, threading.Event()

    def ask_again(self, sock):
        with contextlib.suppress(OSError):
            if not sock or sock.recv(4096):
                sock = sock or connect_to(self.url)
                sock.send(b"?")
                return [sock]
        if sock:
            sock.close()
        return []

    def run(self):
        socks = []
        while not self.over.is_set():
            while len(socks) < self.n:
                socks += self.ask_again(None)
            for sock in select.select(socks, [], [], 0.1)[0]:
                socks.remove(sock)
                socks += self.ask_again(sock)
        for sock in socks:
            sock.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


class Hostile(Case):

    def setUp(self):
        self.seed = SEED + sum(self.id().encode())
        self.random = random.Random(self.seed)

    def victims(self, url, end):
        """Clients of the liar: they send, read, shut and go at random, and whatever they get is right."""
        socks = []
        while time.monotonic() < end:
            while len(socks) < 20:
                socks.append(connect_to(url))
                socks[-1].setblocking(False)
            sock = self.random.choice(socks)
            with contextlib.suppress(BlockingIOError):
                try:
                    self.one_thing(sock, socks)
                except OSError as error:
                    if isinstance(error, BlockingIOError):
                        raise
                    socks.remove(sock)
                    sock.close()
            select.select([], [], [], 0.0005)
        for sock in socks:
            sock.close()

    def one_thing(self, sock, socks):
        what = self.random.randrange(20)
        if what < 8:
            sock.send(b"x" * self.random.choice((1, 100, 5000, 70000)))
        elif what < 17:
            sock.recv(1 << self.random.randrange(18))
        elif what == 17:
            sock.shutdown(1)
        else:
            socks.remove(sock)
            if what == 18:
                reset(sock)
            else:
                sock.close()

    def start(self, hostile, liars=1, level="error"):
        """A service in which the first workers are hostile and the last one is honest; and its two URLs."""
        bad = shlex.join([str(a) for a in hostile])
        good = shlex.join([str(example("echo")), HONEST])
        script = f'if [ "$VANILLA_WORKER" -le {liars} ]; then exec {bad}; else exec {good}; fi'
        service = self.service("sh", "-c", script, workers=liars + 1, urls=2, flags=(*FLAGS, "--log-level", level))
        urls = {u["url"].rsplit(":", 1)[0]: u["url"] for u in service.show("listeners")}
        return service, urls["tcp://127.0.0.1"], urls["tcp://127.0.0.2"]

    def honest_clients(self, url, seconds):
        argv = [helper("storm"), url, "echo", 8, seconds, self.seed]
        process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        return process

    def assert_served(self, clients, service):
        """They have come to their end, and there was no error."""
        out, log = clients.communicate(timeout=90)
        text = f"seed {self.seed}: {out}{log}{service.output()[-8000:]}"
        self.assertEqual(clients.returncode, 0, text)
        result = json.loads(out)
        self.assertEqual(result["resets"], 0, text)
        self.assertGreater(result["answers"], 0, text)
        self.assertIsNone(service.process.poll(), text)

    def assert_nothing_left(self, service):
        def nothing_is_left():
            info = service.show("info")
            lanes = [x for x in service.show("lanes") if x["direction"] == "in"]
            honest = f"{service.workers_wanted}."
            return info["conns"] == 0 and info["accepted_total"] == info["closed_total"] and all(
                x["area_bytes"] - x["blocks_free_bytes"] <= 256 for x in lanes if x["worker"].startswith(honest))

        try:
            eventually("nothing left of the victims", nothing_is_left)
        except AssertionError as failure:
            raise AssertionError(f"seed {self.seed}: {failure}: {service.output()[-8000:]}{service.state()}"
                                 f"{service.command('show lanes')}") from None

    def assault(self, mode, leaves=True):
        service, bad, good = self.start([helper("hostile"), ANY_PORT, mode, self.seed])
        with Memory(service) as memory:
            clients = self.honest_clients(good, SECONDS)
            self.victims(bad, time.monotonic() + SECONDS)
            self.assert_served(clients, service)
            if leaves:
                self.assert_nothing_left(service)
        self.assert_memory(service, memory)
        violations = service.show("info")["violations_total"]
        service.stop()
        return violations

    def assert_memory(self, service, memory):
        """
        Shared: the lanes of all workers, once more for those that have just died, the spill and the ledger. Of its
        own: next to nothing, whatever the attack.
        """
        shared = service.workers_wanted * 2 * LANE * 2 + LANE + service.show("info")["ledger_memory_bytes"]
        self.assertLess(memory.most["RssShmem"], shared)
        if not SANITIZED:
            self.assertLess(memory.most["RssAnon"] - memory.first["RssAnon"], 4 * MIB)

    def test_plausible_lies(self):
        self.assault("plausible")

    def test_random_descriptors(self):
        self.assertGreater(self.assault("random"), 0)

    def test_cursors_that_cannot_be(self):
        self.assertGreater(self.assault("cursors"), 0)

    def test_scribbling_all_over_its_segment(self):
        self.assertGreater(self.assault("scribble"), 0)

    def test_worker_that_takes_nothing(self):
        """What nobody took can be tried again for ever: it is there as long as all who listen are like this."""
        self.assault("deaf", leaves=False)

    def test_flood_of_output(self):
        self.assault("flood")

    def attacked(self, mode, enough):
        """Clients ask a hostile worker and its successors until there was enough of it, the others notice nothing."""
        service, bad, good = self.start([helper("hostile"), ANY_PORT, mode, self.seed])
        with Memory(service) as memory:
            clients = self.honest_clients(good, SECONDS)
            with Askers(bad, 4):
                result = eventually(f"enough of {mode}", lambda: enough(service), 90)
            self.assert_served(clients, service)
            self.assert_nothing_left(service)
        self.assert_memory(service, memory)
        return service, result

    def test_segment_filled_with_random_data_at_full_speed(self):
        service, _ = self.attacked("fill", lambda s: s.show("info")["violations_total"] >= HITS)
        names = set(re.findall(r"violated the protocol: bad (\w+)", service.output()))
        self.assertGreater(len(names), 1)
        service.stop()

    def test_what_is_published_changes_all_the_time(self):
        service, bad, good = self.start([helper("shifty"), ANY_PORT, self.seed])
        with Memory(service) as memory:
            clients = self.honest_clients(good, SHIFTY_SECONDS)
            with Askers(bad, 4):
                self.victims(bad, time.monotonic() + SHIFTY_SECONDS)
            self.assert_served(clients, service)
            self.assert_nothing_left(service)
        self.assert_memory(service, memory)
        info = service.show("info")
        self.assertEqual((info["violations_total"], info["deaths_total"]), (0, 0), service.output())
        self.assertGreater(service.show("workers")[0]["requests_total"], 0)
        service.stop()

    def test_messages_of_generations_that_are_over_without_end(self):
        service, _ = self.attacked("stale", lambda s: s.show("info")["stale_messages_total"] > 100_000)
        self.assertEqual(service.show("info")["violations_total"], 0)
        service.stop()

    def test_worker_that_rings_without_end_is_heard_a_bounded_number_of_times(self):
        begin = time.monotonic()

        def heard(service):
            """Only as often as its pauses of 5 ms let it, three times each; and in the end it is killed for it."""
            for lane in service.show("lanes"):
                if lane["worker"].startswith("1.") and lane["direction"] == "out":
                    pauses = (time.monotonic() - begin) / 0.005 + 1
                    self.assertLess(lane["bells_total"], 100 + 3 * pauses)
            return service.show("info")["violations_total"]

        service, _ = self.attacked("bells", heard)
        self.assertIn("violated the protocol: bad bell", service.output())
        service.stop()

    def follow(self, service):
        """The log says a thing a hundred times and then counts; the events have each."""
        self.events = pathlib.Path(service.folder) / "events"
        with self.events.open("w") as file:
            process = subprocess.Popen([str(VANILLA), "ctl", "-s", service.control, "events", "-f", "last", "512"],
                                       stdout=file, stderr=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        eventually("somebody who follows", lambda: self.events.read_text())

    def told(self, service):
        """Who told which lie and what was to be said of it; what the broker said; by incarnation."""
        lies = re.findall(r"^(\d+\.\d+)\| lie ([\w-]+): (.*)$", service.output(), re.M)
        text = self.events.read_text()
        said = re.findall(r"worker (\d+\.\d+) violated the protocol: bad ([\w ?]+)", text)
        said += re.findall(r"worker (\d+\.\d+) (?!violated)(.*); killed", text)
        return lies, dict(said)

    def hits(self, service):
        lies, said = self.told(service)
        hits = dict.fromkeys(subprocess.check_output([helper("liar"), "list"], text=True).split(), 0)
        for worker, name, report in lies:
            if worker in said:
                self.assertIn(report, said[worker], f"{worker} told {name}")
                hits[name] += 1
        return hits

    def test_each_rule_is_broken_and_named(self):
        service, bad, good = self.start([helper("liar"), ANY_PORT, self.seed], liars=6, level="warning")
        first = connect_to(good)  # conn-of-another needs one that is somebody else's
        self.assert_echoes(first)
        self.follow(service)
        n_lies = len(subprocess.check_output([helper("liar"), "list"]).split())
        with Memory(service) as memory:
            clients = self.honest_clients(good, SECONDS)
            with Askers(bad, 8):
                def enough():
                    time.sleep(0.2)
                    return (service.show("info")["violations_total"] >= HITS * n_lies
                            and min(self.hits(service).values()) >= HITS)
                eventually(f"each rule broken {HITS} times", enough, 110)
            self.assert_served(clients, service)
            first.close()
            self.assert_nothing_left(service)
        self.assert_memory(service, memory)
        info = service.show("info")
        self.assertGreaterEqual(info["violations_total"], sum(self.hits(service).values()))
        self.assertGreaterEqual(info["stale_messages_total"], HITS)
        service.stop()
        lies, said = self.told(service)
        self.assertLessEqual({worker for worker, _, _ in lies} - set(said), {f"{n}.{i}" for n, i in self.last(lies)})
        self.assertNotRegex(service.output(), r"[\x00-\x08\x0b-\x1f\x7f]")

    def last(self, lies):
        """The last incarnation of each worker: it may have been stopped in the middle of its lie."""
        ids = [worker.split(".") for worker, _, _ in lies]
        highest = {}
        for number, incarnation in ids:
            highest[number] = max(int(incarnation), highest.get(number, 0))
        return highest.items()


if __name__ == "__main__":
    unittest.main()
