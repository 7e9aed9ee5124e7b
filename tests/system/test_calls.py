# SPDX-License-Identifier: MIT
"""test_calls - every call of the library, with the same result whoever has the sockets

One suite, run alone and behind the broker with one and with two workers. A test sends a script to the worker
(calls.c) and compares what each call returned with what it must return; so the backends are compared with each
other as well. Most tests run on each kind of endpoint: IPv4, IPv6 and Unix, resumable and not.
"""
import contextlib
import os
import re
import signal
import socket
import time
import unittest
import zlib

from support import Case, Service, connect_to, eventually, helper, receive, receive_all, receive_line, reset

EPERM, EBADF, EBUSY, EINVAL, EPIPE, EMSGSIZE = -1, -9, -16, -22, -32, -90
EADDRINUSE, ECONNRESET, ETIMEDOUT, ESTALE, ECANCELED = -98, -104, -110, -116, -125

BLOCK = 65536
WINDOW = 256 << 10
HOLD = "hold=0"


def pattern(n, start=0):
    row = bytes(range(251))
    first = start % 251
    return (row * ((first + n) // 251 + 1))[first:first + n]


def summed(data):
    return f"{len(data)} {zlib.adler32(data)}" if len(data) > 64 else f"{len(data)} {data.decode()}"


class Suite:
    workers = 0
    flags = ()
    env = {}

    @classmethod
    def arguments(cls, folder):
        return ["tcp://127.0.0.1:0", "-r", "tcp://127.0.0.2:0", "tcp://[::1]:0", f"unix:{folder}/p",
                "-r", f"unix:{folder}/r"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared = None

    @classmethod
    def tearDownClass(cls):
        if cls.shared:
            try:
                cls.shared.stop()
            finally:
                cls.shared.clean()
        super().tearDownClass()

    def start(self, *flags, env=None):
        """A service of a test's own."""
        folder = self.folder()
        service = self.service(helper("calls"), *self.arguments(folder), workers=self.workers, urls=5,
                               flags=flags if self.workers else (), env=env)
        return self.with_urls(service)

    @staticmethod
    def with_urls(service):
        eventually("five bound addresses", lambda: len(set(
            re.findall(r"url (\S+) (\S+)$", service.output(), re.M))) >= 5)
        found = dict(re.findall(r"url (\S+) (\S+)$", service.output(), re.M))
        unix = sorted(url for url in found if url.startswith("unix:"))
        service.plain, service.resumable, service.six = (
            found[url] for url in ("tcp://127.0.0.1:0", "tcp://127.0.0.2:0", "tcp://[::1]:0"))
        service.unix, service.unix_resumable = unix
        service.every = [service.plain, service.resumable, service.six, *unix]
        return service

    @property
    def calls(self):
        """The service that tests share which leave it as it was."""
        cls = type(self)
        if cls.shared is None:
            folder = self.folder_of_class()
            shared = Service(helper("calls"), *self.arguments(folder), workers=self.workers, urls=5,
                             flags=["--release-after", "10s"] if self.workers else ())
            cls.shared = self.with_urls(shared)
        return cls.shared

    @classmethod
    def folder_of_class(cls):
        import shutil
        import tempfile
        path = tempfile.mkdtemp(prefix="vn-")
        cls.addClassCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    @contextlib.contextmanager
    def script(self, url, text):
        with connect_to(url) as sock:
            sock.sendall(text.encode() + b"\n")
            try:
                yield sock
            except Exception as error:
                error.add_note(f"{url}: {text}")
                raise

    def assert_results(self, sock, *lines):
        """What was reported, up to the end of the connection."""
        self.assertEqual(receive_all(sock).decode("latin-1").splitlines(), list(lines))

    def assert_reported(self, sock, *lines):
        """What was reported, while the connection lives on."""
        self.assertEqual([receive_line(sock).decode().rstrip("\n") for _ in lines], list(lines))

    def printed(self, tag, service=None):
        service = service or self.calls
        found = eventually(f"{tag} in the output", lambda: re.search(
            rf"{tag}:(.*)$", service.output(), re.M))
        return found[1].rstrip(";").split(";")

    def tag(self):
        Suite.count = getattr(Suite, "count", 0) + 1
        return f"tag{Suite.count}"

    def assert_printed(self, tag, *lines, service=None):
        self.assertEqual(self.printed(tag, service), list(lines))

    # Reading.

    def test_read(self):
        for url in self.calls.every:
            with self.script(url, "hold read 8 report read 3 report read 3 read 8 read 8 report") as sock:
                sock.sendall(b"abc")
                self.assert_reported(sock, HOLD, "read=3 abc")
                sock.sendall(b"defgh")
                self.assert_reported(sock, "read=3 def")
                sock.shutdown(socket.SHUT_WR)
                self.assert_results(sock, "read=2 gh", "read=0", "read=0")

    def test_read_n(self):
        big = pattern(1 << 20)
        for url in self.calls.every:
            with self.script(url, f"hold read_n 6 report read_n {len(big)} read_n 100 read_n 100 report") as sock:
                for part in (b"ab", b"cd", b"ef"):
                    sock.sendall(part)
                    time.sleep(0.01)  # more likely in packets of their own
                self.assert_reported(sock, HOLD, "read_n=6 abcdef")
                sock.sendall(big + b"short")
                sock.shutdown(socket.SHUT_WR)
                self.assert_results(sock, f"read_n={summed(big)}", "read_n=5 short", "read_n=0")

    def test_read_n_larger_than_the_window_without_hold(self):
        big = pattern(3 * WINDOW)
        for url in self.calls.every:
            with self.script(url, f"read_n {len(big)} report sleep 50 read_n {len(big)} report") as sock:
                sock.sendall(big)
                self.assert_reported(sock, f"read_n={summed(big)}")
                sock.sendall(big)  # waits for the handler in the window, and in the kernel
                self.assert_results(sock, "sleep=0", f"read_n={summed(big)}")

    def test_read_until(self):
        for url in self.calls.every:
            with self.script(url, "hold until 80 0d0a report until 80 0d0a until 80 0d0a until 80 0a until 80 0a "
                                  "report") as sock:
                for part in (b"one", b"\r", b"\n"):
                    sock.sendall(part)
                    time.sleep(0.01)
                self.assert_reported(sock, HOLD, "until=5 one\r", "")
                sock.sendall(b"two\r\r\nthree\r\nrest")
                sock.shutdown(socket.SHUT_WR)
                self.assertEqual(receive_all(sock), b"until=6 two\r\r\n\nuntil=7 three\r\n\nuntil=4 rest\n"
                                                    b"until=0\n")

    def test_read_until_over_the_edges_of_blocks(self):
        end = b"--end--"
        for url in self.calls.every:
            lengths = [2030 - 7 * i % 60 for i in range(20)] + [16384 + i for i in range(-8, 8, 3)] + [100, 0, 40000]
            lines = [pattern(n) + end for n in lengths]
            with self.script(url, f"hold {f'until 65536 {end.hex()} ' * len(lines)} report") as sock:
                for i in range(0, len(data := b"".join(lines)), 5000):
                    sock.sendall(data[i:i + 5000])
                self.assertEqual(receive_line(sock), b"hold=0\n")
                self.assert_results(sock, *[f"until={summed(line)}" for line in lines])

    def test_read_until_too_long_takes_nothing(self):
        long = pattern(70000).replace(b"\n", b".")
        for url in self.calls.every:
            with self.script(url, "hold until 4 0a read_n 7 report "
                                  f"until 1000000 0a read_n {len(long)} until 10 0a report") as sock:
                sock.sendall(b"sixsix\n")
                self.assert_reported(sock, HOLD, f"until={EMSGSIZE}", "read_n=7 sixsix", "")
                sock.sendall(long + b"end\n")
                self.assert_reported(sock, f"until={EMSGSIZE}", f"read_n={summed(long)}", "until=4 end", "")

    def test_read_until_wants_a_delimiter(self):
        with self.script(self.calls.plain, f"until 10 00 until 10 {'61' * 65} read 10 report") as sock:
            sock.sendall(b"x")
            self.assert_results(sock, f"until={EINVAL}", f"until={EINVAL}", "read=1 x")

    def test_peek_and_skip(self):
        data = pattern(30000)
        for url in self.calls.every:
            with self.script(url, "hold peek 3 peek 3 skip 2 peek 1 report skip 1 "
                                  "peek 30000 skip 100 peek 29900 skip 29900 peek 10 skip 4 peek 10 skip 3 skip 1 "
                                  "peek 1 report") as sock:
                sock.sendall(b"abc")
                self.assert_reported(sock, HOLD, "peek=3 abc", "peek=3 abc", "skip=0", "peek=1 c")
                sock.sendall(data + b"last")
                sock.shutdown(socket.SHUT_WR)
                self.assert_results(sock, "skip=0", f"peek={summed(data)}", "skip=0",
                                    f"peek={summed(data[100:])}", "skip=0", "peek=4 last", "skip=0", "peek=0",
                                    f"skip={EINVAL}", f"skip={EINVAL}", "peek=0")

    def test_peek_too_much(self):
        data = pattern(BLOCK)
        for url in self.calls.every:
            with self.script(url, f"hold peek {BLOCK} skip {BLOCK + 1} peek {BLOCK + 1} read_n {BLOCK} report") as sock:
                sock.sendall(data)
                self.assert_results(sock, HOLD, f"peek={summed(data)}", f"skip={EINVAL}", f"peek={EMSGSIZE}",
                                    f"read_n={summed(data)}")

    # Commits.

    def test_output_belongs_to_a_request(self):
        text = "write 1 commit write 1 commit read 1 write 1 hold read 1 write 1 commit write 1 read 1 report"
        for url in self.calls.every:
            resumable = url in (self.calls.resumable, self.calls.unix_resumable)
            refused = f"write={EPERM if resumable else 0}"
            with self.script(url, text) as sock:
                sock.sendall(b"abc")
                got = receive_all(sock).replace(b"\0", b"").replace(b"\1", b"").replace(b"\2", b"")
                got = got.replace(b"\3", b"").replace(b"\4", b"")
                self.assertEqual(got.decode().splitlines(), [
                    "write=0", "commit=0", refused, "commit=0", "read=1 a", "write=0", HOLD, "read=1 b", "write=0",
                    "commit=0", refused, "read=1 c"])

    def test_other_output_calls_belong_to_a_request_too(self):
        text = "borrow 10 commit publish 5 borrow 10 shutdown read 1 shutdown print {}"
        for url in self.calls.every:
            resumable = url in (self.calls.resumable, self.calls.unix_resumable)
            tag = self.tag()
            with self.script(url, text.format(tag)) as sock:
                sock.sendall(b"x")
                if resumable:
                    self.assert_printed(tag, "borrow=0 1", "commit=0", f"publish={EPERM}", f"borrow={EPERM} 0",
                                        f"shutdown={EPERM}", "read=1 x", "shutdown=0")
                    self.assertEqual(receive_all(sock), b"")
                else:
                    self.assert_printed(tag, "borrow=0 1", "commit=0", "publish=0", "borrow=0 1", "shutdown=0",
                                        "read=1 x", f"shutdown={EPIPE}")
                    self.assertEqual(receive_all(sock), pattern(5))

    def test_views(self):
        data = pattern(100000)
        for url in self.calls.every:
            with self.script(url, f"hold take view report read_n {len(data)} view commit write 1 release release "
                                  f"write 1 view read 1 report take view release read 1 report") as sock:
                sock.sendall(b"pinned")
                self.assert_reported(sock, HOLD, "take=1", "view=pinned same")
                sock.sendall(data + b"!")
                resumable = url in (self.calls.resumable, self.calls.unix_resumable)
                time.sleep(0.1)
                got = b""
                while b"read=1 !\n" not in got:
                    got += sock.recv(4096)
                self.assertEqual(got.replace(b"\0", b"").replace(b"\1", b"").decode().splitlines(), [
                    f"read_n={summed(data)}", "view=pinned same", "commit=0", "write=0", "release=0",
                    f"release={EINVAL}", f"write={EPERM if resumable else 0}", "view= changed", "read=1 !"])
                sock.sendall(b"last")
                sock.shutdown(socket.SHUT_WR)
                self.assert_results(sock, "take=1", "view=last same", "release=0", "read=0")

    def test_view_at_the_end_of_the_stream(self):
        for url in self.calls.every:
            with self.script(url, "hold take take release report") as sock:
                sock.shutdown(socket.SHUT_WR)
                self.assert_results(sock, HOLD, "take=0", "take=0", f"release={EINVAL}")

    # Writing.

    def test_loans(self):
        for url in self.calls.every:
            with self.script(url, f"hold borrow 10 publish 10 publish 10 borrow 300 publish 0 borrow 10 publish -1 "
                                  f"borrow {BLOCK} publish {BLOCK} borrow {BLOCK + 1} report") as sock:
                n = 10 + BLOCK
                self.assertEqual(receive(sock, n), pattern(n))
                self.assert_results(sock, HOLD, "borrow=0 1", "publish=0", f"publish={EINVAL}", "borrow=0 1",
                                    "publish=0", "borrow=0 1", f"publish={EINVAL}", "borrow=0 1", "publish=0",
                                    f"borrow={EMSGSIZE} 0")

    def test_many_loans_at_a_time(self):
        n = WINDOW
        for url in self.calls.every:
            with self.script(url, "hold loans loans report") as sock:
                self.assertEqual(receive(sock, 2 * n), pattern(2 * n))
                count = WINDOW // BLOCK
                self.assert_results(sock, HOLD, *[f"loans={count} {EMSGSIZE} 0"] * 2)

    def test_write_more_than_the_window_to_a_slow_reader(self):
        n = 8 << 20
        for url in self.calls.every:
            with self.script(url, f"hold write {n} write 0 report") as sock:
                time.sleep(0.05)
                self.assertEqual(receive(sock, 5), pattern(5))
                time.sleep(0.05)
                self.assertEqual(receive(sock, n - 5), pattern(n - 5, 5))
                self.assert_results(sock, HOLD, "write=0", "write=0")

    def test_many_small_writes(self):
        for url in self.calls.every:
            with self.script(url, f"hold {'write 100 ' * 50} {'borrow 9 publish 9 write 1 ' * 10} report") as sock:
                self.assertEqual(receive(sock, 5100), pattern(5100))
                self.assertEqual(receive_all(sock).count(b"=0"), 1 + 50 + 30)

    def test_shutdown_then_reading_on(self):
        data = pattern(400000)
        for url in self.calls.every:
            tag = self.tag()
            with self.script(url, f"hold write 1000 shutdown shutdown write 1 borrow 1 read_n {len(data)} read 1 "
                                  f"print {tag}") as sock:
                self.assertEqual(receive_all(sock), pattern(1000))
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                self.assert_printed(tag, HOLD, "write=0", "shutdown=0", f"shutdown={EPIPE}", f"write={EPIPE}",
                                    f"borrow={EPIPE} 0", f"read_n={summed(data)}", "read=0")

    def test_client_that_resets(self):
        for url in [self.calls.plain, self.calls.resumable, self.calls.six]:
            tag = self.tag()
            with self.script(url, f"hold borrow 10 report read 8 write 1 read 8 peek 1 take commit hold publish 5 "
                                  f"borrow 1 shutdown abort close print {tag}") as sock:
                self.assert_reported(sock, HOLD, "borrow=0 1")
                reset(sock)
                e = ECONNRESET
                self.assert_printed(tag, f"read={e}", f"write={e}", f"read={e}", f"peek={e}", f"take={e}",
                                    f"commit={e}", f"hold={e}", f"publish={e}", f"borrow={e} 0", f"shutdown={e}",
                                    "abort=0", "close=0")

    def test_client_that_resets_while_a_writer_waits(self):
        for url in [self.calls.plain, self.calls.resumable]:
            tag = self.tag()
            with self.script(url, f"hold write {32 << 20} print {tag}") as sock:
                self.assertEqual(receive(sock, 1000), pattern(1000))
                reset(sock)
                self.assert_printed(tag, HOLD, f"write={ECONNRESET}")

    def test_view_outlives_a_reset(self):
        for url in [self.calls.plain, self.calls.resumable]:
            tag = self.tag()
            with self.script(url, f"take view report read 8 view release close print {tag}") as sock:
                sock.sendall(b"pinned")
                self.assert_reported(sock, "take=1", "view=pinned same")
                reset(sock)
                self.assert_printed(tag, f"read={ECONNRESET}", "view=pinned same", "release=0", "close=0")

    def test_abort(self):
        for url in [self.calls.plain, self.calls.resumable, self.calls.six]:
            tag = self.tag()
            with self.script(url, f"hold write 9 abort write 1 read 1 commit abort close print {tag}") as sock:
                self.assert_closed_by_reset(sock)
                e = ECONNRESET
                self.assert_printed(tag, HOLD, "write=0", "abort=0", f"write={e}", f"read={e}", f"commit={e}",
                                    "abort=0", "close=0")

    def test_abort_of_a_unix_connection_ends_it(self):
        for url in [self.calls.unix, self.calls.unix_resumable]:
            with self.script(url, "hold abort close") as sock:
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(receive_all(sock), b"")

    def test_abort_with_a_view_out(self):
        for url in [self.calls.plain, self.calls.resumable]:
            for ending in ("release close", "close"):
                tag = self.tag()
                with self.script(url, f"hold take abort view {ending} print {tag}") as sock:
                    sock.sendall(b"pinned")
                    self.assert_closed_by_reset(sock)
                    self.assertEqual(self.printed(tag)[:4], [HOLD, "take=1", "abort=0", "view=pinned same"])

    def test_close_with_unread_input_and_unsent_output(self):
        n = 1 << 20
        for url in self.calls.every:
            with self.script(url, f"hold write {n} close") as sock:
                sock.sendall(bytes(100000))
                time.sleep(0.05)
                self.assertEqual(receive_all(sock), pattern(n))

    # Addresses.

    def test_peer(self):
        for url in self.calls.every:
            with self.script(url, "peer report") as sock:
                if url.startswith("unix"):
                    self.assert_results(sock, f"peer=unix {os.getpid()} {os.getuid()} {os.getgid()}")
                else:
                    host, port = sock.getsockname()[:2]
                    self.assert_results(sock, f"peer={host} {port} 0")

    def test_url_has_the_port(self):
        for url in [self.calls.plain, self.calls.resumable, self.calls.six]:
            self.assertRegex(url, r"^tcp://(127\.0\.0\.[12]|\[::1\]):[1-9]\d*$")
        self.assertTrue(self.calls.unix.endswith("/p"))

    def test_listen_a_second_time(self):
        for url in self.calls.every:
            with self.script(self.calls.plain, f"listen {url} report") as sock:
                self.assert_results(sock, f"listen={EADDRINUSE}")

    def test_listen_where_it_cannot_be(self):
        with self.script(self.calls.plain, "listen http://x listen tcp://127.0.0.1 listen unix: "
                                           "listen unix:/nowhere/at/all listen tcp://192.0.2.1:0 report") as sock:
            self.assert_results(sock, *[f"listen={e}" for e in (EINVAL, EINVAL, EINVAL, -2, -99)])

    def test_listener_of_a_handler(self):
        with self.script(self.calls.plain, "listen tcp://127.0.0.3:0 report accept unlisten "
                                           "listen tcp://127.0.0.3:0 report unlisten read 1") as sock:
            url = receive_line(sock).decode().split()[1]
            with connect_to(url) as client:
                self.assertEqual(receive_all(client), b"accepted\n")
            self.assertEqual(receive_line(sock), b"accept=0 0\n")
            self.assertEqual(receive_line(sock), b"unlisten=0\n")
            again = receive_line(sock).decode().split()[1]
            self.assert_gone(url if url != again else again)
            self.assert_gone(again)

    def assert_gone(self, url):
        def refused():
            try:
                connect_to(url).close()
            except (ConnectionRefusedError, FileNotFoundError):
                return True
            except ConnectionResetError:
                pass  # it was closed just as the connection was made
            return False

        eventually(f"{url} that refuses", refused)

    def test_close_of_a_listener_with_connections_in_its_backlog(self):
        with self.script(self.calls.plain, "listen tcp://127.0.0.3:0 report read 1 unlisten report read 1") as sock:
            url = receive_line(sock).decode().split()[1]
            clients = [connect_to(url) for _ in range(3)]
            for client in clients[:2]:
                client.sendall(b"hello")
            time.sleep(0.1)
            sock.sendall(b"x")
            self.assert_reported(sock, "read=1 x", "unlisten=0")
            for client in clients:
                self.assert_closed_by_reset(client)
                client.close()
            self.assert_gone(url)

    def test_close_of_a_listener_that_is_waited_for(self):
        with self.script(self.calls.plain, "listen tcp://127.0.0.3:0 report spawn accept yield unlisten join "
                                           "report") as sock:
            receive_line(sock)
            self.assert_results(sock, "unlisten=0", f"spawned accept={EPIPE} -1")

    # Order and time.

    def test_select(self):
        for url in self.calls.every:
            with self.script(url, "hold select 1 spawn send 7 select 10000 join report select 10000 read 1 select 1 report "
                                  "select 10000 read 1 select 10000 report") as sock:
                self.assertEqual(sorted(receive_line(sock).decode().rstrip() for _ in range(4)), sorted(
                    [HOLD, "select=2 0 -1", "spawned send=0", "select=0 0 7"]))
                sock.sendall(b"a")
                self.assert_reported(sock, "select=1 0 -1", "read=1 a", "select=2 0 -1")
                sock.shutdown(socket.SHUT_WR)
                self.assert_results(sock, "select=1 0 -1", "read=0", "select=1 0 -1")

    def test_select_commits_as_a_read_does(self):
        for url in self.calls.every:
            resumable = url in (self.calls.resumable, self.calls.unix_resumable)
            with self.script(url, "select 1 write 1 read 1 report") as sock:
                sock.sendall(b"x")
                refused = f"write={EPERM if resumable else 0}"
                got = receive_all(sock).replace(b"\0", b"").decode().splitlines()
                self.assertIn(got, (["select=2 0 -1", refused, "read=1 x"], ["select=1 0 -1", refused, "read=1 x"]))

    def test_deadlines_of_reads(self):
        for url in self.calls.every:
            with self.script(url, "hold deadline 30 read 8 read_n 8 until 8 0a peek 8 take deadline 0 "
                                  "report read_n 5 report") as sock:
                sock.sendall(b"ab")
                e = ETIMEDOUT
                first = receive_line(sock).decode(), receive_line(sock).decode()
                self.assertEqual(first[0], "hold=0\n")
                self.assertEqual(first[1], "read=2 ab\n")
                self.assert_reported(sock, f"read_n={e}", f"until={e}", f"peek={e}", f"take={e}")
                sock.sendall(b"cdefg")
                self.assert_results(sock, "read_n=5 cdefg")

    def test_deadline_does_not_matter_to_what_does_not_wait(self):
        for url in self.calls.every:
            with self.script(url, "hold peek 4 deadline 1 sleep 5 read_n 2 until 8 0a read 1 deadline 0 "
                                  "report") as sock:
                sock.sendall(b"abc\n")
                self.assert_results(sock, HOLD, "peek=4 abc", "", f"sleep={ETIMEDOUT}", "read_n=2 ab",
                                    "until=2 c", "", f"read={ETIMEDOUT}")

    def test_deadline_of_a_write(self):
        n = 32 << 20
        for url in self.calls.every:
            tag = self.tag()
            with self.script(url, f"hold write 5 deadline 50 write {n} deadline 0 print {tag} shutdown read 1") as sock:
                self.assert_printed(tag, HOLD, "write=0", f"write={ETIMEDOUT}")
                got = receive_all(sock)  # what was taken before the deadline stands
                self.assertTrue(5 < len(got) < n)
                self.assertEqual(got, pattern(len(got)))

    def test_second_reader(self):
        for url in self.calls.every:
            with self.script(url, "hold spawn read 8 yield read 8 peek 1 take select 10 join report") as sock:
                sock.sendall(b"")
                time.sleep(0.05)
                sock.sendall(b"first")
                got = receive_all(sock).decode().splitlines()
                self.assertEqual(got, [HOLD, f"read={EBUSY}", f"peek={EBUSY}", f"take={EBUSY}",
                                       f"select={EBUSY} {EBUSY} -1", "spawned read=5 first"])

    def test_second_writer(self):
        n = 16 << 20
        for url in self.calls.every:
            tag = self.tag()
            with self.script(url, f"hold spawn write {n} yield write {n} print {tag} join") as sock:
                self.assert_printed(tag, HOLD, f"write={EBUSY}")
                self.assertTrue(receive_all(sock).startswith(pattern(100000)))

    def test_close_while_others_wait(self):
        for url in self.calls.every:
            for waiter in ("read 8", "read_n 8", "until 8 0a", "peek 8", "take"):
                tag = self.tag()
                with self.script(url, f"hold spawn {waiter} yield close join print {tag}") as sock:
                    self.assertEqual(receive_all(sock), b"")
                    self.assert_printed(tag, HOLD, "close=0", f"spawned {waiter.split()[0]}={EPIPE}")

    def test_close_while_a_select_waits(self):
        for url in self.calls.every:
            tag = self.tag()
            with self.script(url, f"hold spawn select 20000 yield close join print {tag}") as sock:
                self.assertEqual(receive_all(sock), b"")
                self.assert_printed(tag, HOLD, "close=0", f"spawned select=1 {EPIPE} -1")

    def test_close_while_a_writer_waits(self):
        n = 16 << 20
        for url in self.calls.every:
            tag = self.tag()
            with self.script(url, f"hold spawn write {n} yield close join print {tag}") as sock:
                self.assert_printed(tag, HOLD, "close=0", f"spawned write={EPIPE}")
                self.assertEqual(receive_all(sock)[:1000], pattern(1000))

    def test_input_and_close_in_one_turn(self):
        """A reader that was woken and has not run when another coroutine closes the connection."""
        for url in self.calls.every:
            for waiter in ("read 8", "select 20000", "peek 2"):
                tags = [self.tag() for _ in range(20)]
                socks = [connect_to(url) for _ in tags]
                for tag, sock in zip(tags, socks):
                    sock.sendall(f"hold spawn {waiter} yield sleep 20 close join print {tag}\n".encode())
                time.sleep(0.015)
                for i, sock in enumerate(socks):
                    time.sleep(0.0005)
                    sock.sendall(b"x")
                for tag, sock in zip(tags, socks):
                    with contextlib.suppress(ConnectionResetError):
                        receive_all(sock)
                    sock.close()
                    self.assertIn("close=0", self.printed(tag))

    def test_null(self):
        with self.script(self.calls.plain, "null report") as sock:
            six = " ".join([str(EBADF)] * 6)
            self.assert_results(sock, f"null={six}", f"null={six}", f"null={six}", "null=1 9 0", "null=1 9",
                                f"null={EBADF}")

    # Ending.

    def test_stop_with_everything_waiting(self):
        service = self.start()
        tag = self.tag()
        text = (f"hold spawn read 8 spawn write {32 << 20} spawn sleep 100000 spawn recv spawn select 100000 "
                f"listen tcp://127.0.0.3:0 spawn accept yield yield stop join print {tag}")
        with self.script(service.plain, text) as sock:
            got = self.printed(tag, service)
            url = next(line for line in got if line.startswith("listen="))
            self.assertEqual(sorted(line for line in got if line != url), sorted(
                [HOLD, f"spawned read={ECANCELED}", f"spawned write={ECANCELED}", f"spawned sleep={ECANCELED}",
                 f"spawned recv={ECANCELED}", f"spawned select={EBUSY} {EBUSY} -1",
                 f"spawned accept={ECANCELED} -1"]))
            with contextlib.suppress(ConnectionResetError):
                receive_all(sock)
        self.assertIn(f"served={ECANCELED}", eventually(
            "the end of vn_stop_on_term()", lambda: "served=" in service.output() and service.output()))
        if not self.workers:
            service.ended()

    def test_at_rest_it_is_not_ours(self):
        """Behind the broker after release-after, and when the service drains: the wait returns -ESTALE."""
        for kind in ("resumable", "unix_resumable"):
            service = self.start("--release-after", "50ms")
            url = getattr(service, kind)
            tag, selecting = self.tag(), self.tag()
            text = "write 3 {} write 1 commit read 1 peek 1 take hold shutdown abort close print {}"
            with self.script(url, text.format("read 1", tag)) as sock, \
                    self.script(url, text.format("select 100000 select 100000", selecting)) as other:
                for client in (sock, other):
                    self.assertEqual(receive(client, 3), pattern(3))
                if not self.workers:
                    os.kill(service.pid, signal.SIGTERM)
                e = ESTALE
                rest = [f"write={e}", f"commit={e}", f"read={e}", f"peek={e}", f"take={e}", f"hold={e}",
                        f"shutdown={e}", f"abort={e}", "close=0"]
                self.assert_printed(tag, "write=0", f"read={e}", *rest, service=service)
                self.assert_printed(selecting, "write=0", *[f"select=1 {e} -1"] * 2, *rest, service=service)
                if self.workers:  # it lives on: its next byte begins a new handler
                    sock.sendall(b"read 4 report\n")
                    sock.sendall(b"more")
                    self.assert_results(sock, "read=4 more")
                    service.stop()
                self.assertEqual(receive_all(other), b"")
            service.ended()
            self.assertIn("served=0", service.output())

    def test_drain_lets_a_held_request_finish(self):
        service = self.start()
        with self.script(service.plain, "hold read_n 3 report read_n 6 report") as sock, \
                self.script(service.resumable, "hold read_n 3 report read_n 6 report") as other:
            for client in (sock, other):
                client.sendall(b"one")
                self.assert_reported(client, HOLD, "read_n=3 one")
            os.kill(service.pid, signal.SIGTERM)
            self.assert_gone(service.six)
            for client in (sock, other):
                client.sendall(b"twotwo")
                self.assert_results(client, "read_n=6 twotwo")
        service.ended()
        self.assertIn("served=0", service.output())

    def test_drain_lets_a_connection_read_on_whose_output_is_shut(self):
        service = self.start("--release-after", "50ms")
        tag = self.tag()
        with self.script(service.resumable, f"write 4 shutdown read_n 3 read_n 3 read_n 1 print {tag}") as sock:
            self.assertEqual(receive_all(sock), pattern(4))
            sock.sendall(b"one")
            time.sleep(0.3)  # long enough to be taken back, if that were allowed
            os.kill(service.pid, signal.SIGTERM)
            self.assert_gone(service.six)
            time.sleep(0.1)
            sock.sendall(b"two")
            sock.shutdown(socket.SHUT_WR)
            self.assert_printed(tag, "write=0", "shutdown=0", "read_n=3 one", "read_n=3 two", "read_n=0",
                                service=service)
        service.ended()

    def test_second_signal_cancels_what_waits(self):
        service = self.start()
        tag = self.tag()
        with self.script(service.plain, f"hold report read 1 write 1 print {tag}") as sock:
            self.assert_reported(sock, HOLD)
            os.kill(service.pid, signal.SIGTERM)
            self.assert_gone(service.six)
            os.kill(service.pid, signal.SIGTERM)
            self.assert_printed(tag, f"read={ECANCELED}", "write=0", service=service)
            self.assertIn(receive_all(sock), (pattern(1), b""))
        service.ended()
        self.assertIn(f"served={ETIMEDOUT}", service.output())

    def test_deadline_of_the_drain_cancels_what_waits(self):
        service = self.start("--drain-timeout", "200ms", env={"VANILLA_DRAIN_TIMEOUT": "200ms"})
        tag = self.tag()
        with self.script(service.resumable, f"hold report read 1 print {tag}") as sock:
            self.assert_reported(sock, HOLD)
            os.kill(service.pid, signal.SIGTERM)
            self.assert_printed(tag, f"read={ECANCELED}", service=service)
        service.ended()
        self.assertIn(f"served={ETIMEDOUT}", service.output())

    def test_unsent_output_survives_the_end_of_the_program(self):
        n = 200000
        service = self.start()
        with self.script(service.plain, f"write {n} stop") as sock:
            self.assertEqual(receive(sock, n), pattern(n))
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(receive_all(sock), b"")
        if not self.workers:
            service.ended()

    def test_many_connections_that_close_at_once(self):
        """More messages than a lane has slots: none is lost."""
        service = self.start("--depth", "2000")
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(self.script(service.plain, "write 100 read 1 write 50")) for _ in range(700)]
            for sock in socks:
                self.assertEqual(receive(sock, 100), pattern(100))
            for sock in socks:
                sock.sendall(b"x")
            for sock in socks:
                self.assertEqual(receive_all(sock), pattern(50, 100))
        service.stop()

    def test_slow_readers_leave_room_for_others(self):
        service = self.start("--depth", "2000", "--lane-memory", "1M")
        n = 1 << 20
        with contextlib.ExitStack() as stack:
            slow = [stack.enter_context(self.script(service.plain, f"write {n}")) for _ in range(100)]
            for sock in slow:
                self.assertEqual(receive(sock, 1), pattern(1))
            for _ in range(10):
                with self.script(service.plain, f"write {n}") as sock:
                    self.assertEqual(receive_all(sock), pattern(n))
            for sock in slow:
                self.assertEqual(receive_all(sock), pattern(n - 1, 1))
        service.stop()


class Alone(Suite, Case):
    workers = 0


class BehindOneWorker(Suite, Case):
    workers = 1


class BehindTwoWorkers(Suite, Case):
    workers = 2

    def test_small_window(self):
        service = self.start("--window", "4k")
        data = pattern(300000)
        with self.script(service.plain, f"hold read_n {len(data)} write 100000 loans peek 5000 report") as sock:
            sock.sendall(data)
            self.assertEqual(receive(sock, 100000 + BLOCK), pattern(100000 + BLOCK))
            self.assert_results(sock, HOLD, f"read_n={summed(data)}", "write=0", f"loans=1 {EMSGSIZE} 0",
                                f"peek={EMSGSIZE}")
        service.stop()


if __name__ == "__main__":
    unittest.main()
