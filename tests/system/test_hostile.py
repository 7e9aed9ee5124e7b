# SPDX-License-Identifier: MIT
"""test_hostile - a worker that lies, beside one that does not

The first worker is hostile.c, the second an honest echo with clients that check every byte. Whatever the first
one publishes, the broker kills it at worst: the second one's clients notice nothing, and when the liar's clients
are gone there is nothing left of them.
"""
import contextlib
import json
import os
import random
import select
import shlex
import subprocess
import time
import unittest

from support import ANY_PORT, Case, connect_to, example, eventually, helper, reset

SECONDS = float(os.environ.get("VANILLA_STORM_SECONDS", "0.7"))
SEED = int(os.environ.get("VANILLA_STORM_SEED", time.time_ns() % 1_000_000_007))
FLAGS = ("--lane-memory", "1M", "--window", "64k", "--release-after", "20ms", "--linger-timeout", "500ms",
         "--queue-timeout", "1s", "--log-level", "error")


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

    def assault(self, mode):
        liar = shlex.join([str(helper("hostile")), ANY_PORT, mode, str(self.seed)])
        honest = shlex.join([str(example("echo")), "tcp://127.0.0.2:0"])
        script = f'if [ "$VANILLA_WORKER" = 1 ]; then exec {liar}; else exec {honest}; fi'
        service = self.service("sh", "-c", script, workers=2, flags=FLAGS, urls=2)
        urls = {u["url"].rsplit(":", 1)[0]: u["url"] for u in service.show("listeners")}
        argv = [helper("storm"), urls["tcp://127.0.0.2"], "echo", 8, SECONDS, self.seed]
        honest = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(honest.kill)
        self.victims(urls["tcp://127.0.0.1"], time.monotonic() + SECONDS)
        out, log = honest.communicate(timeout=90)
        text = f"seed {self.seed}: {out}{log}{service.output()}"
        self.assertEqual(honest.returncode, 0, text)
        result = json.loads(out)
        self.assertEqual(result["resets"], 0, text)
        self.assertGreater(result["answers"], 0, text)
        self.assertIsNone(service.process.poll(), text)

        def nothing_is_left():
            info = service.show("info")
            free = [x for x in service.show("lanes") if x["direction"] == "in"]
            return info["conns"] == 0 and info["accepted_total"] == info["closed_total"] and all(
                x["area_bytes"] - x["blocks_free_bytes"] <= 256 for x in free if x["worker"].startswith("2."))

        try:
            eventually("nothing left of the victims", nothing_is_left)
        except AssertionError as failure:
            raise AssertionError(f"{failure}: {text}{service.state()}{service.command('show lanes')}") from None
        violations = service.show("info")["violations_total"]
        service.stop()
        return violations

    def test_plausible_lies(self):
        self.assault("plausible")

    def test_random_descriptors(self):
        self.assertGreater(self.assault("random"), 0)

    def test_cursors_that_cannot_be(self):
        self.assertGreater(self.assault("cursors"), 0)

    def test_scribbling_all_over_its_segment(self):
        self.assertGreater(self.assault("scribble"), 0)

    def test_worker_that_takes_nothing(self):
        self.assault("deaf")

    def test_flood_of_output(self):
        self.assault("flood")


if __name__ == "__main__":
    unittest.main()
