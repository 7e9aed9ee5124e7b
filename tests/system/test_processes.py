# SPDX-License-Identifier: MIT
"""test_processes - programs that a program starts, the same whether it runs alone or behind the broker

They run, they have nothing that was not meant for them, and they die with whoever started them, however that ends.
"""
import os
import pathlib
import random
import signal
import subprocess

from support import ANY_PORT, Case, alive, ask, connect_to, eventually, example, helper, receive_all, receive_line


class Processes:
    workers = 0

    def shell(self):
        return self.service(helper("shell"), ANY_PORT, workers=self.workers)

    def pid_of_parent(self, service):
        return service.worker_pids()[0] if self.workers else service.pid

    def held(self, sock, how="hold exec sleep 1000"):
        pid = int(ask(sock, how))
        self.assertTrue(alive(pid))
        return pid

    def test_output_and_end_come_back(self):
        service = self.shell()
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo hello"), "hello")
            self.assertEqual(receive_line(sock), b"code 0\n")
            self.assertEqual(ask(sock, "exit 3"), "code 3")
            self.assertEqual(ask(sock, "kill -9 $$"), "signal 9")
        service.stop()

    def test_nothing_that_was_not_meant_for_it(self):
        service = self.shell()
        with service.connect() as sock:
            lines = [ask(sock, "ls /proc/$$/fd; true")] + [receive_line(sock).decode().strip() for _ in range(3)]
            self.assertEqual(lines, ["0", "1", "2", "code 0"])
            self.assertEqual(ask(sock, "grep -c -E 'Sig(Blk|Ign):.0*$' /proc/self/status"), "2")
            receive_line(sock)
            self.assertEqual(ask(sock, "env | grep -c ^VANILLA_LINK="), "0")
        service.stop()

    def test_functions_run_in_a_process_or_a_thread(self):
        service = self.shell()
        with service.connect() as sock:
            for i in range(3):
                n, pid = ask(sock, "length " + "x" * i).split()
                self.assertEqual(int(n), i)
                self.assertNotIn(int(pid), (service.pid, self.pid_of_parent(service)))
                self.assertEqual(ask(sock, "thread " + "x" * i), f"{i} {self.pid_of_parent(service)}")
        service.stop()

    def test_functions_die_with_a_parent_that_is_killed(self):
        service = self.shell()
        with service.connect() as sock:
            pid, parent = self.held(sock, "stay"), self.pid_of_parent(service)
            os.kill(parent, signal.SIGKILL)
            eventually("a child that is gone", lambda: not alive(pid))
        if self.workers:
            service.stop()

    def test_they_end_with_the_connection_that_holds_them(self):
        service = self.shell()
        with service.connect() as sock:
            pid = self.held(sock)
        eventually("a child that is gone", lambda: not alive(pid))
        service.stop()

    def test_they_die_with_a_parent_that_is_killed(self):
        service = self.shell()
        with service.connect() as sock:
            pid, parent = self.held(sock), self.pid_of_parent(service)
            os.kill(parent, signal.SIGKILL)
            eventually("a child that is gone", lambda: not alive(pid))
        if self.workers:
            service.stop()

    def test_they_die_with_a_parent_that_is_stopped(self):
        service = self.shell()
        with service.connect() as sock:
            pid = self.held(sock)
            os.kill(service.pid, signal.SIGTERM)
            sock.close()
            service.ended()
            self.assertFalse(alive(pid))


class Alone(Processes, Case):
    workers = 0


class Broker(Processes, Case):
    workers = 1


