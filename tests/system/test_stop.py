# SPDX-License-Identifier: MIT
"""test_stop - how a service ends, the same whether it runs alone or behind the broker

First phase: nothing new is accepted, requests in hand are finished. Second phase, after another signal or
the deadline: every wait of every handler ends.
"""
import contextlib
import os
import signal
import socket
import unittest

from support import (ANY_PORT, Case, alive, ask, connect_to, eventually, example, helper, receive_all,
                     receive_line, refuses)


class Stopping:
    workers = 0

    def probe(self, *flags, drain="30s"):
        options = {"flags": ("--drain-timeout", drain)} if self.workers else {
            "env": {"VANILLA_DRAIN_TIMEOUT": drain}}
        return self.service(helper("probe"), *flags, ANY_PORT, workers=self.workers, **options)

    def assert_refused(self, url):
        eventually(f"{url} that refuses", lambda: refuses(url))

    def test_request_in_hand_is_finished_and_nothing_new_begins(self):
        for signum in (signal.SIGTERM, signal.SIGINT):
            for flags in ((), ("-r",)):
                service = self.probe(*flags)
                url = service.url
                with connect_to(url) as sock:
                    self.assertEqual(ask(sock, "echo before"), "before")
                    sock.sendall(b"work 700\n")
                    self.in_hand(service, "at work")
                    os.kill(service.pid, signum)
                    self.assert_refused(url)
                    self.assertEqual(receive_line(sock), b"done\n")
                    sock.shutdown(socket.SHUT_WR)
                    self.assertEqual(receive_all(sock), b"")
                service.ended()

    def in_hand(self, service, what):
        """Waits until a handler says that it has the request."""
        eventually(f"a handler that says '{what}'", lambda: what in service.output())

    def test_resumable_connections_at_rest_are_closed(self):
        service = self.service(example("echo"), ANY_PORT, workers=self.workers)
        with service.connect() as sock, service.connect() as silent:
            self.assert_echoes(sock)
            service.stop()
            self.assertEqual(receive_all(sock), b"")
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(receive_all(silent), b"")

    def test_second_signal_stops_at_once(self):
        service = self.probe()
        url = service.url
        with connect_to(url) as sock:
            sock.sendall(b"stall\n")
            self.in_hand(service, "stalling")
            os.kill(service.pid, signal.SIGTERM)
            self.assert_refused(url)
            self.assertTrue(alive(service.pid))
            os.kill(service.pid, signal.SIGTERM)
            service.ended(self.code_of_stopped)

    def test_deadline_of_the_drain(self):
        service = self.probe(drain="300ms")
        with service.connect() as sock:
            sock.sendall(b"stall\n")
            self.in_hand(service, "stalling")
            os.kill(service.pid, signal.SIGTERM)
            service.ended(self.code_of_stopped)

    def test_stop_and_start_on_the_same_port(self):
        first = self.service(example("echo"), ANY_PORT, workers=self.workers)
        url = first.url
        with connect_to(url) as sock:
            self.assert_echoes(sock)
            first.stop()
        second = self.service(example("echo"), url, workers=self.workers)
        with connect_to(url) as sock:
            self.assert_echoes(sock)
        second.stop()

    def test_program_without_endpoints_ends_too(self):
        # It prints by stdio, which keeps whole pages for what is no terminal; stdbuf preloads a library.
        service = self.service("stdbuf", "-oL", example("ticktock"), workers=self.workers, ready=False,
                               env={"ASAN_OPTIONS": "verify_asan_link_order=0"})
        eventually("some ticking", lambda: "Tick" in service.output() and "Tock" in service.output())
        if self.workers:
            eventually("a control socket", lambda: os.path.exists(service.control))
        service.stop(signal.SIGINT)


class Alone(Stopping, Case):
    workers = 0
    code_of_stopped = 0


class Broker(Stopping, Case):
    workers = 2
    code_of_stopped = 0

    def test_interrupt_of_the_terminal_reaches_the_broker_alone(self):
        service = self.probe()
        for pid in service.worker_pids():
            self.assertNotEqual(os.getpgid(pid), os.getpgid(service.pid))
        url = service.url
        with connect_to(url) as sock:
            sock.sendall(b"work 700\n")
            self.in_hand(service, "at work")
            os.killpg(service.pid, signal.SIGINT)  # its session leads the group, as a shell's job does
            self.assert_refused(url)
            self.assertEqual(receive_line(sock), b"done\n")
        service.ended()
        self.assertEqual(service.output().count("served: "), 2, service.output())

    def test_client_that_always_sends_more_is_left_between_two_of_its_requests(self):
        service = self.probe("-r", drain="2s")
        with service.connect() as sock:
            sock.sendall(b"work 20\necho x\n" * 400)
            self.in_hand(service, "at work")
            os.kill(service.pid, signal.SIGTERM)
            got = bytearray()
            with self.assertRaises(ConnectionResetError):
                while part := sock.recv(65536):
                    got += part
            self.assertRegex(bytes(got), rb"^(done\nx\n)*(done\n)?$")
            self.assertGreater(got.count(b"x"), 10)
        service.ended()
        self.assertNotIn("drain-timeout", service.output())

    def test_quit_stops_at_once(self):
        service = self.probe()
        with service.connect() as sock:
            sock.sendall(b"stall\n")
            self.in_hand(service, "stalling")
            service.stop(signal.SIGQUIT, self.code_of_stopped)

    def test_stop_over_the_control_socket(self):
        for command in ("stop", "stop now"):
            service = self.probe()
            self.assertTrue(service.command(command).endswith("OK\n\n"))
            service.ended()


if __name__ == "__main__":
    unittest.main()
