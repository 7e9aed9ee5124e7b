# SPDX-License-Identifier: MIT
"""test_clients - what a client sees, the same whether the program runs alone or behind the broker

One suite, four backends: by itself, and with 1, 2 and 4 workers.
"""
import contextlib
import hashlib
import os
import random
import resource
import socket
import subprocess
import threading
import unittest

from support import (ANY_PORT, PATIENCE, SANITIZED, Case, connect_to, ask, eventually, example, helper,
                     receive, receive_all, receive_line, reset)


def bytes_of(seed, n):
    return random.Random(seed).randbytes(n)


class Behaviours:
    """Mixed into one class per backend below."""

    workers = 0

    def start(self, program, *args, **options):
        return self.service(program, *(args or (ANY_PORT,)), workers=self.workers, **options)

    def echo(self, **options):
        return self.start(example("echo"), **options)

    def upper(self):
        return self.start(example("upper"))

    def probe(self, *args):
        return self.start(helper("probe"), *(args or (ANY_PORT,)))

    # Bytes

    def test_every_byte_comes_back_in_order(self):
        service = self.echo()
        sent = bytes_of(1, 3_000_000)
        with service.connect() as sock:
            def send():
                rest = memoryview(sent)
                pieces = random.Random(2)
                while rest:
                    n = pieces.choice((1, 63, 2047, 2048, 2049, 16384, 65536, 200_000))
                    sock.sendall(rest[:n])
                    rest = rest[n:]
                sock.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            got = receive_all(sock)
            sender.join()
        self.assertEqual(len(got), len(sent))
        self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(sent).digest())
        service.stop()

    def test_large_transfers_side_by_side(self):
        service = self.echo()
        size = 24 << 20
        results = {}

        def exchange(seed):
            block = bytes_of(seed, 1 << 20)
            with service.connect() as sock:
                def send():
                    for _ in range(size >> 20):
                        sock.sendall(block)
                    sock.shutdown(socket.SHUT_WR)

                sender = threading.Thread(target=send)
                sender.start()
                total, digest = 0, hashlib.sha256()
                while part := sock.recv(1 << 18):
                    digest.update(part)
                    total += len(part)
                sender.join()
            wanted = hashlib.sha256()
            for _ in range(size >> 20):
                wanted.update(block)
            results[seed] = total == size and digest.digest() == wanted.digest()

        threads = [threading.Thread(target=exchange, args=(seed,)) for seed in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(results, {0: True, 1: True, 2: True})
        service.stop()

    def test_a_thousand_connections_each_get_their_own_bytes(self):
        service = self.echo()
        with contextlib.ExitStack() as stack:
            url = service.url
            socks = [stack.enter_context(connect_to(url)) for _ in range(1000)]
            for turn in range(3):
                for i, sock in enumerate(socks):
                    sock.sendall(b"%d of turn %d;" % (i, turn) * 5)
                for i, sock in enumerate(socks):
                    text = b"%d of turn %d;" % (i, turn) * 5
                    self.assertEqual(receive(sock, len(text)), text)
        service.stop()

    # Half-close

    def test_half_close_by_the_client_brings_the_whole_answer(self):
        service = self.echo()
        for n in (1, 64, 5000, 1_000_000):
            sent = bytes_of(n, n)
            with service.connect() as sock:
                sender = threading.Thread(
                    target=lambda s=sock, d=sent: (s.sendall(d), s.shutdown(socket.SHUT_WR)))
                sender.start()
                self.assertEqual(receive_all(sock), sent)
                sender.join()
        service.stop()

    def test_half_close_with_nothing_sent_ends_quietly(self):
        service = self.echo()
        with service.connect() as sock:
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(sock), b"")
        service.stop()

    def test_half_close_by_netcat_and_socat(self):
        service = self.echo()
        port = service.url.rsplit(":", 1)[1]
        data = bytes_of(5, 300_000)
        for argv in (["nc", "-N", "127.0.0.1", port],
                     ["socat", "-t", str(PATIENCE), "-", f"TCP:127.0.0.1:{port}"]):
            with self.subTest(argv[0]):
                done = subprocess.run(argv, input=data, stdout=subprocess.PIPE, timeout=PATIENCE)
                self.assertEqual(done.returncode, 0)
                self.assertEqual(done.stdout, data)
        service.stop()

    def test_half_close_by_the_server_leaves_input_open(self):
        service = self.probe()
        with service.connect() as sock:
            sock.sendall(b"shutdown\n")
            self.assertEqual(receive_all(sock), b"last words\n")
            for _ in range(10):
                sock.sendall(b"x" * 10_000)
            sock.shutdown(socket.SHUT_WR)
            eventually("all the input after the shutdown",
                       lambda: "after the shutdown: 100000 bytes, then the end" in service.output())
        service.stop()

    # Requests and answers

    def test_lines_split_into_single_bytes(self):
        service = self.upper()
        with service.connect() as sock:
            for text in (b"hello, World\n", b"\n", b"x\n", b"a longer line with 123 and \xc3\xa4\n"):
                for i in range(len(text)):
                    sock.sendall(text[i:i + 1])
                self.assertEqual(receive_line(sock), text.upper())
        service.stop()

    def test_many_lines_in_one_packet(self):
        service = self.upper()
        text = b"".join(b"line %d of many\n" % i for i in range(20_000))
        with service.connect() as sock:
            sender = threading.Thread(target=sock.sendall, args=(text,))
            sender.start()
            self.assertEqual(receive(sock, len(text)), text.upper())
            sender.join()
        service.stop()

    def test_last_line_without_newline_is_answered(self):
        service = self.upper()
        with service.connect() as sock:
            sock.sendall(b"one\ntwo")
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(sock), b"ONE\nTWO")
        service.stop()

    def test_line_that_is_too_long_is_reset_and_harms_nobody(self):
        service = self.upper()
        with service.connect() as other, service.connect() as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"x" * 100_000)
            self.assert_closed_by_reset(sock)
            self.assertEqual(ask(other, "still here"), "STILL HERE")
        service.stop()

    def test_held_request_of_two_lines(self):
        for flags in ((), ("-r",)):
            service = self.probe(*flags, ANY_PORT)
            with service.connect() as sock:
                sock.sendall(b"hold one\n")
                sock.sendall(b"two\necho three\n")
                self.assertEqual(receive_line(sock), b"one+two\n")
                self.assertEqual(receive_line(sock), b"three\n")
            service.stop()

    def test_peeked_bytes_are_taken_only_by_skip(self):
        service = self.probe("-r", ANY_PORT)
        with service.connect() as sock:
            sock.sendall(b"peek 6\nabc")
            sock.sendall(b"de\necho next\n")
            self.assertEqual(receive(sock, 11), b"abcde\nnext\n")
        service.stop()

    def test_views_and_loans_carry_every_byte(self):
        service = self.probe()
        data = bytes_of(7, 2_000_000)
        with service.connect() as sock:
            sock.sendall(b"views\n")
            sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
            sender.start()
            self.assertEqual(hashlib.sha256(receive_all(sock)).digest(), hashlib.sha256(data).digest())
            sender.join()
        service.stop()

    def test_read_past_its_deadline_returns_to_the_handler(self):
        service = self.probe()
        with service.connect() as sock:
            self.assertEqual(ask(sock, "deadline 50"), "timed out")
            self.assertEqual(ask(sock, "echo and goes on"), "and goes on")
        service.stop()

    def test_close_by_the_server_sends_what_was_written(self):
        service = self.probe()
        for _ in range(20):
            with service.connect() as sock:
                sock.sendall(b"close goodbye\n")
                self.assertEqual(receive_all(sock), b"goodbye\n")
        service.stop()

    def test_close_with_unread_input_does_not_destroy_the_answer(self):
        service = self.probe()
        for _ in range(20):
            with service.connect() as sock:
                sock.sendall(b"close goodbye\n" + b"never read\n" * 1000)
                self.assertEqual(receive_line(sock), b"goodbye\n")
        service.stop()

    def test_abort_by_the_server_is_a_reset(self):
        service = self.probe()
        with service.connect() as sock:
            sock.sendall(b"abort\n")
            self.assert_closed_by_reset(sock)
        service.stop()

    # Clients that behave badly

    def test_slow_reader_beside_fast_ones(self):
        service = self.echo()
        with service.connect() as slow, service.connect() as fast:
            data = bytes_of(9, 24 << 20)  # more than all the buffers of the kernel on this path hold
            sender = threading.Thread(target=lambda: (slow.sendall(data), slow.shutdown(socket.SHUT_WR)))
            sender.start()
            for i in range(300):
                self.assert_echoes(fast, b"%d" % i * 50)
            self.assertEqual(hashlib.sha256(receive_all(slow)).digest(), hashlib.sha256(data).digest())
            sender.join()
        service.stop()

    def test_a_thousand_clients_that_never_read_beside_ten_that_do(self):
        service = self.echo()
        with contextlib.ExitStack() as stack:
            url = service.url
            for _ in range(1000):
                sock = stack.enter_context(connect_to(url))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(16):
                        sock.send(b"z" * 16384)
            good = [stack.enter_context(connect_to(url)) for _ in range(10)]
            for turn in range(50):
                for i, sock in enumerate(good):
                    self.assert_echoes(sock, b"%d %d " % (turn, i) * 20)
        with service.connect() as sock:
            self.assert_echoes(sock)
        service.stop()

    def test_resets_in_mid_transfer_harm_nobody(self):
        service = self.echo()
        url = service.url
        with connect_to(url) as other:
            for i in range(200):
                sock = connect_to(url)
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(i % 30):
                        sock.send(b"y" * 8192)
                reset(sock)
                if i % 10 == 0:
                    self.assert_echoes(other)
            self.assert_echoes(other)
        service.stop()

    def test_clients_that_send_nothing_harm_nobody(self):
        service = self.echo()
        with contextlib.ExitStack() as stack:
            url = service.url
            for _ in range(300):
                stack.enter_context(connect_to(url))
                connect_to(url).close()
                reset(connect_to(url))
            with connect_to(url) as sock:
                self.assert_echoes(sock)
        service.stop()

    def test_connections_that_are_gone_are_forgotten(self):
        service = self.echo()
        url = service.url

        def files():
            return len(os.listdir(f"/proc/{service.pid}/fd"))

        before = files()
        for _ in range(300):
            with connect_to(url) as sock:
                self.assert_echoes(sock)
        eventually("as many open files as before", lambda: files() <= before + 1)
        service.stop()

    def test_more_clients_than_descriptors(self):
        service = self.echo(limits={resource.RLIMIT_NOFILE: 256})
        url = service.url
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(connect_to(url))
            self.assert_echoes(first)
            for _ in range(400):
                stack.enter_context(connect_to(url))
            self.assert_echoes(first)
            eventually("a word about the descriptor limit", lambda: any(
                w in service.output().lower() for w in ("descriptor", "open files", "nofile")))
            lines = len(service.output().splitlines())
            self.assertLess(lines, 50, "it repeats itself")
        with connect_to(url) as sock:
            self.assert_echoes(sock)
        service.stop()

    # Endpoints

    def test_unix_stream_endpoint(self):
        path = f"{self.folder()}/echo.sock"
        service = self.start(example("echo"), f"unix:{path}")
        data = bytes_of(11, 500_000)
        with connect_to(f"unix:{path}") as sock:
            sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
            sender.start()
            self.assertEqual(receive_all(sock), data)
            sender.join()
        service.stop()
        self.assertFalse(os.path.exists(path), "the socket file was left behind")

    def test_unix_peer_is_who_the_kernel_says(self):
        path = f"{self.folder()}/probe.sock"
        service = self.probe(f"unix:{path}")
        with connect_to(f"unix:{path}") as sock:
            self.assertEqual(ask(sock, "peer"), f"{os.getpid()} {os.getuid()} {os.getgid()}")
        service.stop()

    def test_unix_socket_file_of_a_killed_service_is_taken_over(self):
        path = f"{self.folder()}/echo.sock"
        killed = self.start(example("echo"), f"unix:{path}")
        killed.kill()
        self.assertTrue(os.path.exists(path))
        service = self.start(example("echo"), f"unix:{path}")
        with connect_to(f"unix:{path}") as sock:
            self.assert_echoes(sock)
        service.stop()

    def test_ipv6_endpoint(self):
        service = self.start(example("echo"), "tcp://[::1]:0")
        with service.connect() as sock:
            self.assertEqual(sock.family, socket.AF_INET6)
            self.assert_echoes(sock)
        service.stop()

    def test_endpoint_by_name(self):
        service = self.start(example("echo"), "tcp://localhost:0")
        with service.connect() as sock:
            self.assert_echoes(sock)
        service.stop()

    def test_two_endpoints_of_one_program(self):
        path = f"{self.folder()}/second.sock"
        service = self.start(helper("probe"), ANY_PORT, f"unix:{path}", urls=2)
        for i in range(2):
            with service.connect(i) as sock:
                self.assertEqual(ask(sock, f"echo endpoint {i}"), f"endpoint {i}")
        service.stop()

    # Real clients

    def kv(self):
        service = self.start(example("kv"))
        return service, service.url.rsplit(":", 1)[1]

    def test_kv_serves_redis_cli(self):
        service, port = self.kv()
        script = "PING\nSET greeting hello\nGET greeting\nGET nothing\nDEL greeting\nGET greeting\nWHAT\n"
        done = subprocess.run(["redis-cli", "-p", port], input=script, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
        self.assertEqual(done.stdout.split("\n"),
                         ["PONG", "OK", "hello", "", "1", "", "ERR unknown command", "", ""])
        service.stop()

    def test_kv_serves_redis_benchmark(self):
        service, port = self.kv()
        n = "2000" if SANITIZED else "20000"
        for pipeline in ("1", "16"):
            done = subprocess.run(["redis-benchmark", "-p", port, "-n", n, "-c", "50", "-P", pipeline, "-q",
                                   "-t", "ping,set,get", "-r", "1000", "-d", "100"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=PATIENCE * 2)
            self.assertEqual(done.returncode, 0, done.stdout)
            for name in ("PING_INLINE", "PING_MBULK", "SET", "GET"):
                self.assertRegex(done.stdout, rf"{name}: [\d.]+ requests per second")
            self.assertNotIn("WARN", done.stdout.upper())
            self.assertNotIn("rror", done.stdout)
        service.stop()

    def test_kv_answers_pipelined_commands_in_order(self):
        service, _ = self.kv()
        value = bytes_of(13, 70_000)
        with service.connect() as sock:
            sock.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$70000\r\n" + value + b"\r\nPING\r\nGET a\r\n"
                         b"*1\r\n$4\r\nping\r\nGET b\r\nset b 2\r\nDEL b\r\nDEL b\r\n")
            wanted = (b"+OK\r\n+PONG\r\n$70000\r\n" + value + b"\r\n+PONG\r\n$-1\r\n+OK\r\n:1\r\n:0\r\n")
            self.assertEqual(receive(sock, len(wanted)), wanted)
        service.stop()

    def test_kv_refuses_malformed_input(self):
        service, _ = self.kv()
        with service.connect() as other:
            for text in (b"*x\r\n", b"*-1\r\n", b"*999999999999999999999\r\n", b"*1\r\nPING\r\n", b"*1\r\n$-5\r\n",
                         b"*1\r\n$99999999\r\n", b"*1\r\n$4\r\nPINGxx", b"*100\r\n", b"x" * 2000 + b"\r\n",
                         b"1 2 3 4 5 6 7 8 9\r\n"):
                with self.subTest(text[:30]), service.connect() as sock:
                    sock.sendall(text)
                    self.assertTrue(receive_all(sock).startswith(b"-ERR "))
            self.assertEqual(ask(other, "PING"), "+PONG\r")
            self.assertEqual(ask(other, "GET"), "-ERR wrong number of arguments\r")
            self.assertEqual(ask(other, "SET a"), "-ERR wrong number of arguments\r")
        service.stop()


    # What waits for others

    def crowds(self, service, stack):
        """65 clients of each worker, all with half a line in its hands; some workers may have more."""
        workers = [w["id"] for w in service.show("workers")] if self.workers else ["alone"]
        socks, crowds, url = {}, {w: [] for w in workers}, service.url

        def in_hand():
            conns = service.show("conns limit 1000")
            return len(conns) == len(socks) and all(c["delivered"] == 2 for c in conns) and conns

        while missing := sum(max(0, 65 - len(crowd)) for crowd in crowds.values()):
            self.assertLess(len(socks), 800)
            for _ in range(missing):
                sock = stack.enter_context(connect_to(url))
                sock.sendall(b"wa")
                socks["%s:%d" % sock.getsockname()[:2]] = sock
            if not self.workers:
                return [list(socks.values())]
            crowds = {w: [] for w in workers}
            for c in eventually("half a line of each in a worker's hands", in_hand):
                crowds[c["worker"]].append(socks[c["peer"]])
        return [crowd[:65] for crowd in crowds.values()]

    def test_64_handlers_wait_for_what_the_65th_connection_brings(self):
        for flags in ((), ("-r",)):
            options = {"flags": ("--depth", "64")} if self.workers else {}
            service = self.start(helper("probe"), *flags, ANY_PORT, **options)
            with contextlib.ExitStack() as stack:
                crowds = self.crowds(service, stack)
                for sock in [s for crowd in crowds for s in crowd[1:]]:
                    sock.sendall(b"it\n")
                eventually("64 that wait in each", lambda s=service, n=64 * len(crowds):
                           s.output().count("waiting\n") == n)
                late = stack.enter_context(service.connect())
                late.sendall(b"echo late\n")
                if self.workers:  # each has its fill, and the late one stands in line; alone there is no line
                    eventually("a late one in line", lambda s=service: "waiting" in {
                        c["state"] for c in s.show("conns limit 1000")})
                for i, crowd in enumerate(crowds):
                    crowd[0].sendall(b"ke news %d\n" % i)
                    self.assertEqual(receive_line(crowd[0]), b"64 woken\n")
                    self.assertEqual({receive_line(s) for s in crowd[1:]}, {b"news %d\n" % i})
                self.assertEqual(receive_line(late), b"late\n")
            service.stop()


class Alone(Behaviours, Case):
    workers = 0


class OneWorker(Behaviours, Case):
    workers = 1


class TwoWorkers(Behaviours, Case):
    workers = 2


class FourWorkers(Behaviours, Case):
    workers = 4


if __name__ == "__main__":
    unittest.main()
