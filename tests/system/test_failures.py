# SPDX-License-Identifier: MIT
"""test_failures - what cannot work says so in one sentence, with the right exit code, and leaves nothing

Each sentence must name the thing that it is about. run_to_end() insists that no process stays; the folder in
which everything ran must be empty but for what the test put there.
"""
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import unittest
from unittest import mock

from support import (ANY_PORT, VANILLA, Case, Run, eventually, example, is_socket, unprivileged)


class Failures(Case):

    def setUp(self):
        self.place = self.folder()
        os.chmod(self.place, 0o777)

    def taken_port(self):
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        return holder.getsockname()[1]

    def assert_fails(self, argv, code, *words, **options):
        """The exit code, one sentence with all these words in it, and nothing left in the folder."""
        before = sorted(os.listdir(self.place))
        got, text = self.run_to_end(*argv, folder=self.place, **options)
        for name in os.listdir(self.place):
            if name.endswith(".log"):
                os.unlink(f"{self.place}/{name}")
        self.assertEqual(got, code, text)
        sentences = [row for row in text.splitlines() if all(w.lower() in row.lower() for w in words)]
        self.assertTrue(sentences, f"no line with {words} in:\n{text}")
        self.assertNotRegex(text, r"(?i)assert|sanitizer|runtime error")
        self.assertEqual(sorted(os.listdir(self.place)), before, "left behind")
        return text

    def run_broker(self, *rest):
        return [VANILLA, "run", "-w", 2, "-s", f"{self.place}/control.sock", *rest]

    def assert_broker_fails(self, rest, code, *words, **options):
        return self.assert_fails(self.run_broker(*rest), code, *words, **options)

    # Endpoints. Alone the program fails, with 1; behind the broker it is the broker that the system refused
    # (71, or 77 where privilege is missing), whether the program asked for it or -l did.

    def test_address_in_use(self):
        url = f"tcp://127.0.0.1:{self.taken_port()}"
        self.assert_fails([example("echo"), url], 1, url, "in use")
        self.assert_broker_fails(["--", example("echo"), url], 71, url, "in use")
        self.assert_broker_fails(["-l", url, "--", example("echo"), url], 71, url, "in use")

    def test_unix_address_in_use(self):
        path = f"{self.place}/taken.sock"
        with socket.socket(socket.AF_UNIX) as holder:
            holder.bind(path)
            holder.listen()
            self.assert_fails([example("echo"), f"unix:{path}"], 1, path, "in use")
            self.assert_broker_fails(["--", example("echo"), f"unix:{path}"], 71, path, "in use")
            self.assert_broker_fails(["-l", f"unix:{path}", "--", example("echo")], 71, path, "in use")
            self.assertTrue(is_socket(path), "a live socket of somebody else was removed")

    def test_unix_path_that_is_no_socket_is_left_alone(self):
        path = f"{self.place}/notes.txt"
        with open(path, "w") as notes:
            notes.write("dear diary")
        self.assert_fails([example("echo"), f"unix:{path}"], 1, path)
        self.assert_broker_fails(["-l", f"unix:{path}", "--", example("echo")], 71, path)
        with open(path) as notes:
            self.assertEqual(notes.read(), "dear diary")

    def nobody(self):
        """Copies of the programs where a user without privilege can reach them."""
        there = self.folder()
        os.chmod(there, 0o755)
        for path in (VANILLA, example("echo")):
            shutil.copy(path, there)
        return there

    def lowest_port(self):
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as limit:
            return int(limit.read())

    def test_port_without_privilege(self):
        self.assertGreater(self.lowest_port(), 80, "this machine lets everybody bind port 80: nothing to test")
        there = self.nobody()
        url = "tcp://127.0.0.1:80"
        self.assert_fails(unprivileged([f"{there}/echo", url]), 1, url, "denied")
        self.own_by_nobody()
        control = ["-s", f"{self.place}/private/control.sock"]
        for rest in (["--", f"{there}/echo", url], ["-l", url, "--", f"{there}/echo", url]):
            self.assert_fails(unprivileged([f"{there}/vanilla", "run", "-w", 2, *control, *rest]), 77, url, "1024")

    def own_by_nobody(self):
        os.mkdir(f"{self.place}/private", 0o700)
        if os.getuid() == 0:
            os.chown(f"{self.place}/private", 65534, 65534)

    def test_unknown_host(self):
        url = "tcp://no-such-host.invalid:7000"
        self.assert_fails([example("echo"), url], 1, url)
        self.assert_broker_fails(["--", example("echo"), url], 1, "no-such-host.invalid")
        self.assert_broker_fails(["-l", url, "--", example("echo"), url], 71, "no-such-host.invalid")

    def test_address_that_is_not_ours(self):
        url = "tcp://192.0.2.1:7000"
        self.assert_fails([example("echo"), url], 1, url)
        self.assert_broker_fails(["--", example("echo"), url], 71, url)
        self.assert_broker_fails(["-l", url, "--", example("echo"), url], 71, url)

    def test_bad_urls(self):
        for url in ("tcp://127.0.0.1", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:x", "tcp://:::1:80", "http://x",
                    "tcp://[::1:80", "7000", "", "tcp://", "unix:", "unix:/" + "x" * 200,
                    "tcp://127.0.0.1:70?nonsense=1"):
            with self.subTest(url):
                shown = url[:40]
                self.assert_fails([example("echo"), url], 1, shown)
                self.assert_broker_fails(["-l", url, "--", example("echo"), ANY_PORT], 78, shown)
        self.assert_broker_fails(["--", example("echo"), "tcp://127.0.0.1"], 1, "tcp://127.0.0.1")

    def test_unix_socket_in_a_folder_that_is_not_there(self):
        path = f"{self.place}/nowhere/echo.sock"
        self.assert_fails([example("echo"), f"unix:{path}"], 1, path)
        self.assert_broker_fails(["-l", f"unix:{path}", "--", example("echo")], 71, path)

    # The program

    def test_program_that_is_missing(self):
        self.assert_broker_fails(["--", "./no-such-program"], 127, "./no-such-program")
        self.assert_broker_fails(["--", "no-such-program-in-path"], 127, "no-such-program-in-path")

    def test_program_that_is_not_executable(self):
        path = f"{self.place}/plain.txt"
        with open(path, "w") as plain:
            plain.write("text\n")
        self.assert_broker_fails(["--", path], 126, path)
        # A program that ends like a shell that found nothing was found itself.
        self.assert_broker_fails(["--", "/bin/sh", "-c", "exit 127"], 1, "never became ready")
        self.assert_broker_fails(["--", "/bin/sh", "-c", "exit 126"], 1, "exited with 126")
        os.mkdir(f"{self.place}/folder")
        self.assert_broker_fails(["--", f"{self.place}/folder"], 126, f"{self.place}/folder")

    def test_program_that_is_found_in_path(self):
        there = self.nobody()
        service = self.service("echo", ANY_PORT, workers=1, env={"PATH": f"{there}:{os.environ['PATH']}"})
        with service.connect() as sock:
            self.assert_echoes(sock)
        service.stop()

    def test_program_that_exits_at_once(self):
        self.assert_broker_fails(["--", "true"], 1, "true")
        self.assert_broker_fails(["--", "sh", "-c", "exit 3"], 1, "sh", "3")
        self.assert_broker_fails(["--", "sh", "-c", "kill -SEGV $$"], 1, "sh", "signal")

    def test_program_that_is_never_ready(self):
        self.assert_broker_fails(["--start-timeout", "300ms", "--", "sleep", "1000"], 1, "sleep", "start-timeout")

    def test_descriptor_limit_too_low_to_start(self):
        self.assert_broker_fails(["--", example("echo"), ANY_PORT], 71, "descriptor",
                                 limits={resource.RLIMIT_NOFILE: 12})
        # The leak sanitizer opens files itself.
        with mock.patch.dict(os.environ, {"ASAN_OPTIONS": "detect_leaks=0"}):
            self.assert_fails([example("echo"), ANY_PORT], 1, "files", limits={resource.RLIMIT_NOFILE: 4})

    # The command line

    def test_usage(self):
        for rest, words in (([], ("run",)), (["fly"], ("fly",)), (["run"], ("program",)),
                            (["run", "--"], ("program",)), (["run", "-w", "0", "--", "true"], ("0",)),
                            (["run", "-w", "x", "--", "true"], ("x",)), (["run", "--nonsense"], ("nonsense",)),
                            (["run", "--start-timeout", "soon", "--", "true"], ("soon",)),
                            (["run", "--window", "-5", "--", "true"], ("-5",)),
                            (["run", "-w"], ("w",)), (["ctl"], ("command",))):
            with self.subTest(rest):
                self.assert_fails([VANILLA, *rest], 2, *words)

    def test_help_and_version(self):
        for argv, words in ((["--help"], ("run", "ctl")), (["run", "--help"], ("--workers", "--listen",
                            "--control", "--start-timeout")), (["ctl", "--help"], ("--json", "-s")),
                            (["--version"], ("0.1.0",))):
            with self.subTest(argv):
                done = subprocess.run([VANILLA, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                for word in words:
                    self.assertIn(word, done.stdout)

    # The control socket

    def test_control_socket_in_use(self):
        first = self.service(example("echo"), ANY_PORT, workers=1)
        code, text = self.run_to_end(VANILLA, "run", "-w", 1, "-s", first.control, "--", example("echo"), ANY_PORT,
                                     folder=self.place)
        self.assertEqual(code, 75, text)
        self.assertIn(first.control, text)
        self.assertIn("OK", first.command("ping"))
        with first.connect() as sock:
            self.assert_echoes(sock)
        first.stop()

    def test_control_socket_that_is_stale_is_taken_over(self):
        first = self.service(example("echo"), ANY_PORT, workers=1)
        first.kill()
        self.assertTrue(is_socket(first.control))
        second = self.service(example("echo"), ANY_PORT, workers=1, folder=str(first.folder))
        with second.connect() as sock:
            self.assert_echoes(sock)
        second.stop()

    def test_control_path_that_is_no_socket_is_left_alone(self):
        path = f"{self.place}/control.sock"
        with open(path, "w") as notes:
            notes.write("dear diary")
        self.assert_broker_fails(["--", example("echo"), ANY_PORT], 71, path)
        with open(path) as notes:
            self.assertEqual(notes.read(), "dear diary")

    def test_control_path_that_is_too_long(self):
        path = f"{self.place}/{'x' * 150}.sock"
        self.assert_fails([VANILLA, "run", "-s", path, "--", example("echo"), ANY_PORT], 2, "x" * 100)

    def test_control_socket_is_for_its_user_alone(self):
        path = f"{self.place}/private/control.sock"
        service = self.service(example("echo"), ANY_PORT, workers=1, control=path)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.place}/private").st_mode), 0o700)
        service.stop()

    def test_ctl_without_a_broker(self):
        path = f"{self.place}/nobody.sock"
        self.assert_fails([VANILLA, "ctl", "-s", path, "ping"], 69, path)

    def test_default_control_socket_is_in_the_runtime_folder(self):
        runtime = self.folder()
        for flags, name in (((), "echo"), (("-n", "shop"), "shop")):
            argv = [VANILLA, "run", "-w", 1, *flags, "--", example("echo"), ANY_PORT]
            run = Run(argv, self.place, env={"XDG_RUNTIME_DIR": runtime})
            self.addCleanup(run.kill)
            path = f"{runtime}/vanilla/{name}.sock"
            eventually(path, lambda p=path: is_socket(p))
            os.kill(run.pid, signal.SIGTERM)
            self.assertEqual(run.wait(), 0, run.output())
            self.assertFalse(os.path.exists(path))

    def test_variable_names_the_control_socket(self):
        path = f"{self.place}/by-variable.sock"
        run = Run([VANILLA, "run", "-w", 1, "--", example("echo"), ANY_PORT], self.place,
                  env={"VANILLA_CONTROL": path})
        self.addCleanup(run.kill)
        eventually(path, lambda: is_socket(path))
        done = subprocess.run([VANILLA, "ctl", "stop"], env={**os.environ, "VANILLA_CONTROL": path})
        self.assertEqual(done.returncode, 0)
        self.assertEqual(run.wait(), 0, run.output())


if __name__ == "__main__":
    unittest.main()
