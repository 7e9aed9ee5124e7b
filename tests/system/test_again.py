# SPDX-License-Identifier: MIT
"""test_again - requests that go on in another worker: which ones, how often, with what state, and which do not

again.c counts the requests of each connection in vn_conn_state() and can be told to die at any step of one. So
each answer shows whether a request was lost, run twice, or given another number.
"""
import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import time
import unittest

from support import (ANY_PORT, Case, alive, ask, eventually, example, helper, receive, receive_all,
                     receive_line, reset)

MODES = ("until", "peek", "hold")
SEED = int(os.environ.get("VANILLA_AGAIN_SEED", time.time_ns() % 1_000_000_007))


class Again(Case):

    def again(self, *args, mode="until", url=ANY_PORT, workers=2, options=()):
        return self.service(helper("again"), *args, mode, url, workers=workers,
                            flags=("--log-level", "error", *options))

    def record(self, service, sock):
        address = "%s:%d" % sock.getsockname()[:2]
        return next((c for c in service.show("conns") if c["peer"] == address), None)

    def holder(self, service, sock, at_least=1):
        """The worker, of show workers, that has taken that much of this client's input and not acknowledged it."""
        def held():
            c = self.record(service, sock)
            if not c or not c["worker"] or c["delivered"] - c["acked"] < at_least:
                return None
            untaken = [lane["used"] for lane in service.show("lanes")
                       if (lane["worker"], lane["direction"]) == (c["worker"], "in")]
            return untaken == [0] and c["worker"]

        worker = eventually("its input in the hands of a worker", held)
        return next(w for w in service.show("workers") if w["id"] == worker)

    def kill(self, service, worker):
        os.kill(worker["pid"], signal.SIGKILL)
        eventually("its death in the books",
                   lambda: worker["id"] not in [w["id"] for w in service.show("workers")])

    def resets(self, service):
        return {k: v for k, v in service.show("info")["resets_total"].items() if v}

    def assert_calm(self, service, deaths=None):
        info = service.show("info")
        self.assertEqual(self.resets(service), {})
        self.assertEqual(info["violations_total"], 0, service.output())
        if deaths is not None:
            self.assertEqual(info["deaths_total"], deaths)


