# SPDX-License-Identifier: MIT
"""test_control - the control socket, by `vanilla ctl`, by socat, and by clients that behave badly"""
import contextlib
import json
import os
import signal
import socket
import subprocess
import unittest

from support import (ANY_PORT, PATIENCE, VANILLA, Case, ask, connect_to, eventually, helper, receive_all,
                     receive_line)


class Control(Case):

    def setUp(self):
        self.broker = self.service(helper("probe"), "-r", ANY_PORT, workers=2, flags=("-n", "shop"))

    def ctl(self, *words, code=0):
        done = subprocess.run([VANILLA, "ctl", "-s", self.broker.control, *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def socat(self, text):
        done = subprocess.run(["socat", "-t", str(PATIENCE), "-", f"UNIX:{self.broker.control}"], input=text,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0)
        return done.stdout

    def answers(self, text):
        """Splits what came into answers: (data lines, result line)."""
        self.assertTrue(text.endswith("\n\n"), repr(text))
        return [(rows[:-1], rows[-1]) for rows in (part.split("\n") for part in text[:-2].split("\n\n"))]

    def test_who_waits_for_a_broker_that_hangs_is_told(self):
        os.kill(self.broker.pid, signal.SIGSTOP)
        with subprocess.Popen([VANILLA, "ctl", "-s", self.broker.control, "ping"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as waiting:
            self.assertIn("no answer for 3 s", waiting.stderr.readline())
            self.assertIsNone(waiting.poll())
            os.kill(self.broker.pid, signal.SIGCONT)
            self.assertEqual(waiting.communicate(timeout=PATIENCE), ("", ""))
            self.assertEqual(waiting.returncode, 0)

    def test_active_connections_are_those_that_have_something_to_do(self):
        service = self.service(helper("probe"), "-r", ANY_PORT, workers=1)
        with service.connect() as silent, service.connect() as busy:
            self.assertEqual(ask(silent, "echo done"), "done")
            busy.sendall(b"stall\n")
            eventually("the request in hand", lambda: "stalling" in service.output())
            peer = "{}:{}".format(*busy.getsockname())
            eventually("the busy one alone",
                       lambda: [c["peer"] for c in service.show("conns active limit 9")] == [peer])
            self.assertEqual(len(service.show("conns")), 2)
        service.stop(signal.SIGQUIT)

    def test_small_commands(self):
        self.assertEqual(self.answers(self.socat("ping\n"))[0][1], "OK")
        rows, result = self.answers(self.socat("version\n"))[0]
        self.assertEqual(result, "OK")
        self.assertIn("0.1.0", " ".join(rows))
        rows, result = self.answers(self.socat("help\n"))[0]
        self.assertEqual(result, "OK")
        for word in ("ping", "version", "show info", "show workers", "show listeners", "show conns", "show lanes",
                     "stop", "quit"):
            self.assertIn(word, "\n".join(rows))
        self.broker.stop()

    def test_every_show_in_text_and_json(self):
        wanted = {
            "workers": {"id", "pid", "state"},
            "listeners": {"name", "url"},
            "conns": {"id", "worker", "listener", "peer", "state"},
            "lanes": {"worker"},
        }
        with self.broker.connect() as sock:
            self.assertEqual(ask(sock, "echo here"), "here")
            for what, names in wanted.items():
                with self.subTest(what):
                    rows, result = self.answers(self.socat(f"show {what}\n"))[0]
                    self.assertEqual(result, "OK")
                    columns = rows[0].lower().split()
                    self.assertLessEqual(names, set(columns))
                    items = self.broker.show(what)
                    self.assertEqual(len(rows) - 1, len(items))
                    self.assertGreaterEqual(len(items), 1)
                    for item in items:
                        self.assertEqual({c.split(".")[0] for c in columns}, set(item))
            info = self.broker.show("info")
            self.assertEqual(info["name"], "shop")
            self.assertEqual(info["pid"], self.broker.pid)
            rows, result = self.answers(self.socat("show info\n"))[0]
            self.assertEqual(result, "OK")
            self.assertTrue(any("shop" in row for row in rows))
        self.broker.stop()

    def test_shown_values_are_true(self):
        host, port = self.broker.url.rsplit("/", 1)[1].split(":")
        self.assertEqual(host, "127.0.0.1")
        self.assertNotEqual(port, "0")
        with self.broker.connect() as one, self.broker.connect() as two:
            pid, number = ask(one, "pid").split()
            workers = {w["pid"]: w for w in self.broker.show("workers")}
            self.assertEqual(len(workers), 2)
            self.assertIn(int(pid), workers)
            self.assertEqual(workers[int(pid)]["id"].split(".")[0], number)
            self.assertEqual(ask(two, "echo 12345"), "12345")
            conns = self.broker.show("conns")
            self.assertEqual(len({c["id"] for c in conns}), 2)
            peers = {c["peer"].removeprefix("tcp://") for c in conns}
            self.assertEqual(peers, {"%s:%d" % s.getsockname() for s in (one, two)})
            second = next(c for c in conns if c["peer"].endswith(":%d" % two.getsockname()[1]))
            self.assertEqual((second["received"], second["queued"]), (len("echo 12345\n"), len("12345\n")))
        eventually("no connection", lambda: self.broker.show("conns") == [])
        self.broker.stop()

    def test_conns_can_be_narrowed(self):
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(self.broker.connect()) for _ in range(10)]
            for sock in socks:
                sock.sendall(b"stall\n")
            eventually("ten requests in hand", lambda: sum(
                c["delivered"] > c["acked"] for c in self.broker.show("conns")) == 10)
            self.assertEqual(len(self.broker.show("conns limit 3")), 3)
            by_worker = [self.broker.show(f"conns worker {w['id']}") for w in self.broker.show("workers")]
            self.assertEqual(sum(map(len, by_worker)), 10)
            name = self.broker.show("listeners")[0]["name"]
            self.assertEqual(len(self.broker.show(f"conns listener {name}")), 10)
        self.broker.stop(signal.SIGQUIT)  # they would stall until the drain timeout

    def test_batch_has_one_result_for_each_command(self):
        results = [r for _, r in self.answers(self.socat("ping; nonsense ;version;show workers json\n"))]
        self.assertEqual(len(results), 4)
        self.assertEqual([r.split()[0] for r in results], ["OK", "ERR", "OK", "OK"])
        self.broker.stop()

    def test_several_lines_on_one_connection(self):
        with connect_to(f"unix:{self.broker.control}") as sock:
            for _ in range(3):
                sock.sendall(b"ping\n")
                rows = [receive_line(sock)]
                while rows[-1] != b"\n":
                    rows.append(receive_line(sock))
                self.assertEqual(rows[-2], b"OK\n")
            sock.sendall(b"quit\n")
            receive_all(sock)
        self.broker.stop()

    def test_bad_commands_are_told_apart(self):
        for text in ("nonsense", "show", "show nonsense", "show worker 99", "ping pong", "show conns limit x",
                     "show workers xml", "worker kill 99", "stop later"):
            with self.subTest(text):
                answers = self.answers(self.socat(text + "\n"))
                self.assertEqual(len(answers), 1)
                self.assertRegex(answers[0][1], r"^ERR \S+ \S.*")
        self.broker.stop()

    def test_end_of_file_after_a_command_still_brings_the_answer(self):
        self.assertEqual(self.broker.command("ping").split("\n")[-3], "OK")
        with connect_to(f"unix:{self.broker.control}") as sock:
            sock.sendall(b"ping")  # not even a newline
            sock.shutdown(socket.SHUT_WR)
            self.assertTrue(receive_all(sock).endswith(b"OK\n\n"))
        self.broker.stop()

    def test_ctl_prints_the_data_alone(self):
        json.loads(self.ctl("--json", "show", "workers"))
        self.assertEqual(len(json.loads(self.ctl("--json", "show", "workers"))["workers"]), 2)
        self.assertEqual(len(self.ctl("show", "workers").splitlines()), 3)
        self.assertIn("0.1.0", self.ctl("version"))
        self.ctl("ping")
        self.assertIn("nonsense", self.ctl("nonsense", code=1))
        self.ctl("stop")
        self.broker.ended()

    def test_stop_is_answered_before_it_happens(self):
        self.assertTrue(self.broker.command("stop").endswith("OK\n\n"))
        self.broker.ended()

    def answered(self):
        with contextlib.suppress(ConnectionError):
            return self.broker.command("ping").endswith("OK\n\n")

    def test_bad_clients_harm_nobody(self):
        url = self.broker.url
        with contextlib.ExitStack() as stack:
            path = f"unix:{self.broker.control}"
            for text in (b"\0\xff\n\x01garbage\n" * 100, b"x" * 100_000, b"show wor", b";;;;\n", b"\n\n\n"):
                sock = stack.enter_context(connect_to(path))
                with contextlib.suppress(ConnectionError):
                    sock.sendall(text)
            silent = stack.enter_context(connect_to(path))
            silent.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                for _ in range(10_000):
                    silent.send(b"show workers json;show lanes json\n")  # and never reads
            for _ in range(200):
                try:
                    stack.enter_context(connect_to(path, timeout=1)).sendall(b"sh")
                except OSError:
                    break
            with connect_to(url) as client:
                for i in range(20):
                    self.assertEqual(ask(client, f"echo {i}"), str(i))
        eventually("an answer to a good client", self.answered)
        self.broker.stop()


if __name__ == "__main__":
    unittest.main()
