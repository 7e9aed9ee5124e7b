# SPDX-License-Identifier: MIT
"""test_udp_dial - endpoints of datagrams that are connected to a peer

One suite, run alone and behind the broker. Names are those of a name server of our own (names.py).
"""
import contextlib
import os
import signal
import socket
import threading
import unittest

from names import Names
from support import ANY_PORT, Case, ask, eventually, helper


def port_of(sock):
    return sock.getsockname()[1]


def is_dead(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


class Echo:
    """Sends each datagram back, on every address given, on one port."""

    def __init__(self, *hosts):
        self.socks, port = [], 0
        for host in hosts:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((host, port))
            port = port_of(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.settimeout(0.2)
            self.socks.append(sock)
        self.port, self.ends = port, False
        self.threads = [threading.Thread(target=self.serve, args=[sock], daemon=True) for sock in self.socks]

    def serve(self, sock):
        while not self.ends:
            with contextlib.suppress(OSError):
                sock.sendto(*sock.recvfrom(65536))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        for thread in self.threads:
            thread.join()
        for sock in self.socks:
            sock.close()


class Suite:
    workers = 0

    def setUp(self):
        super().setUp()
        self.names = self.enterContext(Names())
        self.dialer = self.service(helper("dialer"), ANY_PORT, workers=self.workers,
                                   env={"VANILLA_DNS": self.names.address})
        self.addCleanup(self.end)

    def end(self):
        if self.dialer.process.poll() is None:
            self.dialer.stop()

    def client(self):
        return self.enterContext(self.dialer.connect())

    def peer(self, host="127.0.0.1"):
        sock = self.enterContext(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((host, 0))
        sock.settimeout(30)
        return sock

    def silent_port(self):
        """Nobody is there. Somebody was: the system gives it to the next one late."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            return port_of(sock)

    def dialled(self, peer, host="127.0.0.1"):
        """A client, and the address of what was dialled for it."""
        client = self.client()
        said = ask(client, f"udp udp://{host}:{port_of(peer)}")
        self.assertTrue(said.startswith("ok udp://"), said)
        return client, (host.strip("[]"), int(said.rsplit(":", 1)[1]))

    def fds(self, client):
        return int(ask(client, "fds").split()[1])

    def assert_nothing_left(self):
        pass

    # What works.

    def test_an_exchange(self):
        for host in ("127.0.0.1", "[::1]"):
            peer = self.peer(host.strip("[]"))
            client, where = self.dialled(peer, host)
            for how in ("recv", "view", "select"):
                self.assertEqual(ask(client, "tell hello"), "ok 0")
                data, source = peer.recvfrom(64)
                self.assertEqual((data, source[:2]), (b"hello", where))
                peer.sendto(b"answer", where)
                self.assertEqual(ask(client, f"udp_hear {how} 20000"), "ok answer")

    def test_runs_of_datagrams(self):
        peer = self.peer()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client, _ = self.dialled(peer)
        self.assertEqual(ask(client, "tell hello 150"), "ok 0")
        self.assertEqual([peer.recv(64) for _ in range(150)], [b"hello"] * 150)

    def test_replies_go_to_the_peer_and_to_nobody_else(self):
        peer, other = self.peer(), self.peer()
        client, where = self.dialled(peer)
        peer.sendto(b"1", where)
        self.assertEqual(ask(client, "reply hello"), "ok 0")
        self.assertEqual(peer.recv(64), b"hello")
        peer.sendto(b"2", where)
        self.assertEqual(ask(client, f"reply hello {port_of(other)}"), "EISCONN")
        self.assertEqual(ask(client, "udp_join 224.0.0.251"), "EISCONN")

    def test_datagrams_of_others_do_not_arrive(self):
        peer, other = self.peer(), self.peer()
        client, where = self.dialled(peer)
        for _ in range(10):
            other.sendto(b"other", where)
        peer.sendto(b"mine", where)
        self.assertEqual(ask(client, "udp_hear recv 20000"), "ok mine")
        self.assertEqual(ask(client, "udp_hear recv 50"), "ETIMEDOUT")

    def test_two_of_one_address_are_two(self):
        peer = self.peer()
        (one, there), (two, here) = self.dialled(peer), self.dialled(peer)
        self.assertNotEqual(there, here)
        for text, where, client in ((b"2", here, two), (b"1", there, one)):
            peer.sendto(text, where)
            self.assertEqual(ask(client, "udp_hear recv 20000"), f"ok {text.decode()}")

    def test_closed_while_the_peer_sends(self):
        """What was sent leaves first; what comes after that is nobody's."""
        peer = self.peer()
        client, where = self.dialled(peer)
        before = self.fds(client)
        for _ in range(50):
            peer.sendto(b"more", where)
        self.assertEqual(ask(client, "tell last"), "ok 0")
        self.assertEqual(ask(client, "udp_close"), "ok 0")
        self.assertEqual(peer.recv(64), b"last")
        self.assertEqual(ask(client, f"udp udp://127.0.0.1:{port_of(peer)}")[:3], "ok ")
        self.assertEqual(self.fds(client), before)

    # What does not.

    def test_nobody_is_there(self):
        """The next call that receives says so, once, and it goes on."""
        client, port = self.client(), self.silent_port()
        for how in ("recv", "view", "select"):
            self.assertEqual(ask(client, f"udp udp://127.0.0.1:{port}")[:3], "ok ")
            self.assertEqual(ask(client, "tell hello"), "ok 0")
            self.assertEqual(ask(client, f"udp_hear {how} 20000"), "ECONNREFUSED")
            self.assertEqual(ask(client, f"udp_hear {how} 50"), "ETIMEDOUT")

    def test_what_is_sent_after_a_refusal_is_sent(self):
        """The kernel says it to whatever comes next, which is not to be lost by that."""
        client, port = self.client(), self.silent_port()
        where = int(ask(client, f"udp udp://127.0.0.1:{port}").rsplit(":", 1)[1])
        self.assertEqual(ask(client, "tell first"), "ok 0")
        self.assertEqual(ask(client, "udp_hear recv 20000"), "ECONNREFUSED")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", port))
            peer.settimeout(30)
            self.assertEqual(ask(client, "tell second"), "ok 0")
            self.assertEqual(peer.recvfrom(64), (b"second", ("127.0.0.1", where)))

    def test_urls_that_nobody_can_dial(self):
        client = self.client()
        for url in ("udp://*:80", "udp://0.0.0.0:80", "udp://[::]:80", "udp://127.0.0.1:0", "udp://some.test:0",
                    "tcp://127.0.0.1:80", "unix:/x", "udp://127.0.0.1", "udp://127.0.0.1:80?nonsense=1"):
            self.assertEqual(ask(client, f"udp {url}"), "EINVAL", url)
        self.assertEqual(ask(client, "dial udp://127.0.0.1:53"), "EINVAL")

    # Names.

    def test_names(self):
        with Echo("127.0.0.1", "::1") as echo:
            self.names.has("both.test", A=["127.0.0.1"], AAAA=["::1"])
            self.names.has("four.test", A=["127.0.0.1"])
            self.names.has("late.test", A=["127.0.0.1"], AAAA=["::1"])
            self.names.late("late.test", "AAAA", 5)
            client = self.client()
            for name, host in (("both.test", "[::1]"), ("four.test", "127.0.0.1"), ("late.test", "127.0.0.1"),
                               ("localhost", "[::1]")):
                self.assertTrue(ask(client, f"udp udp://{name}:{echo.port}").startswith(f"ok udp://{host}:"), name)
                self.assertEqual(ask(client, "tell hello"), "ok 0")
                self.assertEqual(ask(client, "udp_hear recv 20000"), "ok hello")

    def test_names_that_lead_nowhere(self):
        self.names.has("empty.test")
        client = self.client()
        self.assertEqual(ask(client, "udp udp://unknown.test:80"), "ENOENT")
        self.assertEqual(ask(client, "udp udp://empty.test:80"), "ENODATA")

    def test_the_first_address_to_which_there_is_a_way(self):
        """A link-local address without an interface is none."""
        with Echo("127.0.0.1") as echo:
            self.names.has("link.test", A=["127.0.0.1"], AAAA=["fe80::1"])
            client = self.client()
            self.assertTrue(ask(client, f"udp udp://link.test:{echo.port}").startswith("ok udp://127.0.0.1:"))
            self.names.has("lost.test", AAAA=["fe80::1"])
            self.assertEqual(ask(client, f"udp udp://lost.test:{echo.port}"), "EINVAL")

    def test_deadline_and_cancel(self):
        self.names.ignores("silent.test")
        client = self.client()
        before = self.fds(client)
        self.assertEqual(ask(client, "udp udp://silent.test:80 150"), "ETIMEDOUT")
        self.assertEqual(ask(client, "udp_cancel udp://silent.test:80 150"), "cancelled 0")
        self.assertEqual(self.fds(client), before)
        self.assert_nothing_left()

    # Its end.

    def test_it_does_not_end_with_a_drain(self):
        peer = self.peer()
        client, where = self.dialled(peer)
        os.kill(self.dialer.process.pid, signal.SIGTERM)
        eventually("a listener that is closed", self.is_draining)
        for _ in range(3):
            self.assertEqual(ask(client, "tell hello"), "ok 0")
            self.assertEqual(peer.recv(64), b"hello")
            peer.sendto(b"answer", where)
            self.assertEqual(ask(client, "udp_hear recv 20000"), "ok answer")
        self.assertEqual(ask(client, f"udp udp://127.0.0.1:{port_of(peer)}")[:3], "ok ")
        client.close()
        self.dialer.process.wait(30)

    def is_draining(self):
        try:
            self.dialer.connect().close()
        except (OSError, IndexError):  # refused; no port is listened on
            return True
        return False

    def test_two_hundred_at_a_time(self):
        with Echo("127.0.0.1") as echo:
            self.names.has("echo.test", A=["127.0.0.1"])
            client = self.client()
            before = self.fds(client)
            self.assertEqual(ask(client, f"udp_many udp://127.0.0.1:{echo.port} 600 200"), "ok 600")
            self.assertEqual(ask(client, f"udp_many udp://echo.test:{echo.port} 200 200"), "ok 200")
            eventually("as many descriptors as before", lambda: self.fds(client) == before)
            self.assert_nothing_left()


class Alone(Suite, Case):
    pass


class Brokered(Suite, Case):
    workers = 1

    def row(self):
        return next((row for row in self.dialer.show("datagrams") if row["name"] == "(dialled)"), None)

    def n_sockets(self):
        """Of datagrams that the broker has."""
        with open("/proc/net/udp", encoding="utf-8") as file:
            inodes = {f"socket:[{line.split()[9]}]" for line in file.readlines()[1:]}
        folder, n = f"/proc/{self.dialer.process.pid}/fd", 0
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                n += os.readlink(f"{folder}/{fd}") in inodes
        return n

    def assert_nothing_left(self):
        eventually("nothing that is dialled", lambda: not self.row() or self.row()["workers"] == 0)

    def test_the_sum(self):
        with Echo("127.0.0.1") as echo:
            client = self.client()
            self.assertEqual(ask(client, f"udp_many udp://127.0.0.1:{echo.port} 300 100"), "ok 300")
        client.close()
        row = eventually("the end of it", lambda: (
            lambda row: row if row["workers"] == 0 else None)(self.row()))
        self.assertGreaterEqual(row["sent_total"], 300)
        self.assertEqual(row["received_total"], row["done_total"] + sum(row["lost_total"].values()))
        self.assertEqual(sum(row["unsent_total"].values()) + row["in_hand"] + row["queued"] + row["waiting"], 0)
        self.assertEqual(self.dialer.show("listeners")[0]["name"], self.dialer.show("listeners")[-1]["name"])
        eventually("no socket that is left", lambda: self.n_sockets() == 0)

    def test_a_worker_that_dies(self):
        """What it has published leaves; the socket goes with it, and what came for it is nobody else's."""
        peer = self.peer()
        client, where = self.dialled(peer)
        self.assertEqual(self.n_sockets(), 1)
        for _ in range(5):
            peer.sendto(b"unread", where)
        eventually("datagrams that are given", lambda: self.row()["in_hand"] == 5)
        worker = ask(client, "tell_and_die last").split()[1]
        os.kill(self.dialer.process.pid, signal.SIGSTOP)
        eventually("a worker that is dead", lambda: is_dead(worker))
        os.kill(self.dialer.process.pid, signal.SIGCONT)
        self.assertEqual([peer.recv(64) for _ in range(10)], [b"last"] * 10)
        eventually("its end", lambda: self.row()["workers"] == 0)
        client.close()
        row = self.row()
        self.assertEqual(row["lost_total"]["worker_died"], 5)
        self.assertEqual(row["given_again_total"] + row["waiting"], 0)
        eventually("no socket that is left", lambda: self.n_sockets() == 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(where)  # it is free
        again, _ = self.dialled(peer)
        self.assertEqual(ask(again, "tell on"), "ok 0")
        self.assertEqual(peer.recv(64), b"on")


if __name__ == "__main__":
    unittest.main()
