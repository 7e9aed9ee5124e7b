# SPDX-License-Identifier: MIT
"""test_dial - what the program dials, by itself and through the broker

One suite, run alone and behind the broker. Names are those of a name server of our own (names.py); an address that
never answers is a listener of our own whose queue is full.
"""
import contextlib
import os
import resource
import signal
import socket
import threading
import time
import unittest

from names import REFUSED, SERVFAIL, Names
from support import (ANY_PORT, SANITIZED, Case, ask, connect_to, eventually, helper, receive, receive_all, receive_line,
                     reset)


def port_of(server):
    return server.getsockname()[1]


@contextlib.contextmanager
def black_hole(host="127.0.0.1"):
    """A listener that answers nobody any more: its queue is full. Its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server, contextlib.ExitStack() as stack:
        server.bind((host, 0))
        server.listen(0)
        for _ in range(8):
            sock = stack.enter_context(socket.socket(family))
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        yield port_of(server)


class Echo:
    """Sends back whatever comes, on every address given, on one port."""

    def __init__(self, *hosts):
        self.servers = []
        port = 0
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.servers.append(socket.create_server((host, port), family=family, backlog=512))
            port = port_of(self.servers[0])
        self.port = port
        self.n_accepted = 0
        for server in self.servers:
            threading.Thread(target=self.accept, args=[server], daemon=True).start()

    def accept(self, server):
        with contextlib.suppress(OSError):
            while True:
                sock = server.accept()[0]
                self.n_accepted += 1
                threading.Thread(target=self.serve, args=[sock], daemon=True).start()

    @staticmethod
    def serve(sock):
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(4096):
                sock.sendall(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown(socket.SHUT_RDWR)
            server.close()


class Suite:
    workers = 0

    def setUp(self):
        super().setUp()
        self.names = self.enterContext(Names())
        self.dialer = self.service(helper("dialer"), ANY_PORT, workers=self.workers,
                                   env={"VANILLA_DNS": self.names.address})
        self.addCleanup(self.end)  # when clients and servers are closed

    def end(self):
        if self.dialer.process.poll() is None:
            self.dialer.stop()

    def client(self):
        return self.enterContext(self.dialer.connect())

    def server(self, host="127.0.0.1", backlog=16):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = self.enterContext(socket.create_server((host, 0), family=family, backlog=backlog))
        server.settimeout(30)
        return server

    def refusing_port(self):
        """Bound, and nobody listens: nobody else can get it either."""
        sock = self.enterContext(socket.socket())
        sock.bind(("127.0.0.1", 0))
        return port_of(sock)

    def dialled(self, server, url=None):
        """A client, and the server's end of what the dialer dialled for it."""
        client = self.client()
        url = url or f"tcp://127.0.0.1:{port_of(server)}"
        client.sendall(f"dial {url}\n".encode())
        sock = self.enterContext(server.accept()[0])
        sock.settimeout(30)
        self.assertTrue(receive_line(client).startswith(b"ok "))
        return client, sock

    # What works.

    def test_tcp(self):
        server = self.server()
        client, sock = self.dialled(server)
        self.assertEqual(ask(client, "say hello"), "ok 0")
        self.assertEqual(receive(sock, 5), b"hello")
        sock.sendall(b"hi")
        self.assertEqual(ask(client, "hear 2"), "ok hi")

    def test_six(self):
        server = self.server("::1")
        client, sock = self.dialled(server, f"tcp://[::1]:{port_of(server)}")
        self.assertEqual(ask(client, "say hello"), "ok 0")
        self.assertEqual(receive(sock, 5), b"hello")

    def test_unix(self):
        path = f"{self.folder()}/s"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen(4)
            client = self.client()
            self.assertEqual(ask(client, f"dial unix:{path}"), f"ok unix {os.getpid()}")
            with server.accept()[0] as sock:
                self.assertEqual(ask(client, "say hello"), "ok 0")
                self.assertEqual(receive(sock, 5), b"hello")

    def test_abstract_unix(self):
        name = f"vanilla-test-{os.getpid()}-{id(self)}"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("\0" + name)
            server.listen(4)
            self.assertEqual(ask(self.client(), f"dial unix:@{name}"), f"ok unix {os.getpid()}")

    def test_options(self):
        """Those of the socket; on a name they hold for each of its addresses."""
        self.names.has("four.test", A=["127.0.0.1"])
        port, client = port_of(self.server()), self.client()
        for host in ("127.0.0.1", "four.test"):
            self.assertEqual(ask(client, f"dial tcp://{host}:{port}?nodelay=off&keepalive=10s&interface=lo"),
                             f"ok 127.0.0.1 {port}")
            self.assertEqual(ask(client, f"dial tcp://{host}:{port}?interface=none"), "ENODEV")

    def test_half_close(self):
        """FIN goes with shutdown and with close, and the other direction goes on."""
        server = self.server()
        client, sock = self.dialled(server)
        self.assertEqual(ask(client, "say all"), "ok 0")
        self.assertEqual(ask(client, "shutdown"), "ok 0")
        self.assertEqual(receive_all(sock), b"all")
        sock.sendall(b"answer")
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(ask(client, "hear 10"), "ok answer")
        self.assertEqual(ask(client, "hear 10"), "ok ")
        self.assertEqual(ask(client, "close"), "ok 0")
        client, sock = self.dialled(server)
        self.assertEqual(ask(client, "say all"), "ok 0")
        self.assertEqual(ask(client, "close"), "ok 0")
        self.assertEqual(receive_all(sock), b"all")

    def test_abort(self):
        client, sock = self.dialled(self.server())
        self.assertEqual(ask(client, "abort"), "ok 0")
        self.assert_closed_by_reset(sock)

    def test_reset_by_peer(self):
        client, sock = self.dialled(self.server())
        reset(sock)
        self.assertEqual(ask(client, "hear 1"), "ECONNRESET")

    def test_select(self):
        client, sock = self.dialled(self.server())
        self.assertEqual(ask(client, "select 1"), "ok after")
        sock.sendall(b"x")
        self.assertEqual(ask(client, "select 30000"), "ok read")

    # Addresses that come to nothing.

    def test_refused(self):
        client = self.client()
        self.assertEqual(ask(client, f"dial tcp://127.0.0.1:{self.refusing_port()}"), "ECONNREFUSED")

    def test_paths_without_anybody(self):
        folder = self.folder()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{folder}/dead")
        client = self.client()
        self.assertEqual(ask(client, f"dial unix:{folder}/missing"), "ENOENT")
        self.assertEqual(ask(client, f"dial unix:{folder}/dead"), "ECONNREFUSED")
        self.assertEqual(ask(client, f"dial unix:{folder}"), "ECONNREFUSED")

    def test_urls_that_nobody_can_dial(self):
        client = self.client()
        for url in ("tcp://*:80", "tcp://0.0.0.0:80", "tcp://[::]:80", "tcp://127.0.0.1:0", "tcp://some.test:0", "ftp://x:1",
                    "tcp://127.0.0.1", "unix:", "tcp://127.0.0.1:80?nonsense=1", "tcp://127.0.0.1:80?backlog=7",
                    "unix:/x?nodelay", "udp://127.0.0.1:53"):
            self.assertEqual(ask(client, f"dial {url}"), "EINVAL", url)

    def test_unix_backlog_full(self):
        """The kernel says that it would have to wait, and has no way to say when it is over: it is asked again."""
        path = f"{self.folder()}/s"
        with socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as stack:
            server.bind(path)
            server.listen(0)
            socks = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)]
            for sock in socks:
                sock.setblocking(False)
                sock.connect_ex(path)
            client = self.client()
            self.assertEqual(ask(client, f"dial unix:{path} 100"), "ETIMEDOUT")
            client.sendall(f"dial unix:{path}\n".encode())
            time.sleep(0.05)
            for _ in range(2):
                server.accept()[0].close()
            self.assertEqual(receive_line(client)[:7], b"ok unix")

    # Names.

    def test_name(self):
        with Echo("127.0.0.1", "::1") as echo:
            self.names.has("both.test", A=["127.0.0.1"], AAAA=["::1"])
            self.assertEqual(ask(self.client(), f"dial tcp://both.test:{echo.port}"), f"ok ::1 {echo.port}")

    def test_localhost(self):
        """It is this machine, and nobody is asked."""
        with Echo("127.0.0.1") as echo:
            client = self.client()
            for name in ("localhost", "LocalHost", "a.localhost"):
                self.assertEqual(ask(client, f"dial tcp://{name}:{echo.port}"), f"ok 127.0.0.1 {echo.port}")
            self.names.has("notlocalhost", A=["127.0.0.1"])
            self.assertEqual(ask(client, f"dial tcp://notlocalhost:{echo.port}"), f"ok 127.0.0.1 {echo.port}")
        self.assertEqual({name for _, name, _ in self.names.asked}, {"notlocalhost"})

    def test_one_family(self):
        with Echo("127.0.0.1", "::1") as echo:
            self.names.has("four.test", A=["127.0.0.1"])
            self.names.has("six.test", AAAA=["::1"])
            client = self.client()
            self.assertEqual(ask(client, f"dial tcp://four.test:{echo.port}"), f"ok 127.0.0.1 {echo.port}")
            self.assertEqual(ask(client, f"dial tcp://six.test:{echo.port}"), f"ok ::1 {echo.port}")

    def test_late_six(self):
        """IPv6 has a head start of 50 ms over IPv4; it is not waited for longer."""
        with Echo("127.0.0.1", "::1") as echo:
            self.names.has("late.test", A=["127.0.0.1"], AAAA=["::1"])
            self.names.late("late.test", "AAAA", 5)
            self.assertEqual(ask(self.client(), f"dial tcp://late.test:{echo.port}"), f"ok 127.0.0.1 {echo.port}")
            self.assertIn(("udp", "late.test", "AAAA"), self.names.asked)

    def test_late_six_is_still_tried(self):
        """IPv4 leads nowhere, and IPv6 becomes known while that is found out."""
        with black_hole() as port, socket.create_server(("::1", port), family=socket.AF_INET6):
            self.names.has("late.test", A=["127.0.0.1"], AAAA=["::1"])
            self.names.late("late.test", "AAAA", 0.3)
            self.assertEqual(ask(self.client(), f"dial tcp://late.test:{port}"), f"ok ::1 {port}")

    def test_black_hole(self):
        """The first address never answers: the next one is tried beside it."""
        with black_hole("::1") as port, socket.create_server(("127.0.0.1", port)):
            self.names.has("hole.test", A=["127.0.0.1"], AAAA=["::1"])
            self.assertEqual(ask(self.client(), f"dial tcp://hole.test:{port}"), f"ok 127.0.0.1 {port}")

    def test_several_addresses(self):
        """Those that refuse are passed over at once."""
        with Echo("127.0.0.3") as echo:
            self.names.has("many.test", A=["127.0.0.1", "127.0.0.2", "127.0.0.3"])
            self.assertEqual(ask(self.client(), f"dial tcp://many.test:{echo.port}"), f"ok 127.0.0.3 {echo.port}")

    def test_all_refuse(self):
        self.names.has("no.test", A=["127.0.0.1", "127.0.0.2"], AAAA=["::1"])
        self.assertEqual(ask(self.client(), f"dial tcp://no.test:{self.refusing_port()}"), "ECONNREFUSED")

    def test_unknown_name(self):
        self.assertEqual(ask(self.client(), "dial tcp://unknown.test:80"), "ENOENT")

    def test_name_without_address(self):
        self.names.has("empty.test")
        self.assertEqual(ask(self.client(), "dial tcp://empty.test:80"), "ENODATA")

    def test_server_that_fails(self):
        self.names.fails("failing.test", SERVFAIL)
        self.names.fails("refused.test", REFUSED)
        client = self.client()
        self.assertEqual(ask(client, "dial tcp://failing.test:80"), "EREMOTEIO")
        self.assertEqual(ask(client, "dial tcp://refused.test:80"), "EREMOTEIO")

    def test_dead_server(self):
        """The first name server is not there; the second one is asked at once."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone, Echo("127.0.0.1") as echo:
            gone.bind(("127.0.0.1", 0))
            dead = f"127.0.0.1:{port_of(gone)}"
            gone.close()
            dialer = self.service(helper("dialer"), ANY_PORT, workers=self.workers,
                                  env={"VANILLA_DNS": f"{dead},{self.names.address}"})
            self.names.has("four.test", A=["127.0.0.1"])
            with dialer.connect() as client:
                self.assertEqual(ask(client, f"dial tcp://four.test:{echo.port}"), f"ok 127.0.0.1 {echo.port}")
            dialer.stop()

    def test_servers_that_are_none(self):
        dialer = self.service(helper("dialer"), ANY_PORT, workers=self.workers, env={"VANILLA_DNS": "nonsense"})
        with dialer.connect() as client:
            self.assertEqual(ask(client, "dial tcp://four.test:80"), "EINVAL")
            eventually("a sentence", lambda: "VANILLA_DNS=nonsense" in dialer.output())
        dialer.stop()

    def test_truncated_answer(self):
        with Echo("127.0.0.9") as echo:
            self.names.has("long.test", A=[f"127.0.0.{i}" for i in range(9, 60)])
            self.names.truncates("long.test")
            self.assertEqual(ask(self.client(), f"dial tcp://long.test:{echo.port}")[:3], "ok ")
            self.assertIn(("tcp", "long.test", "A"), self.names.asked)

    # It ends when it has to, whatever its phase.

    @contextlib.contextmanager
    def phases(self):
        """URLs of which nothing is ever heard: from the name server, from the peer, from the peer of a name."""
        self.names.ignores("silent.test")
        self.names.has("hole.test", A=["127.0.0.1"])
        with black_hole() as port:
            yield ["tcp://silent.test:80", f"tcp://127.0.0.1:{port}", f"tcp://hole.test:{port}"]

    def fds(self, client):
        return int(ask(client, "fds").split()[1])

    def test_deadline_in_each_phase(self):
        client = self.client()
        before = self.fds(client)
        with self.phases() as urls:
            for url in urls:
                self.assertEqual(ask(client, f"dial {url} 150"), "ETIMEDOUT", url)
        self.assertEqual(self.fds(client), before)
        self.assert_no_request_left()

    def test_cancel_in_each_phase(self):
        client = self.client()
        before = self.fds(client)
        with self.phases() as urls:
            for url in urls:
                self.assertEqual(ask(client, f"cancel {url} 150"), "cancelled 0", url)
        self.assertEqual(self.fds(client), before)
        self.assert_no_request_left()

    def test_stop_in_each_phase(self):
        with self.phases() as urls:
            for url in urls:
                dialer = self.service(helper("dialer"), ANY_PORT, workers=self.workers,
                                      env={"VANILLA_DNS": self.names.address})
                with dialer.connect() as client:
                    client.sendall(f"stop {url} 150\n".encode())
                    eventually("a dial that was stopped", lambda: "stopped: ECANCELED" in dialer.output())
                if self.workers:
                    dialer.stop()
                else:
                    dialer.ended()

    def test_drain_does_not_wait_for_it(self):
        """What was dialled and is kept open by nobody's handler ends with the program."""
        server = self.server()
        client = self.client()
        self.assertEqual(ask(client, f"keep tcp://127.0.0.1:{port_of(server)}"), "ok 0")
        sock = self.enterContext(server.accept()[0])
        client.close()
        self.dialer.stop()
        self.assertEqual(receive_all(sock), b"")

    # Many.

    def test_thousand(self):
        """One after another: nothing of them stays."""
        with Echo("127.0.0.1") as echo:
            client = self.client()
            before = self.fds(client)
            n = 200 if SANITIZED else 1000
            self.assertEqual(ask(client, f"many tcp://127.0.0.1:{echo.port} {n} 1"), f"ok {n}")
            eventually("as many descriptors as before", lambda: self.fds(client) == before)
            self.assert_nothing_left()

    def test_two_hundred_at_a_time(self):
        with Echo("127.0.0.1") as echo:
            self.names.has("echo.test", A=["127.0.0.1"])
            client = self.client()
            before = self.fds(client)
            self.assertEqual(ask(client, f"many tcp://127.0.0.1:{echo.port} 600 200"), "ok 600")
            self.assertEqual(ask(client, f"many tcp://echo.test:{echo.port} 200 200"), "ok 200")
            eventually("as many descriptors as before", lambda: self.fds(client) == before)
            self.assert_nothing_left()

    def assert_no_request_left(self):
        pass

    def assert_nothing_left(self):
        pass


