# SPDX-License-Identifier: MIT
"""test_udp - datagrams, with the same result whoever has the socket

One suite, run alone and behind the broker. datagrams.c answers what it is asked; a client here looks at what comes
back, and from where.
"""
import concurrent.futures
import contextlib
import os
import re
import signal
import socket
import struct
import time
import unittest

from support import Case, eventually, helper

EMSGSIZE, ENODEV, EINVAL, EADDRNOTAVAIL, ENOBUFS = -90, -19, -22, -99, -105
MAX4, MAX6 = 65507, 65527
LO = socket.if_nametoindex("lo")
V4, V6, ANY4, ANY6 = "udp://127.0.0.1:0", "udp://[::1]:0", "udp://0.0.0.0:0", "udp://[::]:0"


def bound(service, n=1):
    """(family, port) of each endpoint, in the order in which it was asked for, as the first worker says."""
    who = r"^1\.1\| " if service.workers_wanted else "^"
    urls = eventually("endpoints that are bound", lambda: (
        lambda found: found if len(found) >= n else None)(
            re.findall(who + r"bound udp://(\S+):(\d+)$", service.output(), re.M)))
    return [(socket.AF_INET6 if host.startswith("[") else socket.AF_INET, int(port)) for host, port in urls[:n]]


class Client:
    """A socket that asks one endpoint, and insists on an answer."""

    def __init__(self, case, place, host=None, source=None, timeout=20):
        family, self.port = place
        self.host = host or ("::1" if family == socket.AF_INET6 else "127.0.0.1")
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        case.addCleanup(self.sock.close)
        self.sock.settimeout(timeout)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind((source or ("::1" if family == socket.AF_INET6 else "127.0.0.1"), 0))
        self.name = self.sock.getsockname()
        self.n_sent = 0

    def send(self, data, host=None):
        self.n_sent += 1
        self.sock.sendto(data if isinstance(data, bytes) else data.encode(), (host or self.host, self.port))

    def receive(self):
        return self.sock.recvfrom(1 << 17)

    def ask(self, data, host=None):
        self.send(data, host)
        return self.receive()[0]

    def tell(self, order):
        """Text for an order."""
        return self.ask(order).decode()


def drain(client):
    """How many answers wait."""
    n = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            client.receive()
            n += 1
    return n


def dropped(client):
    """How many the kernel dropped that came for a client (SO_MEMINFO)."""
    return struct.unpack("9I", client.sock.getsockopt(socket.SOL_SOCKET, 55, 36))[8]