class Steps(Again):
    """A worker that dies at a step of a request."""

    def crash(self, mode, where, *args):
        service = self.again(*args, mode=mode)
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo first"), "1 1 first")
            self.assertEqual(ask(sock, f"crash 1 {where}"), "2 2 survived", f"{mode} {where}")
            self.assertEqual(ask(sock, "echo last"), "3 1 last")
            self.assertEqual(ask(sock, f"crash 2 {where}"), "4 3 survived", f"{mode} {where}")
            self.assertEqual(ask(sock, "echo last"), "5 1 last")
        self.assert_calm(service, deaths=3)
        service.stop()

    def test_death_before_the_commit_is_published_is_one_answer(self):
        for mode in MODES:
            for where in ("taken", "counted", "written", "committed"):
                self.crash(mode, where)

    def test_long_state_arrives_whole_or_not_at_all(self):
        for size in (47 + 8, 48, 49, 1024):
            self.crash("until", "counted", "-s", size)
            self.crash("until", "committed", "-s", size)

    def test_death_after_an_answer_was_sent_is_a_reset(self):
        for mode in MODES:
            service = self.again(mode=mode)
            with service.connect() as sock:
                self.assertEqual(ask(sock, "echo first"), "1 1 first")
                self.assertEqual(ask(sock, "crash 1 published"), "2 1 survived")
                self.assert_closed_by_reset(sock)
            self.assertEqual(self.resets(service), {"worker_died": 1})
            service.stop()

    def test_death_after_the_commit_is_published_repeats_nothing(self):
        for mode in MODES:
            service = self.again(mode=mode)
            with service.connect() as sock:
                self.assertEqual(ask(sock, "echo first"), "1 1 first")
                self.assertEqual(ask(sock, "crash 9 left"), "2 1 survived")
                eventually("its death", lambda s=service: s.show("info")["deaths_total"] == 1)
                self.assertEqual(ask(sock, "echo last"), "3 1 last")
            self.assert_calm(service, deaths=1)
            service.stop()

    def test_output_that_nobody_has_seen_is_withdrawn(self):
        # A Unix socket, because its buffers do not grow: so most of it stays with the broker.
        service = self.again(url=f"unix:{self.folder()}/s", options=("--window", "2M"))
        with service.connect() as sock:
            sock.sendall(b"big 900000\ncrash 2 published\necho last\n")
            eventually("two deaths", lambda: service.show("info")["deaths_total"] == 2)
            conn, = service.show("conns")
            self.assertLess(conn["sent"], 900_000, "the client has read nothing")
            self.assertEqual(receive(sock, 900_000), b"x" * 900_000)
            self.assertEqual([receive_line(sock) for _ in range(3)], [b"1 1 big\n", b"2 3 survived\n", b"3 3 last\n"])
        self.assert_calm(service, deaths=2)
        service.stop()

    def test_answer_within_the_window_leaves_with_its_commit(self):
        # 200 writes, and nothing of them is seen by anybody before the commit.
        service = self.again(workers=1)
        with service.connect() as sock:
            sock.sendall(b"big 200000 written\n")
            self.assertEqual(receive(sock, 200_000), b"x" * 200_000)
            self.assertEqual(receive_line(sock), b"1 2 big\n")
            self.assertEqual(ask(sock, "echo last"), "2 1 last")
        self.assert_calm(service, deaths=1)
        service.stop()

    def test_answer_beyond_the_window_is_begun_before_its_commit(self):
        service = self.again(workers=1, options=("--window", "64k"))
        with service.connect() as sock:
            sock.sendall(b"big 900000 written\n")
            self.assert_closed_by_reset(sock)
        self.assertEqual(self.resets(service), {"worker_died": 1})
        service.stop()

    def test_output_before_a_close_is_committed(self):
        service = self.again(url=f"unix:{self.folder()}/s", workers=1, options=("--window", "2M"))
        with service.connect() as sock:
            sock.sendall(b"close 900000\n")
            closed = eventually("a closed connection that is still sending", lambda: [
                c for c in service.show("conns") if c["queued"] > 900_000 and c["committed"]])
            self.assertLess(closed[0]["sent"], 900_000, "the client has read nothing")
            self.kill(service, service.show("workers")[0])
            self.assertEqual(receive_all(sock), b"x" * 900_000 + b"1 1 big\n")
        self.assert_calm(service, deaths=1)
        service.stop()

    def segments(self, service):
        """What the broker shares with workers, mapped or open: its names, which end with the incarnation."""
        proc = pathlib.Path(f"/proc/{service.pid}")
        links = []
        for fd in (proc / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(fd))
        return set(re.findall(r"/memfd:(vanilla-(?:broker|worker)-\d+)",
                              "\n".join([(proc / "maps").read_text(), *links])))

    def test_segments_of_the_dead_are_gone_while_a_client_still_drains_their_output(self):
        service = self.again(url=f"unix:{self.folder()}/s", workers=1, options=("--window", "2M"))
        with service.connect() as sock:
            for n in range(1, 4):
                sock.sendall(b"big 500000\n")
                conn = eventually("committed output that is still to be sent", lambda n=n: [
                    c for c in service.show("conns") if c["queued"] >= 500_000 * n and c["committed"] == 11 * n])
                self.assertLess(conn[0]["sent"], 500_000, "the client has read nothing")
                gone = {f"vanilla-broker-{n}", f"vanilla-worker-{n}"}
                self.assertEqual(self.segments(service), gone, "those of the only worker")
                self.kill(service, service.show("workers")[0])
                eventually("its segments gone", lambda gone=gone: not self.segments(service) & gone)
                self.assertGreater(service.show("info")["spilled_bytes"], 300_000 * n)
            for n in range(1, 4):
                self.assertEqual(receive(sock, 500_000), b"x" * 500_000)
                self.assertEqual(receive_line(sock), b"%d 1 big\n" % n)
            self.assertEqual(ask(sock, "echo last"), "4 1 last")
        eventually("nothing kept", lambda: service.show("info")["spilled_bytes"] == 0)
        self.assert_calm(service, deaths=3)
        service.stop()

    def test_what_was_published_counts_though_nobody_had_taken_it(self):
        service = self.again(workers=1)
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo first"), "1 1 first")
            sock.sendall(b"crash 9 le")
            worker = self.holder(service, sock, 10)
            os.kill(worker["pid"], signal.SIGSTOP)
            sock.sendall(b"ft\n")
            eventually("all of it", lambda: self.record(service, sock)["delivered"] == 24)
            service.command("ping")  # a turn later it is published, too
            os.kill(service.pid, signal.SIGSTOP)
            os.kill(worker["pid"], signal.SIGCONT)
            eventually("its end", lambda: not alive(worker["pid"]))
            os.kill(service.pid, signal.SIGCONT)
            self.assertEqual(receive_line(sock), b"2 1 survived\n")
            self.assertEqual(ask(sock, "echo last"), "3 1 last")
        self.assert_calm(service, deaths=1)
        service.stop()

    def test_requests_in_line_behind_one_that_kills(self):
        for mode in MODES:
            service = self.again(mode=mode)
            with service.connect() as sock:
                sock.sendall(b"echo a\necho b\ncrash 2 written\necho c\necho d\n")
                got = [receive_line(sock).split() for _ in range(5)]
            # They were taken together, and nothing of it was published: so they are tried together.
            self.assertEqual([g[0] for g in got], [b"1", b"2", b"3", b"4", b"5"])
            self.assertEqual([g[2] for g in got], [b"a", b"b", b"survived", b"c", b"d"])
            self.assertEqual([int(g[1]) for g in got[:3]], [3, 3, 3])
            self.assert_calm(service)
            service.stop()

    def test_not_resumable_is_a_reset_each_time(self):
        service = self.again("-n")
        for where in ("taken", "written", "published"):
            with service.connect() as sock:
                self.assertEqual(ask(sock, "echo first"), "1 1 first")
                sock.sendall(b"crash 1 %s\n" % where.encode())
                self.assert_closed_by_reset(sock)
        self.assertEqual(self.resets(service), {"worker_died": 3})
        service.stop()


