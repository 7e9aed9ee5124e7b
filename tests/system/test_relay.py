# SPDX-License-Identifier: MIT
"""test_relay - the relay example: both directions, each with its own end, alone and behind the broker"""
import hashlib
import os
import pathlib
import signal
import socket
import subprocess
import threading
import unittest

from support import ANY_PORT, PATIENCE, SANITIZED, Case, connect_to, eventually, example, receive, receive_all, reset

BULK = (8 if SANITIZED else 64) << 20


class Suite:
    workers = 0

    def setUp(self):
        super().setUp()
        self.server = self.enterContext(socket.create_server(("127.0.0.1", 0), backlog=64))
        self.server.settimeout(PATIENCE)
        self.relay = self.start(self.server.getsockname()[1])

    def start(self, port):
        relay = self.service(example("relay"), ANY_PORT, f"tcp://127.0.0.1:{port}", workers=self.workers)
        self.addCleanup(lambda: relay.process.poll() is None and relay.stop())
        return relay

    def pair(self):
        client = self.enterContext(connect_to(self.url()))
        server = self.enterContext(self.server.accept()[0])
        server.settimeout(PATIENCE)
        return client, server

    def url(self):
        return self.relay.url

    def test_bulk_through_socat(self):
        """Two streams at once, one each way; socat on both sides ends its own and hears the other's end."""
        folder = pathlib.Path(self.folder())
        for name in ("there", "back"):
            (folder / name).write_bytes(os.urandom(1 << 20) * (BULK >> 20))
        host, port = self.server.getsockname()
        self.server.close()
        listener = self.process(folder, "back", "there.got", f"TCP-LISTEN:{port},bind={host},reuseaddr")
        eventually("socat that listens", lambda: self.listens(port))
        client = self.process(folder, "there", "back.got", f"TCP:{self.url()[len('tcp://'):]}")
        for process in (client, listener):
            self.assertEqual(process.wait(120), 0)
        for name in ("there", "back"):
            self.assertEqual(self.sum_of(folder / name), self.sum_of(folder / f"{name}.got"), name)

    def process(self, folder, sends, gets, address):
        with (folder / sends).open("rb") as source, (folder / gets).open("wb") as sink:
            process = subprocess.Popen(["socat", "-t", "60", "STDIO", address], stdin=source, stdout=sink)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    @staticmethod
    def listens(port):
        rows = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
        return any(row.split()[3] == "0A" and row.split()[1].endswith(f":{port:04X}") for row in rows)

    @staticmethod
    def sum_of(path):
        return path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()

    def test_ping_pong(self):
        """64 bytes there and back, on 16 connections at a time."""
        pairs = [self.pair() for _ in range(16)]
        for i in range(200):
            ball = i.to_bytes(64, "big")
            for client, _ in pairs:
                client.sendall(ball)
            for client, server in pairs:
                self.assertEqual(receive(server, 64), ball)
                server.sendall(ball[::-1])
            for client, _ in pairs:
                self.assertEqual(receive(client, 64), ball[::-1])

    def test_client_ends_first(self):
        client, server = self.pair()
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(server), b"question")
        server.sendall(b"answer")
        server.close()
        self.assertEqual(receive_all(client), b"answer")

    def test_server_ends_first(self):
        client, server = self.pair()
        server.sendall(b"greeting")
        server.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), b"greeting")
        client.sendall(b"all that is left")
        client.close()
        self.assertEqual(receive_all(server), b"all that is left")

    def test_reset_passes_through(self):
        client, server = self.pair()
        reset(server)
        self.assert_closed_by_reset(client)
        client, server = self.pair()
        reset(client)
        self.assert_closed_by_reset(server)

    def test_nobody_there(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            relay = self.start(sock.getsockname()[1])
            with self.assertRaises(ConnectionResetError):  # perhaps before the client knew that it was connected
                with relay.connect() as client:
                    receive_all(client)

    def test_slow_reader_holds_the_writer_back(self):
        """What nobody takes is not piled up: the sender comes to a stop, and then all arrives."""
        client, server = self.pair()
        data = bytes(range(256)) * (1 << 14)
        sent = threading.Thread(target=lambda: (client.sendall(data * 8), client.shutdown(socket.SHUT_WR)))
        sent.start()
        sent.join(0.5)
        self.assertTrue(sent.is_alive())
        self.assertEqual(hashlib.sha256(receive_all(server)).digest(), hashlib.sha256(data * 8).digest())
        sent.join()


class Alone(Suite, Case):
    def start(self, port):
        """The target's URL is no endpoint of ours: only the first one is listened on."""
        relay = self.service(example("relay"), ANY_PORT, f"tcp://127.0.0.1:{port}", ready=False)
        relay.args = relay.args[:1]
        relay.wait_ready()
        self.addCleanup(lambda: relay.process.poll() is None and relay.stop())
        return relay


class Brokered(Suite, Case):
    workers = 1

    def test_worker_dies(self):
        """Neither side takes what it has for all that there was."""
        client, server = self.pair()
        client.sendall(b"some")
        self.assertEqual(receive(server, 4), b"some")
        server.sendall(b"thing")
        self.assertEqual(receive(client, 5), b"thing")
        os.kill(self.relay.worker_pids()[0], signal.SIGKILL)
        self.assert_closed_by_reset(client)
        self.assert_closed_by_reset(server)


if __name__ == "__main__":
    unittest.main()
