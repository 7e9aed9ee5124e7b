#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pool - a hub and the threads of its pool fall asleep, and no call is left lying

The hub puts N calls, in batches of any size, and collects them; W threads take them, run them, and put them where
the hub collects. Threads sleep at a futex, the hub at its bell. Each has a store buffer, as x86-64 has; a locked
instruction waits until it is empty, and so does every system call.

Shown, whatever the interleaving: each call comes home, whoever has fallen asleep meanwhile.

    step        stands for (client/os/pool.c)
    put         vn_handoff_put() in job_submit(): a store
    wake        pool_wake_threads(): settle, look whether anybody sleeps, a new occasion, futex_wake()
    collect     pool_collect()
    arm look    pool_arm()
    next take   worker_next()
    doze again  worker_rest(): n_asleep is added to by a locked instruction; one more look
    wait        futex_wait(): sleeps only if the occasion is still the one that was seen
    done armed  worker_done(): a store; settle, look whether the hub sleeps; an exchange says who rings

A rule is one line of the code; the model without it must fail:

    put settles     the hub's full fence between putting and looking who sleeps
    done settles    a thread's between putting and looking whether the hub sleeps
    arm exchanges   the hub says that it sleeps by more than a store
    thread looks    once more before it sleeps
    hub looks       once more before it sleeps
    occasion        a wake-up that came before the futex was reached counts
"""
from collections import namedtuple

from common.explore import explore, judge

N, W = 3, 2  # calls, threads
PUT, ARMED, TAKEN, ASLEEP, OCCASION, DONE = range(6)  # DONE + w: of thread w

LOST = "asleep for ever"
MUTANTS = dict.fromkeys(["put settles", "done settles", "arm exchanges", "thread looks", "hub looks", "occasion"], LOST)
RULES = frozenset(MUTANTS)

# hub: where it is, its buffer, calls put, put since the last wake, collected; bell
State = namedtuple("State", "memory hub buffer put new home bell threads")
# a thread: where it is, its buffer, the occasion that it saw, calls done
Thread = namedtuple("Thread", "at buffer seen done")


def load(s, buffer, word):
    for where, value in reversed(buffer):
        if where == word:
            return value
    return s.memory[word]


def stored(s, word, value):
    memory = list(s.memory)
    memory[word] = value
    return s._replace(memory=tuple(memory))


def thread_is(s, w, thread):
    return s._replace(threads=s.threads[:w] + (thread,) + s.threads[w + 1:])


def drained(s):
    if s.buffer:
        yield stored(s, *s.buffer[0])._replace(buffer=s.buffer[1:])
    for w, t in enumerate(s.threads):
        if t.buffer:
            yield thread_is(stored(s, *t.buffer[0]), w, t._replace(buffer=t.buffer[1:]))


def collected(s):
    return sum(load(s, s.buffer, DONE + w) for w in range(W))


def hub(s, rules):
    if s.hub == "run":
        if s.put < N:
            yield s._replace(buffer=s.buffer + ((PUT, s.put + 1),), put=s.put + 1, new=s.new + 1)
        if s.put > s.home:
            yield s._replace(hub="disarm")
    elif s.hub == "disarm":
        if not s.buffer or not s.memory[ARMED]:
            yield stored(s, ARMED, 0)._replace(hub="wake" if s.new else "collect")
    elif s.hub == "wake":
        if s.buffer and "put settles" in rules:
            return
        if s.memory[ASLEEP] == 0:
            yield s._replace(hub="collect", new=0)
        elif not s.buffer:
            yield from woken(stored(s, OCCASION, s.memory[OCCASION] + 1))
    elif s.hub == "collect":
        n = collected(s)
        yield s._replace(hub="end" if n == N else "run" if n > s.home else "arm", home=n)
    elif s.hub == "arm":
        if "arm exchanges" not in rules:
            yield s._replace(hub="look", buffer=s.buffer + ((ARMED, 1),))
        elif not s.buffer:
            yield stored(s, ARMED, 1)._replace(hub="look")
    elif s.hub == "look":
        n = collected(s)
        if n > s.home and "hub looks" in rules:
            if not s.buffer:
                yield stored(s, ARMED, 0)._replace(hub="run" if n < N else "end", home=n)
        else:
            yield s._replace(hub="sleep")
    elif s.hub == "sleep":
        if not s.buffer and s.bell:
            yield s._replace(hub="run", bell=False)


def woken(s):
    """As many as there are new calls; any of those that sleep."""
    sleepers = [w for w, t in enumerate(s.threads) if t.at == "sleep"]
    n = min(s.new, len(sleepers))
    after = s._replace(hub="collect", new=0)
    if n == len(sleepers):
        for w in sleepers:
            after = thread_is(after, w, after.threads[w]._replace(at="up"))
        yield after
        return
    for w in sleepers:  # one of two, since W is 2
        yield thread_is(after, w, after.threads[w]._replace(at="up"))


def thread(s, w, rules):
    t = s.threads[w]
    if t.at == "next":
        yield thread_is(s, w, t._replace(at="take", seen=s.memory[OCCASION]))
    elif t.at in ("take", "again"):
        there = s.memory[PUT] > s.memory[TAKEN] and (t.at == "take" or "thread looks" in rules)
        if there and not t.buffer:
            after = stored(s, TAKEN, s.memory[TAKEN] + 1)
            if t.at == "again":
                after = stored(after, ASLEEP, s.memory[ASLEEP] - 1)
            yield thread_is(after, w, t._replace(at="done"))
        elif not there:
            yield thread_is(s, w, t._replace(at="doze" if t.at == "take" else "wait"))
    elif t.at == "doze":
        if not t.buffer:
            yield thread_is(stored(s, ASLEEP, s.memory[ASLEEP] + 1), w, t._replace(at="again"))
    elif t.at == "wait":
        late = s.memory[OCCASION] != t.seen and "occasion" in rules
        yield thread_is(s, w, t._replace(at="up" if late else "sleep"))
    elif t.at == "up":
        yield thread_is(stored(s, ASLEEP, s.memory[ASLEEP] - 1), w, t._replace(at="next"))
    elif t.at == "done":
        yield thread_is(s, w, t._replace(at="armed", done=t.done + 1, buffer=t.buffer + ((DONE + w, t.done + 1),)))
    elif t.at == "armed":
        if t.buffer and "done settles" in rules:
            return
        if not s.memory[ARMED]:
            yield thread_is(s, w, t._replace(at="next"))
        elif not t.buffer:
            yield thread_is(stored(s, ARMED, 0)._replace(bell=True), w, t._replace(at="next"))


def ended(s):
    return None if s.hub == "end" else f"asleep for ever: {s.put} put, {s.home} home"


def run(rules):
    start = State((0,) * (DONE + W), "run", (), 0, 0, 0, False, (Thread("next", (), 0, 0),) * W)

    def successors(s):
        yield from drained(s)
        yield from hub(s, rules)
        for w in range(W):
            yield from thread(s, w, rules)

    return explore(start, successors, ended)


if __name__ == "__main__":
    judge(RULES, run, MUTANTS)