class Between(Again):
    """A worker that is killed between the parts of a request."""

    def test_kill_between_the_halves_of_a_line(self):
        for mode in MODES:
            service = self.again(mode=mode)
            with service.connect() as sock:
                self.assertEqual(ask(sock, "echo first"), "1 1 first")
                sock.sendall(b"echo ha")
                self.kill(service, self.holder(service, sock, 7))
                self.holder(service, sock, 7)
                sock.sendall(b"lf")
                self.kill(service, self.holder(service, sock, 9))
                sock.sendall(b" and half\n")
                self.assertEqual(receive_line(sock), b"2 3 half and half\n")
            self.assert_calm(service, deaths=2)
            service.stop()

    def test_kill_of_the_only_worker(self):
        service = self.again(workers=1)
        with service.connect() as sock:
            sock.sendall(b"echo no")
            self.kill(service, self.holder(service, sock, 7))
            sock.sendall(b"body\n")
            self.assertEqual(receive_line(sock), b"1 2 nobody\n")
        service.stop()

    def test_kill_in_the_middle_of_a_body(self):
        data = random.Random(SEED).randbytes(150_000)
        total = 0
        for byte in data:
            total = (total * 31 + byte) & 0xffffffff
        service = self.again()
        with service.connect() as sock:
            sock.sendall(b"body 150000\n" + data[:60_000])
            self.kill(service, self.holder(service, sock, 60_012))
            sock.sendall(data[60_000:120_000])
            self.kill(service, self.holder(service, sock, 120_012))
            sock.sendall(data[120_000:] + b"echo after\n")
            self.assertEqual(receive_line(sock), b"1 3 150000 %08x\n" % total)
            self.assertEqual(receive_line(sock).split()[::2], [b"2", b"after"])
        self.assert_calm(service, deaths=2)
        service.stop()

    def test_kill_in_a_body_larger_than_the_window_is_a_reset(self):
        service = self.again(options=("--window", "64k"))
        with service.connect() as sock:
            sock.sendall(b"body 1000000\n" + bytes(500_000))

            def acked():
                c = self.record(service, sock)
                return c and c["acked"] > c["committed"] + 100_000 and c["worker"]

            worker = eventually("input acknowledged without a commit", acked)
            self.kill(service, next(w for w in service.show("workers") if w["id"] == worker))
            self.assert_closed_by_reset(sock)
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo fresh"), "1 1 fresh")
        self.assertEqual(self.resets(service), {"worker_died": 1})
        service.stop()

    def test_client_that_has_said_its_last(self):
        for mode in MODES:
            service = self.again(mode=mode)
            with service.connect() as sock:
                sock.sendall(b"wait 200\necho last\n")
                sock.shutdown(socket.SHUT_WR)
                self.kill(service, self.holder(service, sock, 20))
                self.assertEqual(receive_all(sock), b"1 2 waited\n2 2 last\n")
            self.assert_calm(service)
            service.stop()

    def test_client_that_has_gone(self):
        service = self.again(workers=1)
        sock = service.connect()
        sock.sendall(b"wait 60000\n")
        worker = self.holder(service, sock)
        reset(sock)
        self.kill(service, worker)
        eventually("nothing left", lambda: service.show("info")["conns"] == 0)
        self.assertEqual(self.resets(service), {})
        service.stop()
        self.assertLessEqual(service.output().count("waiting"), 2)

    def test_pipelined_requests_under_kills(self):
        service = self.again(workers=3, options=("--retries", "1000"))
        rest = random.Random(SEED)
        n = 150
        with service.connect() as sock:
            sock.sendall(b"".join(b"wait 2\necho %d\n" % i for i in range(n)))
            got = bytearray()
            while got.count(b"\n") < 2 * n:
                sock.settimeout(rest.uniform(0.02, 0.08))
                try:
                    part = sock.recv(65536)
                    self.assertTrue(part, f"seed {SEED}: ended after {bytes(got[-80:])}")
                    got += part
                except TimeoutError:
                    pass
                except ConnectionResetError:
                    break
                if rest.random() < 0.1:
                    pids = service.worker_pids()
                    if pids:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(rest.choice(pids), signal.SIGKILL)
            answers = [line.split() for line in got.decode().splitlines()]
        # A wait publishes nothing before it answers, and the answer leaves with its commit.
        self.assertEqual([int(a[0]) for a in answers], list(range(1, len(answers) + 1)), f"seed {SEED}")
        self.assertEqual([a[2] for a in answers],
                         [text for i in range(n) for text in ("waited", str(i))], f"seed {SEED}")
        self.assert_calm(service)
        service.stop()

    def test_untaken_input_is_no_attempt(self):
        for args in ((), ("-n",)):
            service = self.again(*args, workers=1)
            worker = service.show("workers")[0]
            os.kill(worker["pid"], signal.SIGSTOP)
            with service.connect() as sock:
                sock.sendall(b"echo patient\n")
                eventually("it is waiting", lambda s=service, k=sock: self.record(s, k)["delivered"] == 13)
                self.kill(service, worker)
                self.assertEqual(receive_line(sock), b"1 1 patient\n")
            self.assert_calm(service, deaths=1)
            service.stop()

    def test_sums_counts_on(self):
        service = self.service(example("sums"), ANY_PORT, workers=2)
        with service.connect() as sock:
            for i in range(1, 30):
                number, total = ask(sock, f"line {i}").split()
                self.assertEqual(int(number), i)
                value = 0xcbf29ce484222325
                for byte in b"line %d\n" % i:
                    value = (value ^ byte) * 0x100000001b3 & (1 << 64) - 1
                self.assertEqual(total, f"{value:016x}")
                if i % 5 == 0:
                    os.kill(random.choice(service.worker_pids()), signal.SIGKILL)
        service.stop()


