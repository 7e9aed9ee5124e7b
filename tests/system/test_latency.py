# SPDX-License-Identifier: MIT
"""test_latency - where the time of requests goes: in wait, in run or in write, each counted exactly once

What took how long is judged by what it cannot have been shorter than; a slow machine only makes it longer.
"""
import json
import os
import signal
import subprocess
import time

from support import ANY_PORT, PATIENCE, VANILLA, Case, ask, eventually, helper, receive, receive_line

BUSY_MS = 20
STAGES = ("wait", "run", "write")


class Latency(Case):

    def start(self, *flags, workers=1, args=("-r", ANY_PORT)):
        self.broker = self.service(helper("probe"), *args, workers=workers, flags=flags)
        return self.broker

    def histograms(self, of, label):
        """{stage: what `vanilla stat` says of it} of one worker or endpoint."""
        text = subprocess.run([VANILLA, "stat", "--json", "-s", self.broker.control], check=True, text=True,
                              stdout=subprocess.PIPE, timeout=PATIENCE).stdout
        named = {s["name"]: s["value"] for s in json.loads(text)["counters"] if s["labels"].get(of) == label}
        return {stage: named[f"vanilla_{of}_{stage}_seconds"] for stage in STAGES}

    def counted(self, of, label):
        found = self.histograms(of, label)
        for histogram in found.values():
            self.assertEqual(histogram["count"], sum(histogram["buckets"]))
        return {stage: histogram["count"] for stage, histogram in found.items()}

    def counted_at_endpoint(self):
        return self.counted("listener", self.broker.show("listeners")[0]["name"])

    def slow(self, sock):
        """What is kept of the requests of a client, slowest first."""
        port = sock.getsockname()[1]
        return [r for r in self.broker.show("slow") if r["peer"] == f"127.0.0.1:{port}"]

    def conn(self, sock):
        port = sock.getsockname()[1]
        return next(c for c in self.broker.show("conns") if c["peer"] == f"127.0.0.1:{port}")

    def deliver(self, sock, text):
        """Returns when the broker has given it to the worker, which does not take it."""
        sock.sendall(text)
        eventually("input that is delivered", lambda: self.conn(sock)["unacked_bytes"] == len(text))
        return time.monotonic()

    def test_who_is_busy_runs_and_who_is_behind_it_waits(self):
        service = self.start()
        with service.connect() as busy, service.connect() as behind:
            self.assertEqual([ask(busy, "echo a"), ask(behind, "echo b")], ["a", "b"])
            pid = service.worker_pids()[0]
            os.kill(pid, signal.SIGSTOP)
            self.deliver(busy, b"spin %d\n" % BUSY_MS)
            seen = self.deliver(behind, b"echo behind\n")
            self.assertGreater(self.conn(behind)["input_seconds"], 0)
            stopped = time.monotonic() - seen
            os.kill(pid, signal.SIGCONT)
            self.assertEqual([receive_line(busy), receive_line(behind)], [b"spun\n", b"behind\n"])
            eventually("both are finished", lambda: service.show("workers")[0]["requests_total"] == 4)
            shown = {}
            for name, sock in (("busy", busy), ("behind", behind)):
                shown[name] = self.slow(sock)[0]
            floor = 0.75 * BUSY_MS / 1000
            self.assertGreaterEqual(shown["busy"]["run_seconds"], floor)
            self.assertGreaterEqual(shown["behind"]["wait_seconds"], stopped + floor)
            self.assertGreaterEqual(shown["behind"]["wait_seconds"], shown["behind"]["run_seconds"])
            self.assertIsNone(self.conn(behind)["input_seconds"])
            found = self.histograms("worker", "1")
            self.assertGreaterEqual(found["run"]["sum_seconds"], floor)
            self.assertGreaterEqual(found["wait"]["sum_seconds"], stopped + floor)
        service.stop()

    def test_every_request_is_counted_once_in_each_stage(self):
        service = self.start(workers=2)
        n = 0
        for i in range(20):
            with service.connect() as sock:
                for k in range(i):
                    self.assertEqual(ask(sock, f"echo {k}"), str(k))
                sock.sendall(b"echo x\n" * 10)  # nobody waits for an answer
                self.assertEqual(receive(sock, 20), b"x\n" * 10)
                n += i + 10
        eventually("all are closed", lambda: service.show("info")["conns"] == 0)
        self.assertEqual(service.show("info")["requests_total"], n)
        for number, worker in zip("12", service.show("workers")):
            self.assertEqual(self.counted("worker", number), dict.fromkeys(STAGES, worker["requests_total"]))
        self.assertEqual(self.counted_at_endpoint(), dict.fromkeys(STAGES, n))
        service.stop()

    def test_requests_are_counted_over_deaths(self):
        service = self.start(workers=2)
        with service.connect() as sock, service.connect() as other:
            self.assertEqual(ask(sock, "echo a"), "a")
            sent = time.monotonic()
            pid = int(ask(other, "pid").split()[0])
            self.deliver(other, b"work 100\n")
            os.kill(pid, signal.SIGKILL)
            self.assertEqual(receive_line(other), b"done\n")  # by the other worker
            took = time.monotonic() - sent
            eventually("all are finished", lambda: service.show("info")["requests_total"] == 3)
            first = self.slow(other)[0]
            self.assertGreaterEqual(first["run_seconds"], 0.09)
            self.assertLessEqual(first["wait_seconds"] + first["run_seconds"], took + 1)
            self.assertEqual(self.counted_at_endpoint(), dict.fromkeys(STAGES, 3))
        service.stop()

    def test_time_in_line_is_a_part_of_wait(self):
        service = self.start("--depth", "1")
        with service.connect() as first, service.connect() as second:
            self.deliver(first, b"work 100\n")
            second.sendall(b"echo late\n")
            waiting = eventually("one in line", lambda: self.conn(second)["state"] == "waiting" and self.conn(second))
            self.assertIsNotNone(waiting["input_seconds"])
            self.assertEqual(receive_line(second), b"late\n")
            eventually("both are finished", lambda: service.show("info")["requests_total"] == 2)
            late = self.slow(second)[0]
            self.assertGreater(late["queue_seconds"], 0)
            self.assertLessEqual(late["queue_seconds"], late["wait_seconds"])
            self.assertEqual(self.slow(first)[0]["queue_seconds"], 0)
        service.stop()

    def test_an_answer_is_written_when_the_client_takes_it(self):
        service = self.start()
        n, rows, row_bytes = 100, 2000, 64
        with service.connect() as sock:
            sock.sendall(b"big %d\n" % rows * n)
            eventually("output that does not leave", lambda: self.conn(sock)["unsent_bytes"] > 0)
            eventually("a request that is finished and not written",
                       lambda: self.counted("worker", "1")["run"] > self.counted("worker", "1")["write"])
            full = time.monotonic()
            time.sleep(BUSY_MS / 1000)
            full = time.monotonic() - full
            self.assertEqual(len(receive(sock, n * rows * row_bytes)), n * rows * row_bytes)
            eventually("all are written", lambda: self.counted_at_endpoint() == dict.fromkeys(STAGES, n))
            self.assertEqual(self.counted("worker", "1"), dict.fromkeys(STAGES, n))
            self.assertEqual(service.show("info")["requests_total"], n)
            self.assertGreaterEqual(max(r["write_seconds"] for r in self.slow(sock)), full)
        service.stop()

    def test_columns_say_what_the_histograms_have(self):
        service = self.start()
        names = [f"{stage}_{q}_seconds" for stage in STAGES for q in ("p50", "p99")]
        for what in ("workers", "listeners"):
            self.assertEqual([service.show(what)[0][name] for name in names], [None] * 6)
        with service.connect() as sock:
            for _ in range(3):
                self.assertEqual(ask(sock, f"spin {BUSY_MS}"), "spun")
            eventually("all are finished", lambda: service.show("info")["requests_total"] == 3)
            for what in ("workers", "listeners"):
                row = service.show(what)[0]
                self.assertGreaterEqual(row["run_p50_seconds"], 0.75 * BUSY_MS / 1000)
                self.assertGreaterEqual(row["run_p99_seconds"], row["run_p50_seconds"])
        self.assertIn("total_seconds", service.command("show slow"))
        self.assertEqual([r["total_seconds"] for r in service.show("slow")],
                         sorted((r["total_seconds"] for r in service.show("slow")), reverse=True))
        service.stop()
