# SPDX-License-Identifier: MIT
"""test_top - `vanilla top` on a terminal that tmux plays

Each test has a tmux server of its own, with a window in which the view runs; what is on the screen is read as text,
keys are pressed, and the window changes its size.
"""
import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import unittest

from support import ANY_PORT, PATIENCE, VANILLA, Case, eventually, example


class Terminal:
    """A window of tmux with one program in it. The shell that runs it says how it ended."""

    def __init__(self, case, *argv, width=80, height=24, env=()):
        self.base = ["tmux", "-L", f"{case.folder().replace('/', '-')}", "-f", "/dev/null"]
        words = " ".join(shlex.quote(str(a)) for a in argv)
        variables = {"NO_COLOR": "", "TERM": "screen-256color", "VANILLA_CONTROL": "", **dict(env)}
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        script = f"{settings} {words}; echo \"ended with $?\"; exec sleep {2 * PATIENCE}"
        case.addCleanup(self.end)
        self.tmux("new-session", "-d", "-x", width, "-y", height, f"sh -c {shlex.quote(script)}")

    def tmux(self, *words):
        environment = {k: v for k, v in os.environ.items() if k != "TMUX"}
        done = subprocess.run([*self.base, *(str(w) for w in words)], capture_output=True, text=True,
                              timeout=PATIENCE, env=environment)
        if done.returncode != 0:
            raise AssertionError(f"tmux {words[0]}: {done.stderr}")
        return done.stdout

    def end(self):
        with contextlib.suppress(AssertionError):
            self.tmux("kill-server")

    def screen(self, *options):
        return self.tmux("capture-pane", "-p", *options)

    def lines(self):
        return self.screen().split("\n")

    def shows(self, pattern, seconds=PATIENCE):
        """Waits until the screen has a line like that, and returns what matched."""
        try:
            return eventually(pattern, lambda: re.search(pattern, self.screen(), re.M), seconds)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.screen()}") from None

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def resize(self, width, height):
        self.tmux("resize-window", "-x", width, "-y", height)


