# SPDX-License-Identifier: MIT
"""test_options - each option of an endpoint by what it does, alone and behind the broker

The service is calls.c: the first line of a client is its script. What the kernel does (nodelay, dscp and others) is
asked of it in the unit test of URLs; here is what can be told from outside. Clients have addresses of their own,
127.0.0.x.
"""
import contextlib
import ipaddress
import os
import pathlib
import re
import signal
import socket
import stat
import struct
import time
import unittest

from support import Case, connect_to, eventually, helper, receive, receive_all, receive_line

ECONNRESET, ESTALE = -104, -116
HELLO = b"write 5 report close\n"


def address_of(url):
    host, port = re.fullmatch(r"tcp://\[?([^\]/]*?)\]?:(\d+)", url).groups()
    return host, int(port)


class Suite:
    workers = 0

    def start(self, url, *flags, resumable=False, env=None):
        """A service with one endpoint; its bound URL is service.at."""
        env = {"VANILLA_QUEUE_TIMEOUT": "300ms", **(env or {})}
        service = self.service(helper("calls"), *(["-r"] if resumable else []), url, workers=self.workers,
                               flags=flags if self.workers else (), env=env, ready=False)
        service.at = eventually("a bound address", lambda: re.search(
            rf"url {re.escape(url)} (\S+)$", service.output(), re.M))[1]
        return service

    def client(self, service, source=None, to=None):
        host, port = to or address_of(service.at)
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1"
        sock = socket.create_connection((host, port), 30, (source, 0) if source else None)
        self.addCleanup(sock.close)
        return sock

    def is_served(self, sock=None, service=None, source=None):
        """Does a handler answer, or is it refused by a reset?"""
        try:
            sock = sock or self.client(service, source)
            sock.sendall(HELLO)
            return len(receive(sock, 5)) == 5
        except (ConnectionResetError, BrokenPipeError):
            return False

    def comes_in(self, service, source):
        return self.is_served(None, service, source)

    def assert_served(self, sock):
        self.assertTrue(self.is_served(sock))

    def assert_reset(self, sock):
        with self.assertRaises(ConnectionResetError):
            while sock.recv(4096):
                pass

    def refused(self, service, reason, n):
        """The service says that it refused n, and why."""
        if self.workers:
            eventually(f"{n} refused: {reason}", lambda: self.refusals(service)[reason] == n)
        else:
            eventually(f"refused: {reason}", lambda: re.search(rf"refused: .*{reason} \d", service.output()))

    @staticmethod
    def refusals(service):
        return service.show("listeners")[0]["refusals_total"]

    def resets(self, service, reason, at_least=1):
        if self.workers:
            eventually(f"reset: {reason}", lambda: service.show("info")["resets_total"][reason] >= at_least)

    def test_backlog_is_how_many_wait(self):
        service = self.start("tcp://127.0.0.1:0?backlog=3")
        os.kill(service.pid, signal.SIGSTOP)
        try:
            clients = [socket.socket() for _ in range(8)]
            for sock in clients:
                self.addCleanup(sock.close)
                sock.setblocking(False)
                sock.connect_ex(address_of(service.at))
            eventually("four connections", lambda: self.connected(clients) == 4)
        finally:
            os.kill(service.pid, signal.SIGCONT)
        eventually("all connected", lambda: self.connected(clients) == 8)

    @staticmethod
    def connected(clients):
        n = 0
        for sock in clients:
            with contextlib.suppress(OSError):
                sock.getpeername()
                n += 1
        return n

    def test_keepalive_probes_every_connection(self):
        service = self.start("tcp://127.0.0.1:0?keepalive=60s")
        self.client(service)
        local = f"0100007F:{address_of(service.at)[1]:04X}"
        eventually("a keepalive timer", lambda: any(
            row.split()[1] == local and row.split()[3] == "01" and row.split()[5].startswith("02:")
            for row in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]))

    def test_v6only(self):
        both, six = self.start("tcp://[::]:0?v6only=off"), self.start("tcp://[::]:0?v6only=on")
        self.assert_served(self.client(both, to=("127.0.0.1", address_of(both.at)[1])))
        self.assert_served(self.client(six, to=("::1", address_of(six.at)[1])))
        with self.assertRaises(ConnectionRefusedError):
            self.client(six, to=("127.0.0.1", address_of(six.at)[1]))

    def test_interface(self):
        service = self.start("tcp://*:0?interface=lo")
        self.assert_served(self.client(service))

    def test_reuseport_shares_a_port(self):
        first = self.start("tcp://127.0.0.1:0?reuseport")
        second = self.start(f"{first.at}?reuseport")
        self.assertEqual(first.at, second.at)
        for _ in range(8):
            self.assert_served(self.client(first))

    def test_deny_and_allow(self):
        service = self.start("tcp://127.0.0.1:0?allow=127.0.0.0/24&deny=127.0.0.8/29,127.0.0.77")
        for source, served in (("127.0.0.1", True), ("127.0.0.7", True), ("127.0.0.8", False), ("127.0.0.15", False),
                               ("127.0.0.16", True), ("127.0.0.77", False), ("127.0.1.1", False)):
            self.assertEqual(self.comes_in(service, source), served, source)
        self.refused(service, "denied", 4)

    def test_connections_per_address(self):
        service = self.start("tcp://127.0.0.1:0?per_address=2")
        first, second = self.client(service, "127.0.0.5"), self.client(service, "127.0.0.5")
        self.assertFalse(self.comes_in(service, "127.0.0.5"))
        self.assert_served(self.client(service, "127.0.0.6"))
        first.close()
        eventually("room for another one", lambda: self.comes_in(service, "127.0.0.5"))
        self.assert_served(second)
        if self.workers:
            self.assertGreaterEqual(self.refusals(service)["per_address"], 1)

    def test_rate_per_address(self):
        service = self.start("tcp://127.0.0.1:0?rate=2")
        begun = time.monotonic()
        served = sum(self.comes_in(service, "127.0.0.5") for _ in range(20))
        self.assertLessEqual(served, 2 + 2 * (time.monotonic() - begun) + 1)
        self.assertGreaterEqual(served, 1)
        self.assert_served(self.client(service, "127.0.0.6"))
        if self.workers:
            self.assertEqual(self.refusals(service)["rate"], 20 - served)
        eventually("another one", lambda: self.comes_in(service, "127.0.0.5"))

    def test_more_than_max_wait(self):
        service = self.start("tcp://127.0.0.1:0?max=2", "--queue-timeout", "1m",
                             env={"VANILLA_QUEUE_TIMEOUT": "1m"})
        clients = [self.client(service) for _ in range(2)]
        for sock in clients:
            sock.sendall(b"write 1 report until 9 78\n")
            receive(sock, 1)
        late = self.client(service)
        late.sendall(HELLO)
        if self.workers:
            eventually("a listener that is paused", lambda: service.show("listeners")[0]["state"] == "paused")
            self.assertEqual(service.show("listeners")[0]["max"], 2)
            self.assertEqual(service.show("listeners")[0]["conns"], 2)
            self.assertIn("as many connections as max", service.output())
        else:
            eventually("a listener that says so", lambda: "as many connections as max" in service.output())
        clients[0].close()
        self.assertEqual(len(receive(late, 5)), 5)

    def test_whoever_waits_too_long_is_refused(self):
        service = self.start("tcp://127.0.0.1:0?max=1", "--queue-timeout", "300ms", resumable=True)
        first = self.client(service)
        late = self.client(service)
        self.assert_reset(late)
        self.refused(service, "max", 1)
        self.assert_served(first)
        time.sleep(0.5)
        later = self.client(service)
        started = time.monotonic()
        self.assert_reset(later)
        self.assertGreater(time.monotonic() - started, 0.25, "it has as long as the one before")

    def test_accept_timeout(self):
        for resumable in (False, True):
            service = self.start("tcp://127.0.0.1:0?accept=200ms", resumable=resumable)
            talks = self.client(service)
            talks.sendall(b"until 99 78 write 5 report close\n")
            silent = self.client(service)
            self.assert_reset(silent)
            self.resets(service, "accept_timeout")
            talks.sendall(b"x")
            self.assertEqual(len(receive(talks, 5)), 5)

    def test_idle_connections_at_rest_are_closed_in_order(self):
        service = self.start("tcp://127.0.0.1:0?idle=300ms", resumable=True)
        asked = self.client(service)
        asked.sendall(b"write 5 until 99 78 print gone\n")
        self.assertEqual(len(receive(asked, 5)), 5)
        self.assertEqual(receive_all(asked), b"")
        never = self.client(service)
        self.assertEqual(receive_all(never), b"")
        eventually("a handler that learns it", lambda: f"until={ESTALE}" in service.output())
        self.resets(service, "idle_timeout", 2)

    def test_idle_connections_are_reset(self):
        service = self.start("tcp://127.0.0.1:0?idle=300ms")
        sock = self.client(service)
        sock.sendall(b"write 5 until 99 78 print gone\n")
        self.assertEqual(len(receive(sock, 5)), 5)
        self.assert_reset(sock)
        eventually("a handler that learns it", lambda: f"until={ECONNRESET}" in service.output())
        self.resets(service, "idle_timeout")

    def test_idle_does_not_count_the_handlers_time(self):
        service = self.start("tcp://127.0.0.1:0?idle=100ms")
        sock = self.client(service)
        sock.sendall(b"sleep 600 write 5 report close\n")
        self.assertEqual(len(receive(sock, 5)), 5)

    def test_progress_ends_who_sends_a_byte_now_and_then(self):
        for resumable in (False, True):
            service = self.start("tcp://127.0.0.1:0?progress=400ms&idle=1m", resumable=resumable)
            other = self.client(service)
            slow = self.client(service)
            slow.settimeout(0.05)
            with self.assertRaises((ConnectionResetError, BrokenPipeError)):
                while True:  # never ends a line
                    slow.sendall(b"x")
                    with contextlib.suppress(TimeoutError):
                        slow.recv(1)
            self.resets(service, "progress_timeout")
            self.assert_served(other)

    def test_progress_ends_who_does_not_take_the_answer(self):
        service = self.start("tcp://127.0.0.1:0?progress=300ms")
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(address_of(service.at))
        sock.sendall(b"write 4000000 print gone\n")
        eventually("a handler that learns it", lambda: f"write={ECONNRESET}" in service.output())
        self.resets(service, "progress_timeout")

    @staticmethod
    def v1(client, port):
        family = "TCP6" if ":" in client else "TCP4"
        to = "::1" if ":" in client else "192.0.2.1"
        return f"PROXY {family} {client} {to} {port} 443\r\n".encode()

    @staticmethod
    def v2(client, port, command=0x21, extra=b""):
        addr = ipaddress.ip_address(client).packed
        body = addr + addr + struct.pack(">HH", port, 443) + extra
        family = 0x11 if len(addr) == 4 else 0x21
        return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", command, family, len(body)) + body

    def peer_after(self, service, header, piecewise=False):
        """Who the handler says is there."""
        sock = self.client(service)
        if piecewise:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(header)):
                sock.sendall(header[i:i + 1])
                time.sleep(0.001)
        else:
            sock.sendall(header)
        sock.sendall(b"peer report close\n")
        return receive_all(sock).decode()

    def test_proxy_headers_say_who_it_is(self):
        for resumable in (False, True):
            service = self.start("tcp://127.0.0.1:0?proxy=any&header=20s", resumable=resumable)
            for client in ("203.0.113.7", "2001:db8::7"):
                for header in (self.v1(client, 4711), self.v2(client, 4711),
                               self.v2(client, 4711, extra=b"\x04\x00\x02xx" + bytes(600))):
                    got = self.peer_after(service, header)
                    self.assertIn(client, got)
                    self.assertIn("4711", got)
                    self.assertEqual(got, self.peer_after(service, header, piecewise=len(header) < 100))
            for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN some thing\r\n", self.v2("203.0.113.7", 1, 0x20)):
                self.assertIn("127.0.0.1", self.peer_after(service, header))

    def test_other_than_the_proxy_header_is_refused(self):
        service = self.start("tcp://127.0.0.1:0?proxy=v2&header=20s")
        bad = [b"GET / HTTP/1.0\r\n\r\n", self.v1("203.0.113.7", 1), b"\r\n\r\n\0\r\nQUIX" + bytes(16),
               self.v2("203.0.113.7", 1, 0x31), self.v2("203.0.113.7", 1, extra=bytes(5000)),
               b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd"]
        for header in bad:
            sock = self.client(service)
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                sock.sendall(header)
            self.assert_reset(sock)
        half = self.client(service)
        half.sendall(self.v2("203.0.113.7", 1)[:20])
        half.shutdown(socket.SHUT_WR)
        self.assert_reset(half)
        self.refused(service, "header", len(bad) + 1)
        service = self.start("tcp://127.0.0.1:0?proxy=v1&header=20s")
        for header in (self.v2("203.0.113.7", 1), b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 1\r\n",
                       b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n", b"PROXY TCP4 ::1 ::1 1 1\r\n", b"PROXY " + 200 * b"x"):
            sock = self.client(service)
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                sock.sendall(header)
            self.assert_reset(sock)
        self.assertIn("203.0.113.7", self.peer_after(service, self.v1("203.0.113.7", 1)))

    def test_a_late_proxy_header_is_refused(self):
        service = self.start("tcp://127.0.0.1:0?proxy=v1&header=200ms", resumable=True)
        sock = self.client(service)
        sock.sendall(b"PROXY TCP4 ")
        self.assert_reset(sock)
        self.refused(service, "header_late", 1)

    def test_limits_are_those_of_whom_the_proxy_speaks_for(self):
        service = self.start("tcp://127.0.0.1:0?proxy=v1&per_address=1&header=20s&deny=127.0.0.9")
        first = self.client(service)
        first.sendall(self.v1("203.0.113.7", 1) + b"write 1 report until 9 78\n")
        receive(first, 1)
        second = self.client(service)
        second.sendall(self.v1("203.0.113.7", 2))
        self.assert_reset(second)
        self.assertIn("203.0.113.8", self.peer_after(service, self.v1("203.0.113.8", 3)))
        self.assertFalse(self.comes_in(service, "127.0.0.9"))
        if self.workers:
            self.assertEqual(self.refusals(service)["per_address"], 1)
            self.assertEqual(self.refusals(service)["denied"], 1)

    def test_mode_and_owner_of_a_socket_file(self):
        path = f"{self.folder()}/s"
        service = self.start(f"unix:{path}?mode=0640&user={os.getuid()}&group={os.getgid()}")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
        with connect_to(service.at) as sock:
            self.assert_served(sock)

    def test_many_options_at_once(self):
        service = self.start("tcp://127.0.0.1:0?backlog=64&nodelay=off&reuseport&dscp=10&accept=20s&idle=1m&progress=1m"
                             "&max=100&per_address=50&rate=1k&allow=127.0.0.0/8&deny=127.9.0.0/16&keepalive=1m")
        self.assert_served(self.client(service))
        service.stop()


class Alone(Suite, Case):
    def test_bad_options_are_named(self):
        for query, words in (("nonsense=1", "unknown option 'nonsense'; known here are backlog"),
                             ("idle=soon", "option 'idle=soon' wants a time such as"),
                             ("mode=0600", "unknown option 'mode'"),
                             ("allow=10.0.0.1/8", "option 'allow=10.0.0.1/8' wants")):
            service = self.service(helper("calls"), f"tcp://127.0.0.1:0?{query}", ready=False)
            self.assertNotEqual(service.wait(), 0)
            self.assertIn(words, service.output())


class OneWorker(Suite, Case):
    workers = 1


class Brokered(Case):
    """What only the broker has."""

    def test_options_of_the_command_line_hold_for_a_program_that_asks_for_the_name(self):
        service = self.service(helper("calls"), "web", workers=1, flags=["-l", "web=tcp://127.0.0.1:0?deny=127.0.0.9"])
        host, port = address_of(service.url)
        with self.assertRaises(ConnectionResetError):
            with socket.create_connection((host, port), 30, ("127.0.0.9", 0)) as sock:
                sock.recv(1)
        with socket.create_connection((host, port), 30) as sock:
            sock.sendall(HELLO)
            self.assertEqual(len(receive(sock, 5)), 5)
        self.assertEqual(service.show("listeners")[0]["refusals_total"]["denied"], 1)

    def test_a_bad_option_of_the_command_line_ends_it_at_once(self):
        code, output = self.run_to_end(helper("calls").parent.parent / "vanilla", "run", "-l",
                                       "tcp://127.0.0.1:0?idel=5s", "--", helper("calls"))
        self.assertEqual(code, 78)
        self.assertIn("unknown option 'idel'", output)

    def test_idle_timeout_is_the_default_of_endpoints(self):
        service = self.service(helper("calls"), "-r", "tcp://127.0.0.1:0", workers=1, flags=["--idle-timeout", "200ms"])
        with connect_to(service.url) as sock:
            self.assertEqual(receive_all(sock), b"")

    def test_refusals_are_events(self):
        service = self.service(helper("calls"), "tcp://127.0.0.1:0?deny=127.0.0.9", workers=1)
        with self.assertRaises(ConnectionResetError):
            with socket.create_connection(address_of(service.url), 30, ("127.0.0.9", 0)) as sock:
                sock.recv(1)
        eventually("an event that names the reason",
                   lambda: "a connection is refused: denied" in service.command("events"))


if __name__ == "__main__":
    unittest.main()
