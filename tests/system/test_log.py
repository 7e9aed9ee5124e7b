# SPDX-License-Identifier: MIT
"""test_log - what the broker says on standard error: how much, in which form, and how often"""
import json
import os
import pathlib
import re
import signal
import subprocess
import unittest

from support import ANY_PORT, VANILLA, Case, ask, eventually, helper


class Log(Case):

    def lines(self, broker):
        return broker.output().splitlines()

    def test_quiet_unless_something_misbehaves(self):
        broker = self.service(helper("probe"), "-r", ANY_PORT, workers=2)
        with broker.connect() as client:
            for i in range(20):
                self.assertEqual(ask(client, f"echo {i}"), str(i))
            client.sendall(b"abort\n")  # a handler may do that
            self.assert_closed_by_reset(client)
        self.assertEqual([re.sub(r"\d+", "N", line) for line in self.lines(broker)],
                         ["vanilla: worker N.N ready (pid N)"] * 2)
        broker.stop()

    def test_json_has_an_object_on_each_line(self):
        broker = self.service(helper("probe"), "-r", ANY_PORT, workers=2, flags=("--log-format", "json"))
        pid = broker.worker_pids()[0]
        os.kill(pid, signal.SIGKILL)
        eventually("a successor", lambda: "1.2 ready" in broker.output() or "2.2 ready" in broker.output())
        broker.stop()
        rows = [json.loads(line) for line in self.lines(broker) if not re.match(r"\d+\.\d+\| ", line)]
        for row in rows:
            self.assertLessEqual({"time", "level", "text"}, set(row))
            self.assertRegex(row["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        died = next(r for r in rows if r.get("kind") == "worker_died")
        self.assertRegex(died["worker"], r"^[12]\.1$")
        self.assertEqual(died["level"], "warning")
        self.assertIn("killed by signal 9", died["text"])

    def test_json_holds_what_workers_say_as_well(self):
        script = 'printf "plain \\"quoted\\" back\\\\slash \\001 \\377 end\\n" >&2; exec "$0" "$@"'
        broker = self.service("/bin/sh", "-c", script, helper("probe"), ANY_PORT, workers=1,
                              flags=("--log-format", "json"))
        broker.stop()
        said = [json.loads(line) for line in self.lines(broker) if line.startswith("{")]
        mine = [r for r in said if r.get("worker") == "1.1" and "quoted" in r["text"]]
        self.assertEqual([r["text"] for r in mine], ['plain "quoted" back\\slash ? ? end'])

    def journal(self, *, real):
        """A broker whose standard error is, or is not, the stream that JOURNAL_STREAM names."""
        folder = pathlib.Path(self.folder())
        log = folder / "journal"
        log.touch()
        st = log.stat()
        stream = f"{st.st_dev}:{st.st_ino + (not real)}"
        script = f'exec 2>"{log}"; exec "$@"'
        done = subprocess.run(["/bin/sh", "-c", script, "sh", VANILLA, "run", "-w", "1", "-s", folder / "c.sock",
                               "--", "/bin/false"], env={**os.environ, "JOURNAL_STREAM": stream}, timeout=60,
                              stdout=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 1)
        return log.read_text().splitlines()

    def test_priorities_for_the_journal(self):
        lines = self.journal(real=True)
        self.assertEqual(lines[0], "<4>vanilla: worker 1.1 exited with 1")
        self.assertRegex(lines[-1], r"^<3>vanilla: '/bin/false' never became ready")

    def test_no_priorities_for_anybody_else(self):
        for line in self.journal(real=False):
            self.assertRegex(line, "^vanilla: ")

    def test_what_is_said_too_often_is_counted(self):
        broker = self.service(helper("probe"), "-r", ANY_PORT, workers=1, flags=("--log-level", "debug"))
        for _ in range(120):
            broker.command("scale 1")  # each says that it begins, and that there is nothing to do
        broker.stop()
        said = [line for line in self.lines(broker) if "scale: nobody comes or goes" in line]
        told = [line for line in said if "suppressed" in line]
        suppressed = sum(int(re.search(r"suppressed (\d+)", line)[1]) for line in told)
        self.assertLess(len(said), 120)
        self.assertGreater(suppressed, 0)
        self.assertEqual(len(said) - len(told) + suppressed, 120)

    def test_the_level_is_set_while_it_runs(self):
        broker = self.service(helper("probe"), "-r", ANY_PORT, workers=1, flags=("--log-level", "error"))
        self.assertEqual(broker.output(), "")
        self.assertTrue(broker.command("set log debug").endswith("OK\n\n"))
        self.assertEqual(broker.show("info")["log_level"], "debug")
        broker.command("worker kill 1")
        eventually("a successor", lambda: "worker 1.2 ready" in broker.output())
        self.assertIn("worker 1.2 started", broker.output())
        for bad in ("set log", "set log loud", "set log 7", "set nothing info", "set log info now"):
            self.assertRegex(broker.command(bad), r"^ERR usage set log LEVEL: .*\n\n$")
        broker.stop()


if __name__ == "__main__":
    unittest.main()
