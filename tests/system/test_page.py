# SPDX-License-Identifier: MIT
"""test_page - the web page of --admin, in headless Chromium: what it shows is what /metrics says"""
import json
import os
import re
import signal
import unittest
import urllib.request

from browser import Browser
from support import ANY_PORT, PATIENCE, Case, ask, eventually, helper

SHOWN = """
const all = {};
for (const b of document.querySelectorAll("[data-metric]")) all[b.dataset.metric] = b.dataset.value;
return all;
"""
WORKERS = 'return [...document.querySelectorAll("#workers tr")].map(r => [r.dataset.worker, r.cells[1].textContent]);'
EVENTS = 'return [...document.querySelectorAll("#events li")].map(e => e.dataset.kind + " " + e.textContent);'
LANES = 'return [...document.querySelectorAll("#workers .lane")].map(l => [...l.children].map(i => i.title));'


class Page(Case):

    def service_with_page(self, workers=2):
        service = self.service(helper("probe"), "-r", ANY_PORT, workers=workers,
                               flags=("--admin", "http://127.0.0.1:0"))
        found = re.search(r"metrics at (http://\S+)/metrics", service.output())
        return service, found.group(1)

    def browser(self, **options):
        browser = Browser(**options)
        self.addCleanup(browser.end)
        return browser

    def get(self, url):
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.read().decode()

    def sums(self, base):
        """Each family's sum over its labels."""
        sums = {}
        for name, value in re.findall(r"^([a-z_0-9]+)(?:\{.*\})? (\S+)$", self.get(f"{base}/metrics"), re.M):
            sums[name] = sums.get(name, 0) + float(value)
        return sums

    def shows_the_metrics(self, browser, base):
        """Every number that the page has under the name of a family, once the two agree."""
        def agree():
            shown = browser.run(SHOWN)
            sums = self.sums(base)
            return shown if shown and all(
                v != "" and float(v) == sums[name] for name, v in shown.items()) else None
        shown = eventually("a page that shows what /metrics says", agree)
        self.assertGreaterEqual(len(shown), 5)
        return {name: float(v) for name, v in shown.items()}

    def test_before_and_after_a_kill(self):
        service, base = self.service_with_page()
        with service.connect() as sock:
            for i in range(25):
                self.assertEqual(ask(sock, f"echo {i}"), str(i))
            browser = self.browser()
            browser.open(f"{base}/")
            before = self.shows_the_metrics(browser, base)
            self.assertEqual((before["vanilla_requests_total"], before["vanilla_connections"],
                              before["vanilla_worker_deaths_total"], before["vanilla_workers_ready"]), (25, 1, 0, 2))
            self.assertEqual(browser.run(WORKERS), [["1.1", "ready"], ["2.1", "ready"]])
            eventually("a sample with the first", lambda: "2.1" in browser.run(LANES)[1])
            service.command("worker kill 2")
            eventually("its successor on the page",
                       lambda: browser.run(WORKERS) == [["1.1", "ready"], ["2.2", "ready"]])
            self.assertEqual(ask(sock, "echo again"), "again")
            after = self.shows_the_metrics(browser, base)
            self.assertEqual((after["vanilla_requests_total"], after["vanilla_worker_deaths_total"],
                              after["vanilla_connection_resets_total"]), (26, 1, 0))
            eventually("the death among the events",
                       lambda: any(e.startswith("worker_died ") and "worker 2.1" in e for e in browser.run(EVENTS)))
            eventually("both incarnations in the lane",
                       lambda: {"2.1", "2.2"} <= set(browser.run(LANES)[1]))
        self.assertEqual(browser.complaints(), [])
        service.stop()

    def test_history_that_was_there_before_the_page(self):
        service, base = self.service_with_page(workers=1)
        with service.connect() as sock:
            self.assertEqual(ask(sock, "echo 1"), "1")
            eventually("a sample with the request",
                       lambda: any(s["requests"] for s in json.loads(self.get(f"{base}/history"))["samples"]))
        browser = self.browser()
        browser.open(f"{base}/")
        drawn = 'return [...document.querySelectorAll("#throughput path")].map(p => p.getAttribute("d"));'
        eventually("a line in the chart", lambda: any("L" in d for d in browser.run(drawn) or []))
        last = json.loads(self.get(f"{base}/history"))["last"]
        self.assertEqual(json.loads(self.get(f"{base}/history?after={last + 1000}"))["samples"], [])
        eventually("one sample more",
                   lambda: [s["id"] for s in json.loads(self.get(f"{base}/history?after={last}"))["samples"]][:1]
                   == [last + 1])
        service.stop()

    def test_events_that_were_missed_or_come_again(self):
        service, base = self.service_with_page(workers=1)
        browser = self.browser()
        browser.open(f"{base}/")
        eventually("events", lambda: browser.run(EVENTS))
        before = browser.run(EVENTS)
        browser.run("""showEvent({missed: 7});
for (let i = 0; i < 2; i++)
  showEvent({id: 9999, time: "2026-01-01T00:00:00.000Z", kind: "limit", level: "warning", text: "once"});""")
        news = browser.run(EVENTS)[:-len(before)]
        self.assertEqual([e.split()[0] for e in news], ["limit", "missed"])
        self.assertTrue(news[0].endswith("once"), news)
        self.assertTrue(news[1].endswith("7 events were missed"), news)
        service.stop()

    def test_light_dark_and_a_phone(self):
        service, base = self.service_with_page(workers=1)
        ground = 'return getComputedStyle(document.body).backgroundColor;'
        ink = 'return getComputedStyle(document.body).color;'
        pictures = {}
        for dark in (False, True):
            browser = self.browser(dark=dark)
            browser.open(f"{base}/")
            eventually("a page", lambda: browser.run(WORKERS) == [["1.1", "ready"]])
            pictures[dark] = [sum(map(int, re.findall(r"\d+", browser.run(what)))) for what in (ground, ink)]
            for width in (1200, 360):
                browser.resize(width, 800)
                wide = 'return document.documentElement.scrollWidth;'
                eventually("nothing beside the window", lambda: browser.run(wide) <= width)
            self.assertTrue(browser.screenshot().startswith(b"\x89PNG"))
            self.assertEqual(browser.complaints(), [])
        self.assertGreater(pictures[False][0], pictures[False][1])
        self.assertLess(pictures[True][0], pictures[True][1])
        service.stop()

    def test_a_broker_that_hangs_is_shown_as_one(self):
        service, base = self.service_with_page(workers=1)
        browser = self.browser()
        browser.open(f"{base}/")
        eventually("a page", lambda: browser.run(WORKERS) == [["1.1", "ready"]])
        silent = 'return document.getElementById("silent").style.display;'
        os.kill(service.pid, signal.SIGSTOP)
        eventually("that it does not answer", lambda: browser.run(silent) == "block")
        os.kill(service.pid, signal.SIGCONT)
        eventually("that it answers", lambda: browser.run(silent) == "none")
        service.stop()

    def test_names_cannot_write_into_the_page(self):
        name = "<img>"
        service = self.service(helper("probe"), ANY_PORT, workers=1,
                               flags=("-n", name, "--admin", "http://127.0.0.1:0"))
        base = re.search(r"metrics at (http://\S+)/metrics", service.output()).group(1)
        browser = self.browser()
        browser.open(f"{base}/")
        shown = 'return document.getElementById("name").textContent;'
        eventually("the name as it is", lambda: browser.run(shown) == name)
        self.assertEqual(browser.run('return document.querySelectorAll("img").length;'), 0)
        service.stop()


if __name__ == "__main__":
    unittest.main()
