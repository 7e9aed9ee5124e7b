# SPDX-License-Identifier: MIT
"""test_reload - the program is started anew beneath its clients, who do not notice

The new workers are there before the old ones leave; connections go over at commit points, in the middle of busy
pipelines too; what cannot go over is finished by the old ones. A program that does not work is never seen by
anybody: the old one goes on, and the answer says why.
"""
import contextlib
import json
import os
import resource
import signal
import subprocess
import threading
import time
import unittest

from support import (ANY_PORT, Case, alive, ask, connect_to, eventually, example, helper, receive_line, refuses)

SECONDS = float(os.environ.get("VANILLA_STORM_SECONDS", "1.5"))


class Pipeline:
    """One client that always has requests under way, and checks every answer; it never connects again."""

    def __init__(self, url, depth=40):
        self.sock = connect_to(url)
        self.depth = depth
        self.answers = 0
        self.error = None
        self.stopping = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            sent, rest = 0, b""
            while not (self.stopping and self.answers == sent):
                while not self.stopping and sent < self.answers + self.depth:
                    n = min(self.answers + self.depth - sent, 10)
                    self.sock.sendall(b"".join(b"echo %d\n" % i for i in range(sent, sent + n)))
                    sent += n
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionError(f"the end after {self.answers} of {sent} answers")
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line != b"%d" % self.answers:
                        raise ConnectionError(f"{line!r} instead of {self.answers}")
                    self.answers += 1
        except OSError as error:
            self.error = error

    def stop(self):
        self.stopping = True
        self.thread.join()
        self.sock.close()
        if self.error:
            raise AssertionError(self.error)
        return self.answers


