# SPDX-License-Identifier: MIT
"""test_commits - what leaves with a commit, and in which order: by workers that die between one and the next

Requests are sent together, so that what belongs to the first must not be taken for the second's. Each test asks for
more after the place in question: a loss shows at once, as the next answer, and not as a silence.
"""
import os
import signal
import socket
import time
import unittest

from support import ANY_PORT, alive, eventually, helper, receive_all, receive_line
from test_again import Again, MODES


class Commits(Again):

    def lines(self, sock, n):
        return [receive_line(sock).decode().rstrip("\n") for _ in range(n)]

    def rest(self, sock, most):
        """Up to the end, or more than there may be; and whether it was a reset."""
        got = bytearray()
        try:
            while len(got) <= most and (part := sock.recv(65536)):
                got += part
        except ConnectionResetError:
            return bytes(got), True
        return bytes(got), False

    def test_answer_that_was_begun_is_not_committed_by_the_one_before_it(self):
        """Were it taken for committed, the request would be run again, and answered a second time."""
        service = self.service(helper("probe"), "-r", ANY_PORT, workers=2, flags=("--log-level", "error"))
        with service.connect() as sock:
            sock.sendall(b"echo one\necho two\nhalf\n")
            wanted = b"one\ntwo\nhalf an answer"
            eventually("its begin", lambda: len(sock.recv(100, socket.MSG_PEEK)) == len(wanted))
            holder = self.holder(service, sock)
            self.kill(service, holder)
            self.assertEqual(self.rest(sock, len(wanted)), (wanted, True))
        self.assertEqual(self.resets(service), {"worker_died": 1})
        service.stop()

    def test_answer_that_was_begun_behind_others_and_their_state(self):
        for mode in MODES:
            service = self.again(mode=mode)
            with service.connect() as sock:
                sock.sendall(b"echo a\necho b\ncrash 1 published\necho c\n")
                wanted = b"1 1 a\n2 1 b\n3 1 survived\n"
                got, was_reset = self.rest(sock, len(wanted))
            self.assertTrue(was_reset and wanted.startswith(got) and len(got) >= 12, f"{mode}: {got}")
            self.assertEqual(self.resets(service), {"worker_died": 1})
            service.stop()

    def test_output_and_its_commit_count_together_when_nobody_had_taken_them(self):
        service = self.again(workers=1)
        with service.connect() as sock:
            self.assertEqual(self.ask(sock, "echo first"), "1 1 first")
            sock.sendall(b"wait 400\ncrash 9 left\n")
            worker = self.holder(service, sock, 22)
            time.sleep(0.1)  # until the broker has nothing to do, and will look at its poller first
            os.kill(service.pid, signal.SIGSTOP)
            eventually("its end", lambda: not alive(worker["pid"]))
            sock.sendall(b"echo last\n")
            os.kill(service.pid, signal.SIGCONT)
            self.assertEqual(self.lines(sock, 3), ["2 1 waited", "3 1 survived", "4 1 last"])
        self.assert_calm(service, deaths=1)
        service.stop()

    def ask(self, sock, line):
        sock.sendall(line.encode() + b"\n")
        return self.lines(sock, 1)[0]

    def test_part_of_a_held_request_is_never_taken_for_done(self):
        service = self.again(mode="hold")
        with service.connect() as sock:
            sock.sendall(b"crash 1 tak")
            eventually("its first part with a worker", lambda: (self.record(service, sock) or {"delivered": 0})
                       ["delivered"] == 11 and self.record(service, sock)["worker"])
            sock.sendall(b"en\necho after\n")
            self.assertEqual(self.lines(sock, 2), ["1 2 survived", "2 2 after"])
        self.assert_calm(service, deaths=1)
        service.stop()

    def test_close_commits_what_was_written_before_it(self):
        """The last answer of a handler that closes, and that dies when its CLOSE is published and nothing is sent."""
        service = self.service(helper("probe"), "-r", f"unix:{self.folder()}/s", workers=1,
                               flags=("--window", "2M", "--log-level", "error"))
        with service.connect() as sock:
            sock.sendall(b"big 14000\nclose goodbye\n")
            eventually("all of it with the broker", lambda: service.show("conns")[0]["queued"] == 64 * 14000 + 8)
            self.assertLess(service.show("conns")[0]["sent"], 64 * 14000, "the client has read nothing")
            os.kill(service.worker_pids()[0], signal.SIGKILL)
            eventually("its death in the books", lambda: service.show("info")["deaths_total"] == 1)
            got = receive_all(sock)
        self.assertEqual((len(got), got[-8:]), (64 * 14000 + 8, b"goodbye\n"))
        service.stop()


if __name__ == "__main__":
    unittest.main()
