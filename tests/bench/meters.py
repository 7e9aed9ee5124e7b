# SPDX-License-Identifier: MIT
"""Meters - memory of a process, and the system calls and instructions of several, from outside

Counting must not change what is counted. perf's tracepoint counts in the kernel and stops nobody; strace
stops the process twice in each call, so batches get smaller and more calls are counted than are made
otherwise. So perf is taken where it works, and which one it was is printed.
"""
import os
import re
import select
import shutil
import signal
import subprocess
import time

from servers import Failed

ATTACH_S = 5
PERF_EVENTS = {"raw_syscalls:sys_enter": "calls", "syscalls:sys_enter_write": "writes",
               "instructions": "instructions"}


def smaps_bytes(pid):
    """Resident bytes that are really in use: pages given back by MADV_FREE are the kernel's."""
    fields = {}
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                fields[words[0]] = int(words[1]) * 1024
    return fields["Rss:"] - fields.get("LazyFree:", 0)


def shared_bytes(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"RssShmem:\s+(\d+)", f.read()).group(1)) * 1024


def memfd_bytes(pid):
    """Allocated pages of each memfd that the process holds open or has mapped, each once."""
    sizes = {}
    for place in ("fd", "map_files"):
        for name in os.listdir(f"/proc/{pid}/{place}"):
            path = f"/proc/{pid}/{place}/{name}"
            try:
                if os.readlink(path).startswith("/memfd:"):
                    stat = os.stat(path)
                    sizes[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
            except FileNotFoundError:
                pass
    return sum(sizes.values())


class Memory:
    """sum: RSS and memfd pages added up. once: the same without counting a page of a memfd twice when it
    is mapped and resident too."""

    def __init__(self, pid):
        try:
            self.rss, self.memfds, shared = smaps_bytes(pid), memfd_bytes(pid), shared_bytes(pid)
        except PermissionError:
            raise Failed("memory of a process that is not dumpable needs root") from None
        self.sum = self.rss + self.memfds
        self.once = self.rss - min(shared, self.memfds) + self.memfds


class PerfCounter:
    method = "perf stat, in-kernel tracepoint"

    def __init__(self, pid, path):
        self.path = path
        control, self.control = os.pipe()
        self.acks, ack = os.pipe()
        try:
            self.process = subprocess.Popen(
                ["perf", "stat", "-x;", "-e", ",".join(PERF_EVENTS), "-p", str(pid), "-o", path,
                 "-D", "-1", "--control", f"fd:{control},{ack}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(control, ack), start_new_session=True)
        finally:
            os.close(control)
            os.close(ack)
        self.command("enable")

    def command(self, word):
        try:
            os.write(self.control, f"{word}\n".encode())
        except BrokenPipeError:
            self.end()
            raise Failed("perf stat does not count system calls here") from None
        ready, _, _ = select.select([self.acks], [], [], ATTACH_S)
        if not ready or not os.read(self.acks, 16):
            self.end()
            raise Failed("perf stat does not count system calls here")

    def end(self):
        for fd in (self.control, self.acks):
            os.close(fd)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(ATTACH_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """Return: counts by name; a count that the machine does not have is missing."""
        self.command("disable")
        self.end()
        counts = {}
        with open(self.path) as f:
            for line in f:
                fields = line.split(";")
                name = PERF_EVENTS.get(fields[2]) if len(fields) > 2 else None
                if name and fields[0].isdigit():
                    counts[name] = int(fields[0])
                elif name in ("calls", "writes") and fields[0] == "<not counted>":
                    counts[name] = 0  # perf's word for a process that never ran
        if "calls" not in counts:
            raise Failed("perf stat does not count system calls here")
        return counts


class StraceCounter:
    method = "strace -c (it stops each call: batches are smaller, so counts are higher than without)"

    def __init__(self, pid, path):
        self.path = path
        self.process = subprocess.Popen(
            ["strace", "-c", "-f", "-o", path, "-p", str(pid)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        if not self.attached(pid):
            self.process.kill()
            self.process.wait()
            raise Failed("strace may not attach here")

    def attached(self, pid):
        end = time.monotonic() + ATTACH_S
        while time.monotonic() < end and self.process.poll() is None:
            with open(f"/proc/{pid}/status") as f:
                if int(re.search(r"TracerPid:\s+(\d+)", f.read()).group(1)) == self.process.pid:
                    return True
            time.sleep(0.01)
        return False

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(ATTACH_S)
        counts = {"calls": 0, "writes": 0}
        with open(self.path) as f:
            for line in f:
                words = line.split()
                if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
                    counts["calls"] += int(words[3])
                    counts["writes"] += int(words[3]) if words[-1] == "write" else 0
        return counts


class Counters:
    """Counts for several processes at once, by role."""

    def __init__(self, roles, directory):
        self.counters = {}
        for kind, program in ((PerfCounter, "perf"), (StraceCounter, "strace")):
            try:
                if not shutil.which(program):
                    continue
                for role, pid in roles.items():
                    self.counters[role] = kind(pid, os.path.join(directory, f"count.{role}"))
                self.method = kind.method
                return
            except Failed:
                self.__exit__()
        raise Failed("system calls are not counted on this machine: neither perf nor strace can")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Whatever happened, nothing stays attached."""
        for counter in self.counters.values():
            if counter.process.poll() is None:
                counter.process.send_signal(signal.SIGINT)
                counter.process.wait(ATTACH_S)
        self.counters = {}

    def stop(self):
        return {role: counter.stop() for role, counter in self.counters.items()}
