# SPDX-License-Identifier: MIT
"""Lanes - the rows of the lane benchmark: what shm/ carries, beside what else could carry it

The program $BUILD/bench/lane does the measuring, one JSON line per slice; here slices become ratios. A ratio
is made of two slices of one round, and both must have had the same placement of their two cores: near, far,
or one core. Which it was is told by a word that goes to and fro between the cores, before and after each
slice; where that changed, or where somebody else had a part of a core, the slice is dropped.

A competitor that does not reach 80% of what it did where the targets were found makes its rows void: then
either its settings or the machine are not what the target was made for, and the ratio says little.
"""
import json
import os
import statistics
import subprocess
from collections import namedtuple

from servers import Failed

ROUNDS = 21
SLICE_MS = 6           # short: many are then undisturbed on a machine that is not idle
LIMIT_S = 100
NEAR_NS = 250      # a round trip of a cache line takes about 100 ns
FAR_NS = 1500      # 600 to 800; beyond, one of the cores did something else meanwhile
REACHED = 0.8
UNSHARED, MOSTLY = 0.95, 0.8
POLLING = ["raw", "raw-beside", "ck_ring", "lane32", "checked32", "lane64", "trip-polls", "line"]
POLLING_APART = [*POLLING, "big", "hub-trip-polls"]  # on two cores

# name: (carrier, carrier that it is held against, figure, {placement: (sense, target)}, what)
Ratio = namedtuple("Ratio", "ours theirs figure targets what")


def rate(s):
    return s["n"] * 1e9 / s["ns"]


def trip_ns(s):
    return s["ns"] / s["n"]


def at_least(one, near, far):
    return {p: (">=", t) for p, t in (("one", one), ("near", near), ("far", far)) if t is not None}


def ours_at(ratio, place):
    return ratio.ours[place] if isinstance(ratio.ours, dict) else ratio.ours


# On one core the lane sleeps as its competitors do; with a core of its own it polls.
OURS32 = {"one": "hubs32", "near": "checked32", "far": "checked32"}
OURS64 = {"one": "hubs64", "near": "lane64", "far": "lane64"}
PRINTED = {"near": (None, None), "far": (None, None)}

RATIOS = {
    "raw32": Ratio("lane32", "raw", rate, at_least(0.85, 0.85, 0.85),
                   "32 B in the descriptor, over the raw ring, messages/s"),
    "raw64": Ratio("lane64", "raw-beside", rate, at_least(0.85, 0.85, 0.85),
                   "64 B in a block, over the raw ring with bytes beside, messages/s"),
    "ck32": Ratio("lane32", "ck_ring", rate, {"one": (None, None), **at_least(None, 1.0, 1.3)},
                  "32 B in the descriptor, over ck_ring, messages/s"),
    "zmq32": Ratio(OURS32, "zmq32", rate, at_least(3, 3, 2), "32 B, checked, over ZeroMQ ipc"),
    "zmq64": Ratio(OURS64, "zmq64", rate, at_least(3, 3, 2), "64 B, checked, over ZeroMQ ipc"),
    "seqpacket32": Ratio(OURS32, "seqpacket32", rate, at_least(8, 8, 5),
                         "32 B, checked, over SEQPACKET"),
    "seqpacket64": Ratio(OURS64, "seqpacket64", rate, at_least(8, 8, 5),
                         "64 B, checked, over SEQPACKET"),
    "nng32": Ratio(OURS32, "nng32", rate, at_least(20, 20, 15), "32 B, checked, over nng ipc"),
    "nng64": Ratio(OURS64, "nng64", rate, at_least(20, 20, 15), "64 B, checked, over nng ipc"),
    "asleep32": Ratio("hubs32", "zmq32", rate, PRINTED, "32 B, asleep when idle, over ZeroMQ ipc"),
    "asleep64": Ratio("hubs64", "zmq64", rate, PRINTED, "64 B, asleep when idle, over ZeroMQ ipc"),
    "checked32": Ratio("checked32", "raw", rate, {p: (None, None) for p in ("one", "near", "far")},
                       "32 B, each descriptor checked, over the raw ring"),
    "memcpy": Ratio("big", "memcpy", rate, at_least(0.8, 0.8, 0.8),
                    "1 MiB in borrowed blocks, over one memcpy pass"),
    "sleeping-trip": Ratio("trip-sleeps", "eventfd-trip", trip_ns, {"one": (None, None)},
                           "round trip asleep, lanes alone, over eventfd and epoll, ns"),
    "sleeping-hubs": Ratio("hub-trip-sleeps", "eventfd-trip", trip_ns, {"one": ("<=", 1.3)},
                           "round trip of two hubs asleep, over eventfd and epoll, ns"),
    "stream-trip": Ratio("stream-trip", "eventfd-trip", trip_ns, {"one": (None, None)},
                         "round trip of a Unix stream, over eventfd and epoll, ns"),
    "polling-trip": Ratio("trip-polls", "line", trip_ns, {"near": ("<=", 1.5), "far": ("<=", 1.5)},
                          "round trip polled, lanes alone, over the cache line's, ns"),
    "polling-hubs": Ratio("hub-trip-polls", "line", trip_ns, {"near": (None, None), "far": (None, None)},
                          "round trip of two hubs that spin, over the cache line's, ns"),
}

