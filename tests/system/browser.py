# SPDX-License-Identifier: MIT
"""browser - a page in headless Chromium, driven over chromedriver's HTTP interface (W3C WebDriver)"""
import base64
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

from support import PATIENCE, eventually, listening_ports

OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
           "--no-first-run", "--disable-background-networking", "--disable-sync", "--disable-extensions"]


class Browser:
    """One window. Each question is an HTTP request to the driver, which listens on loopback only."""

    def __init__(self, width=1200, height=1000, dark=False):
        self.folder = tempfile.mkdtemp(prefix="vn-browser-")
        self.log = pathlib.Path(self.folder, "driver.log")
        environment = {**os.environ, "HOME": self.folder, "XDG_RUNTIME_DIR": self.folder}
        with self.log.open("wb") as log:
            self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        self.session = None
        try:
            ports = eventually("the driver's port", lambda: listening_ports(self.driver.pid))
            self.base = f"http://127.0.0.1:{ports[0]}"
            arguments = [*OPTIONS, f"--window-size={width},{height}", f"--user-data-dir={self.folder}/profile"]
            answer = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")}}}})
            self.session = f"/session/{answer['sessionId']}"
            if dark:
                self.command("Emulation.setEmulatedMedia",
                             features=[{"name": "prefers-color-scheme", "value": "dark"}])
        except BaseException:
            self.end()
            raise

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=2 * PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode(errors='replace')[:2000]}") from None

    def open(self, url):
        self.ask("POST", f"{self.session}/url", {"url": url})

    def run(self, script, *arguments):
        """The value of a function body in the page."""
        return self.ask("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def command(self, name, **parameters):
        """A command of the DevTools protocol."""
        return self.ask("POST", f"{self.session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def resize(self, width, height):
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                     mobile=width < 600)

    def screenshot(self):
        return base64.b64decode(self.ask("GET", f"{self.session}/screenshot"))

    def complaints(self):
        """What the browser has to say against the page."""
        return [entry["message"] for entry in self.ask("POST", f"{self.session}/se/log", {"type": "browser"})
                if entry["level"] in ("SEVERE", "WARNING")]

    def end(self):
        with contextlib.suppress(OSError):
            if self.session:
                self.ask("DELETE", self.session)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
