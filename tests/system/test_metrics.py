# SPDX-License-Identifier: MIT
"""test_metrics - what is counted, and that it is told the same in every way, whatever has become of the broker

A known load with known causes, then exact numbers: over the control socket and --admin, as Prometheus and as
OpenMetrics, by `vanilla stat` while the broker runs, is stopped, and is dead. The two texts are judged by Prometheus'
own promtool and by the parser of its client for python, which Debian has for its own interpreter.
"""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import unittest

from support import ANY_PORT, PATIENCE, VANILLA, Case, ask, connect_to, eventually, helper, receive_all

DEBIAN_PYTHON = "/usr/bin/python3"
PARSE = """
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
print(json.dumps([[f.name, f.type, f.documentation, [[s.name, s.labels, s.value] for s in f.samples]]
                  for f in parse(sys.stdin.read())]))
"""

# What dashboards rely on: only ever added to.
FAMILIES = {
    "vanilla_build_info": "gauge",
    "vanilla_start_time_seconds": "gauge",
    "vanilla_requests_total": "counter",
    "vanilla_received_bytes_total": "counter",
    "vanilla_sent_bytes_total": "counter",
    "vanilla_connections_accepted_total": "counter",
    "vanilla_connections_closed_total": "counter",
    "vanilla_connection_resets_total": "counter",
    "vanilla_worker_deaths_total": "counter",
    "vanilla_violations_total": "counter",
    "vanilla_stale_messages_total": "counter",
    "vanilla_output_lines_dropped_total": "counter",
    "vanilla_connections": "gauge",
    "vanilla_connections_waiting": "gauge",
    "vanilla_workers": "gauge",
    "vanilla_workers_ready": "gauge",
    "vanilla_worker_requests_total": "counter",
    "vanilla_worker_received_bytes_total": "counter",
    "vanilla_worker_sent_bytes_total": "counter",
    "vanilla_worker_bells_total": "counter",
    "vanilla_worker_restarts_total": "counter",
    "vanilla_worker_violations_total": "counter",
    "vanilla_worker_connections": "gauge",
    "vanilla_worker_connections_busy": "gauge",
    "vanilla_listener_connections_accepted_total": "counter",
    "vanilla_listener_connections_refused_total": "counter",
    "vanilla_listener_connections": "gauge",
    "vanilla_listener_wait_seconds": "histogram",
    "vanilla_listener_run_seconds": "histogram",
    "vanilla_listener_write_seconds": "histogram",
}


def http(connect, path, headers="", method="GET"):
    """One request; returns status, headers as a dictionary in lower case, body."""
    with connect() as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: v\r\n{headers}\r\n".encode())
        head, body = receive_all(sock).decode().split("\r\n\r\n", 1)
    lines = head.split("\r\n")
    return (int(lines[0].split()[1]), {k.lower(): v for k, v in (row.split(": ", 1) for row in lines[1:])}, body)


def samples(text):
    """Everything in a text of the Prometheus format, by name with its labels."""
    return {key: float(value) for key, value in
            (row.rsplit(" ", 1) for row in text.splitlines() if row and not row.startswith("#"))}


def talk(url, *lines):
    """A connection that says these, hears an answer to each, and ends."""
    with connect_to(url) as sock:
        return [ask(sock, line) for line in lines]