# What the competitors did where the targets were found: the lower end, messages per second or ns.
FIGURES = {"zmq32": 5e6, "zmq64": 5e6, "seqpacket32": 2e6, "seqpacket64": 2e6, "nng32": 0.4e6, "nng64": 0.4e6}
FIGURES_NS = {"eventfd-trip": 2100}

CORES = sorted(os.sched_getaffinity(0))  # before the driver leaves the core that is measured
PLACES = {"one": "one core", "near": "near", "far": "far"}
COUNTED = ["raw", "raw-beside", "ck_ring", "lane32", "checked32", "lane64"]


def rows():
    """Return: (name, sense, target, what) of each row, in the order of the table."""
    found = []
    for name, ratio in RATIOS.items():
        for place, (sense, target) in ratio.targets.items():
            found.append((f"{name}-{place}", sense, target, ratio.what))
    found.append(("lane-bells", "<=", 0.05, "bells per message, one core, 32 B, asleep when idle"))
    found.append(("lane-bells-awake", "<=", 0, "bells per message while the other side is awake"))
    found += [(f"lane-instructions-{name}", None, None, "user instructions per message, both sides")
              for name in COUNTED]
    return found


def shared(s):
    """Did somebody else have a part of a core? On one core both sides together are to have all of it, and a side
    that polls is to have all of its own; one that sleeps leaves time, which may be anybody's."""
    if s["carrier"] == "memcpy":
        return s["cpu"][0] < UNSHARED * s["ns"]
    if s["before"] == 0:
        least = UNSHARED if s["carrier"] in POLLING else MOSTLY
        return sum(s["cpu"]) < least * s["ns"]
    return s["carrier"] in POLLING_APART and min(s["cpu"]) < UNSHARED * s["ns"]


class Slices:
    """What one run of the program said, by placement, carrier and round."""

    def __init__(self):
        self.found = {}
        self.n_dropped = 0
        self.n = 0

    def add(self, s, one_core):
        place = "one" if one_core else placement(s)
        self.n += 1
        if place is None or shared(s):
            self.n_dropped += 1
        else:
            self.found.setdefault((place, s["carrier"]), {})[s["round"]] = s

    def of(self, place, carrier):
        return self.found.get((place, carrier), {})


def placement(s):
    before, after = ("near" if ns < NEAR_NS else "far" if ns < FAR_NS else None
                     for ns in (s["before"], s["after"]))
    return before if before == after else None


def program(bench):
    path = os.path.join(bench.options.build, "bench", "lane")
    if not os.access(path, os.X_OK):
        raise Failed(f"{path} is not there: run make bench")
    return path