class Top(Case):

    def echo(self, workers=2):
        return self.service(example("echo"), ANY_PORT, workers=workers)

    def top(self, service, **options):
        terminal = Terminal(self, VANILLA, "top", "-s", service.control, **options)
        terminal.shows(r"^1\.\d+ +ready ")
        return terminal

    def order(self, terminal):
        return re.findall(r"^(\d+\.\d+) ", terminal.screen(), re.M)

    def select(self, terminal, number):
        """Moves down to the first worker of that number; the one that is chosen is shown when asked about."""
        for _ in range(8):
            terminal.press("k")
            chosen = terminal.shows(r"kill worker (\d+)\.\d+\? y: yes").group(1)
            terminal.press("n")
            eventually("no question", lambda: "y: yes" not in terminal.screen())
            if chosen == str(number):
                return
            terminal.press("Down")
        raise AssertionError(terminal.screen())

    def test_service_workers_and_listener_at_80_by_24(self):
        service = self.echo()
        terminal = self.top(service)
        lines = terminal.lines()
        self.assertRegex(lines[0], r"^ vanilla 0\.1\.0 +echo +serving +\d\d:\d\d:\d\d")
        self.assertRegex(lines[1], r"^up \d+s +workers 2/2 ready +conns 0 +accepted 0 +deaths 0 +resets 0")
        self.assertRegex(lines[3], r"^WORKER +STATE +UP BUSY +REQ/S +P50 +P99 +CPU +MEM RST LAST DEATH")
        self.assertEqual(self.order(terminal), ["1.1", "2.1"])
        self.assertRegex(terminal.screen(), rf"(?m)^{re.escape(service.url)} +open +0 ")
        self.assertRegex(terminal.screen(), r"(?m)^\d\d:\d\d:\d\d worker_ready +worker 2\.1 ready")
        self.assertRegex(lines[23], r"^ q leave +h help")
        self.assertEqual(lines[24:], [""])
        terminal.press("q")
        terminal.shows("^ended with 0$")
        service.stop()

    def test_load_is_seen(self):
        service = self.echo()
        terminal = self.top(service, width=110)
        done = threading.Event()

        def load():
            with service.connect() as sock:
                while not done.is_set():
                    self.assert_echoes(sock)
                    time.sleep(0.001)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            terminal.shows(r"^requests/s +[1-9]\S* +in B/s +[1-9]\S* +out B/s +[1-9]")
            terminal.shows(r"^up .* conns 1 +accepted 1 ")
            terminal.shows(r"^[12]\.1 +ready +\S+ +[01] +[1-9]")
            terminal.shows(r"^1 +127\.0\.0\.1:\d+ +[12]\.1 +\w+ .* [1-9]\S* +\S+$")
        finally:
            done.set()
            thread.join()
        service.stop()

    def test_kill_asks_first(self):
        service = self.echo()
        terminal = self.top(service)
        self.select(terminal, 2)
        self.assertEqual({w["id"] for w in service.show("workers")}, {"1.1", "2.1"})
        terminal.press("k")
        terminal.shows(r"^ kill worker 2\.1\? y: yes")
        terminal.press("y")
        terminal.shows(r"^2\.2 +ready +.* 1 \S")
        terminal.shows(r"^up .* deaths 1")
        self.assertEqual({w["id"] for w in service.show("workers")}, {"1.1", "2.2"})
        terminal.press("s", "s", "s", "s", "s", "s")  # by restarts
        eventually("who was killed comes first", lambda: self.order(terminal) == ["2.2", "1.1"])
        terminal.press("s")
        eventually("by number again", lambda: self.order(terminal) == ["1.1", "2.2"])
        service.stop()

    def test_drain_and_restart(self):
        service = self.echo()
        terminal = self.top(service)
        self.select(terminal, 1)
        terminal.press("r", "y")
        terminal.shows(r"^1\.2 +ready ")
        self.select(terminal, 2)
        terminal.press("d", "y")
        eventually("one worker less", lambda: self.order(terminal) == ["1.2"])
        service.stop()

    def test_resizes(self):
        terminal = self.top(self.echo(), height=30)
        terminal.resize(40, 12)
        eventually("a short screen", lambda: terminal.lines()[11].startswith(" q leave")
                   and max(map(len, terminal.lines())) <= 40)
        terminal.shows(r"^1\.1 +ready")
        terminal.resize(10, 3)
        eventually("hardly a screen", lambda: len(terminal.lines()) <= 4)
        terminal.resize(100, 40)
        terminal.shows(r"^1\.1 +ready")
        eventually("a long screen", lambda: terminal.lines()[39].startswith(" q leave"))

    def test_colours_only_where_they_are_wanted(self):
        service = self.echo()
        coloured = r"\x1b\[[0-9;]*3[1-7][0-9;]*m"
        self.assertRegex(self.top(service).screen("-e"), coloured)
        self.assertNotRegex(self.top(service, env={"NO_COLOR": "1"}.items()).screen("-e"), coloured)
        self.assertNotRegex(self.top(service, env={"TERM": "vt100"}.items()).screen("-e"), coloured)

    def test_help_and_back(self):
        terminal = self.top(self.echo())
        terminal.press("h")
        terminal.shows("drain the worker: it finishes")
        terminal.press("h")
        terminal.shows(r"^1\.1 +ready")

    def test_a_broker_that_hangs_and_one_that_ends(self):
        service = self.echo()
        terminal = self.top(service)
        os.kill(service.pid, signal.SIGSTOP)
        terminal.shows("THE BROKER DOES NOT ANSWER")
        os.kill(service.pid, signal.SIGCONT)
        terminal.shows("^up .* 2/2 ready")
        service.stop()
        terminal.shows("^vanilla: the broker has ended$")
        terminal.shows("^ended with 69$")

    def test_where_it_cannot_run(self):
        service = self.echo(workers=1)
        code, text = self.run_to_end(VANILLA, "top", "-s", service.control)
        self.assertEqual(code, 2)
        self.assertIn("needs a terminal", text)
        code, text = self.run_to_end(VANILLA, "top", "-s", f"{self.folder()}/none")
        self.assertEqual(code, 69)
        self.assertIn("no broker at the control socket", text)
        code, text = self.run_to_end(VANILLA, "top", "everything")
        self.assertEqual(code, 2)
        self.assertIn("'everything'", text)
        # curses forgets some memory when it does not know a terminal
        terminal = Terminal(self, VANILLA, "top", "-s", service.control,
                            env={"TERM": "quux", "ASAN_OPTIONS": "detect_leaks=0"}.items())
        terminal.shows("does not know this terminal, TERM is 'quux'")
        terminal.shows("^ended with 2$")


if __name__ == "__main__":
    unittest.main()
