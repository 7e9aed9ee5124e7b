# SPDX-License-Identifier: MIT
"""test_deaths - processes that are killed, and what their clients notice of it

A connection whose input a dead worker held is reset, so that its client can tell; a resumable one at rest goes
on; everybody else notices nothing. The tests make sure, by the broker's own account, that the victim holds
un-acknowledged input before they kill it.
"""
import contextlib
import os
import re
import signal
import socket
import threading
import time
import unittest

from support import (ANY_PORT, SANITIZED, Case, alive, ask, connect_to, eventually, example, helper, receive,
                     receive_all)


class Load:
    """Clients that ask one thing after another and check every answer, in a thread of their own.

    Each knows the worker that serves it; the endpoint is not resumable, so that it keeps it. Those of a worker
    that was said to be dying may be reset, and others take their place; any other error is kept.
    """

    def __init__(self, url, n):
        self.url = url
        self.dying = set()
        self.reset = set()
        self.errors = []
        self.answers = 0
        self.stopping = False
        self.socks = {}
        for _ in range(n):
            self.add()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def add(self):
        sock = connect_to(self.url)
        try:
            self.socks[sock] = int(ask(sock, "pid").split()[0])
        except (OSError, IndexError):  # it came to a worker in the moment of its death
            if not self.dying:
                raise
            self.add()

    def run(self):
        turn = 0
        while not self.stopping and not self.errors:
            turn += 1
            asked = [sock for sock in self.socks if self.attempt(sock, lambda s: s.sendall(b"echo %d\n" % turn))]
            for sock in asked:
                if sock in self.socks:
                    self.attempt(sock, lambda s: self.check(s, b"%d\n" % turn))

    def attempt(self, sock, action):
        try:
            action(sock)
            return True
        except OSError as error:
            if self.socks[sock] in self.dying:
                self.reset.add(self.socks[sock])
            else:
                self.errors.append(f"{error} on a connection of worker process {self.socks[sock]}")
            sock.close()
            self.socks = {s: pid for s, pid in self.socks.items() if s is not sock}
            self.add()
            return False

    def check(self, sock, wanted):
        got = receive(sock, len(wanted))
        if got != wanted and self.socks[sock] not in self.dying:
            self.errors.append(f"{got!r} instead of {wanted!r} from worker process {self.socks[sock]}")
        self.answers += 1

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

    def kill_at_rest(self, service, pid):
        """Kills a worker and waits until the broker has noticed: what is sent from now on never reached it."""
        os.kill(pid, signal.SIGKILL)
        eventually("its death in the books", lambda: pid not in [w["pid"] for w in service.show("workers")])

    def all_ready(self, service, n=2):
        eventually("every worker ready again", lambda: len(service.worker_pids()) == n)

    def test_each_worker_killed_in_turn_under_load_harms_no_others(self):
        service = self.probe(workers=3)
        load = self.load(service.url, 24)
        with contextlib.ExitStack() as stack:
            for pid in service.worker_pids():
                load.goes_on()
                while True:  # until one has come to the worker whose turn it is
                    victim = stack.enter_context(service.connect())
                    if ask(victim, "pid").split()[0] == str(pid):
                        break
                victim.sendall(b"stall\n")
                self.assertEqual(self.pid_of(service, self.in_hand(service, victim)["worker"]), pid)
                load.dying.add(pid)
                os.kill(pid, signal.SIGKILL)
                self.assert_closed_by_reset(victim)
                load.goes_on()
                self.all_ready(service, 3)
                with service.connect() as fresh:
                    self.assertEqual(ask(fresh, "echo fresh"), "fresh")
        load.stop()
        self.assertEqual(load.reset, load.dying, "each of the three had connections to lose")
        service.stop()

    def test_worker_killed_harms_no_resumable_connection_at_rest(self):
        service = self.probe("-r", workers=2)
        url = service.url
        with contextlib.ExitStack() as stack:
            victim = stack.enter_context(connect_to(url))
            resting = [stack.enter_context(connect_to(url)) for _ in range(40)]
            for turn in range(3):
                for i, sock in enumerate(resting):
                    self.assertEqual(ask(sock, f"echo {turn} {i}"), f"{turn} {i}")
                victim.sendall(b"half\n")
                self.assertEqual(receive(victim, 14), b"half an answer")
                worker = self.kill_holder(service, victim)
                self.assert_closed_by_reset(victim)
                eventually("its death in the books",
                           lambda w=worker: all(x["id"] != w for x in service.show("workers")))
                victim = stack.enter_context(connect_to(url))
            for i, sock in enumerate(resting):
                self.assertEqual(ask(sock, f"echo last {i}"), f"last {i}")
        self.all_ready(service)
        service.stop()

    def test_resumable_connection_at_rest_survives_its_worker(self):
        service = self.probe("-r")
        with service.connect() as sock:
            pids = set()
            for _ in range(4):
                pid = int(ask(sock, "pid").split()[0])
                self.assertNotIn(pid, pids)
                pids.add(pid)
                self.kill_at_rest(service, pid)
            self.assertEqual(ask(sock, "echo the same connection"), "the same connection")
        self.all_ready(service)
        service.stop()

    def test_connection_at_rest_outlives_the_only_worker(self):
        service = self.probe("-r", workers=1)
        with service.connect() as sock:
            pid = int(ask(sock, "pid").split()[0])
            self.kill_at_rest(service, pid)
            self.assertNotEqual(int(ask(sock, "pid").split()[0]), pid)
        service.stop()

    def test_all_workers_killed_at_once(self):
        service = self.probe("-r", workers=4)
        with contextlib.ExitStack() as stack:
            resting = [stack.enter_context(service.connect()) for _ in range(10)]
            for sock in resting:
                self.assertEqual(ask(sock, "echo before"), "before")
            victim = stack.enter_context(service.connect())
            victim.sendall(b"half\n")
            self.assertEqual(receive(victim, 14), b"half an answer")
            pids = service.worker_pids()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            self.assert_closed_by_reset(victim)
            eventually("their deaths in the books",
                       lambda: not set(pids) & {w["pid"] for w in service.show("workers")})
            for sock in resting:
                self.assertEqual(ask(sock, "echo after"), "after")
        self.all_ready(service, 4)
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

    def test_acknowledged_requests_are_not_run_again(self):
        service = self.probe("-r")
        with service.connect() as sock:
            self.assertEqual(ask(sock, "print once and for all"), "printed")
            self.kill_at_rest(service, int(ask(sock, "pid").split()[0]))
            self.assertEqual(ask(sock, "echo next"), "next")
        service.stop()
        self.assertEqual(service.output().count("once and for all"), 1)

    def test_committed_output_survives_its_worker(self):
        service = self.probe("-r")
        rows = 3000
        with service.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            sock.sendall(b"big %d\nwork 500\n" % rows)
            eventually("the second request in hand", lambda: "at work" in service.output())
            self.assertGreaterEqual(self.in_hand(service, sock)["queued"], 64 * rows)
            self.kill_holder(service, sock)
            self.assertEqual(len(receive(sock, 64 * rows)), 64 * rows)
            self.assertEqual(receive(sock, 5), b"done\n")
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

    def test_idle_worker_that_is_killed_again_and_again_is_soon_back(self):
        # Each is killed before it could serve; with the back-off of a broken program this would take two minutes.
        service = self.service(example("echo"), ANY_PORT, workers=1)

        def killed():
            for pid in service.worker_pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return service.show("info")["deaths_total"] >= 20

        eventually("20 deaths", killed)
        with service.connect() as sock:
            self.assert_echoes(sock)
        service.stop()

    def test_worker_that_kills_itself_is_replaced(self):
        service = self.probe("-r", options=("--retries", "1"))
        for signum in (signal.SIGABRT,) if SANITIZED else (signal.SIGSEGV, signal.SIGABRT):
            with service.connect() as sock:
                before = set(service.worker_pids())
                sock.sendall(b"die %d\n" % signum)
                self.assert_closed_by_reset(sock)
                eventually("another worker in its place", lambda b=before: len(service.worker_pids()) == 2
                           and len(set(service.worker_pids()) & b) == 1)
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
            self.kill_at_rest(service, int(ask(sock, "pid").split()[0]))
            self.all_ready(service)
            before = files(), maps()
            for _ in range(20):
                self.kill_at_rest(service, int(ask(sock, "pid").split()[0]))
            self.all_ready(service)
            # A control connection or a worker on its way in or out makes a difference of a few, a leak of 20.
            eventually(f"descriptors and mappings as before: {before}",
                       lambda: files() < before[0] + 10 and maps() < before[1] + 10)
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
