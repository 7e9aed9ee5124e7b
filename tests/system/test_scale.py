# SPDX-License-Identifier: MIT
"""test_scale - more workers and fewer while the service runs, one by one and by number

Whoever goes gives away what can go elsewhere and finishes the rest; whoever comes gets work. Each command
answers when that is done.
"""
import contextlib
import os
import pathlib
import re
import signal
import threading
import time
import unittest

from support import ANY_PORT, Case, alive, ask, eventually, helper, receive_line


class Scale(Case):

    def probe(self, *flags, workers=2, options=()):
        return self.service(helper("probe"), *flags, ANY_PORT, workers=workers,
                            flags=("--reload-trial", "50ms", *options))

    def ids(self, service, state="ready"):
        return [w["id"] for w in service.show("workers") if w["state"] == state]

    def order(self, service, command):
        """A command that must succeed; its data lines."""
        text = service.command(command)
        self.assertTrue(text.endswith("OK\n\n"), text + service.output())
        return text[:-len("OK\n\n")]

    def refused(self, service, command):
        text = service.command(command)
        self.assertRegex(text, r"^ERR \w+ .*\n\n$")
        return text

    def later(self, service, command):
        """Gives the command from another thread; the list gets its answer."""
        answers = []
        thread = threading.Thread(target=lambda: answers.append(service.command(command)))
        thread.start()
        self.addCleanup(thread.join)
        return answers

    def test_up_and_down_by_number(self):
        service = self.probe("-r")
        self.order(service, "scale 4")
        self.assertEqual(self.ids(service), ["1.1", "2.1", "3.1", "4.1"])
        self.assertEqual(service.show("info")["workers"], 4)
        gone = service.worker_pids()[2:]
        self.order(service, "scale 2")
        self.assertEqual([w["id"] for w in service.show("workers")], ["1.1", "2.1"])
        self.assertFalse(any(map(alive, gone)))
        self.order(service, "scale 3")
        self.assertEqual(self.ids(service), ["1.1", "2.1", "3.2"], "the same number, another incarnation")
        self.order(service, "scale 3")
        self.assertEqual(self.ids(service), ["1.1", "2.1", "3.2"])
        service.stop()

    def test_worker_knows_its_number(self):
        service = self.probe("-r", workers=1)
        self.order(service, "scale 3")
        numbers = set()
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(service.connect()) for _ in range(3)]
            for sock in socks:
                sock.sendall(b"work 300\npid\n")
            for sock in socks:
                self.assertEqual(receive_line(sock), b"done\n")
                pid, number = receive_line(sock).decode().split()
                row = next(w for w in service.show("workers") if w["pid"] == int(pid))
                self.assertEqual(row["id"].split(".")[0], number)
                numbers.add(number)
        self.assertEqual(numbers, {"1", "2", "3"}, "three at once, each in a worker of its own")
        service.stop()

    def test_busy_connections_move_to_a_worker_that_has_nothing_to_do(self):
        service = self.probe("-r", workers=1)
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(service.connect()) for _ in range(4)]
            for sock in socks:
                sock.sendall(b"".join(b"work 10\npid\n" for _ in range(100)))
            for sock in socks:
                self.assertEqual(receive_line(sock), b"done\n")
            self.order(service, "scale 2")
            ends = []
            for sock in socks:
                last = receive_line(sock)
                for _ in range(99):
                    self.assertEqual(receive_line(sock), b"done\n")
                    last = receive_line(sock)
                ends.append(last.split()[1])
            self.assertEqual(set(ends), {b"1", b"2"})
        self.assertEqual(service.show("info")["resets_total"]["worker_died"], 0)
        service.stop()

    def test_numbers_that_cannot_be(self):
        service = self.probe(workers=1)
        for n in ("0", "257", "4294967296", "99999999999999999999", "-1", "x", ""):
            self.refused(service, f"scale {n}")
        self.assertEqual(self.ids(service), ["1.1"])
        service.stop()

    def test_signals_mean_one_more_and_one_less(self):
        service = self.probe("-r", workers=1)
        for signum, n in ((signal.SIGTTIN, 2), (signal.SIGTTIN, 3), (signal.SIGTTOU, 2), (signal.SIGTTOU, 1)):
            os.kill(service.pid, signum)
            eventually(f"{n} workers", lambda n=n: len(service.show("workers")) == n == len(self.ids(service)))
        os.kill(service.pid, signal.SIGTTOU)
        eventually("a refusal", lambda: "nothing is changed" in service.output())
        self.assertEqual(len(self.ids(service)), 1)
        service.stop()

    def test_add_drain_restart_kill(self):
        service = self.probe("-r")
        self.order(service, "worker add")
        self.assertEqual(self.ids(service), ["1.1", "2.1", "3.1"])
        self.order(service, "worker drain 2")
        self.assertEqual(self.ids(service), ["1.1", "3.1"])
        self.order(service, "worker restart 3")
        self.assertEqual(self.ids(service), ["1.1", "3.2"])
        self.refused(service, "worker restart 3.1")
        self.order(service, "worker kill 1.1")
        eventually("a successor of who was killed", lambda: self.ids(service) == ["1.2", "3.2"])
        self.refused(service, "worker drain 2")
        self.order(service, "worker drain 1")
        text = self.refused(service, "worker drain 3")
        self.assertIn("the only one", text)
        self.assertEqual(self.ids(service), ["3.2"])
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo still here"), "still here")
        service.stop()

    def test_connections_at_rest_outlive_scaling_down(self):
        service = self.probe("-r", workers=4, options=("--release-after", "1m"))
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(service.connect()) for _ in range(100)]
            for sock in socks:
                sock.sendall(b"work 20\n")
            for sock in socks:
                self.assertEqual(receive_line(sock), b"done\n")
            self.assertGreater(sum(w["conns"] for w in service.show("workers")[1:]), 0)
            self.order(service, "scale 1")
            for i, sock in enumerate(socks):
                self.assertEqual(ask(sock, f"echo {i}"), str(i))
            self.assertEqual(service.show("info")["accepted_total"], 100)
        service.stop()

    def test_who_goes_finishes_what_cannot_go_elsewhere(self):
        service = self.probe()
        with service.connect() as sock:
            pid, number = ask(sock, "pid").split()
            answer = self.later(service, f"worker drain {number}")
            eventually("its leaving", lambda: self.ids(service, "draining"))
            for i in range(3):
                self.assertEqual(ask(sock, f"echo {i}"), str(i))
                self.assertEqual(ask(sock, "pid").split()[0], pid)
            self.assertEqual(answer, [], "it is not done before the connection is")
            with service.connect() as other:
                self.assertNotEqual(ask(other, "pid").split()[0], pid)
        eventually("the answer", lambda: answer)
        self.assertTrue(answer[0].endswith("OK\n\n"), answer)
        self.assertFalse(alive(int(pid)))
        service.stop()

    def test_who_does_not_finish_in_time_is_stopped(self):
        service = self.probe(options=("--drain-timeout", "300ms"))
        with service.connect() as sock:
            pid, number = ask(sock, "pid").split()
            sock.sendall(b"stall\n")
            eventually("the request in hand", lambda: "stalling" in service.output())
            self.assertIn("did not finish", self.order(service, f"worker drain {number}"))
            self.assertFalse(alive(int(pid)))
            self.assert_ended(sock)
        self.assertEqual(len(self.ids(service)), 1)
        service.stop()

    def test_request_of_a_worker_that_was_ended_by_order_is_answered_by_another(self):
        # With --retries 1, one death that counted would be one too many.
        for command, request, answer in (("worker kill", b"work 300\n", b"done\n"),
                                         ("worker drain", b"spin 2000\n", b"spun\n")):
            service = self.probe("-r", options=("--retries", "1", "--drain-timeout", "100ms"))
            with service.connect() as sock:
                number = ask(sock, "pid").split()[1]
                sock.sendall(request)
                eventually("the request in hand",
                           lambda s=service: any(c["delivered"] > c["acked"] for c in s.show("conns")))
                self.order(service, f"{command} {number}")
                self.assertEqual(receive_line(sock), answer)
                self.assertEqual(service.show("info")["resets_total"]["quarantined"], 0)
            service.stop(signal.SIGQUIT)

    def assert_ended(self, sock):
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(65536):
                pass

    def test_new_workers_that_cannot_start_are_given_up(self):
        folder = self.folder()
        program = f"{folder}/program"
        with open(program, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\n[ -e {folder}/broken ] && exit 9\nexec {helper('probe')} -r {ANY_PORT}\n")
        os.chmod(program, 0o755)
        service = self.service(program, workers=1)
        open(f"{folder}/broken", "w", encoding="ascii").close()
        text = self.refused(service, "scale 3")
        self.assertRegex(text, r"rolled back: worker [23]\.1 exited with 9 before it was ready")
        eventually("nobody but the old one", lambda: [w["id"] for w in service.show("workers")] == ["1.1"])
        os.unlink(f"{folder}/broken")
        self.order(service, "scale 3")
        self.assertEqual(len(self.ids(service)), 3)
        service.stop()

    def test_one_change_at_a_time(self):
        service = self.probe("-r", options=("--reload-trial", "500ms"))
        answer = self.later(service, "scale 3")
        eventually("the change to begin", lambda: len(service.show("workers")) > 2)
        os.kill(service.pid, signal.SIGTTIN)  # this and the others wait for their turn
        others = [self.later(service, command) for command in ("worker restart 1", "worker add", "reload")]
        eventually("all answers", lambda: answer and all(others))
        for text in [answer[0], *(text for text, in others)]:
            self.assertTrue(text.endswith("OK\n\n"), text)
        eventually("five workers", lambda: len(self.ids(service)) == 5 == len(service.show("workers")))
        ids = [w.split(".") for w in self.ids(service)]
        self.assertEqual([number for number, _ in ids], list("12345"))
        self.assertTrue(all(int(incarnation) >= (3 if number == "1" else 1) for number, incarnation in ids), ids)
        service.stop()

    def test_stop_ends_a_change(self):
        for delay in (0.0, 0.1, 0.3):
            service = self.probe("-r", options=("--reload-trial", "200ms"))
            answer = self.later(service, "scale 5")
            eventually("the change to begin", lambda s=service: len(s.show("workers")) > 2)
            time.sleep(delay)
            service.stop()
            eventually("an answer, or the end of the connection", lambda a=answer: a)

    def test_up_and_down_many_times_leaves_nothing_behind(self):
        service = self.probe("-r", options=("--reload-trial", "1ms"))

        def held():
            process = pathlib.Path(f"/proc/{service.pid}")
            return len(list((process / "fd").iterdir())), len((process / "maps").read_text().splitlines())

        self.order(service, "scale 5")
        self.order(service, "scale 2")
        before = held()
        with service.connect() as sock:
            for i in range(15):
                self.order(service, f"scale {5 if i % 2 else 2 + i % 3}")
                self.assertEqual(ask(sock, f"echo {i}"), str(i))
        self.order(service, "scale 2")
        eventually(f"descriptors and mappings as before: {before}",
                   lambda: all(now < then + 10 for now, then in zip(held(), before)))
        self.assertEqual(service.show("info")["resets_total"], dict.fromkeys(
            service.show("info")["resets_total"], 0))
        service.stop()

    def test_slots_are_used_again(self):
        service = self.probe("-r", workers=1, options=("--reload-trial", "0ms"))
        for i in range(12):
            self.order(service, f"worker {'restart 1' if i % 3 else 'add'}")
        pairs = [w["id"] for w in service.show("workers")]
        self.assertEqual(len(pairs), len(set(pairs)))
        self.assertEqual(pairs[0], "1.9", "eight restarts, each the next incarnation")
        self.assertEqual(set(re.findall(r"^(\S+)\| served: success", service.output(), re.M)),
                         {f"1.{n}" for n in range(1, 9)})
        service.stop()


if __name__ == "__main__":
    unittest.main()
