# SPDX-License-Identifier: MIT
"""test_deaths - processes that are killed, and what their clients notice of it

The killed worker always holds input that it has not acknowledged: each test makes sure of that by the
broker's own account before it kills.
"""
import contextlib
import os
import re
import signal
import socket
import threading
import time
import unittest

from support import (ANY_PORT, Case, alive, ask, connect_to, eventually, example, helper, receive_all, receive,
                     receive_line)


class Load:
    """Clients that ask one thing after another and check every answer, in a thread of their own."""

    def __init__(self, url, n):
        self.socks = [connect_to(url) for _ in range(n)]
        self.errors = []
        self.answers = 0
        self.stopping = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        turn = 0
        while not self.stopping and not self.errors:
            turn += 1
            try:
                for i, sock in enumerate(self.socks):
                    sock.sendall(b"echo %d of %d\n" % (turn, i))
                for i, sock in enumerate(self.socks):
                    wanted = b"%d of %d\n" % (turn, i)
                    got = receive(sock, len(wanted))
                    if got != wanted:
                        self.errors.append(f"connection {i}: {got!r} instead of {wanted!r}")
                    self.answers += 1
            except OSError as error:
                self.errors.append(f"{error} in turn {turn}")

    def goes_on(self):
        """Waits until some more answers have come."""
        seen = self.answers
        eventually("more answers", lambda: self.errors or self.answers > seen + 3 * len(self.socks))
        if self.errors:
            raise AssertionError(self.errors)

    def stop(self):
        self.stopping = True
        self.thread.join()
        for sock in self.socks:
            sock.close()
        if self.errors:
            raise AssertionError(self.errors)