def run(bench, *arguments):
    """Return: the lines that the program printed."""
    try:
        done = subprocess.run([program(bench), "-d", bench.stage.dir, *map(str, arguments)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as slow:
        raise Failed(f"lane took longer than {LIMIT_S} s") from slow
    if done.returncode:
        raise Failed(done.stderr.strip().split("\n")[0] or f"lane ended with {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def carriers_for(names, places, known):
    """The carriers of the wanted ratios that exist, in the order of the program's list."""
    wanted = {c for name in names for place in places if place in RATIOS[name].targets
              for c in (ours_at(RATIOS[name], place), RATIOS[name].theirs)}
    return [name for name, c in known.items() if name in wanted and c["there"]]


def measure(bench, slices, places, cores, known):
    names = [name for name, ratio in RATIOS.items()
             if bench.wanted(*(f"{name}-{place}" for place in ratio.targets))]
    wanted = carriers_for(names, places, known)
    if "one" in places and bench.wanted("lane-bells"):
        wanted = list(dict.fromkeys([*wanted, "hubs32"]))
    if "near" in places and bench.wanted("lane-bells-awake"):
        wanted = list(dict.fromkeys([*wanted, "lane32"]))
    if wanted:
        for s in run(bench, "-p", cores, "-t", SLICE_MS, "-r", ROUNDS, *wanted):
            slices.add(s, "one" in places)


def reached(slices, place, name):
    """Return: None if a competitor did what it must, else the sentence that makes its row void."""
    values = [rate(s) for s in slices.of(place, name).values()]
    if name in FIGURES and statistics.median(values) < REACHED * FIGURES[name]:
        return (f"{name} did {statistics.median(values) / 1e6:.2f} million messages/s, which is below 80% of "
                f"{FIGURES[name] / 1e6:g}")
    if name in FIGURES_NS and 1e9 / statistics.median(values) > FIGURES_NS[name] / REACHED:
        return (f"{name} took {1e9 / statistics.median(values):,.0f} ns, and {FIGURES_NS[name]:,} must be "
                "reached to 80%")
    return None


def settings_note(known, name):
    return f"{name}: {known[name]['settings']}"


def record_ratio(bench, slices, name, place, known, voids):
    ratio, row = RATIOS[name], f"{name}-{place}"
    ours, theirs = slices.of(place, ours_at(ratio, place)), slices.of(place, ratio.theirs)
    both = sorted(set(ours) & set(theirs))
    if not known[ratio.theirs]["there"]:
        bench.record(row, "", "", [], f"void: {known[ratio.theirs]['settings']}")
        return
    if not both:
        bench.record(row, "", "", [], f"not measured: no pair of slices was {PLACES[place]}")
        return
    values = [ratio.figure(ours[i]) / ratio.figure(theirs[i]) for i in both]
    middles = [statistics.median(ratio.figure(side[i]) for i in both) for side in (theirs, ours)]
    notes = [f"{len(both)} pairs", *copied_notes(ours)]
    void = reached(slices, place, ratio.theirs)
    if void:
        voids[ratio.theirs, place] = void
        notes.append(f"VOID: {void}; the ratio was {statistics.median(values):.2f} "
                     f"({min(values):.2f} - {max(values):.2f})")
        values = []
    bench.record(row, *(f"{m:,.0f}" for m in middles), values, "; ".join(notes))


def copied_notes(slices):
    first = next(iter(slices.values()))
    if first["carrier"] != "big":
        return []
    n = sum(s["n"] for s in slices.values())
    sent, taken = (sum(s["copied"][i] for s in slices.values()) / n for i in (0, 1))
    return [f"copied per message: {sent:,.0f} bytes by the sender, {taken:,.0f} by the receiver"]


def bells_per_message(slices):
    return [s["bells"] / s["n"] for s in slices.values()]


def record_bells(bench, slices):
    if bench.wanted("lane-bells"):
        values = bells_per_message(slices.of("one", "hubs32"))
        bench.record("lane-bells", "0", f"{statistics.median(values):.4f}", values, "both directions")
    awake = [v for place in ("one", "near", "far") for v in bells_per_message(slices.of(place, "lane32"))]
    if bench.wanted("lane-bells-awake") and awake:
        bench.record("lane-bells-awake", "0", f"{max(awake):.4f}", [max(awake)],
                     f"the most of {len(awake)} slices in which both sides poll")


def record_instructions(bench):
    wanted = [name for name in COUNTED if bench.wanted(f"lane-instructions-{name}")]
    if not wanted:
        return
    core = bench.options.core
    for c in run(bench, "-c", "-p", f"{core},{core}", *wanted):
        total = c["sender"] + c["receiver"]
        bench.record(f"lane-instructions-{c['carrier']}", "", f"{total:.1f}", [total],
                     f"sender {c['sender']:.1f}, receiver {c['receiver']:.1f}; stepped one by one, which is "
                     "what perf stat -e instructions:u counts and needs no counter")


def measure_lanes(bench):
    known = {c["carrier"]: c for c in run(bench, "-l")}
    slices = Slices()
    measure(bench, slices, ["one"], f"{bench.options.core},{bench.options.core}", known)
    if len(CORES) > 1:
        measure(bench, slices, ["near", "far"], f"{CORES[0]},{CORES[-1]}", known)
    shown, voids = set(), {}
    for name, ratio in RATIOS.items():
        for place in ratio.targets:
            if not bench.wanted(f"{name}-{place}"):
                continue
            record_ratio(bench, slices, name, place, known, voids)
            for carrier in (ours_at(ratio, place), ratio.theirs):
                if carrier not in shown:
                    bench.results[f"{name}-{place}"][3].append(settings_note(known, carrier))
                    shown.add(carrier)
    record_bells(bench, slices)
    record_instructions(bench)
    print_dropped(slices)
    if voids:
        print("lanes: THE RUN IS VOID as far as these competitors are concerned, which are not what the targets were "
              "made for:")
        for (_, place), sentence in sorted(voids.items()):
            print(f"lanes:   {PLACES[place]}: {sentence}")


def print_dropped(slices):
    probes = [s["before"] for (place, _), found in slices.found.items() if place != "one"
              for s in found.values()]
    print(f"lanes: at most {ROUNDS} slices of {SLICE_MS} ms of each carrier and placement; {slices.n_dropped} of {slices.n} "
          "dropped, because the placement changed or a core was not theirs alone")
    if probes:
        print(f"lanes: a cache line's round trip took {min(probes):.0f} to {max(probes):.0f} ns in the others, "
              f"median {statistics.median(probes):.0f}")
