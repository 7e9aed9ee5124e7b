# SPDX-License-Identifier: MIT
"""test_dns_sip - the examples that speak over datagrams, to programs that others wrote

dig and dnsperf ask the name server, sipp calls; alone and behind the broker, and while workers are killed.
"""
import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import unittest

from support import Case, eventually, example


def free_port():
    """A port that UDP and TCP have free: it is not raced for, tests run one after another."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                tcp.bind(udp.getsockname())
                return udp.getsockname()[1]


class Suite:
    workers = 0

    def start(self, program, *schemes):
        port = free_port()
        urls = [f"{scheme}://127.0.0.1:{port}" for scheme in schemes]
        service = self.service(example(program), *urls, workers=self.workers, ready=bool(self.workers),
                               urls=len(urls))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            probe.connect(("127.0.0.1", port))

            def answers():
                try:
                    probe.send(self.probes[program])
                    return probe.recv(9000)
                except OSError:
                    return None
            eventually("an answer", answers)
        return service, str(port)

    probes = {
        "dns": struct.pack(">6H", 1, 0, 1, 0, 0, 0) + b"\7example\4test\0" + struct.pack(">2H", 6, 1),
        "sip": b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a>\r\nTo: <sip:b>\r\n"
               b"Call-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n",
    }

    def run_tool(self, *argv, codes=(0,)):
        done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60, cwd=self.folder())
        text = done.stdout.decode(errors="replace")
        self.assertIn(done.returncode, codes, text)
        return text

    def dig(self, port, *question):
        return self.run_tool("dig", "@127.0.0.1", "-p", port, "+time=20", "+tries=1", *question)

    def test_dig(self):
        service, port = self.start("dns", "udp", "tcp")
        self.assertEqual(sorted(self.dig(port, "+short", "www.example.test").split()), ["192.0.2.80", "192.0.2.81"])
        self.assertEqual(self.dig(port, "+short", "WWW.Example.TEST", "AAAA").strip(), "2001:db8::50")
        self.assertEqual(self.dig(port, "+short", "+tcp", "example.test", "MX").strip(), "10 mail.example.test.")
        for how in ("+notcp", "+tcp"):
            for noise in ("+noedns", "+edns"):
                whole = self.dig(port, how, noise, "example.test", "ANY")
                self.assertRegex(whole, r"status: NOERROR.*\n;; flags: qr aa rd; QUERY: 1, ANSWER: 5,")
                self.assertNotRegex(whole, "malformed|extra bytes|WARNING: Message")
        self.assertIn("status: NXDOMAIN", self.dig(port, "nobody.example.test"))
        self.assertIn("status: REFUSED", self.dig(port, "example.com"))
        nothing = self.dig(port, "mail.example.test", "AAAA")
        self.assertRegex(nothing, r"status: NOERROR.*\n.*ANSWER: 0, AUTHORITY: 1")
        service.stop()

    def test_truncation(self):
        service, port = self.start("dns", "udp", "tcp")
        cut = self.dig(port, "+noedns", "+ignore", "big.example.test", "TXT")
        self.assertRegex(cut, r"flags: qr aa tc rd; QUERY: 1, ANSWER: 1,")
        for how in ("+noedns", "+edns", "+tcp"):  # the first is asked again over TCP, by itself
            whole = self.dig(port, how, "big.example.test", "TXT")
            self.assertRegex(whole, r"flags: qr aa rd; QUERY: 1, ANSWER: 3,")
        self.assertIn("retrying in TCP", self.dig(port, "+noedns", "big.example.test", "TXT"))
        service.stop()

    def test_dnsperf(self):
        service, port = self.start("dns", "udp", "tcp")
        folder = self.folder()
        with open(f"{folder}/questions", "w") as questions:
            for name, kind in (("www", "A"), ("www", "AAAA"), ("nobody", "A"), ("mail", "A"), ("big", "TXT")):
                questions.write(f"{name}.example.test {kind}\n")
        for mode in ("udp", "tcp"):
            text = self.run_tool("dnsperf", "-m", mode, "-s", "127.0.0.1", "-p", port, "-d", f"{folder}/questions",
                                 "-n", 400, "-c", 8, "-q", 50, "-t", 20, "-e")
            sent, done, lost = (int(re.search(rf"Queries {what}:\s+(\d+)", text)[1])
                                for what in ("sent", "completed", "lost"))
            self.assertEqual((sent, done, lost), (2000, 2000, 0), text)
            self.assertRegex(text, r"Response codes:\s+NOERROR 1600 \(80.00%\), NXDOMAIN 400 \(20.00%\)")
            self.assertNotRegex(text, "[Ww]arning|[Ee]rror:")
        service.stop()

    def test_questions_that_are_none(self):
        service, port = self.start("dns", "udp", "tcp")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", int(port)))
            good = self.probes["dns"]
            bad = [good[:n] for n in range(len(good))]
            for seed in range(2000):
                data = bytearray(good + b"\0\0\x29\x04\xd0\0\0\0\0\0\0")
                data[seed * 7 % len(data)] ^= seed % 255 + 1
                bad.append(data)
            client.settimeout(0)
            for data in bad:
                client.send(data)
                with contextlib.suppress(BlockingIOError):
                    client.recv(9000)

            def answered():
                client.send(struct.pack(">H", 0x7777) + good[2:])
                with contextlib.suppress(BlockingIOError):
                    while client.recv(9000)[:2] != b"\x77\x77":
                        pass
                    return True
                return False
            eventually("an answer to a good one", answered)
        service.stop()

    def test_sipp(self):
        service, port = self.start("sip", "udp")
        text = self.run_tool("sipp", "-sn", "uac", "-i", "127.0.0.1", f"127.0.0.1:{port}", "-m", 1000, "-r", 1000,
                             "-d", 10, "-l", 200, "-nostdin", "-timeout", "50s", "-timeout_error")
        self.assertRegex(text, r"Successful call\s+\|\s+\d+\s+\|\s+1000\s")
        self.assertRegex(text, r"Failed call\s+\|\s+\d+\s+\|\s+0\s")
        service.stop()


class Alone(Suite, Case):
    workers = 0


class Brokered(Suite, Case):
    workers = 2

    def test_sipp_while_workers_are_killed(self):
        """A call needs no worker for itself: what is lost with one is sent again."""
        service, port = self.start("sip", "udp")
        sipp = subprocess.Popen(["sipp", "-sn", "uac", "-i", "127.0.0.1", f"127.0.0.1:{port}", "-m", "400", "-r", "200",
                                 "-d", "10", "-nostdin", "-timeout", "50s", "-timeout_error"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                cwd=self.folder())
        self.addCleanup(sipp.kill)
        for n in range(3):
            done = service.show("datagrams")[0]["done_total"]
            eventually("more calls", lambda: service.show("datagrams")[0]["done_total"] > done + 100)
            os.kill(service.worker_pids()[0], signal.SIGKILL)
            eventually("two workers again", lambda: len(service.worker_pids()) == 2)
        text = sipp.communicate(timeout=60)[0].decode(errors="replace")
        self.assertEqual(sipp.returncode, 0, text)
        self.assertRegex(text, r"Successful call\s+\|\s+\d+\s+\|\s+400\s")
        service.stop()


if __name__ == "__main__":
    unittest.main()