class Metrics(Case):

    def probe(self, *flags, workers=2, args=()):
        return self.service(helper("probe"), *args, ANY_PORT, workers=workers, flags=flags)

    def metrics(self, service):
        status, _, body = http(lambda: connect_to(f"unix:{service.control}"), "/metrics")
        self.assertEqual(status, 200)
        return samples(body)

    def settled(self, service, **wanted):
        """The metrics, once these counters have come to what they must be."""
        def look():
            found = self.metrics(service)
            return found if all(found[f"vanilla_{k}"] == v for k, v in wanted.items()) else None

        try:
            return eventually("the numbers", look, 10)
        except AssertionError:
            found = self.metrics(service)
            self.fail({k: (found[f"vanilla_{k}"], v) for k, v in wanted.items()})

    def stat(self, service):
        done = subprocess.run([VANILLA, "stat", "-s", service.control, "--json"], capture_output=True,
                              text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        document = json.loads(done.stdout)
        values = {}
        for c in document["counters"]:
            labels = ",".join(f'{k}="{v}"' for k, v in c["labels"].items())
            values[c["name"] + (f"{{{labels}}}" if labels else "")] = c["value"]
        return document, values

    def load(self, service):
        """6 connections, 10 requests that are echoed, 2 aborts, 1 worker that dies of a request; returns bytes each way."""
        url = service.url
        for text in ("a", "bb", "ccc"):
            talk(url, *[f"echo {text}"] * 3)
        talk(url, "echo last")
        for _ in range(2):
            with connect_to(url) as sock:
                sock.sendall(b"abort\n")
                with self.assertRaises(ConnectionResetError):
                    receive_all(sock)
        return sum(3 * len(f"echo {t}\n") for t in ("a", "bb", "ccc")) + len("echo last\n") + 2 * len("abort\n"), \
            sum(3 * (len(t) + 1) for t in ("a", "bb", "ccc")) + len("last\n")

    def test_counts_are_exact_after_a_known_load(self):
        service = self.probe()
        received, sent = self.load(service)
        found = self.settled(service, connections_closed_total=6, connections_accepted_total=6,
                             received_bytes_total=received, sent_bytes_total=sent)
        resets = {re.search('reason="(.*)"', k)[1]: v for k, v in found.items() if "connection_resets" in k}
        self.assertEqual({k: v for k, v in resets.items() if v}, {"by_handler": 2})
        listener = f'{{listener="{ANY_PORT}"}}'
        self.assertEqual(found[f"vanilla_listener_connections_accepted_total{listener}"], 6)
        self.assertEqual(found[f"vanilla_listener_connections{listener}"], 0)
        self.assertEqual(found["vanilla_connections"], 0)
        self.assertEqual(found["vanilla_workers_ready"], 2)
        for name in ("received_bytes_total", "requests_total"):
            self.assertEqual(found[f"vanilla_{name}"],
                             sum(found[f'vanilla_worker_{name}{{worker="{i}"}}'] for i in (1, 2)))
        service.stop()

    def test_deaths_are_counted_with_what_they_did(self):
        service = self.probe()
        held = [connect_to(service.url) for _ in range(4)]
        for sock in held[:2]:
            sock.sendall(b"stall\n")
        eventually("two requests in hand", lambda: service.output().count("stalling") == 2)
        for pid in service.worker_pids():
            os.kill(pid, signal.SIGKILL)
        found = self.settled(service, **{"worker_deaths_total": 2, "workers_ready": 2,
                                         'connection_resets_total{reason="worker_died"}': 4})
        self.assertEqual([found[f'vanilla_worker_restarts_total{{worker="{i}"}}'] for i in (1, 2)], [1, 1])
        for sock in held:
            sock.close()
        before = found["vanilla_requests_total"]
        talk(service.url, "echo again")
        after = eventually("more requests", lambda: (m := self.metrics(service))["vanilla_requests_total"] > before
                           and m)
        self.assertGreaterEqual(after["vanilla_worker_deaths_total"], 2)
        service.stop()

    def test_counters_survive_a_reload(self):
        service = self.probe()
        received, sent = self.load(service)
        before = self.settled(service, connections_closed_total=6, received_bytes_total=received)
        self.assertIn("OK", service.command("reload"))
        after = self.metrics(service)
        for name, value in before.items():
            if name.split("{")[0].endswith("_total"):
                self.assertGreaterEqual(after[name], value, name)
        self.assertEqual(after["vanilla_received_bytes_total"], received)
        self.assertEqual(after["vanilla_sent_bytes_total"], sent)
        self.assertEqual(sum(after[f'vanilla_worker_restarts_total{{worker="{i}"}}'] for i in (1, 2)), 2)
        service.stop()

    def test_each_request_is_in_each_histogram(self):
        service = self.probe()
        talk(service.url, *["echo x"] * 20)
        listener = f'{{listener="{ANY_PORT}"}}'
        counts = [f"listener_{stage}_seconds_count{listener}" for stage in ("wait", "run", "write")]
        found = self.settled(service, **{counts[2]: 20})
        for stage in ("wait", "run", "write"):
            name = f"vanilla_listener_{stage}_seconds"
            buckets = [(k, v) for k, v in found.items() if k.startswith(f"{name}_bucket")]
            self.assertGreater(len(buckets), 20)
            values = [v for _, v in buckets]
            self.assertEqual(values, sorted(values))
            self.assertEqual(values[-1], found[f"{name}_count{listener}"])
            self.assertIn('le="+Inf"', buckets[-1][0])
        service.stop()

    def test_the_text_is_as_prometheus_wants_it(self):
        service = self.probe()
        talk(service.url, "count jobs 3", "gauge heat_celsius -1.5", "echo x")
        _, head, body = http(lambda: connect_to(f"unix:{service.control}"), "/metrics")
        self.assertEqual(head["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        self.assertEqual(int(head["content-length"]), len(body.encode()))
        done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, text=True,
                              timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", body, re.M))
        helps = dict(re.findall(r"^# HELP (\S+) (.+)$", body, re.M))
        self.assertEqual({k: types.get(k) for k in FAMILIES}, FAMILIES)
        self.assertEqual(types.keys(), helps.keys())
        self.assertEqual(types["vanilla_app_jobs_total"], "counter")
        for name, kind in types.items():
            self.assertTrue(name.startswith("vanilla_"), name)
            self.assertEqual(name.endswith("_total"), kind == "counter", name)
        service.stop()

    def test_the_other_text_is_as_openmetrics_wants_it(self):
        service = self.probe()
        talk(service.url, "count jobs 3", "gauge heat_celsius -1.5", "echo x")
        accept = "Accept: application/openmetrics-text;version=1.0.0;q=1,text/plain;q=0.5\r\n"
        _, head, body = http(lambda: connect_to(f"unix:{service.control}"), "/metrics", accept)
        self.assertEqual(head["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
        done = subprocess.run([DEBIAN_PYTHON, "-c", PARSE], input=body, capture_output=True, text=True,
                              timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        families = {f[0]: f for f in json.loads(done.stdout)}
        for name, kind in FAMILIES.items():
            self.assertEqual(families[name.removesuffix("_total")][1], kind, name)
        self.assertEqual(families["vanilla_app_jobs"][3], [["vanilla_app_jobs_total", {"service": "probe"}, 3]])
        self.assertEqual(families["vanilla_app_heat_celsius"][3][0][2], -1.5)
        service.stop()

    def test_stat_tells_the_same_whatever_became_of_the_broker(self):
        service = self.probe()
        received, _ = self.load(service)
        found = self.settled(service, connections_closed_total=6, received_bytes_total=received)
        document, values = self.stat(service)
        self.assertEqual(document["broker"]["condition"], "running")
        self.assertEqual(document["broker"]["pid"], service.pid)
        self.assertEqual(document["broker"]["service"], "probe")
        counters = {k: v for k, v in found.items() if k.split("{")[0].endswith("_total") and "bells" not in k}
        self.assertGreater(len(counters), 20)

        def compare(condition):
            told, now = self.stat(service)
            self.assertEqual(told["broker"]["condition"], condition)
            self.assertEqual({k: now.get(k) for k in counters}, counters)

        compare("running")
        os.kill(service.pid, signal.SIGSTOP)
        eventually("a broker that is stopped", lambda: self.stat(service)[0]["broker"]["condition"] == "stopped")
        compare("stopped")
        os.kill(service.pid, signal.SIGKILL)
        service.process.wait()
        compare("dead")
        text = subprocess.run([VANILLA, "stat", "-s", service.control], capture_output=True, text=True,
                              timeout=PATIENCE)
        self.assertEqual(text.returncode, 0)
        self.assertIn("condition  dead\n", text.stdout)
        self.assertIn(f"vanilla_received_bytes_total {received}\n", text.stdout)

    def test_a_new_broker_takes_the_place_of_a_dead_one(self):
        service = self.probe()
        self.load(service)
        service.kill()
        inode = os.stat(f"{service.control}.counters").st_ino
        heir = self.service(helper("probe"), ANY_PORT, workers=1, control=service.control)
        self.assertNotEqual(os.stat(f"{service.control}.counters").st_ino, inode)
        document, values = self.stat(heir)
        self.assertEqual((document["broker"]["pid"], values["vanilla_connections_accepted_total"]), (heir.pid, 0))
        second = self.run_to_end(VANILLA, "run", "-s", heir.control, "--", helper("probe"), ANY_PORT)
        self.assertEqual(second[0], 75, second[1])
        self.assertEqual(self.stat(heir)[0]["broker"]["pid"], heir.pid)
        heir.stop()
        self.assertFalse(os.path.exists(f"{heir.control}.counters"))

    def test_stat_of_nothing_says_so(self):
        folder = self.folder()
        with open(f"{folder}/bad.sock.counters", "wb") as f:
            f.write(os.urandom(100000))
        with open(f"{folder}/short.sock.counters", "wb") as f:
            f.write(b"VNILCNR1")
        os.mkfifo(f"{folder}/fifo.sock.counters")
        os.mkdir(f"{folder}/dir.sock.counters")
        for name, code in (("none", 69), ("bad", 1), ("short", 1), ("fifo", 1), ("dir", 1)):
            got, output = self.run_to_end(VANILLA, "stat", "-s", f"{folder}/{name}.sock")
            self.assertEqual(got, code, output)
            self.assertIn(f"{folder}/{name}.sock.counters", output)
        self.assertEqual(self.run_to_end(VANILLA, "stat", "--nonsense")[0], 2)
        self.assertEqual(self.run_to_end(VANILLA, "stat", env={"XDG_RUNTIME_DIR": folder})[0], 69)
        self.assertEqual(self.run_to_end(VANILLA, "stat", "--help")[0], 0)

    def test_stat_keeps_the_errors_of_the_log(self):
        service = self.probe()
        for _ in range(2):
            deaths = self.metrics(service)["vanilla_worker_deaths_total"]
            os.kill(service.worker_pids()[0], signal.SIGKILL)
            self.settled(service, worker_deaths_total=deaths + 1, workers_ready=2)
        document, _ = self.stat(service)
        killed = [e for e in document["errors"] if "killed by signal" in e["text"]]
        self.assertEqual([e["count"] for e in killed], [2])
        self.assertLessEqual(document["broker"]["started"], killed[0]["first"])
        self.assertLess(killed[0]["first"], killed[0]["last"])
        self.assertEqual(killed[0]["level"], "warning")
        service.stop()

    def test_what_workers_count_outlives_them(self):
        service = self.probe()
        pids = set()
        while len(pids) < 2:
            pid, counted = talk(service.url, "pid", "count jobs 5")
            self.assertEqual(counted, "counted")
            pids.add(pid)
        n = 5 * int(self.settled(service, workers_ready=2)['vanilla_app_jobs_total{service="probe"}'] / 5)
        self.assertEqual(self.metrics(service)['vanilla_app_jobs_total{service="probe"}'], n)
        talk(service.url, "gauge heat_celsius 36.6")
        heat = [k for k in self.metrics(service) if k.startswith("vanilla_app_heat_celsius")]
        self.assertEqual(len(heat), 1)
        self.assertEqual(self.metrics(service)[heat[0]], 36.6)
        for pid in service.worker_pids():
            os.kill(pid, signal.SIGKILL)
        found = self.settled(service, worker_deaths_total=2, workers_ready=2)
        self.assertEqual(found['vanilla_app_jobs_total{service="probe"}'], n)
        self.assertNotIn(heat[0], found)
        talk(service.url, "count jobs 1")
        self.assertEqual(self.metrics(service)['vanilla_app_jobs_total{service="probe"}'], n + 1)
        self.assertEqual(self.stat(service)[1]["vanilla_app_jobs_total"], n + 1)
        service.stop()

    def test_curl_over_the_socket_and_over_admin(self):
        service = self.probe("--admin", "http://127.0.0.1:0")
        base = re.search(r"http://127\.0\.0\.1:\d+", service.output())[0]

        def curl(*arguments):
            return subprocess.run(["curl", "-sS", "--max-time", "20", *arguments], capture_output=True, text=True,
                                  timeout=PATIENCE)

        for how in (("--unix-socket", service.control, "http://v"), (base,)):
            *options, host = how
            for path, wanted in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
                self.assertEqual(curl(*options, host + path).stdout, wanted)
            self.assertIn("vanilla_workers_ready 2\n", curl(*options, f"{host}/metrics").stdout)
            status = json.loads(curl(*options, f"{host}/status").stdout)
            self.assertEqual(status["info"]["pid"], service.pid)
            self.assertEqual(len(status["workers"]), 2)
            self.assertEqual(curl(*options, "-o", "/dev/null", "-w", "%{http_code}", f"{host}/none").stdout, "404")
            self.assertEqual(curl(*options, "-o", "/dev/null", "-w", "%{http_code}", "-d", "x", f"{host}/metrics").stdout,
                             "405")
            self.assertIn("200 OK", curl(*options, "-I", f"{host}/metrics").stdout)
        service.stop()

    def test_admin_is_for_this_machine_unless_it_says_otherwise(self):
        run = (VANILLA, "run", "-s", f"{self.folder()}/x.sock", "--admin")
        for url, code in (("http://0.0.0.0:0", 78), ("ftp://127.0.0.1:0", 78), ("http://127.0.0.1", 78)):
            got, output = self.run_to_end(*run, url, "--", helper("probe"), ANY_PORT)
            self.assertEqual(got, code, output)
            self.assertIn("--admin", output)
        service = self.probe("--admin", "http://0.0.0.0:0?public", workers=1)
        self.assertIn("metrics at http://0.0.0.0:", service.output())
        service.stop()

    def test_clients_of_admin_have_a_limit_of_their_own(self):
        service = self.probe("--admin", "http://127.0.0.1:0", workers=1)
        url = "tcp" + re.search(r"http(://127\.0\.0\.1:\d+)", service.output())[1]
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(connect_to(url)) for _ in range(32)]
            for sock in idle:
                sock.sendall(b"GET /metrics HTTP/1.1\r\n")

            def refused():
                with connect_to(url) as sock:
                    with contextlib.suppress(ConnectionResetError):
                        return receive_all(sock).startswith(b"HTTP/1.1 503 ") if self.quiet(sock) else False

            eventually("one client too many", refused)
            self.assertIn("OK", service.command("ping"))
            idle[0].sendall(b"Host: v\r\n\r\n")
            self.assertTrue(receive_all(idle[0]).startswith(b"HTTP/1.1 200 "))
        eventually("a place", lambda: http(lambda: connect_to(url), "/healthz")[0] == 200)
        service.stop()

    @staticmethod
    def quiet(sock):
        """Is there an answer although nothing was asked?"""
        sock.settimeout(0.3)
        try:
            return bool(sock.recv(1, socket.MSG_PEEK))
        except (TimeoutError, ConnectionResetError):
            return False
        finally:
            sock.settimeout(PATIENCE)

    def test_scrapers_that_leave_in_the_middle_harm_nobody(self):
        service = self.probe(workers=1)
        for i in range(60):
            sock = connect_to(f"unix:{service.control}")
            sock.sendall(b"GET /status HTTP/1.1\r\nHost: v\r\n\r\n"[:10 + i])
            sock.close()
        self.assertEqual(self.metrics(service)["vanilla_workers_ready"], 1)
        service.stop()


if __name__ == "__main__":
    unittest.main()
