# SPDX-License-Identifier: MIT
"""test_events - what happened, as `events` tells it afterwards and `events -f` meanwhile"""
import json
import os
import signal
import unittest

from support import ANY_PORT, Case, ask, connect_to, eventually, helper, receive_line


class Events(Case):

    def setUp(self):
        self.broker = self.service(helper("probe"), "-r", ANY_PORT, workers=2)

    def events(self, kind=None):
        rows = self.broker.command("events json").removesuffix("OK\n\n").splitlines()
        return [e for e in map(json.loads, rows) if kind in (None, e["kind"])]

    def follow(self):
        sock = connect_to(f"unix:{self.broker.control}")
        self.addCleanup(sock.close)
        sock.sendall(b"ping;events -f last 0 json\n")  # the answer to the first comes when it follows
        self.assertEqual([receive_line(sock) for _ in range(2)], [b"OK\n", b"\n"])
        return sock

    def next_of(self, sock, kind):
        while True:
            line = receive_line(sock)
            self.assertTrue(line, "the stream ended")
            event = json.loads(line)
            if event["kind"] == kind:
                return event

    def test_a_start_is_told_in_order(self):
        kinds = [e["kind"] for e in self.events()]
        for kind, n in (("worker_started", 2), ("worker_ready", 2), ("listener_opened", 1), ("phase", 1)):
            self.assertEqual(kinds.count(kind), n, kinds)
        for number in "12":
            mine = [e["kind"] for e in self.events() if (e["worker"] or "").startswith(number)]
            self.assertEqual(mine, ["worker_started", "worker_ready"])
        ids = [e["id"] for e in self.events()]
        self.assertEqual(ids, list(range(1, len(ids) + 1)))
        text = self.broker.command("events").splitlines()
        self.assertEqual(text[0].split(), ["id", "time", "kind", "level", "worker", "conn", "listener", "text"])
        self.assertEqual(len(text) - 3, len(ids))
        self.broker.stop()

    def test_a_death_is_told_with_its_cause_and_what_it_cost(self):
        sock = self.follow()
        with self.broker.connect() as client:
            pid, number = ask(client, "pid").split()
            client.sendall(b"half\n")  # an answer that has begun: nobody else can go on with it
            self.assertEqual(client.recv(4), b"half")
            ident = int(self.broker.show("conns")[0]["id"])
            os.kill(int(pid), signal.SIGKILL)
            died = self.next_of(sock, "worker_died")
            self.assertEqual(died["worker"], f"{number}.1")
            self.assertEqual(died["level"], "warning")
            self.assertIn("killed by signal 9 (Killed)", died["text"])
            reset = self.next_of(sock, "conn_reset")
            self.assertEqual((reset["conn"], reset["listener"]), (ident, ANY_PORT))
            self.assertIn("worker_died", reset["text"])
            self.assertEqual(self.next_of(sock, "worker_started")["worker"], f"{number}.2")
            self.assertEqual(self.next_of(sock, "worker_ready")["worker"], f"{number}.2")
        self.assertIn(died["text"], self.broker.output())
        self.broker.stop()

    def test_a_reset_by_the_handler_names_its_worker(self):
        sock = self.follow()
        with self.broker.connect() as client:
            number = ask(client, "pid").split()[1]
            client.sendall(b"abort\n")
            reset = self.next_of(sock, "conn_reset")
            self.assertEqual((reset["worker"], reset["level"]), (f"{number}.1", "debug"))
            self.assertIn("by_handler", reset["text"])
        self.broker.stop()

    def test_an_end_by_request_is_said_once(self):
        self.broker.command("worker kill 1")
        eventually("a successor", lambda: [e for e in self.events("worker_ready") if e["worker"] == "1.2"])
        self.assertEqual([e["text"] for e in self.events("worker_killed")], ["worker 1.1 ended by request; killed"])
        self.assertEqual([e["text"] for e in self.events("worker_died")], ["worker 1.1 ended by request"])
        self.assertEqual(self.broker.output().count("by request"), 1)
        self.broker.stop()

    def test_a_reload_is_told_and_stopping_too(self):
        sock = self.follow()
        self.assertTrue(self.broker.command("reload").endswith("OK\n\n"))
        self.assertIn("reload: starting 1.2 2.2", self.next_of(sock, "change_begun")["text"])
        self.assertIn("1.2 2.2 at work, 1.1 2.1 let go", self.next_of(sock, "change_done")["text"])
        self.assertTrue(self.broker.command("scale 1").endswith("OK\n\n"))
        self.assertIn("scale: without 2.2", self.next_of(sock, "change_begun")["text"])
        self.broker.command("stop")
        self.assertIn("finishing", self.next_of(sock, "phase")["text"])
        self.broker.ended()


if __name__ == "__main__":
    unittest.main()
