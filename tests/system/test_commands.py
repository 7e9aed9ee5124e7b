# SPDX-License-Identifier: MIT
"""test_commands - each command of the control socket, while clients are served and check every answer"""
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import unittest

from support import (ANY_PORT, PATIENCE, SANITIZED, VANILLA, Case, ask, connect_to, eventually, helper, receive_all,
                     receive_line)

N_CLIENTS = 4


class Load:
    """Clients that ask all the time; whoever gets anything but the right answer says so at the end."""

    def __init__(self, url):
        self.url = url
        self.over = threading.Event()
        self.answers = 0
        self.failures = []
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(N_CLIENTS)]

    def run(self, number):
        try:
            with connect_to(self.url) as sock:
                n = 0
                while not self.over.is_set():
                    answer = ask(sock, f"echo {number}-{n}")
                    if answer != f"{number}-{n}":
                        raise AssertionError(f"{number}-{n}: {answer!r}")
                    n += 1
                    self.answers += 1
        except (OSError, AssertionError) as error:
            self.failures.append(f"client {number}: {error!r}")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(PATIENCE)


class Commands(Case):

    def setUp(self):
        self.broker = self.service(helper("probe"), "-r", "web", workers=2, flags=("-l", f"web={ANY_PORT}"))
        self.load = Load(self.broker.url)
        self.load.__enter__()
        eventually("answers", lambda: self.load.answers > 100)

    def tearDown(self):
        self.load.__exit__()
        self.assertEqual(self.load.failures, [])
        self.broker.stop(signal.SIGQUIT)  # some would stall until the drain timeout

    def do(self, text, pattern=r"^(.*\n)*OK\n\n$"):
        answer = self.broker.command(text)
        self.assertRegex(answer, pattern)
        return answer

    def fails(self, text, code):
        self.do(text, rf"^ERR {code} \S.*\n\n$")

    def stalled(self):
        """A client whose request is in a worker's hands, and the number of its connection."""
        sock = self.broker.connect()
        self.addCleanup(sock.close)
        sock.sendall(b"stall\n")
        peer = "%s:%d" % sock.getsockname()

        def found():
            return [int(c["id"]) for c in self.broker.show("conns") if c["peer"] == peer and c["unacked_bytes"]]
        return sock, eventually("a request in hand", found)[0]

    def test_help_teaches_every_command(self):
        text = self.do("help")
        for group in ("To look", "To change the workers", "To intervene", "To end the service", "This socket"):
            self.assertRegex(text, rf"(?m)^{group}")
        lines = [line.strip() for line in text.splitlines() if line.startswith("  ")]
        names = {re.match(r"(show \w+|\w+)", line)[0] for line in lines}
        self.assertLessEqual({"show info", "show conn", "show config", "show errors", "show memory", "show channels",
                              "events", "worker", "scale", "reload", "conn", "listener", "set", "drain", "stop"}, names)
        for name in names:
            with self.subTest(name):
                more = self.do(f"help {name}")
                self.assertIn(f"for example: {name}", more.replace("help worker restart", "help"))
        self.assertIn("worker add", self.do("help worker"))
        self.assertNotIn("worker add", self.do("help worker drain"))
        for bad in ("help nonsense", "help show nonsense", "help worker nonsense", "help worker r"):
            self.fails(bad, "unknown")

    def test_examples_of_help_are_understood(self):
        examples = []
        for line in self.do("help").splitlines():
            if name := re.match(r"  (show \w+|\w+)", line):
                examples += re.findall(r"for example: (.*)", self.do(f"help {name[1]}"))
        for example in set(examples) - {"stop now", "drain", "events -f json"}:
            with self.subTest(example):
                self.do(example, r"^(.*\n)*(OK|ERR (?!unknown).*)\n\n$")
        self.assertGreater(len(set(examples)), 20)
        eventually("two workers, or four", lambda: len(self.broker.worker_pids()) >= 2)

    def test_show_conn_tells_everything_of_one(self):
        sock, ident = self.stalled()
        conn = self.broker.show(f"conn {ident}")
        self.assertEqual((conn["id"], conn["listener"], conn["state"]), (ident, "web", "attached"))
        self.assertEqual((conn["received"], conn["delivered"], conn["acked"], conn["unacked_bytes"]), (6, 6, 0, 6))
        self.assertEqual((conn["attempts"], conn["blame"], conn["killed"]), (0, 0, None))
        self.assertIn("busy", conn["flags"].split())
        os.kill(next(w["pid"] for w in self.broker.show("workers") if w["id"] == conn["worker"]), 9)
        again = eventually("another worker", lambda: (c := self.broker.show(f"conn {ident}"))["unacked_bytes"]
                           and c["worker"] and c["worker"] != conn["worker"] and c)
        self.assertEqual((again["attempts"], again["blame"], again["killed"]), (1, 1, conn["worker"]))
        text = self.do(f"show conn {ident}").splitlines()
        self.assertEqual(text[0].split(), ["field", "value"])
        self.assertEqual([line.split()[0] for line in text[1:-2]], list(conn))
        self.do(f"conn close {ident}")
        self.assertEqual(self.broker.show(f"conn {ident}")["state"], "reset")  # its worker still has the input
        self.do(f"worker kill {again['worker']}")
        eventually("its end", lambda: "ERR refused there is no conn" in self.broker.command(f"show conn {ident}"))
        for bad in ("show conn", "show conn x", "show conn 1 2", "show conn -1"):
            self.fails(bad, "usage")

    def test_conn_close_resets_and_counts(self):
        sock, ident = self.stalled()
        self.do(f"conn close {ident}")
        self.assert_closed_by_reset(sock)
        self.assertEqual(self.broker.show("info")["resets_total"]["by_operator"], 1)
        self.fails(f"conn close {ident}", "refused")
        for bad in ("conn", "conn close", "conn close x", "conn open 1", "conn close 1 2", "conn close 1x"):
            self.fails(bad, "usage")
        resets = [e for e in self.broker.show("errors") if e["error"] == "by_operator"]
        self.assertEqual([(e["kind"], e["count"]) for e in resets], [("reset", 1)])
        self.assertEqual(resets[0]["first"], resets[0]["last"])

    def test_a_disabled_listener_keeps_what_it_has(self):
        for name in ("web", ANY_PORT, self.broker.url, "1"):
            with self.subTest(name):
                self.do(f"listener disable {name}")
                self.assertEqual(self.broker.show("listeners")[0]["state"], "disabled")
                before = self.broker.show("listeners")[0]["accepted_total"]
                n = self.load.answers
                with self.broker.connect() as late:  # by the kernel
                    late.sendall(b"echo late\n")
                    eventually("others served", lambda: self.load.answers > n + 50)
                    self.do("worker restart 1")  # who comes must not open it again
                    self.assertEqual(self.broker.show("listeners")[0]["accepted_total"], before)
                    self.do(f"listener enable {name}")
                    self.assertEqual(receive_line(late), b"late\n")
                self.assertEqual(self.broker.show("listeners")[0]["state"], "open")
        kinds = [k for k in re.findall(r"listener_\w+", self.broker.command("events")) if "abled" in k]
        self.assertEqual(kinds, ["listener_disabled", "listener_enabled"] * 4)
        self.do("listener enable web")
        for bad in ("listener", "listener web", "listener close web", "listener disable nonsense",
                    "listener disable 2", "listener disable 0", "listener disable web now"):
            self.fails(bad, "usage")

    def test_show_errors_counts_distinct_ones(self):
        for i in range(3):
            os.kill(self.broker.worker_pids()[0], 9)
            eventually("its successor", lambda n=i: self.broker.show("info")["deaths_total"] == n + 1
                       and len(self.broker.worker_pids()) == 2)
        logs = [e for e in self.broker.show("errors") if e["kind"] == "log" and "signal 9" in e["error"]]
        self.assertEqual(sum(e["count"] for e in logs), 3)
        for e in logs:
            self.assertEqual(e["level"], "warning")
            self.assertLessEqual(e["first"], e["last"])
        text = self.do("show errors").splitlines()
        self.assertEqual(text[0].split(), ["kind", "level", "count", "first", "last", "error"])

    def test_show_memory(self):
        rows = self.broker.show("memory")
        whole = {r["what"]: r for r in rows if r["worker"] is None}
        self.assertEqual(set(whole), {"process", "ledger", "spill", "counters", "control_clients", "quarantine",
                                      "events"})
        self.assertGreater(whole["process"]["bytes"], 1 << 20)
        self.assertGreaterEqual(whole["control_clients"]["bytes"], 4096)
        for row in rows:
            if row["bytes"] is not None and row["limit_bytes"] is not None:
                self.assertLessEqual(row["bytes"], row["limit_bytes"], row)
        ids = {w["id"] for w in self.broker.show("workers")}
        self.assertEqual({r["worker"] for r in rows if r["what"] == "worker_process"}, ids)
        self.assertEqual({r["worker"] for r in rows if r["what"] == "lane_out"}, ids)
        pid = self.broker.show("workers")[0]["pid"]
        resident = int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) * 1024
        shown = next(r["bytes"] for r in rows if r["what"] == "worker_process")
        self.assertLess(abs(resident - shown), 1 << 22)

    def test_show_channels_is_empty_and_has_its_columns(self):
        self.assertEqual(self.broker.show("channels"), [])
        self.assertEqual(self.do("show channels").splitlines()[0].split()[:3], ["name", "kind", "state"])

    def test_workers_by_command(self):
        self.do("worker add")
        self.assertEqual([w["id"] for w in self.broker.show("workers")], ["1.1", "2.1", "3.1"])
        self.do("worker drain 2")
        self.do("worker restart 1")
        self.assertEqual([w["id"] for w in self.broker.show("workers")], ["1.2", "3.1"])
        self.do("scale 2")
        self.do("reload")
        self.assertEqual([w["id"] for w in self.broker.show("workers")], ["1.3", "3.2"])

    def test_every_answer_of_a_batch(self):
        text = self.do("ping; show info json ;set log info;nonsense; show channels")
        self.assertEqual(re.findall(r"(?m)^(OK|ERR \w+)", text), ["OK", "OK", "OK", "ERR unknown", "OK"])

    def test_another_user_is_turned_away(self):
        if os.getuid() != 0:
            self.skipTest("only root can be somebody else")
        os.chmod(os.path.dirname(self.broker.control), 0o755)
        os.chmod(self.broker.control, 0o666)  # even if somebody has opened it to all
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", VANILLA, "ctl", "-s",
                               self.broker.control, "ping"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("denied: this socket is for the user who runs the broker", done.stdout)

    def test_clients_and_lines_are_limited(self):
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(connect_to(f"unix:{self.broker.control}")) for _ in range(64)]
            for sock in socks:  # each is one that is served
                sock.sendall(b"ping\n")
                self.assertEqual(receive_line(sock), b"OK\n")
            late = stack.enter_context(connect_to(f"unix:{self.broker.control}"))
            self.assertEqual(receive_line(late), b"ERR limit 64 clients are connected already; try again later\n")
            socks[0].sendall(b"x" * 4096)
            self.assertEqual(receive_line(socks[0]), b"\n")
            self.assertEqual(receive_line(socks[0]), b"ERR limit a line has at most 4095 bytes\n")
        eventually("room again", lambda: self.broker.command("ping") == "OK\n\n")

    def test_answers_that_nobody_reads_cost_a_bounded_backlog(self):
        with connect_to(f"unix:{self.broker.control}") as sock:
            sock.settimeout(0.2)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 1 << 24:
                    sent += sock.send(b"help;" * 500 + b"\n")
            self.assertLess(sent, 1 << 24)  # nothing is read from one who does not read
            n = self.load.answers
            eventually("others served", lambda: self.load.answers > n + 50)
            memory = {r["what"]: r["bytes"] for r in self.broker.show("memory")}
            self.assertLess(memory["control_clients"], 64 << 10)

    def test_ten_thousand_connections_are_shown_in_bounded_memory(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 12_000:
            self.skipTest("10,000 connections need as many descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

        def resident():
            return next(r["bytes"] for r in self.broker.show("memory") if r["what"] == "process")
        url = self.broker.url
        with contextlib.ExitStack() as stack:
            for _ in range(10_000):
                stack.enter_context(connect_to(url))
            eventually("all accepted", lambda: self.broker.show("info")["conns"] >= 10_000)
            before, n = resident(), self.load.answers
            slow = stack.enter_context(connect_to(f"unix:{self.broker.control}"))
            slow.sendall(b"show conns json\n")  # and does not read
            for _ in range(2):
                conns = self.broker.show("conns")
                self.assertEqual(len(conns), 10_000 + N_CLIENTS)
                self.assertEqual(len({c["id"] for c in conns}), len(conns))
            self.assertEqual(len(self.broker.command("show conns").splitlines()), 10_000 + N_CLIENTS + 3)
            if not SANITIZED:
                self.assertLess(resident() - before, 1 << 20)  # three answers of megabytes, and one in the middle
            self.assertGreater(self.load.answers, n + 50)
            slow.shutdown(socket.SHUT_WR)
            self.assertTrue(receive_all(slow).endswith(b"]}\nOK\n\n"))


if __name__ == "__main__":
    unittest.main()
