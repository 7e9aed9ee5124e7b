# SPDX-License-Identifier: MIT
"""support - starts programs of this project, alone or behind the broker, and looks at them from outside

Service is one running service: a worker program by itself (workers=0), or `vanilla run` with N workers. It
knows the address that was bound, the output, and the process ids; stop() ends it and checks that nothing of
it is left. Everything is on ephemeral ports and in a temporary folder of its own, and only processes that a
test started are ever signalled: each carries a token of its service in its environment.
"""
import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
VANILLA = BUILD / "vanilla"
PATIENCE = 30  # seconds until something that must happen has not happened
ANY_PORT = "tcp://127.0.0.1:0"

# A program that was built with a sanitizer maps terabytes, and must not be measured against limits.
SANITIZED = BUILD.name in ("asan", "tsan")


def example(name):
    return BUILD / "examples" / name


def helper(name):
    return BUILD / "system" / name


def eventually(what, condition, seconds=PATIENCE):
    """Waits until condition() is true and returns what it returned; the time it takes decides nothing."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"within {seconds} s there never was: {what}")
        time.sleep(0.01)


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def bearers(token):
    """The processes, dead or alive but for zombies, that carry this token in their environment."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if token.encode() in (entry / "environ").read_bytes() and alive(int(entry.name)):
                    found.append(int(entry.name))
    return found


def socket_inodes(pid):
    inodes = set()
    with contextlib.suppress(OSError):
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.update(re.findall(r"^socket:\[(\d+)\]$", os.readlink(fd)))
    return inodes


def listening_ports(pid):
    """The TCP ports on which a process listens, from /proc: no port is guessed, so none is raced for."""
    inodes = socket_inodes(pid)
    ports = []
    for table in ("tcp", "tcp6"):
        for row in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            field = row.split()
            if field[3] == "0A" and field[9] in inodes:
                ports.append(int(field[1].rsplit(":", 1)[1], 16))
    return ports


def listening_paths(pid):
    """The Unix socket paths on which a process listens."""
    inodes = socket_inodes(pid)
    rows = [row.split() for row in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]]
    return [row[7] for row in rows if len(row) > 7 and row[3] == "00010000" and row[6] in inodes]


