# SPDX-License-Identifier: MIT
"""test_recorder - what is known of a worker when it is dead

`show worker ID last N`: how it ended, the connections that it had, the input that it had not acknowledged, and
the last messages that it got and gave.
"""
import os
import signal
import unittest

from support import ANY_PORT, SANITIZED, Case, ask, eventually, helper


class Recorder(Case):

    def probe(self, *flags, workers=1):
        return self.service(helper("probe"), *flags, ANY_PORT, workers=workers,
                            flags=("--retries", "1", "--release-after", "1m"))

    def recording(self, service, worker, last=""):
        return service.show(f"worker {worker} {last}".rstrip())

    def gone(self, service, worker):
        return eventually(f"a recording of {worker}", lambda: self.dead(service, worker))

    def dead(self, service, worker):
        try:
            r = self.recording(service, worker, "last 100")
        except ConnectionError:
            return None
        return r if r["state"] == "gone" else None

    def test_killed_with_a_request_in_hand(self):
        service = self.probe("-r")
        with service.connect() as sock, service.connect() as silent:
            self.assertEqual(ask(silent, "echo silent"), "silent")
            self.assertEqual(ask(sock, "echo first"), "first")
            sock.sendall(b"stall \x01\xff\"\\\t\r\n")
            eventually("the request in hand", lambda: "stalling" in service.output())
            conn = next(c for c in service.show("conns") if c["delivered"] > c["acked"])
            os.kill(service.worker_pids()[0], signal.SIGKILL)
            r = self.gone(service, "1.1")
            self.assertEqual((r["id"], r["signal"], r["exit_code"], r["core_dumped"], r["ordered"]),
                             ("1.1", signal.SIGKILL, None, False, False))
            self.assertIn("killed by signal 9", r["how"])
            self.assertTrue(r["was_ready"])
            self.assertEqual(r["conns_unacked"], 1)
            held = r["conns"][0]
            self.assertEqual(held["input"], r'stall \x01\xff\"\\\t\r' + r"\n")
            self.assertEqual((held["conn"], held["unacked_bytes"]), (int(conn["id"]), 13))
            self.assertEqual(held["delivered"] - held["acked"], 13)
            self.assertTrue(all(c["unacked_bytes"] == 0 for c in r["conns"][1:]))
            self.assertEqual([c["input"] for c in r["conns"][1:]], [None] * (len(r["conns"]) - 1))
        service.stop(signal.SIGQUIT)

    def test_its_last_messages_are_there_latest_first(self):
        service = self.probe("-r")
        with service.connect() as sock:
            for i in range(5):
                self.assertEqual(ask(sock, f"echo {i}"), str(i))
            sock.sendall(b"stall\n")
            eventually("the request in hand", lambda: "stalling" in service.output())
            os.kill(service.worker_pids()[0], signal.SIGKILL)
            r = self.gone(service, "1.1")
            got = [m for m in r["messages"] if m["lane"] == "got"]
            gave = [m for m in r["messages"] if m["lane"] == "gave"]
            data = [m for m in got if m["kind"] == "DATA"]
            self.assertEqual([m["len"] for m in data], [6] + [7] * 5)
            self.assertEqual([m["pos"] for m in data], [35, 28, 21, 14, 7, 0])
            self.assertEqual(data[-1]["flags"], "open+resume")
            self.assertEqual(got[-1]["kind"], "LISTENING")
            self.assertTrue(all(m["taken"] for m in got))
            sends = [m for m in gave if m["kind"] == "SEND"]
            self.assertEqual([m["pos"] for m in sends], [8, 6, 4, 2, 0])
            self.assertEqual([m["report"] for m in sends], [35, 28, 21, 14, 7])
            self.assertEqual({m["flags"] for m in sends}, {"ack+commit"})
            self.assertEqual([m["kind"] for m in gave[-2:]], ["READY", "LISTEN"])
            self.assertEqual([m["back"] for m in gave], list(range(len(gave))))
            few = self.recording(service, "1.1", "last 2")["messages"]
            self.assertEqual(few, got[:2] + gave[:2])
        service.stop(signal.SIGQUIT)

    def test_input_that_it_had_not_taken(self):
        service = self.probe("-r")
        with service.connect() as sock, service.connect() as other:
            self.assertEqual(ask(sock, "echo first"), "first")
            pid = service.worker_pids()[0]
            os.kill(pid, signal.SIGSTOP)
            other.sendall(b"echo nobody takes this\n")
            eventually("it in the lane", lambda: any(c["delivered"] > c["acked"] for c in service.show("conns")))
            os.kill(pid, signal.SIGKILL)
            r = self.gone(service, "1.1")
            self.assertEqual(r["conns"][0]["input"], r"echo nobody takes this\n")
            untaken = [m for m in r["messages"] if not m["taken"]]
            self.assertEqual(len(untaken), r["messages_untaken"])
            self.assertIn(("DATA", 23), [(m["kind"], m["len"]) for m in untaken])
        service.stop(signal.SIGQUIT)

    def test_how_it_ended(self):
        service = self.probe("-r")
        signals = (signal.SIGUSR1, signal.SIGTERM) if SANITIZED else (signal.SIGABRT, signal.SIGTERM)
        for turn, signum in enumerate(signals, 1):
            with service.connect() as sock:
                sock.sendall(b"die %d\n" % signum)
                r = self.gone(service, f"1.{turn}")
            self.assertEqual((r["signal"], r["exit_code"], r["ordered"]), (signum, None, False))
            eventually("its successor", service.worker_pids)
        service.stop()

    def test_exit_code(self):
        folder = self.folder()
        program = f"{folder}/program"
        with open(program, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\n{helper('probe')} -r {ANY_PORT}\nexit 7\n")
        os.chmod(program, 0o755)
        service = self.service(program, workers=1)
        with service.connect() as sock:
            os.kill(int(ask(sock, "pid").split()[0]), signal.SIGKILL)
            r = self.gone(service, "1.1")
        self.assertEqual((r["signal"], r["exit_code"], r["how"]), (None, 7, "exited with 7"))
        eventually("its successor", service.worker_pids)
        service.stop()

    def test_death_that_was_ordered(self):
        service = self.probe("-r")
        service.command("worker kill 1")
        r = self.gone(service, "1.1")
        self.assertEqual((r["signal"], r["ordered"]), (signal.SIGKILL, True))
        eventually("its successor", service.worker_pids)
        service.stop()

    def test_worker_that_lives_can_be_looked_at_too(self):
        service = self.probe("-r", workers=2)
        with service.connect() as sock:
            worker = ask(sock, "pid").split()[1]
            sock.sendall(b"stall now\n")
            eventually("the request in hand", lambda: "stalling" in service.output())
            r = self.recording(service, worker)
            self.assertEqual((r["state"], r["how"], r["conns"][0]["input"]), ("alive", None, r"stall now\n"))
            text = service.command(f"show worker {worker} last 3")
            self.assertTrue(text.endswith("OK\n\n"))
            for word in ("field ", "state ", "alive", "stall now", "got ", "gave ", "DATA"):
                self.assertIn(word, text)
            self.assertNotIn("\n\n", text[:-2])
        service.stop(signal.SIGQUIT)

    def test_the_last_sixteen_are_kept(self):
        service = self.probe("-r")
        for turn in range(1, 19):
            service.command("worker kill 1")
            self.gone(service, f"1.{turn}")
            eventually("its successor", lambda t=turn: [w["id"] for w in service.show("workers")
                                                        if w["state"] == "ready"] == [f"1.{t + 1}"])
        for turn in (1, 2):
            self.assertRegex(service.command(f"show worker 1.{turn}"), "^ERR usage .*no recording")
        for turn in (3, 18):
            self.assertEqual(self.recording(service, f"1.{turn}")["id"], f"1.{turn}")
        service.stop()


if __name__ == "__main__":
    unittest.main()