class Alone(Suite, Case):
    def test_out_of_descriptors(self):
        """It is told, and the program goes on."""
        dialer = self.service(helper("dialer"), ANY_PORT, limits={resource.RLIMIT_NOFILE: 40})
        server = self.server(backlog=64)
        with dialer.connect() as client:
            url, n = f"tcp://127.0.0.1:{port_of(server)}", 0
            while (said := ask(client, f"keep {url}")) == "ok 0" and n < 64:
                n += 1
            self.assertEqual(said, "EMFILE")
            self.assertGreater(n, 0)
            server.accept()[0].close()
            eventually("a dial that works again", lambda: ask(client, f"keep {url}") == "ok 0")
        dialer.stop()


class Brokered(Suite, Case):
    workers = 1

    def assert_no_request_left(self):
        eventually("no request is under way", lambda: self.dialer.show("workers")[0]["dialling"] == 0)

    def assert_nothing_left(self):
        """The one client is all there is."""
        eventually("one connection left", lambda: len(self.dialer.show("conns")) == 1)
        info = self.dialer.show("info")
        self.assertEqual(info["accepted_total"] + info["dialled_total"], info["closed_total"] + 1)

    def worker_pid(self, client):
        return int(ask(client, "pid").split()[1])

    def kill_worker(self, pid):
        os.kill(pid, signal.SIGKILL)
        eventually("another worker", lambda: (pids := self.dialer.worker_pids()) and pid not in pids)

    def test_worker_killed_in_each_phase(self):
        """Nothing of its dials stays with the broker, and its successor can dial."""
        with self.phases() as urls:
            for url in urls:
                client = self.client()
                pid = self.worker_pid(client)
                client.sendall(f"dial {url}\n".encode())
                if "silent" not in url:
                    eventually("a request", lambda: self.dialer.show("workers")[0]["dialling"] == 1)
                self.kill_worker(pid)
                self.assert_no_request_left()
        self.test_tcp()

    def test_owner_dies(self):
        """What it had published arrives, then the connection is reset, and counted."""
        client, sock = self.dialled(self.server())
        self.assertEqual(ask(client, "fill 100000"), "ok 0")
        self.kill_worker(self.worker_pid(client))
        self.assertEqual(len(receive(sock, 100032)), 100032)
        self.assert_closed_by_reset(sock)
        self.assertEqual(self.dialer.show("info")["resets_total"]["dialler_died"], 1)

    def test_owner_dies_with_much_unsent(self):
        """The peer takes nothing until the worker is long dead."""
        server = self.enterContext(socket.socket())
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen(4)
        client, sock = self.dialled(server)
        pid = self.worker_pid(client)
        client.sendall(b"fill 100000000\n")
        before = -1
        while (now := self.queued()) > before:
            before = now
            time.sleep(0.1)
        self.kill_worker(pid)
        self.assertEqual(len(receive(sock, before)), before)
        self.assert_closed_by_reset(sock)

    def queued(self):
        return max(c["queued"] for c in self.dialer.show("conns") if c["listener"] == "(dialled)")

    def test_owner_dies_after_shutdown(self):
        """It had said that this was all: the peer sees the end, not a reset."""
        client, sock = self.dialled(self.server())
        self.assertEqual(ask(client, "say all"), "ok 0")
        self.assertEqual(ask(client, "shutdown"), "ok 0")
        self.kill_worker(self.worker_pid(client))
        self.assertEqual(receive_all(sock), b"all")

    def test_it_does_not_count_as_work(self):
        """Depth, requests and request-timeout are for what a worker was given."""
        client, sock = self.dialled(self.server())
        requests = self.dialer.show("info")["requests_total"]
        sock.sendall(b"x" * 1000)
        eventually("delivered", lambda: any(
            c["delivered"] == 1000 for c in self.dialer.show("conns") if c["listener"] == "(dialled)"))
        self.assertEqual(self.dialer.show("workers")[0]["busy"], 0)
        for _ in range(10):
            self.assertEqual(ask(client, "hear 100")[:3], "ok ")
        self.assertEqual(self.dialer.show("info")["requests_total"], requests + 10)

    def test_broker_out_of_descriptors(self):
        """The dialer is told, and the service goes on."""
        dialer = self.service(helper("dialer"), ANY_PORT, workers=1, limits={resource.RLIMIT_NOFILE: 104})
        server = self.server()
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(dialer.connect())
            said = ""
            others = []
            while said != "ENFILE" and len(others) < 64:
                others.append(stack.enter_context(dialer.connect()))
                said = ask(others[-1], f"dial tcp://127.0.0.1:{port_of(server)}")
                if said.startswith("ok"):
                    stack.enter_context(server.accept()[0])
            self.assertEqual(said, "ENFILE")
            for other in others[:-1]:
                other.close()
            eventually("a dial that works again", lambda: ask(
                others[-1], f"dial tcp://127.0.0.1:{port_of(server)}").startswith("ok"))
            self.assertGreaterEqual(dialer.show("info")["dials_failed_total"], 1)
        dialer.stop()

    def test_reload_does_not_wait_for_it(self):
        server = self.server()
        with self.dialer.connect() as client:
            self.assertEqual(ask(client, f"keep tcp://127.0.0.1:{port_of(server)}"), "ok 0")
            pid = self.worker_pid(client)
        with server.accept()[0] as sock:
            self.assertIn("OK", self.dialer.command("reload"))
            self.assertEqual(receive_all(sock), b"")
        self.assertNotIn(pid, self.dialer.worker_pids())


if __name__ == "__main__":
    unittest.main()