class Files:
    """The file server: what is in the folder, all of it, and nothing else."""
    workers = 0

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.folder()) / "site"
        (self.root / "sub").mkdir(parents=True)
        (self.root / "index.html").write_text("hello")
        (self.root / "sub" / "a b").write_text("spaced")
        self.large = random.Random(1).randbytes(3 << 20)
        (self.root / "large").write_bytes(self.large)
        (self.root.parent / "secret").write_text("secret")
        (self.root / "out").symlink_to("../secret")
        (self.root / "abs").symlink_to("/etc/passwd")
        os.mkfifo(self.root / "fifo")
        self.files = self.service(example("files"), ANY_PORT, self.root, workers=self.workers)
        self.url = self.files.url

    def request(self, text):
        """Return: (status, what follows the empty line)."""
        with connect_to(self.url) as sock:
            sock.sendall(text)
            head, _, body = receive_all(sock).partition(b"\r\n\r\n")
            return int(head.split()[1]), body

    def get(self, target):
        return self.request(b"GET " + target + b" HTTP/1.0\r\nHost: here\r\n\r\n")

    def test_files_come_whole(self):
        self.assertEqual(self.get(b"/"), (200, b"hello"))
        self.assertEqual(self.get(b"/sub/a%20b?x"), (200, b"spaced"))
        self.assertEqual(self.get(b"/large"), (200, self.large))
        self.assertEqual(self.request(b"HEAD /large HTTP/1.0\n\n"), (200, b""))
        self.files.stop()

    def test_nothing_else_does(self):
        for target in (b"/../secret", b"/sub/../../secret", b"/%2e%2e/secret", b"//etc/passwd", b"/out", b"/abs",
                       b"/fifo", b"/sub", b"/..%2fsecret", b"/sub/", b"/none", b"/index.html/x", b"/" + b"x" * 300):
            status, body = self.get(target)
            self.assertIn((status, body), ((403, b""), (404, b"")), target)
        for text in (b"GET secret HTTP/1.0\n\n", b"GET /%zz HTTP/1.0\n\n", b"GET /%00 HTTP/1.0\n\n", b"GET\n\n",
                     b"GET /% HTTP/1.0\n\n", b"GET /" + b"x" * 2042, b"G" * 2047,
                     b"GET / HTTP/1.0\n" + b"a: b\n" * 100):
            self.assertEqual(self.request(text), (400, b""), text)
        self.assertEqual(self.request(b"PUT / HTTP/1.0\n\n"), (501, b""))
        self.assertEqual(self.get(b"/"), (200, b"hello"))
        self.files.stop()

    def test_many_at_a_time(self):
        socks = [connect_to(self.url) for _ in range(50)]
        for sock in socks:
            sock.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        for sock in socks:
            with sock:
                self.assertTrue(receive_all(sock).endswith(b"\r\n\r\n" + self.large))
        self.files.stop()


class FilesAlone(Files, Case):
    workers = 0


class FilesBroker(Files, Case):
    workers = 2


class Jobs(Case):
    def jobs(self, commands, n=2):
        return subprocess.run([example("jobs"), "-n", str(n)], input=commands, text=True, capture_output=True,
                              timeout=60, check=False)

    def test_lines_have_their_number_and_do_not_mix(self):
        done = self.jobs("".join(f"for k in $(seq 50); do echo {i}; done\n" for i in range(1, 9)), 4)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(sorted(done.stdout.splitlines()), sorted(f"[{i}] {i}" for i in range(1, 9) for _ in range(50)))

    def test_as_many_at_a_time_as_asked(self):
        done = self.jobs("echo a; sleep 0.1; echo a\n" * 3, 1)
        self.assertEqual(done.stdout, "".join(f"[{i}] a\n[{i}] a\n" for i in (1, 2, 3)))

    def test_failures_are_told(self):
        done = self.jobs("exit 4\nkill -9 $$\necho err >&2")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(sorted(done.stdout.splitlines()), ["[1] exit code 4", "[2] killed by Killed", "[3] err"])

    def test_interrupted_it_leaves_nothing(self):
        with subprocess.Popen([example("jobs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as jobs:
            jobs.stdin.write("echo $$; exec sleep 1000\n")
            jobs.stdin.flush()
            pid = int(jobs.stdout.readline().split()[1])
            jobs.send_signal(signal.SIGINT)
            self.assertEqual(jobs.wait(30), 1)
            self.assertFalse(alive(pid))
