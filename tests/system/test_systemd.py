# SPDX-License-Identifier: MIT
"""test_systemd - what a service manager is told, and the sockets that it has opened"""
import os
import signal
import socket
import sys
import unittest

from support import ANY_PORT, PATIENCE, VANILLA, Case, Service, ask, connect_to, eventually, helper

# Opens sockets as a service manager does, and becomes the broker: their numbers begin at 3.
ACTIVATE = """
import os, socket, sys
kinds, names = sys.argv[1].split(), sys.argv[2]
socks = []
for kind in kinds:
    if kind == "file":
        socks.append(open("/dev/null"))
        continue
    sock = socket.socket(socket.AF_UNIX if kind.startswith("/") else socket.AF_INET,
                         socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    sock.bind(kind if kind.startswith("/") else ("127.0.0.1", 0))
    if kind != "udp":
        sock.listen()
    socks.append(sock)
high = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(socks)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_PID=os.environ.get("TEST_PID") or str(os.getpid()), LISTEN_FDS=str(len(socks)),
                  LISTEN_FDNAMES=names)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Activated(Service):

    def __init__(self, kinds, names, *args, folder, flags=(), env=None, ready=True):
        super().__init__(sys.executable, "-c", ACTIVATE, " ".join(kinds), ":".join(names), VANILLA, "run", "-w", "1",
                         "-s", f"{folder}/c.sock", *flags, "--", *args, folder=folder, control=f"{folder}/c.sock",
                         env=env, ready=False)
        self.workers_wanted = 1
        if ready:
            self.wait_ready()


class Systemd(Case):

    def manager(self):
        """A socket like that of a service manager; and how it is called."""
        path = f"{self.folder()}/notify"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.settimeout(PATIENCE)
        sock.bind(path)
        return sock, path

    def hear(self, sock, wanted):
        """What comes, up to the first message that begins with this."""
        said = []
        while not said or not said[-1].startswith(wanted):
            said.append(sock.recv(4096).decode())
        return said

    def test_the_manager_is_told_what_happens(self):
        sock, path = self.manager()
        broker = self.service(helper("probe"), "-r", ANY_PORT, workers=2, env={"NOTIFY_SOCKET": path})
        self.assertEqual(self.hear(sock, "READY=1"), ["READY=1"])
        self.hear(sock, "STATUS=serving, 2 of 2 workers ready")
        broker.command("reload")
        reloading = self.hear(sock, "RELOADING=1")[-1].split("\n")
        self.assertRegex(reloading[1], r"^MONOTONIC_USEC=\d+$")
        self.assertNotIn("STOPPING=1", self.hear(sock, "READY=1"))
        broker.command("scale 3")
        self.hear(sock, "STATUS=serving, 3 of 3 workers ready")
        broker.stop()
        self.hear(sock, "STOPPING=1")

    def test_a_change_that_fails_is_over_as_well(self):
        sock, path = self.manager()
        folder = self.folder()
        program = f"{folder}/program"
        os.symlink(helper("probe"), program)
        broker = self.service(program, "-r", ANY_PORT, workers=1, env={"NOTIFY_SOCKET": path})
        self.hear(sock, "READY=1")
        os.unlink(program)
        self.assertIn("rolled back", broker.command("reload"))
        self.hear(sock, "RELOADING=1")
        self.hear(sock, "READY=1")
        broker.stop()

    def test_a_sign_of_life_while_there_is_some(self):
        sock, path = self.manager()
        broker = self.service(helper("probe"), "-r", ANY_PORT, workers=1,
                              env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
        for _ in range(3):
            self.hear(sock, "WATCHDOG=1")
        os.kill(broker.pid, signal.SIGSTOP)
        sock.settimeout(1)
        with self.assertRaises(TimeoutError):
            for _ in range(100):  # what was sent before it stopped
                sock.recv(4096)
        os.kill(broker.pid, signal.SIGCONT)
        sock.settimeout(PATIENCE)
        self.hear(sock, "WATCHDOG=1")
        broker.stop()

    def test_a_watchdog_of_somebody_else_is_not_fed(self):
        sock, path = self.manager()
        broker = self.service(helper("probe"), "-r", ANY_PORT, workers=1,
                              env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})
        broker.command("reload")
        broker.stop()
        self.assertNotIn("WATCHDOG=1", self.hear(sock, "STOPPING=1"))

    def test_a_manager_that_does_not_read_or_is_not_there_harms_nobody(self):
        _, path = self.manager()
        for where in (path, "/nowhere/notify", "nonsense", "@nobody-listens-here", "/" + "x" * 200):
            broker = self.service(helper("probe"), "-r", ANY_PORT, workers=1,
                                  env={"NOTIFY_SOCKET": where, "WATCHDOG_USEC": "2000"})
            with broker.connect() as client:
                for i in range(300):
                    self.assertEqual(ask(client, f"echo {i}"), str(i))
            broker.stop()

    def test_workers_do_not_see_the_manager(self):
        _, path = self.manager()
        broker = self.service("/bin/sh", "-c", f'env >&2; exec {helper("probe")} "$@"', "sh", ANY_PORT, workers=1,
                              env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"})
        self.assertIn("VANILLA_WORKER=1", broker.output())
        self.assertNotRegex(broker.output(), "NOTIFY_SOCKET|WATCHDOG")
        broker.stop()

    def activated(self, kinds, names, *args, **options):
        broker = Activated(kinds, names, *args, folder=self.folder(), **options)
        self.addCleanup(broker.clean)
        return broker

    def test_sockets_are_taken_over_with_their_names(self):
        path = f"{self.folder()}/s"
        script = f'env >&2; ls /proc/$$/fd >&2; exec {helper("probe")} "$@"'
        broker = self.activated(["tcp", path], ["web", "files"], "/bin/sh", "-c", script, "sh", "-r", "web", "files")
        for name, url in (("web", None), ("files", f"unix:{path}")):
            shown = next(e for e in broker.show("listeners") if e["name"] == name)
            self.assertEqual(shown["url"], url or shown["url"])
            with connect_to(shown["url"]) as client:
                self.assertEqual(ask(client, "echo taken over"), "taken over")
        self.assertNotIn("LISTEN_", broker.output())
        broker.stop()
        self.assertTrue(os.path.exists(path), "the file is the manager's")

    def test_an_option_may_mean_a_socket_that_is_there(self):
        path = f"{self.folder()}/s"
        broker = self.activated([path], ["unknown"], helper("probe"), "-r", "web",
                                flags=("-l", f"web=unix:{path}?max=1"))
        shown = broker.show("listeners")
        self.assertEqual([(e["name"], e["url"], e["max"]) for e in shown], [("web", f"unix:{path}", 1)])
        broker.stop()

    def test_sockets_of_somebody_else_are_left_alone(self):
        broker = self.activated(["tcp"], ["web"], helper("probe"), "-r", ANY_PORT, env={"TEST_PID": "1"})
        self.assertEqual([e["name"] for e in broker.show("listeners")], [ANY_PORT])
        broker.stop()

    def test_what_is_no_listening_socket_is_refused(self):
        for kind in ("udp", "file"):
            broker = self.activated([kind], ["web"], helper("probe"), "web", ready=False)
            self.assertEqual(broker.wait(), 78)
            self.assertIn("descriptor 3 (web) of LISTEN_FDS is no listening stream socket", broker.output())


if __name__ == "__main__":
    unittest.main()