class Poison(Again):

    def test_poison_takes_nobody_along(self):
        service = self.again(workers=2)
        with contextlib.ExitStack() as stack:
            innocent = [stack.enter_context(service.connect()) for _ in range(40)]
            for sock in innocent:
                sock.sendall(b"wait 300\n")
            poison = stack.enter_context(service.connect())
            poison.sendall(b"crash 1000 counted\n")
            self.assert_closed_by_reset(poison)
            for sock in innocent:
                number, attempt, text = receive_line(sock).split()
                self.assertEqual((number, text), (b"1", b"waited"))
                self.assertLessEqual(int(attempt), 4)
            for sock in innocent:
                self.assertEqual(ask(sock, "echo well"), "2 1 well")
        self.assertEqual(self.resets(service), {"quarantined": 1})
        self.assertEqual(service.show("info")["deaths_total"], 3)
        record, = service.show("quarantine")
        self.assertEqual(record["workers_killed"], 3)
        self.assertEqual(len(set(record["killed"].split())), 3)
        self.assertEqual(record["bytes"], 19)
        self.assertEqual(record["begins"], "crash 1000 counted.")
        shown = bytes.fromhex("".join(row["hex"] for row in service.show(f"quarantine {record['id']}")))
        self.assertEqual(shown, b"crash 1000 counted\n")
        self.assertIn("ERR", service.command("show quarantine 2"))
        service.stop()

    def test_many_poisons_one_reset_each(self):
        service = self.again(workers=2, options=("--retries", "2", "--quarantine-bytes", "8"))
        with contextlib.ExitStack() as stack:
            resting = [stack.enter_context(service.connect()) for _ in range(10)]
            poisons = [stack.enter_context(service.connect()) for _ in range(20)]
            for sock in resting:
                self.assertEqual(ask(sock, "echo before"), "1 1 before")
            for sock in poisons:
                sock.sendall(b"crash 1000 taken\n")
            for sock in poisons:
                self.assert_closed_by_reset(sock)
            for sock in resting:
                self.assertEqual(ask(sock, "echo after"), "2 1 after")
        self.assertEqual(self.resets(service), {"quarantined": 20})
        kept = service.show("quarantine")
        self.assertEqual([k["id"] for k in kept], list(range(5, 21)))
        self.assertEqual({(k["kept_bytes"], k["bytes"], k["begins"]) for k in kept}, {(8, 17, "crash 10")})
        service.stop()

    def test_suspects_that_wait_for_more_bar_nobody(self):
        """Each is a suspect, waits in the middle of a line, and nobody has to wait for it."""
        service = self.again(workers=1)
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(service.connect()) for _ in range(5)]
            for sock in socks:
                sock.sendall(b"echo ha")
                self.holder(service, sock, 7)
            self.kill(service, service.show("workers")[0])
            for sock in socks:
                self.holder(service, sock, 7)
            for sock in reversed(socks):
                sock.sendall(b"lf\n")
                self.assertEqual(receive_line(sock), b"1 2 half\n")
        self.assert_calm(service)
        service.stop()

    def test_retries_are_for_one_request(self):
        service = self.again(options=("--retries", "2"))
        with service.connect() as sock:
            for i in range(1, 6):
                self.assertEqual(ask(sock, "crash 1 counted"), f"{i} 2 survived")
        self.assert_calm(service, deaths=5)
        service.stop()

    def test_ordered_deaths_blame_nobody(self):
        service = self.again(workers=1, options=("--retries", "1"))
        with service.connect() as sock:
            sock.sendall(b"wait 300\n")
            self.holder(service, sock)
            self.assertIn("OK", service.command("worker kill 1"))
            self.assertEqual(receive_line(sock), b"1 2 waited\n")
        self.assert_calm(service)
        service.stop()


