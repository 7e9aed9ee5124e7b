# SPDX-License-Identifier: MIT
"""test_limits - clients that misbehave, and a service that goes on

Slow clients by the thousands, bursts of connections, descriptors that run out, resets at every stage of a connection.
What was done about it is asked of the control socket. How many connections a test holds is what the descriptor limit
allows, up to 10,000; they come from several addresses, so that ports do not run out.
"""
import contextlib
import resource
import socket
import time
import unittest

from support import SANITIZED, Case, connect_to, eventually, example, helper, receive, receive_line, reset

HELD = 1000 if SANITIZED else 10_000


def many():
    """As many connections as this process, and one like it, may hold."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(HELD, hard - 512)


def pings(sock):
    sock.sendall(b"PING\r\n")
    return receive_line(sock) == b"+PONG\r\n"


class Clients(Case):
    def connections(self, service, n):
        host, port = service.url.split("?")[0].removeprefix("tcp://").split(":")
        sources = [f"127.0.1.{i}" for i in range(1, 9)]
        socks = []
        self.addCleanup(lambda: [sock.close() for sock in socks])
        for i in range(n):
            socks.append(socket.create_connection((host, int(port)), 30, (sources[i % len(sources)], 0)))
            socks[-1].setblocking(False)
        return socks

    @staticmethod
    def is_gone(sock):
        try:
            return sock.recv(4096) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Slow(Clients):
    """A byte now and then of a request that never ends (Slowloris)."""

    def drip(self, socks, until):
        """Each sends one byte after the other until it is reset; meanwhile until() is asked."""
        alive = socks
        while alive:
            for sock in alive:
                with contextlib.suppress(OSError):
                    sock.send(b"x")
            alive = [sock for sock in alive if not self.is_gone(sock)]
            until(len(alive))
            time.sleep(0.02)  # or the last few would send more than a line of kv may have

    def test_thousands_of_slow_clients_behind_the_broker(self):
        n = many()
        service = self.service(example("kv"), "tcp://127.0.0.1:0?progress=2s", workers=2)
        slow = self.connections(service, n)

        def goes_on(_):
            with connect_to(service.url) as sock:  # a newcomer, each time
                self.assertTrue(pings(sock))

        self.drip(slow, goes_on)
        self.assertEqual(service.show("info")["resets_total"]["progress_timeout"], n)
        self.assertIn("is reset: progress_timeout", service.command("events"))
        goes_on(0)
        eventually("nobody left", lambda: service.show("info")["conns"] == 0)
        service.stop()

    def test_slow_clients_alone(self):
        service = self.service(example("kv"), "tcp://127.0.0.1:0?progress=1s")
        self.drip(self.connections(service, 500), lambda _: self.assertTrue(pings(connect_to(service.url))))
        service.stop()

    def test_slow_clients_are_no_load(self):
        """More of them than depth, without any limit in time: others are served."""
        service = self.service(example("kv"), "tcp://127.0.0.1:0", workers=1, flags=["--depth", "4"])
        slow = self.connections(service, 64)
        for sock in slow:
            sock.sendall(b"PI")
        eventually("all of them with the worker", lambda: service.show("workers")[0]["busy"] == 64)
        for _ in range(20):
            with connect_to(service.url) as sock:
                self.assertTrue(pings(sock))
        for sock in slow:
            sock.settimeout(30)
            sock.sendall(b"NG\r\n")
            self.assertEqual(receive_line(sock), b"+PONG\r\n")
            sock.close()
        service.stop()


class Bursts(Clients):
    def burst(self, service):
        host, port = service.url.split("?")[0].removeprefix("tcp://").split(":")
        for _ in range(4):
            socks = []
            for _ in range(500):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex((host, int(port)))
                socks.append(sock)
            for i, sock in enumerate(socks):
                if i % 2:
                    reset(sock)
                else:
                    sock.close()
            with connect_to(service.url) as sock:
                self.assertTrue(pings(sock))

    def test_thousands_who_come_and_go(self):
        service = self.service(example("kv"), "tcp://127.0.0.1:0?backlog=64", workers=2)
        self.burst(service)
        eventually("nobody left", lambda: service.show("info")["conns"] == 0)
        service.stop()

    def test_thousands_who_come_and_go_alone(self):
        service = self.service(example("kv"), "tcp://127.0.0.1:0?backlog=64")
        self.burst(service)
        service.stop()


class Exhaustion(Clients):
    """No descriptor is left: those who wait, wait, then are refused; nothing spins; and then all is well."""

    def cpu_seconds(self, pid):
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def exhaust(self, service):
        """Clients until some are not served any more; then they are refused."""
        before = self.cpu_seconds(service.pid)
        held = self.connections(service, 200)
        served, waiting = [], []
        for sock in held:
            with contextlib.suppress(OSError):
                sock.sendall(b"PING\r\n")
        eventually("some that are refused", lambda: sum(map(self.broken, held)) > 0)
        for sock in held:
            (waiting if self.broken(sock) else served).append(sock)
        self.assertGreater(len(served), 10)
        self.assertLess(self.cpu_seconds(service.pid) - before, 2)
        for sock in held:
            sock.close()
        eventually("a newcomer that is served", lambda: self.is_served(service))

    @staticmethod
    def broken(sock):
        try:
            sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            pass
        except OSError:
            return True
        return False

    def is_served(self, service):
        try:
            with connect_to(service.url) as sock:
                return pings(sock)
        except OSError:
            return False

    @unittest.skipIf(SANITIZED, "a sanitizer has descriptors of its own")
    def test_of_a_program_alone(self):
        service = self.service(example("kv"), "tcp://127.0.0.1:0", limits={resource.RLIMIT_NOFILE: 64},
                               env={"VANILLA_QUEUE_TIMEOUT": "300ms"})
        self.exhaust(service)
        self.assertIn("no descriptor or memory is free", service.output())
        self.assertIn("connections refused: no_descriptor", service.output())
        service.stop()

    def test_of_the_broker(self):
        service = self.service(example("kv"), "tcp://127.0.0.1:0", workers=1, limits={resource.RLIMIT_NOFILE: 192},
                               flags=["--queue-timeout", "300ms"])
        self.exhaust(service)
        listener = service.show("listeners")[0]
        self.assertGreater(listener["refusals_total"]["max_conns"] + listener["refusals_total"]["no_descriptor"], 0)
        self.assertIn("cannot accept", service.output())
        service.stop()


class Resets(Clients):
    """A client that resets at each stage of a connection costs nobody anything."""

    SCRIPTS = ["until 9 0a report", "read_n 99 report", "take sleep 5 release report", "write 99 report",
               "write 2000000 report", "hold read 5 read 99 commit report", "shutdown until 9 0a", "sleep 20 report",
               "borrow 9 publish 9 report close"]

    def rounds(self, service):
        for url in service.urls_found:
            for script in self.SCRIPTS:
                for stage in range(4):
                    sock = connect_to(url)
                    if stage > 0:
                        sock.sendall(script.encode()[:None if stage > 1 else 3] + (b"\n" if stage > 1 else b""))
                    if stage == 3:
                        with contextlib.suppress(OSError):
                            sock.sendall(b"more")
                            sock.setblocking(False)
                            sock.recv(1)
                    reset(sock)
            with connect_to(url) as sock:
                sock.sendall(b"write 5 report close\n")
                self.assertEqual(len(receive(sock, 5)), 5)

    def start(self, workers):
        service = self.service(helper("calls"), "tcp://127.0.0.1:0", "-r", "tcp://127.0.0.2:0", workers=workers, urls=2)
        eventually("two URLs", lambda: service.output().count("url tcp") >= 2)
        service.urls_found = [line.split()[-1] for line in service.output().splitlines() if "url tcp" in line][:2]
        return service

    def test_alone(self):
        service = self.start(0)
        self.rounds(service)
        service.stop()

    def test_behind_the_broker(self):
        service = self.start(2)
        self.rounds(service)
        eventually("nobody left", lambda: service.show("info")["conns"] == 0)
        self.assertEqual(service.show("info")["deaths_total"], 0)
        service.stop()


if __name__ == "__main__":
    unittest.main()
