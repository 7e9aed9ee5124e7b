# SPDX-License-Identifier: MIT
"""points - the crash points of the source, and the page that says which one is next

No list is kept anywhere: a point that is added to the source is asked for from then on.
"""
import mmap
import pathlib
import re
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
IDLE, ARMED, DONE = range(3)
ROLES = {"broker": 1, "worker": 2}
PAGE = "IIiII44s"  # crash_page of tests/crash/point.h

# Passed while a link is made, when its lanes have nothing in them yet.
HANDSHAKE = re.compile(r"(segment\.|(broker|worker)\.(offer|create|seal|hello|mapped|link)\.)")

ALL = ("shm", "client", "broker")


def of_source(folders=ALL):
    """(role, point) of each point and each side that comes by, in the order of the source."""
    names = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            names += re.findall(r'VN_CRASH_POINT\("([^"]+)"\)', path.read_text())
    for name in names:
        if names.count(name) > 1:
            raise AssertionError(f"{name} stands twice in the source")
    return [(role, name) for name in names for role in ROLES
            if name.split(".")[0] in (role, *({name.split(".")[0]} - set(ROLES)))]


class Page:
    """What the processes of a service look at; VANILLA_CRASH is its path."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "crash-page"
        self.path.write_bytes(bytes(struct.calcsize(PAGE)))
        self.file = self.path.open("r+b")
        self.map = mmap.mmap(self.file.fileno(), struct.calcsize(PAGE))

    def arm(self, role, point, count, busy):
        self.map[4:] = struct.pack(PAGE, 0, ROLES[role], count, busy, 0, point.encode())[4:]
        self.map[:4] = struct.pack("I", ARMED)

    def disarm(self):
        self.map[:4] = struct.pack("I", IDLE)

    def victim(self):
        """The process that died there, or 0."""
        state, _, _, _, pid, _ = struct.unpack(PAGE, self.map[:])
        return pid if state == DONE else 0

    def close(self):
        self.map.close()
        self.file.close()