def connect_to(url, timeout=PATIENCE):
    """A connected socket for an endpoint URL."""
    if url.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(url[len("unix:"):])
        return sock
    host, port = re.fullmatch(r"tcp://\[?([^\]/]*?)\]?:(\d+)(?:\?.*)?", url).groups()
    sock = socket.create_connection((host, int(port)), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def refuses(url):
    """Does nobody listen there any more? In the moment of closing the backlog is reset instead."""
    try:
        connect_to(url).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


def reset(sock):
    """Closes with a reset instead of an orderly end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive(sock, n):
    """Exactly n bytes, or what there was before the end."""
    parts = bytearray()
    while len(parts) < n:
        part = sock.recv(min(n - len(parts), 1 << 16))
        if not part:
            break
        parts += part
    return bytes(parts)


def receive_all(sock):
    parts = bytearray()
    while part := sock.recv(1 << 16):
        parts += part
    return bytes(parts)


def receive_line(sock):
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        if not byte:
            break
        line += byte
    return bytes(line)


def ask(sock, line):
    sock.sendall(line.encode() + b"\n")
    return receive_line(sock).decode().rstrip("\n")


def unprivileged(argv):
    """The same command as a user who may nothing; as somebody who is that already, the command itself."""
    if os.getuid() != 0:
        return [str(a) for a in argv]
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
            "--bounding-set=-all"] + [str(a) for a in argv]


class Run:
    """A process in a session of its own, its output in a file."""

    def __init__(self, argv, folder, env=None, limits=None):
        self.folder = pathlib.Path(folder)
        self.token = f"VANILLA_TEST_TOKEN={secrets.token_hex(8)}"
        self.log = self.folder / f"{secrets.token_hex(4)}.log"
        name, value = self.token.split("=")
        full = {**os.environ, name: value, **(env or {})}
        full.pop("VANILLA_CONTROL", None)
        full.update(env or {})

        def prepare():
            for what, limit in (limits or {}).items():
                import resource
                resource.setrlimit(what, (limit, limit))

        with self.log.open("wb") as log:
            self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, cwd=self.folder, env=full,
                                            start_new_session=True, preexec_fn=prepare)
        self.pid = self.process.pid

    def output(self):
        return self.log.read_text(errors="replace")

    def wait(self, seconds=PATIENCE):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.output()}{self.state()}") from None

    def state(self):
        """What else is worth knowing about one that does not end."""
        return ""

    def kill(self):
        """Ends whatever is left of it, for good: for the end of a test, whatever its outcome."""
        for pid in {self.pid, *bearers(self.token)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def leftovers(self):
        return bearers(self.token)


class Service(Run):
    """`program args` alone (workers=0) or behind the broker; ready when the constructor returns."""

    def __init__(self, program, *args, workers=0, flags=(), env=None, limits=None, folder=None, ready=True,
                 control=None, urls=1):
        self.own_folder = folder is None
        folder = folder or tempfile.mkdtemp(prefix="vanilla-test-")
        os.chmod(folder, 0o700)
        self.workers_wanted = workers
        self.control = control or f"{folder}/control.sock"
        argv = [program, *args]
        if workers:
            argv = [VANILLA, "run", "-w", workers, "-s", self.control, *flags, "--", *argv]
        super().__init__(argv, folder, env, limits)
        self.args = [str(a) for a in args]
        self.urls = urls
        try:
            if ready:
                self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def wait_ready(self):
        try:
            eventually("a service that is ready", self.is_ready)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.output()}") from None

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"it ended with {self.process.returncode}")
        if not self.workers_wanted:
            asked = [a for a in self.args if "://" in a or a.startswith("unix:")]
            paths = [a for a in asked if a.startswith("unix:")]
            return (len(listening_ports(self.pid)) >= len(asked) - len(paths)
                    and set(listening_paths(self.pid)) >= {p[len("unix:"):] for p in paths})
        if not os.path.exists(self.control):
            return False
        try:
            ready = [w for w in self.show("workers") if w["state"] == "ready"]
            return len(ready) == self.workers_wanted and len(self.show("listeners")) >= self.urls
        except (ConnectionError, FileNotFoundError):
            return False

    @property
    def url(self):
        return self.url_of(0)

    def url_of(self, i):
        if self.workers_wanted:
            return self.show("listeners")[i]["url"]
        asked = [a for a in self.args if "://" in a or a.startswith("unix:")][i].split("?")[0]
        if asked.startswith("unix:") or not asked.endswith(":0"):
            return asked
        return re.sub(r":0$", f":{listening_ports(self.pid)[i]}", asked)

    def connect(self, i=0):
        return connect_to(self.url_of(i))

    def command(self, text):
        """One exchange over the control socket; returns everything that came."""
        with connect_to(f"unix:{self.control}") as sock:
            sock.sendall(text.encode() + b"\n")
            sock.shutdown(socket.SHUT_WR)
            return receive_all(sock).decode()

    def state(self):
        try:
            return "".join(self.command(f"show {what}") for what in ("conns limit 20", "workers", "info"))
        except OSError as error:
            return f"control socket: {error}"

    def show(self, what):
        """The array of `show WHAT json`, or the object itself where it is one thing."""
        text = self.command(f"show {what} json")
        if not text.endswith("OK\n\n"):
            raise ConnectionError(f"show {what} json: {text!r}")
        document = json.loads(text[:-len("OK\n\n")])
        return document.get(what.split()[0], document)

    def worker_pids(self):
        return [w["pid"] for w in self.show("workers") if w["state"] == "ready"]

    def stop(self, signum=signal.SIGTERM, code=0):
        """Ends it as a user would and insists that it ends well and leaves nothing behind."""
        os.kill(self.pid, signum)
        self.ended(code)

    def ended(self, code=0):
        result = self.wait()
        if result != code:
            raise AssertionError(f"it ended with {result} instead of {code}:\n{self.output()}")
        eventually(f"no process left, {self.leftovers()}", lambda: not self.leftovers(), 5)
        if os.path.exists(self.control):
            raise AssertionError(f"{self.control} was left behind")
        if re.search(r"Sanitizer|runtime error:", self.output()):
            raise AssertionError(self.output())

    def clean(self):
        self.kill()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


class Case(unittest.TestCase):
    """A test with services and folders that end with it."""

    maxDiff = 2000

    def service(self, program, *args, **options):
        s = Service(program, *args, **options)
        self.addCleanup(s.clean)
        return s

    def folder(self):
        # Short, because a Unix socket's path is; open to others, because some tests run programs as nobody.
        path = tempfile.mkdtemp(prefix="vn-")
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def run_to_end(self, *argv, env=None, limits=None, seconds=PATIENCE, folder=None):
        """Runs something that must end by itself; returns code, output, and asserts that nothing stays."""
        run = Run(argv, folder or self.folder(), env, limits)
        self.addCleanup(run.kill)
        code = run.wait(seconds)
        eventually("no process left", lambda: not run.leftovers(), 5)
        return code, run.output()

    def assert_closed_by_reset(self, sock):
        """The connection breaks with an error instead of ending as if all had been said."""
        with self.assertRaises(ConnectionResetError):
            while sock.recv(65536):
                pass

    def assert_echoes(self, sock, data=b"hello, hello\n"):
        sock.sendall(data)
        self.assertEqual(receive(sock, len(data)), data)


def is_socket(path):
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except FileNotFoundError:
        return False