class Suite:
    workers = 0

    def start(self, *urls, **options):
        service = self.service(helper("datagrams"), *urls, workers=self.workers, ready=bool(self.workers),
                               urls=len(urls), **options)
        service.places = bound(service, len(urls))
        return service

    def client(self, service, i=0, **options):
        return Client(self, service.places[i], **options)

    def test_echo_in_each_way_of_receiving(self):
        service = self.start(V4, V6)
        for i in range(2):
            client = self.client(service, i)
            for how in ("recv", "view", "select"):
                self.assertEqual(client.tell(f"!how {how}"), "ok")
                for size in (1, 64, 1400, 9000):
                    data = os.urandom(size - 1).join([b"+", b""])
                    self.assertEqual(client.ask(data), data)
        service.stop()

    def test_empty_datagrams_are_datagrams(self):
        service = self.start(V4)
        client = self.client(service)
        for data in (b"", b"x", b"", b""):
            client.send(data)
        self.assertEqual([client.receive()[0] for _ in range(4)], [b"", b"x", b"", b""])
        service.stop()

    def test_the_largest_datagrams(self):
        service = self.start(V4, V6)
        for i, size in enumerate((MAX4, MAX6)):
            client = self.client(service, i)
            for how in ("recv", "view"):
                client.tell(f"!how {how}")
                for n in (size, size - 1, size - 60, size):
                    data = b"+" + os.urandom(n - 1)
                    self.assertEqual(client.ask(data), data)
            self.assertEqual(client.tell("!oversize"), str(EMSGSIZE))
        service.stop()

    def test_what_does_not_fit_is_dropped_and_told(self):
        service = self.start(V4)
        client = self.client(service)
        client.tell("!room 8")
        self.assertEqual(client.tell("!info and much more than there is room for").split()[5:],
                         ["42", "1", "0"])
        service.stop()

    def test_who_sent_it_and_what_was_asked(self):
        service = self.start(ANY4, V6, ANY6)
        for i, host, source in ((0, "127.0.0.1", "127.0.0.3"), (0, "127.0.0.2", "127.0.0.1"), (1, "::1", "::1"),
                                (2, "::1", "::1")):
            client = self.client(service, i, host=host, source=source)
            client.send("!info")
            text, where = client.receive()
            port = service.places[i][1]
            self.assertEqual(text.decode(),
                             f"{source} {client.name[1]} {host} {port} {LO} 5 0 0")
            self.assertEqual(where[:2], (host, port), "the answer leaves from the address that was asked")
        service.stop()

    def test_ipv4_on_a_socket_of_both(self):
        service = self.start(ANY6)
        port = service.places[0][1]
        client = Client(self, (socket.AF_INET, port), host="127.0.0.2")
        client.send("!info")
        text, where = client.receive()
        self.assertEqual(text.decode().split()[:4],
                         ["::ffff:127.0.0.1", str(client.name[1]), "::ffff:127.0.0.2", str(port)])
        self.assertEqual(where, ("127.0.0.2", port))
        service.stop()

    def test_a_datagram_that_answers_nothing(self):
        service = self.start(V4, V6)
        for i in range(2):
            client, other = self.client(service, i), self.client(service, i)
            client.send(f"!to {other.name[1]} hello")
            data, where = other.receive()
            self.assertEqual((data, where[1]), (b"hello", service.places[i][1]))
        service.stop()

    def test_many_in_a_row_keep_their_order(self):
        service = self.start(V4)
        client = self.client(service)
        for size in (12, 64, 500, 1400):
            client.send(f"!send 100 {size}")
            got = [client.receive()[0] for _ in range(100)]
            self.assertEqual([int(data.split(b"\0")[0]) for data in got], list(range(100)))
            self.assertEqual({len(data) for data in got}, {size})
        for n in range(10):
            sent = [f"{n} {i}".encode().ljust(64 if i % 7 else 20, b".") for i in range(64)]
            for data in sent:
                client.send(data)
            self.assertEqual([client.receive()[0] for _ in sent], sent)
        service.stop()

    def test_runs_of_datagrams(self):
        """What the kernel makes one message of, both ways, is datagrams to the program."""
        service = self.start(V4)
        client = self.client(service)
        for size, total in ((64, 64 * 40), (64, 64 * 40 + 5), (1000, 30500)):
            data = bytes(i % 251 + 1 for i in range(total)).replace(b"!", b"?")
            client.sock.sendmsg([data], [(socket.IPPROTO_UDP, 103, struct.pack("H", size))], 0,
                                (client.host, client.port))
            wanted = [data[i:i + size] for i in range(0, total, size)]
            self.assertEqual([client.receive()[0] for _ in wanted], wanted)
        service.stop()

    def stopped(self, service):
        """Stops what receives."""
        pids = service.worker_pids() if self.workers else [service.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def test_multicast(self):
        service = self.start(ANY4, ANY6)
        client, six = self.client(service), self.client(service, 1)
        group = "239.255.17.1"
        interface = struct.pack("4s4si", bytes(4), socket.inet_aton("127.0.0.1"), LO)
        client.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        for _ in range(2):  # the second time it is joined already
            self.assertEqual(client.tell(f"!join {group} lo"), "0")
        client.send("!info", host=group)
        text, where = client.receive()
        fields = text.decode().split()
        self.assertEqual((fields[2], fields[4], fields[7]), (group, str(LO), "1"))
        self.assertEqual(where[1], service.places[0][1])
        self.assertEqual(client.tell("!join 127.0.0.1 lo"), str(EINVAL))
        self.assertEqual(client.tell(f"!join {group} nowhere"), str(ENODEV))
        self.assertEqual(client.tell("!join ff01::17 lo"), str(EINVAL))
        self.assertEqual(six.tell("!join ff01::17 lo"), "0")
        for asked, one in ((client, group), (six, "ff01::17")):
            self.assertEqual(asked.tell(f"!leave {one} lo"), "0")
            self.assertEqual(asked.tell(f"!leave {one} lo"), str(EADDRNOTAVAIL))
        client.send("!info", host=group)
        self.assertEqual(client.ask("alone again"), b"alone again", "nobody answers for the group")
        service.stop()

    def test_what_the_kernel_refuses_is_counted_and_passed_by(self):
        service = self.start(V4)
        client = self.client(service)
        self.assertEqual(client.tell("!bad 5"), "ok")
        self.assertEqual(client.ask("after"), b"after")
        self.assertEqual(self.refused(service, client), 5)
        service.stop()

    def test_datagrams_of_networks_that_are_denied(self):
        service = self.start(V4 + "?allow=127.0.0.0/8&deny=127.0.0.9", ANY6 + "?deny=127.0.0.8/29")
        for i in range(2):
            # the second time IPv4 on a socket of both
            denied = Client(self, (socket.AF_INET, service.places[i][1]), source="127.0.0.9")
            client = self.client(service, i)
            for _ in range(3):
                denied.send("may I?")
            self.assertEqual(client.ask("here I am"), b"here I am")
            self.assertEqual(self.denied(service, i, client), 3)
            denied.sock.setblocking(False)
            self.assertEqual(drain(denied), 0)
        service.stop()

    def test_a_flood_loses_only_what_is_counted(self):
        service = self.start(V4)
        client = self.client(service)
        pids = self.stopped(service)
        for _ in range(8000):
            client.send(b"x" * 1400)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        client.sock.settimeout(0.2)
        while True:  # answers, until there is one to a question that came after the flood
            with contextlib.suppress(TimeoutError):
                while client.receive()[0] != b"after":
                    pass
                break
            client.send("after")
        client.sock.settimeout(20)
        delivered, counted = self.sums(service, client)
        self.assertEqual(delivered + counted, client.n_sent - 1)
        self.assertGreater(counted, 0, "it was no flood")
        service.stop()


class Alone(Suite, Case):
    workers = 0

    def counts(self, client):
        return [int(n) for n in client.tell("!count").split()]

    def refused(self, _, client):
        return self.counts(client)[3]

    def denied(self, _service, _i, client):
        return self.counts(client)[2]

    def sums(self, _, client):
        """What the program has received before this question, and what is counted as lost on the way."""
        received, _, dropped, _ = self.counts(client)
        return received - 1, dropped



class Brokered(Suite, Case):
    workers = 1

    def row(self, service):
        return service.show("datagrams")[0]

    def refused(self, service, _):
        return self.row(service)["unsent_total"]["refused"]

    @staticmethod
    def denied(service, i, _client):
        return service.show("datagrams")[i]["lost_total"]["denied"]

    def sums(self, service, client):
        """The broker's sums, but for the question by which the client sees to it that they are complete."""
        client.ask("the last one")
        row = eventually("nothing in hand", lambda: (
            lambda row: row if row["in_hand"] + row["waiting"] == 0 else None)(self.row(service)))
        lost = row["lost_total"]
        self.assertEqual(row["received_total"], row["done_total"] + sum(lost.values()) - lost["kernel"])
        return row["done_total"] - 1, sum(lost.values())

    def given(self, service, n):
        """Waits until workers have so many that they are not done with."""
        eventually(f"{n} in hand", lambda: self.row(service)["in_hand"] == n)

    def test_a_disabled_endpoint_leaves_them_with_the_kernel(self):
        service = self.start(V4)
        client = Client(self, bound(service)[0])
        self.assertEqual(client.ask(b"before"), b"before")
        for _ in range(2):
            service.command("listener disable 1")
            before = self.row(service)["received_total"]
            client.send(b"meanwhile")
            for _ in range(3):
                self.assertEqual(self.row(service)["received_total"], before)
            service.command("listener enable 1")
            self.assertEqual(client.receive()[0], b"meanwhile")
            self.assertEqual(client.ask(b"again"), b"again")
        service.stop()

    def test_what_a_dead_worker_had_not_taken_goes_to_another(self):
        service = self.start(V4)
        clients = [self.client(service) for _ in range(4)]
        pids = self.stopped(service)
        for n in range(10):
            for client in clients:
                client.send(f"{n}")
        self.given(service, 40)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            self.assertEqual([client.receive()[0] for _ in range(10)], [b"%d" % n for n in range(10)])
        row = self.row(service)
        self.assertGreaterEqual(row["given_again_total"], 40)
        self.assertEqual(sum(row["lost_total"].values()), 0)
        service.stop()

    def test_what_a_dead_worker_had_taken_is_lost_and_counted(self):
        service = self.start(V4)
        client = self.client(service)
        self.stopped(service)
        client.send("!die")
        for _ in range(10):
            client.send("too late")
        self.given(service, 11)
        for pid in service.worker_pids():
            os.kill(pid, signal.SIGCONT)
        row = eventually("a death", lambda: (
            lambda row: row if row["in_hand"] == 0 else None)(self.row(service)))
        self.assertEqual(row["lost_total"]["worker_died"], 11)
        self.assertEqual(client.ask("and on"), b"and on")
        service.stop()

    def test_groups_of_the_dead_leave_room_for_others(self):
        service = self.start(V4)
        client = self.client(service)
        answers = [client.tell(f"!join 239.255.18.{n} lo") for n in range(1, 41)]
        self.assertEqual(set(answers), {"0", str(ENOBUFS)}, "an endpoint has a limited number of groups")
        client.send("!die")
        eventually("a death", lambda: self.row(service)["lost_total"]["worker_died"] == 1)
        self.assertEqual(client.tell("!join 239.255.19.1 lo"), "0")
        self.assertEqual(client.tell("!join 239.255.18.1 lo"), "0")
        service.stop()

    def test_an_endpoint_is_bound_once_whatever_it_is_called(self):
        service = self.service(helper("datagrams"), "sip", "sip", workers=1, ready=False,
                               flags=["-l", "sip=udp://127.0.0.1:0"])
        self.assertNotEqual(service.wait(), 0)
        self.assertIn("worker 1.1 listens there already; it has to close that listener first", service.output())

    def test_a_reload_loses_nothing(self):
        service = self.start(V4, flags=["--reload-trial", "100ms"])
        before = set(service.worker_pids())
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            reload = pool.submit(service.command, "reload")
            clients = [self.client(service) for _ in range(8)]
            rounds = 0
            while not reload.done() or rounds < 20:
                for client in clients:
                    for n in range(10):
                        client.send(b"%d %d" % (rounds, n))
                for client in clients:
                    self.assertEqual([client.receive()[0] for _ in range(10)],
                                     [b"%d %d" % (rounds, n) for n in range(10)])
                rounds += 1
            self.assertIn("OK", reload.result())
        self.assertFalse(before & set(service.worker_pids()))
        self.assertEqual(sum(self.row(service)["lost_total"].values()), 0)
        service.stop()

    def test_the_sum_holds_while_workers_are_killed(self):
        """sent = done + lost, done = answered or unsent, and the answers that left have arrived."""
        service = self.start(V4)
        clients = [self.client(service) for _ in range(8)]
        answers, started = 0, time.monotonic()
        for client in clients:
            client.sock.settimeout(0)
        for n in range(60):
            for client in clients:
                for k in range(20):
                    client.send(b"%d " % n + b"x" * (k * 30))
            if n % 6 == 3:
                for pid in service.worker_pids()[:1]:
                    os.kill(pid, signal.SIGKILL)
            answers += sum(map(drain, clients))
        n_sent = sum(client.n_sent for client in clients)

        def settled():
            row = self.row(service)
            whole = row["received_total"] + row["lost_total"]["kernel"] == n_sent
            return row if whole and row["in_hand"] + row["waiting"] + row["queued"] == 0 else None

        row = eventually("the end of it", settled)
        answers += sum(map(drain, clients))
        self.assertEqual(row["done_total"] + sum(row["lost_total"].values()), n_sent)
        self.assertEqual(row["done_total"], row["sent_total"] + sum(row["unsent_total"].values()))
        self.assertEqual(answers, row["sent_total"] - sum(map(dropped, clients)))
        self.assertGreater(answers, n_sent / 4, f"in {time.monotonic() - started:.1f} s")
        service.stop()


class Several(Brokered):
    workers = 3

    def test_who_closes_in_the_middle_of_a_run_leaves_the_rest_to_another(self):
        service = self.start(V4)
        client = self.client(service)
        client.sock.sendmsg([b"first.second!close", b"third.fourth"],
                            [(socket.IPPROTO_UDP, 103, struct.pack("H", 6))], 0, (client.host, client.port))
        client.n_sent += 5
        self.assertEqual([client.receive()[0] for _ in range(4)], [b"first.", b"second", b"third.", b"fourth"])
        client.sock.settimeout(20)
        self.assertEqual(self.sums(service, client), (client.n_sent - 1, 0))
        self.assertEqual(self.row(service)["given_again_total"], 2)
        service.stop()


if __name__ == "__main__":
    unittest.main()