class Deaths(Case):

    def probe(self, *flags, workers=2, options=()):
        return self.service(helper("probe"), *flags, ANY_PORT, workers=workers, flags=options)

    def load(self, url, n):
        load = Load(url, n)
        self.addCleanup(setattr, load, "stopping", True)
        return load

    def in_hand(self, service, sock):
        """The record of a client's connection once a worker holds its input un-acknowledged."""
        address = "%s:%d" % sock.getsockname()[:2]

        def held():
            return [c for c in service.show("conns") if c["peer"].removeprefix("tcp://") == address
                    and c["worker"] not in (None, "", "-") and c["delivered"] > c["acked"]]

        return eventually(f"un-acknowledged input of {address}", held)[0]

    def pid_of(self, service, worker):
        return next(w["pid"] for w in service.show("workers") if w["id"] == worker)

    def kill_holder(self, service, sock):
        """Kills the worker that holds this client's input; returns its id."""
        worker = self.in_hand(service, sock)["worker"]
        os.kill(self.pid_of(service, worker), signal.SIGKILL)
        return worker

    def all_ready(self, service, n=2):
        eventually("every worker ready again", lambda: len(service.worker_pids()) == n)

    def test_worker_killed_under_load_harms_no_resumable_connection(self):
        service = self.probe("-r", workers=3)
        load = self.load(service.url, 20)
        with service.connect() as victim:
            victim.sendall(b"work 1000\n")
            for _ in range(2):
                load.goes_on()
                worker = self.kill_holder(service, victim)
                load.goes_on()
                self.assertNotEqual(self.in_hand(service, victim)["worker"], worker)
                self.all_ready(service, 3)
            self.assertEqual(receive_line(victim), b"done\n", "the request is run again elsewhere")
        load.stop()
        service.stop()

    def test_worker_killed_under_load_harms_only_its_own_plain_connections(self):
        service = self.probe(workers=3)
        load = self.load(service.url, 1)
        with contextlib.ExitStack() as stack:
            others = {}
            while len(others) < 12:
                sock = stack.enter_context(service.connect())
                others[sock] = int(ask(sock, "pid").split()[0])
            victim = stack.enter_context(service.connect())
            victim.sendall(b"stall\n")
            worker = self.in_hand(service, victim)["worker"]
            dead = self.pid_of(service, worker)
            mine = {int(c["peer"].rsplit(":", 1)[1]) for c in service.show("conns") if c["worker"] == worker}
            load_is_hit = load.socks[0].getsockname()[1] in mine
            os.kill(dead, signal.SIGKILL)
            self.assert_closed_by_reset(victim)
            for sock, pid in others.items():
                if pid == dead:
                    self.assert_closed_by_reset(sock)
                else:
                    self.assertEqual(ask(sock, "pid").split()[0], str(pid))
            if not load_is_hit:
                load.goes_on()
                load.stop()
            with service.connect() as sock:
                self.assertEqual(ask(sock, "echo fresh"), "fresh")
        self.all_ready(service, 3)
        service.stop()

    def test_each_worker_killed_in_turn_under_load(self):
        service = self.probe("-r", workers=4)
        load = self.load(service.url, 30)
        with contextlib.ExitStack() as stack:
            for pid in service.worker_pids():
                load.goes_on()
                # Enough requests in hand that this worker has one of them whatever the dispatcher does.
                socks = [stack.enter_context(service.connect()) for _ in range(8)]
                for sock in socks:
                    sock.sendall(b"work 1500\n")
                held = {self.pid_of(service, self.in_hand(service, sock)["worker"]) for sock in socks}
                self.assertIn(pid, held, "the victim holds nothing, so its death would show nothing")
                os.kill(pid, signal.SIGKILL)
                for sock in socks:
                    self.assertEqual(receive_line(sock), b"done\n")
                self.all_ready(service, 4)
        load.stop()
        service.stop()

    def test_resumable_connection_at_rest_survives_its_worker(self):
        service = self.probe("-r")
        with service.connect() as sock:
            pids = set()
            for _ in range(4):
                pid = int(ask(sock, "pid").split()[0])
                self.assertNotIn(pid, pids)
                pids.add(pid)
                os.kill(pid, signal.SIGKILL)
                eventually("the death of it", lambda p=pid: not alive(p))
            self.assertEqual(ask(sock, "echo the same connection"), "the same connection")
        self.all_ready(service)
        service.stop()

    def test_one_worker_killed_while_it_is_the_only_one(self):
        service = self.probe("-r", workers=1)
        with service.connect() as sock:
            pid = int(ask(sock, "pid").split()[0])
            os.kill(pid, signal.SIGKILL)
            self.assertNotEqual(int(ask(sock, "pid").split()[0]), pid)
        service.stop()

    def test_all_workers_killed_at_once(self):
        service = self.probe("-r", workers=4)
        load = self.load(service.url, 20)
        with service.connect() as victim:
            victim.sendall(b"work 800\n")
            load.goes_on()
            self.in_hand(service, victim)
            for pid in service.worker_pids():
                os.kill(pid, signal.SIGKILL)
            self.assertEqual(receive_line(victim), b"done\n")
            load.goes_on()
        self.all_ready(service, 4)
        load.stop()
        service.stop()

    def test_half_an_answer_is_followed_by_a_reset(self):
        for flags in ((), ("-r",)):
            service = self.probe(*flags)
            with service.connect() as sock:
                self.assertEqual(ask(sock, "echo a whole answer"), "a whole answer")
                sock.sendall(b"half\n")
                self.assertEqual(receive(sock, 14), b"half an answer")
                self.kill_holder(service, sock)
                self.assert_closed_by_reset(sock)
            self.all_ready(service)
            service.stop()

    def test_finished_answers_arrive_before_the_reset(self):
        service = self.probe("-r")
        with service.connect() as sock:
            sock.sendall(b"echo one\necho two\nhalf\n")
            self.in_hand(service, sock)
            eventually("the half answer on its way",
                       lambda: len(sock.recv(100, socket.MSG_PEEK)) >= len("one\ntwo\nhalf an answer"))
            self.kill_holder(service, sock)
            self.assertEqual(receive(sock, 22), b"one\ntwo\nhalf an answer")
            self.assert_closed_by_reset(sock)
        service.stop()

    def test_request_cut_in_the_middle_is_taken_from_its_beginning(self):
        service = self.probe("-r")
        with service.connect() as sock:
            sock.sendall(b"echo to be ")
            self.kill_holder(service, sock)
            sock.sendall(b"continued\n")
            self.assertEqual(receive_line(sock), b"to be continued\n")
        service.stop()

    def test_held_request_is_taken_from_its_beginning(self):
        service = self.probe("-r")
        with service.connect() as sock:
            sock.sendall(b"hold one\n")
            self.kill_holder(service, sock)
            sock.sendall(b"two\n")
            self.assertEqual(receive_line(sock), b"one+two\n")
        service.stop()

    def test_acknowledged_requests_are_not_run_again(self):
        service = self.probe("-r")
        with service.connect() as sock:
            self.assertEqual(ask(sock, "print once and for all"), "printed")
            pid = int(ask(sock, "pid").split()[0])
            os.kill(pid, signal.SIGKILL)
            self.assertEqual(ask(sock, "echo next"), "next")
        service.stop()
        self.assertEqual(service.output().count("once and for all"), 1)

    def test_committed_output_survives_its_worker(self):
        service = self.probe("-r")
        rows = 3000
        with service.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            sock.sendall(b"big %d\nstall\n" % rows)
            got = receive(sock, 64 * rows)
            self.assertEqual(len(got), 64 * rows)
            self.kill_holder(service, sock)
            sock.settimeout(0.2)
            with self.assertRaises(TimeoutError):
                sock.recv(1)  # the stalled request goes on elsewhere: neither an end nor a reset
        service.stop()

    def test_closed_connection_gets_everything_though_its_worker_dies(self):
        service = self.probe("-r")
        with service.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            sock.sendall(b"big 2000\nclose goodbye\n")
            eventually("a closed connection that is still sending", lambda: any(
                c["queued"] >= 64 * 2000 + 8 for c in service.show("conns")))
            for pid in service.worker_pids():
                os.kill(pid, signal.SIGKILL)
            got = receive_all(sock)
            self.assertEqual((len(got), got[-8:]), (64 * 2000 + 8, b"goodbye\n"))
        service.stop()

    def test_worker_that_kills_itself_is_replaced(self):
        service = self.probe("-r")
        before = set(service.worker_pids())
        for signum in (signal.SIGSEGV, signal.SIGABRT):
            with service.connect() as sock:
                sock.sendall(b"die %d\n" % signum)
                eventually("another worker in its place",
                           lambda b=before: len(set(service.worker_pids()) - b) >= 1
                           and len(service.worker_pids()) == 2)
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo alive"), "alive")
        service.stop()

    def test_kill_and_start_many_times_leaves_nothing_behind(self):
        service = self.probe("-r")

        def files():
            return len(os.listdir(f"/proc/{service.pid}/fd"))

        def maps():
            return len(open(f"/proc/{service.pid}/maps").readlines())

        with service.connect() as sock:
            pid = int(ask(sock, "pid").split()[0])
            os.kill(pid, signal.SIGKILL)
            self.all_ready(service)
            before = files(), maps()
            for _ in range(20):
                pid = int(ask(sock, "pid").split()[0])
                os.kill(pid, signal.SIGKILL)
                eventually("its death", lambda p=pid: not alive(p))
            self.all_ready(service)
            eventually(f"descriptors and mappings as before: {before}",
                       lambda: files() <= before[0] and maps() <= before[1] + 4)
        service.stop()

    def test_broker_killed_takes_its_workers_along(self):
        folder = self.folder()
        port = None
        for _ in range(3):
            url = f"tcp://127.0.0.1:{port or 0}"
            service = self.service(helper("probe"), "-r", url, workers=3, folder=folder)
            port = service.url.rsplit(":", 1)[1]
            workers = service.worker_pids()
            with service.connect() as sock:
                sock.sendall(b"stall\n")
                self.in_hand(service, sock)
                os.kill(service.pid, signal.SIGKILL)
                start = time.monotonic()
                eventually("all workers gone", lambda w=workers: not any(map(alive, w)), 5)
                self.assertLess(time.monotonic() - start, 1)
            service.wait()
            self.assertEqual(service.leftovers(), [])
        # The socket file of the killed one lies there still; the next start took it over each time.
        service = self.service(helper("probe"), "-r", f"tcp://127.0.0.1:{port}", workers=3, folder=folder)
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo as if nothing had been"), "as if nothing had been")
        service.stop()

    def test_output_of_workers_carries_their_number(self):
        service = self.probe(workers=1)
        with service.connect() as sock:
            worker = ask(sock, "pid").split()[1]
            self.assertEqual(ask(sock, "print a line of mine"), "printed")
            pattern = rf"(?m)^.*\b{re.escape(worker)}\b.*a line of mine$"
            eventually("that line with its number", lambda: re.search(pattern, service.output()))
        service.stop()


if __name__ == "__main__":
    unittest.main()
