# SPDX-License-Identifier: MIT
"""test_packets - seqpacket endpoints: what was sent as one message is read and written as one"""
import os
import socket
import unittest

from support import Case, eventually, helper, listening_paths

EINVAL, EMSGSIZE, EOPNOTSUPP = -22, -90, -95
LONGEST = 65532


class Suite:
    workers = 0

    def start(self, options=""):
        path = f"{self.folder()}/s"
        service = self.service(helper("packets"), f"seqpacket:{path}{options}", workers=self.workers, ready=False)
        eventually("a listener", lambda: path in listening_paths(service.pid))
        service.path = path
        return service

    def client(self, service):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(sock.close)
        sock.settimeout(30)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sock.connect(service.path)
        return sock

    def test_boundaries_are_kept(self):
        sock = self.client(self.start())
        messages = [bytes([65 + i % 26]) * n for i, n in enumerate(
            (1, 2, 3, 255, 256, 257, 2044, 2045, 4096, 16380, 16381, 60000, LONGEST, 1, 1, 5))]
        for message in messages:
            message = b"x" + message[1:]
            sock.send(message)
            self.assertEqual(sock.recv(1 << 17), message)
        for n in range(1, 100):  # many at once
            sock.send(b"x" * n)
        for n in range(1, 100):
            self.assertEqual(sock.recv(1 << 17), b"x" * n)

    def test_more_than_a_window_in_flight(self):
        sock = self.client(self.start())
        sent = received = 0
        sock.setblocking(False)
        while received < 300:
            try:
                while sent < 300:
                    sock.send(b"x" + bytes([sent % 251]) * (100 * sent))
                    sent += 1
            except BlockingIOError:
                pass
            try:
                while received < 300:
                    self.assertEqual(sock.recv(1 << 17), b"x" + bytes([received % 251]) * (100 * received))
                    received += 1
            except BlockingIOError:
                pass

    def test_too_little_room_takes_nothing(self):
        sock = self.client(self.start())
        sock.send(b"small")
        sock.send(b"x123456789")
        self.assertEqual(sock.recv(99), f"{EMSGSIZE} 10".encode())

    def test_calls_that_know_no_messages(self):
        sock = self.client(self.start())
        sock.send(b"calls")
        self.assertEqual(sock.recv(99), " ".join([str(EOPNOTSUPP)] * 6).encode())

    def test_the_longest_and_longer(self):
        sock = self.client(self.start())
        sock.send(b"write")
        self.assertEqual(sock.recv(1 << 17), bytes(i & 255 for i in range(LONGEST)))
        self.assertEqual(sock.recv(99), f"{EMSGSIZE} {EINVAL}".encode())
        sock.send(bytes(LONGEST + 1))  # nobody could be given that
        try:
            self.assertEqual(sock.recv(99), b"")
        except ConnectionResetError:
            pass

    def test_the_end_comes_after_the_last_message(self):
        sock = self.client(self.start())
        sock.send(b"x1")
        sock.send(b"x2")
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual([sock.recv(99) for _ in range(3)], [b"x1", b"x2", b""])

    def test_mode_of_the_file(self):
        service = self.start("?mode=0600&max=5")
        self.assertEqual(os.stat(service.path).st_mode & 0o777, 0o600)
        sock = self.client(service)
        sock.send(b"x")
        self.assertEqual(sock.recv(9), b"x")


class Alone(Suite, Case):
    pass


class OneWorker(Suite, Case):
    workers = 1

    def test_a_message_that_a_worker_died_with_comes_whole_to_the_next(self):
        service = self.start()
        sock = self.client(service)
        for n in (1, 300, 20000):
            sock.send(b"d" * n)
            sock.send(b"x")
            self.assertEqual(sock.recv(1 << 17), b"d" * n)
            self.assertEqual(sock.recv(99), b"x")
        self.assertEqual(service.show("info")["deaths_total"], 3)

    def test_it_is_counted_that_one_was_too_long(self):
        service = self.start()
        sock = self.client(service)
        sock.send(bytes(LONGEST + 1))
        eventually("a reset that says why", lambda: service.show("info")["resets_total"]["message_too_large"] == 1)

    def test_by_name(self):
        path = f"{self.folder()}/s"
        service = self.service(helper("packets"), "box", workers=1, flags=["-l", f"box=seqpacket:{path}"])
        service.path = path
        sock = self.client(service)
        sock.send(b"x1")
        sock.send(b"x2")
        self.assertEqual([sock.recv(99), sock.recv(99)], [b"x1", b"x2"])


if __name__ == "__main__":
    unittest.main()