class Reload(Case):

    def probe(self, *flags, workers=2, trial="50ms", options=()):
        return self.service(helper("probe"), *flags, ANY_PORT, workers=workers,
                            flags=("--reload-trial", trial, *options))

    def script(self, folder, *lines):
        """Puts another program in the place of the one that is there, as an update does."""
        with open(f"{folder}/new", "w", encoding="ascii") as f:
            f.write("\n".join(("#!/bin/sh", *lines, "")))
        os.chmod(f"{folder}/new", 0o755)
        os.rename(f"{folder}/new", f"{folder}/program")
        return f"{folder}/program"

    def works(self, *args):
        return " ".join(["exec", str(helper("probe")), *(args or ("-r", ANY_PORT))])

    def ids(self, service):
        return [w["id"] for w in service.show("workers") if w["state"] == "ready"]

    def reload(self, service):
        text = service.command("reload")
        self.assertTrue(text.endswith("OK\n\n"), text + service.output())
        return text

    def later(self, service, command):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(service.command(command)))
        thread.start()
        self.addCleanup(thread.join)
        return answers

    def pipelines(self, service, n):
        url = service.url
        made = [Pipeline(url) for _ in range(n)]
        for p in made:
            self.addCleanup(setattr, p, "stopping", True)
        return made

    def assert_no_resets(self, service):
        resets = service.show("info")["resets_total"]
        self.assertEqual(resets, dict.fromkeys(resets, 0), service.output())

    def test_new_processes_old_numbers_same_connections(self):
        service = self.probe("-r")
        with service.connect() as sock:
            before = service.worker_pids()
            self.assertIn(int(ask(sock, "pid").split()[0]), before)
            self.assertIn("1.2 2.2", self.reload(service))
            self.assertEqual([w["id"] for w in service.show("workers")], ["1.2", "2.2"])
            self.assertFalse(any(map(alive, before)), "it is done when the old ones are gone")
            self.assertIn(int(ask(sock, "pid").split()[0]), service.worker_pids())
            self.assertEqual(service.show("info")["accepted_total"], 1)
        self.assert_no_resets(service)
        service.stop()

    def test_by_signal_and_many_signals_are_one(self):
        service = self.probe("-r", trial="200ms")
        os.kill(service.pid, signal.SIGHUP)
        eventually("a reload under way", lambda: len(service.show("workers")) > 2)
        for _ in range(20):
            os.kill(service.pid, signal.SIGHUP)
        eventually("another one after it", lambda: self.ids(service) == ["1.3", "2.3"])
        eventually("only those two", lambda: len(service.show("workers")) == 2)
        self.assertEqual(service.output().count("reload: starting"), 2)
        service.stop()

    def test_request_in_hand_is_finished_where_it_began(self):
        service = self.probe("-r")
        with service.connect() as sock:
            before = ask(sock, "pid")
            sock.sendall(b"work 600\n")
            eventually("the request in hand", lambda: "at work" in service.output())
            self.reload(service)
            self.assertEqual(receive_line(sock), b"done\n")
            self.assertNotEqual(ask(sock, "pid"), before)
        self.assert_no_resets(service)
        service.stop()

    def test_held_body_is_finished_where_it_began(self):
        service = self.probe("-r")
        with service.connect() as sock:
            sock.sendall(b"hold one\n")
            eventually("the first half in hand",
                       lambda: any(c["delivered"] > c["committed"] for c in service.show("conns")))
            answer = self.later(service, "reload")
            eventually("those who leave", lambda: any(w["state"] == "draining" for w in service.show("workers")))
            sock.sendall(b"two\n")
            self.assertEqual(receive_line(sock), b"one+two\n")
            eventually("the answer", lambda: answer)
            self.assertTrue(answer[0].endswith("OK\n\n"), answer)
            self.assertEqual(ask(sock, "echo three"), "three")
        self.assert_no_resets(service)
        service.stop()

    def test_connections_that_cannot_move_are_served_to_their_end(self):
        service = self.probe()
        with service.connect() as sock:
            pid = ask(sock, "pid")
            answer = self.later(service, "reload")
            eventually("new workers at work", lambda: self.ids(service) == ["1.2", "2.2"])
            for i in range(5):
                self.assertEqual(ask(sock, "pid"), pid)
                with service.connect() as other:
                    self.assertIn(int(ask(other, "pid").split()[0]), service.worker_pids())
            self.assertEqual(answer, [])
            self.assertEqual(ask(sock, "close goodbye"), "goodbye")
        eventually("the answer", lambda: answer)
        self.assertTrue(answer[0].endswith("OK\n\n"), answer)
        self.assert_no_resets(service)
        service.stop()

    def test_another_reload_need_not_wait_for_those_who_finish(self):
        service = self.probe(workers=1)
        with contextlib.ExitStack() as stack:
            socks, answers = [], []
            for turn in range(1, 5):
                socks.append(stack.enter_context(service.connect()))
                self.assertEqual(ask(socks[-1], "echo hello"), "hello")
                answers.append(self.later(service, "reload"))
                eventually("the next one at work", lambda t=turn: self.ids(service) == [f"1.{t + 1}"])
            self.assertEqual(len(service.show("workers")), 5)
            self.assertEqual(len({ask(sock, "pid").split()[0] for sock in socks}), 4)
        eventually("all answers", lambda: all(answers))
        self.assertEqual(self.ids(service), ["1.5"])
        self.assert_no_resets(service)
        service.stop()

    def test_busy_pipelines_move_every_hundred_milliseconds(self):
        for workers in (1, 3):
            service = self.probe("-r", workers=workers, trial="1ms")
            pipelines = self.pipelines(service, 4)
            end = time.monotonic() + SECONDS
            n = 0
            while time.monotonic() < end or n < 3:
                before = service.worker_pids()
                self.reload(service)
                self.assertFalse(any(map(alive, before)))
                n += 1
                time.sleep(0.1)
            for p in pipelines:
                self.assertGreater(p.stop(), 0)
            self.assert_no_resets(service)
            info = service.show("info")
            self.assertEqual((info["accepted_total"], info["violations_total"]), (4, 0))
            service.stop()

    def test_connection_that_is_never_at_rest_moves_between_two_of_its_requests(self):
        service = self.probe("-r", workers=1)
        n = 60
        with service.connect() as sock:
            sock.sendall(b"".join(b"work 20\npid\necho %d\n" % i for i in range(n)))
            self.assertEqual(receive_line(sock), b"done\n")
            self.reload(service)
            pids = [receive_line(sock)]
            self.assertEqual(receive_line(sock), b"echo 0\n"[5:])
            for i in range(1, n):
                self.assertEqual(receive_line(sock), b"done\n")
                pids.append(receive_line(sock))
                self.assertEqual(receive_line(sock), b"%d\n" % i)
            self.assertEqual(len(set(pids)), 2, "from the old one to the new one, once")
            self.assertEqual(pids, sorted(pids, key=pids.index))
            self.assertEqual(int(pids[-1].split()[0]), service.worker_pids()[0])
        self.assert_no_resets(service)
        service.stop()

    def test_state_goes_along_and_no_attempt_is_counted(self):
        for mode in ("until", "peek", "hold"):
            service = self.service(helper("again"), mode, ANY_PORT, workers=2, flags=("--reload-trial", "1ms"))
            with service.connect() as sock:
                done = 0
                for _ in range(4):
                    sock.sendall(b"".join(b"echo %d\n" % i for i in range(200)))
                    self.reload(service)
                    for i in range(200):
                        done += 1
                        self.assertEqual(receive_line(sock), b"%d 1 %d\n" % (done, i))
            self.assert_no_resets(service)
            service.stop()

    def test_pipelines_move_while_workers_come_and_go(self):
        service = self.probe("-r", workers=1, trial="1ms")
        pipelines = self.pipelines(service, 4)
        end = time.monotonic() + SECONDS
        n = 0
        while time.monotonic() < end or n < 4:
            text = service.command(("scale 4", "worker restart 1", "scale 1", "worker add")[n % 4])
            self.assertTrue(text.endswith("OK\n\n"), text + service.output())
            n += 1
        for p in pipelines:
            self.assertGreater(p.stop(), 0)
        self.assert_no_resets(service)
        service.stop()

    def rolled_back(self, lines, reason, trial="150ms", options=()):
        """A program that does not work in the place of one that does, under clients."""
        folder = self.folder()
        program = self.script(folder, self.works())
        service = self.service(program, workers=2, flags=("--reload-trial", trial, *options))
        pipelines = self.pipelines(service, 2)
        before = service.worker_pids()
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo before"), "before")
            self.script(folder, *lines)
            if not lines:
                os.unlink(program)
            text = service.command("reload")
            self.assertRegex(text, rf"^ERR failed rolled back: worker [12]\.2 .*{reason}.*\n\n$")
            self.assertEqual(service.worker_pids(), before)
            self.assertEqual(ask(sock, "echo after"), "after")
            eventually("nobody of the new ones", lambda: len(service.show("workers")) == 2)
            self.script(folder, self.works())
            self.reload(service)
            self.assertFalse(any(map(alive, before)))
            self.assertEqual(ask(sock, "echo at last"), "at last")
        for p in pipelines:
            self.assertGreater(p.stop(), 0)
        self.assert_no_resets(service)
        self.assertEqual(service.show("info")["accepted_total"], 3)
        service.stop()

    def test_program_that_ends_at_once_is_rolled_back(self):
        self.rolled_back(["echo oh no", "exit 3"], "exited with 3 before it was ready")

    def test_program_that_dies_of_a_signal_is_rolled_back(self):
        self.rolled_back(["kill -9 $$"], "killed by signal 9 .* before it was ready")

    def test_program_that_is_never_ready_is_rolled_back(self):
        self.rolled_back(["exec sleep 60"], "was not ready within start-timeout",
                         options=("--start-timeout", "500ms"))

    def test_program_that_loops_once_it_is_ready_is_rolled_back(self):
        # It hangs for longer than its trials last: who does not answer is not put to work, nor left alone with it.
        self.rolled_back([self.works("-r", "-l", ANY_PORT)], "took nothing for longer than stall-timeout",
                         trial="50ms", options=("--stall-timeout", "300ms"))

    def test_program_that_is_stopped_on_standby_is_rolled_back(self):
        # Before the end of its trial, which is further away than anybody has patience.
        service = self.probe("-r", workers=1, trial="10m", options=("--stall-timeout", "300ms"))
        pipeline, = self.pipelines(service, 1)
        before = service.worker_pids()
        answer = self.later(service, "reload")
        new = eventually("one that stands by",
                         lambda: [w["pid"] for w in service.show("workers") if w["state"] == "standby"])
        os.kill(new[0], signal.SIGSTOP)
        eventually("the answer", lambda: answer)
        self.assertRegex(answer[0], r"^ERR failed rolled back: worker 1\.2 took nothing for longer than stall-timeout")
        self.assertEqual(service.worker_pids(), before)
        self.assertGreater(pipeline.stop(), 0)
        self.assert_no_resets(service)
        service.stop()

    def test_program_that_hangs_at_its_first_work_is_rolled_back(self):
        folder = self.folder()
        works = f"exec {helper('again')} until {ANY_PORT}"
        service = self.service(self.script(folder, works), workers=1,
                               flags=("--reload-trial", "1s", "--stall-timeout", "300ms"))
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo before"), "1 1 before")
            before = service.worker_pids()
            answer = self.later(service, "reload")
            eventually("the new one at work", lambda: self.ids(service) == ["1.2"])
            self.assertEqual(ask(sock, "loop 1"), "2 2 looped")
            eventually("the answer", lambda: answer)
            self.assertIn("rolled back: worker 1.2 took nothing for longer than stall-timeout", answer[0])
            self.assertEqual(service.worker_pids(), before)
            self.assertEqual(ask(sock, "echo after"), "3 1 after")
        self.assert_no_resets(service)
        service.stop()

    def test_program_that_is_gone_is_rolled_back(self):
        self.rolled_back([], "exited with 127: the program was not found")

    def test_program_that_cannot_be_executed_is_rolled_back(self):
        folder = self.folder()
        service = self.service(self.script(folder, self.works()), workers=1)
        os.chmod(f"{folder}/program", 0o644)
        self.assertRegex(service.command("reload"), r"ERR failed rolled back: .*126: the program cannot be executed")
        self.assertEqual(self.ids(service), ["1.1"])
        service.stop()

    def test_program_that_dies_right_after_it_was_ready_is_rolled_back(self):
        # The worker is the shell: it ends, and takes who was ready with it.
        self.rolled_back([f"{helper('probe')} -r {ANY_PORT} &", "sleep 0.3", "kill -9 $!", "exit 5"],
                         "exited with 5 right after it was ready", trial="2s")

    def test_program_that_dies_at_its_first_work_is_rolled_back(self):
        folder = self.folder()
        service = self.service(self.script(folder, self.works()), workers=1, flags=("--reload-trial", "1500ms"))
        with service.connect() as sock, service.connect() as other:
            self.assertEqual(ask(sock, "echo before"), "before")
            self.assertEqual(ask(other, "echo before"), "before")
            pid = service.worker_pids()[0]
            self.script(folder, f"mkfifo {folder}/said", f"{helper('probe')} -r {ANY_PORT} >{folder}/said &",
                        f"read line <{folder}/said", "kill -9 $!", "exit 5")
            answer = self.later(service, "reload")
            eventually("the new one at work", lambda: self.ids(service) == ["1.2"])
            sock.sendall(b"work 100\n")
            eventually("the answer", lambda: answer)
            self.assertRegex(answer[0], r"^ERR failed rolled back: worker 1\.2 exited with 5 right after it was ready")
            self.assertEqual(receive_line(sock), b"done\n", "from the old one")
            eventually("the old one back", lambda: service.worker_pids() == [pid])
            self.assertEqual(ask(other, "pid").split()[0], str(pid))
        service.stop()

    def test_old_worker_that_dies_on_standby_is_replaced_after_a_roll_back(self):
        service = self.probe("-r", workers=2, trial="2s")
        with service.connect() as sock:
            answer = self.later(service, "reload")
            eventually("the new ones at work", lambda: self.ids(service) == ["1.2", "2.2"])
            old = {w["id"]: w["pid"] for w in service.show("workers") if w["state"] == "draining"}
            new = service.worker_pids()
            self.assertEqual(set(old), {"1.1", "2.1"})
            os.kill(old["1.1"], signal.SIGKILL)
            eventually("its death in the books", lambda: any(w["state"] == "gone" for w in service.show("workers")))
            os.kill(new[0], signal.SIGKILL)
            eventually("the answer", lambda: answer)
            self.assertIn("rolled back", answer[0])
            eventually("a new one and the old one", lambda: self.ids(service) == ["1.3", "2.1"])
            self.assertEqual(ask(sock, "echo here"), "here")
        service.stop()

    def test_service_whose_workers_die_at_every_start_is_mended_by_a_reload(self):
        folder = self.folder()
        service = self.service(self.script(folder, self.works()), workers=2, flags=("--reload-trial", "1ms"))
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo before"), "before")
            self.script(folder, "exit 1")
            for pid in service.worker_pids():
                os.kill(pid, signal.SIGKILL)
            eventually("workers that wait to be started again", lambda: all(
                w["state"] == "gone" and w["restarts"] > 5 for w in service.show("workers")))
            sock.sendall(b"echo after\n")
            self.script(folder, self.works())
            self.reload(service)
            self.assertEqual(len(self.ids(service)), 2)
            self.assertEqual(len(service.show("workers")), 2)
            self.assertEqual(receive_line(sock), b"after\n")
        self.assert_no_resets(service)
        service.stop()

    def test_program_that_listens_elsewhere(self):
        folder = self.folder()
        service = self.service(self.script(folder, self.works("-r", ANY_PORT, f"unix:{folder}/a")), workers=2,
                               flags=("--reload-trial", "20ms"), urls=2)
        url = service.url_of(0)
        with service.connect() as sock, connect_to(f"unix:{folder}/a") as gone:
            self.assertEqual(ask(gone, "echo on the old one"), "on the old one")
            self.script(folder, self.works("-r", ANY_PORT, f"unix:{folder}/b"))
            self.reload(service)
            self.assertEqual(sorted(e["url"] for e in service.show("listeners")),
                             sorted([url, f"unix:{folder}/b"]))
            self.assertFalse(os.path.exists(f"{folder}/a"))
            self.assertEqual(ask(sock, "echo on the same one"), "on the same one")
            with connect_to(f"unix:{folder}/b") as new:
                self.assertEqual(ask(new, "echo on the new one"), "on the new one")
            self.script(folder, "exec sleep 60")
        service.stop()

    def test_roll_back_closes_what_only_the_new_program_wanted(self):
        folder = self.folder()
        service = self.service(self.script(folder, self.works()), workers=1, flags=("--reload-trial", "1s"))
        port = self.free_port()
        self.script(folder, f"{helper('probe')} -r {ANY_PORT} tcp://127.0.0.1:{port} &", "sleep 0.3", "kill -9 $!",
                    "exit 5")
        self.assertIn("rolled back", service.command("reload"))
        eventually("one listener", lambda: len(service.show("listeners")) == 1)
        self.assertTrue(refuses(f"tcp://127.0.0.1:{port}"))
        service.stop()

    def free_port(self):
        import socket
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return sock.getsockname()[1]

    def test_what_the_newest_program_says_of_an_endpoint_holds(self):
        folder = self.folder()
        service = self.service(self.script(folder, self.works()), workers=1, flags=("--reload-trial", "400ms"))
        self.assertTrue(service.show("listeners")[0]["resumable"])
        self.script(folder, self.works(ANY_PORT))
        self.reload(service)
        self.assertFalse(service.show("listeners")[0]["resumable"])
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo hello"), "hello")
        self.script(folder, f"{helper('probe')} -r {ANY_PORT} &", "sleep 0.2", "kill -9 $!", "exit 5")
        answer = self.later(service, "reload")
        eventually("one that stands by", lambda: any(w["state"] == "standby" for w in service.show("workers")))
        self.assertFalse(service.show("listeners")[0]["resumable"], "what counts is who serves")
        eventually("the answer", lambda: answer)
        self.assertIn("rolled back", answer[0])
        self.assertFalse(service.show("listeners")[0]["resumable"])
        service.stop()

    def test_with_as_many_connections_as_descriptors_allow(self):
        service = self.service(helper("probe"), "-r", ANY_PORT, workers=2, flags=("--reload-trial", "1ms"),
                               limits={resource.RLIMIT_NOFILE: 220})
        url = service.url
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(connect_to(url)) for _ in range(108)]
            for i, sock in enumerate(socks):
                self.assertEqual(ask(sock, f"echo {i}"), str(i))
            for _ in range(2):
                self.reload(service)
            text = service.command("scale 30")
            self.assertRegex(text, r"^ERR failed rolled back: worker \d+ cannot be started: .*open files")
            eventually("the old ones alone", lambda: len(service.show("workers")) == 2)
            for i, sock in enumerate(socks):
                self.assertEqual(ask(sock, f"echo {i} again"), f"{i} again")
        self.assert_no_resets(service)
        service.stop()

    def test_before_the_service_is_there_and_while_it_ends(self):
        service = self.service("sleep", "60", workers=1, ready=False, flags=("--start-timeout", "20s"))
        eventually("a control socket", lambda: os.path.exists(service.control))
        self.assertIn("still starting", service.command("reload"))
        os.kill(service.pid, signal.SIGQUIT)
        service.wait()
        service = self.probe()
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo hello"), "hello")
            os.kill(service.pid, signal.SIGTERM)
            eventually("its end", lambda: service.show("info")["phase"] == "draining")
            self.assertIn("stopping", service.command("reload"))
            os.kill(service.pid, signal.SIGHUP)
        service.ended()

    def storm(self, program, kind, *args):
        """storm.c over a service that is changed all the time: nobody may notice."""
        service = self.service(program, *args, ANY_PORT, workers=2, flags=(
            "--reload-trial", "1ms", "--release-after", "20ms", "--log-level", "error", "--queue-timeout", "60s"))
        stop, answers = threading.Event(), []

        def change():
            n = 0
            while not stop.wait(0.05):
                n += 1
                answers.append(service.command("reload" if n % 2 else f"scale {1 + n % 3}"))

        thread = threading.Thread(target=change)
        thread.start()
        argv = [str(a) for a in (helper("storm"), service.url, kind, 48, SECONDS, time.time_ns() % 1000003)]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS + 90, check=False)
        finally:
            stop.set()
            thread.join()
        text = f"{' '.join(argv)}\n{done.stdout}{done.stderr}{service.output()}{service.state()}"
        self.assertEqual(done.returncode, 0, text)
        result = json.loads(done.stdout)
        self.assertGreater(result["answers"], 0, text)
        self.assertEqual(result["resets"], 0, text)
        self.assertEqual([a for a in answers if not a.endswith("OK\n\n")], [], text)
        self.assertGreater(len(answers), 0, text)
        self.assert_no_resets(service)
        eventually("nothing left of the clients", lambda: service.show("info")["conns"] == 0)
        self.assertEqual(service.show("info")["violations_total"], 0, text)
        service.stop()

    def test_storm_of_echo(self):
        self.storm(example("echo"), "echo")

    def test_storm_of_lines(self):
        self.storm(example("upper"), "upper")

    def test_storm_of_connections_that_cannot_move(self):
        self.storm(helper("probe"), "probe")


if __name__ == "__main__":
    unittest.main()
