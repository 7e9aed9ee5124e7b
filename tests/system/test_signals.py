# SPDX-License-Identifier: MIT
"""test_signals - signals to a service: to the workers that asked for them, else what they do to any process"""
import os
import signal
import unittest

from support import ANY_PORT, Case, ask, eventually, helper

USR1, USR2 = int(signal.SIGUSR1), int(signal.SIGUSR2)


class Both:
    """What a program cannot tell apart."""

    workers = 0

    def start(self, *numbers, **options):
        return self.service(helper("signals"), ANY_PORT, *numbers, workers=self.workers, **options)

    @staticmethod
    def came(service, number):
        return sum(line.endswith(f"signal {number}") for line in service.output().splitlines())

    def test_each_signal_comes_to_who_asked(self):
        service = self.start(USR1, USR2)
        for n in range(1, 4):
            for number in (USR1, USR2):
                os.kill(service.pid, number)
                eventually(f"signal {number}", lambda: self.came(service, number) == n * max(self.workers, 1))
        service.stop()

    def test_one_that_nobody_asked_for_ends_it(self):
        service = self.start(USR1)
        os.kill(service.pid, signal.SIGUSR2)
        self.assertEqual(service.wait(), -USR2)
        eventually("nothing left", lambda: not service.leftovers())

    def test_asking_later_and_no_more(self):
        service = self.start()
        with service.connect() as sock:
            self.assertEqual(ask(sock, f"ask {USR1}"), "ok")
            os.kill(service.pid, signal.SIGUSR1)
            eventually("a signal", lambda: self.came(service, USR1) == 1)
            self.assertEqual(ask(sock, "drop"), "ok")
            self.unasked(service)
            os.kill(service.pid, signal.SIGUSR1)
            self.assertEqual(service.wait(), -USR1)


class Alone(Both, Case):
    def unasked(self, service):
        pass

    def test_hup_comes_to_a_program_that_runs_alone(self):
        service = self.start(int(signal.SIGHUP))
        os.kill(service.pid, signal.SIGHUP)
        eventually("a signal", lambda: self.came(service, int(signal.SIGHUP)) == 1)


class Brokered(Both):
    def unasked(self, service):
        """The broker does not take it any more: not blocked."""
        def taken():
            with open(f"/proc/{service.pid}/status", encoding="ascii") as status:
                blocked = next(line for line in status if line.startswith("SigBlk:"))
            return int(blocked.split()[1], 16) & 1 << (USR1 - 1)
        eventually("a broker that leaves it alone", lambda: not taken())


class OneWorker(Brokered, Case):
    workers = 1

    def test_one_that_comes_while_a_worker_starts_is_kept(self):
        service = self.start(USR1)
        pid = service.worker_pids()[0]
        os.kill(pid, signal.SIGSTOP)  # so that its successor is not there at once
        os.kill(pid, signal.SIGKILL)
        os.kill(service.pid, signal.SIGUSR1)
        eventually("the signal, whoever was there", lambda: self.came(service, USR1) == 1)
        service.stop()

    def test_a_busy_worker_gets_many_as_one(self):
        service = self.start(USR1)
        pid = service.worker_pids()[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(50):
                os.kill(service.pid, signal.SIGUSR1)
                service.command("ping")
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually("a signal", lambda: self.came(service, USR1) >= 1)
        self.assertLess(self.came(service, USR1), 50)
        service.stop()

    def test_signals_of_the_brokers_own_are_not_forwarded(self):
        service = self.start(*(int(s) for s in (signal.SIGHUP, signal.SIGTERM, signal.SIGTTIN)))
        before = service.worker_pids()
        os.kill(service.pid, signal.SIGHUP)  # a reload
        eventually("another worker", lambda: set(service.worker_pids()) - set(before))
        os.kill(service.pid, signal.SIGTTIN)
        eventually("one worker more", lambda: len(service.worker_pids()) == 2)
        for number in (signal.SIGHUP, signal.SIGTTIN):
            self.assertEqual(self.came(service, int(number)), 0)
        service.stop()

    def test_what_is_sent_to_the_worker_itself_comes(self):
        service = self.start(USR1)
        os.kill(service.worker_pids()[0], signal.SIGUSR1)
        eventually("a signal", lambda: self.came(service, USR1) == 1)
        service.stop()


class ThreeWorkers(Brokered, Case):
    workers = 3

    def test_only_those_who_asked_get_it(self):
        service = self.start()
        with service.connect() as one, service.connect() as other:
            self.assertEqual(ask(one, f"ask {USR1}"), "ok")
            os.kill(service.pid, signal.SIGUSR1)
            eventually("a signal", lambda: self.came(service, USR1) == 1)
            self.assertEqual(ask(other, f"ask {USR2}"), "ok")
            os.kill(service.pid, signal.SIGUSR2)
            eventually("a signal", lambda: self.came(service, USR2) == 1)
            self.assertEqual(self.came(service, USR1), 1)
        service.stop()

    def test_a_successor_gets_it_too(self):
        service = self.start(USR1)
        pids = set(service.worker_pids())
        os.kill(next(iter(pids)), signal.SIGKILL)
        eventually("three again", lambda: len(set(service.worker_pids()) - pids) == 1)
        os.kill(service.pid, signal.SIGUSR1)
        eventually("a signal for each", lambda: self.came(service, USR1) == 3)
        service.stop()


if __name__ == "__main__":
    unittest.main()