class Hung(Again):

    STALL = ("--stall-timeout", "300ms")

    def test_worker_that_hangs_is_replaced(self):
        for request, answer in ((b"loop 1\n", b"1 2 looped\n"), (b"block 1\n", b"1 2 blocked\n")):
            service = self.again(options=self.STALL)
            with service.connect() as sock, service.connect() as other:
                sock.sendall(request)
                eventually("it is in hand", lambda s=service, k=sock: self.record(s, k)["delivered"] > 0)
                self.assertEqual(ask(other, "echo beside"), "1 1 beside")
                self.assertEqual(receive_line(sock), answer)
            self.assert_calm(service, deaths=1)
            self.assertTrue(any("stall-timeout" in (w["last_death"] or "") for w in service.show("workers")))
            service.stop()

    def test_stopped_worker_is_replaced(self):
        service = self.again(options=self.STALL)
        with service.connect() as sock:
            sock.sendall(b"wait 150\n")
            os.kill(self.holder(service, sock)["pid"], signal.SIGSTOP)
            self.assertEqual(receive_line(sock), b"1 2 waited\n")
        self.assert_calm(service, deaths=1)
        service.stop()

    def test_stopped_and_continued_in_time_is_nothing(self):
        service = self.again(options=("--stall-timeout", "20s"))
        with service.connect() as sock:
            for i in range(1, 6):
                sock.sendall(b"wait 50\n")
                pid = self.holder(service, sock)["pid"]
                os.kill(pid, signal.SIGSTOP)
                time.sleep(0.1)
                os.kill(pid, signal.SIGCONT)
                self.assertEqual(receive_line(sock), b"%d 1 waited\n" % i)
        self.assert_calm(service, deaths=0)
        service.stop()

    def test_handler_that_waits_is_left_alone(self):
        service = self.again(workers=1, options=self.STALL)
        with service.connect() as sock, service.connect() as other:
            sock.sendall(b"wait 1500\n")
            other.sendall(b"echo ha")
            self.assertEqual(receive_line(sock), b"1 1 waited\n")
            other.sendall(b"lf\n")
            self.assertEqual(receive_line(other), b"1 1 half\n")
        self.assert_calm(service, deaths=0)
        service.stop()

    def test_hanging_poison_ends_in_quarantine(self):
        service = self.again(options=("--stall-timeout", "100ms", "--retries", "2"))
        with service.connect() as sock:
            sock.sendall(b"loop 9\n")
            self.assert_closed_by_reset(sock)
        self.assertEqual(self.resets(service), {"quarantined": 1})
        service.stop()

    def test_request_that_takes_too_long(self):
        service = self.again(options=("--request-timeout", "300ms", "--retries", "2"))
        with service.connect() as sock:
            sock.sendall(b"wait 60000\n")
            self.assert_closed_by_reset(sock)
        self.assertEqual(self.resets(service), {"quarantined": 1})
        self.assertEqual(service.show("info")["deaths_total"], 2)
        service.stop()

    def test_request_whose_client_takes_long_is_left_alone(self):
        service = self.again(options=("--request-timeout", "300ms"))
        with service.connect() as sock:
            sock.sendall(b"echo ha")
            time.sleep(1)
            sock.sendall(b"lf")
            time.sleep(1)
            sock.sendall(b"\n")
            self.assertEqual(receive_line(sock), b"1 1 half\n")
        self.assert_calm(service, deaths=0)
        service.stop()


if __name__ == "__main__":
    unittest.main()
