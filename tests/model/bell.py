#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bell - one lane, both of its sides fall asleep, and no wake-up is lost

A producer sends N messages through K slots; it pushes batches of any size and parks when there is
no room. A consumer takes batches of any size and sleeps when there is nothing. Each has a store
buffer, as x86-64 has: what it writes becomes visible later, in order, and it sees its own writes at
once. An exchange is a store that waits until the buffer is empty. (Without buffers the four
exchanges would make no difference.) Cursors count modulo M and start just before their wrap.

Shown, whatever the interleaving: each message is taken once, in order, from a slot that is neither
stale nor overwritten; no cursor of an honest side looks like a lie to the other; nobody is asleep
for ever.

Not shown: more than two processes (bell_producers.py), a peer that lies (tests/unit/lane.c).

    step       stands for                                 words
    push       vn_lane_tx_push(), vn_lane_tx_has()        reads head
    P2 P3      vn_lane_tx_flush()                         writes tail, reads ev
    F1 F2      vn_lane_tx_want()                          writes space_ev, reads head
    take       vn_lane_rx_take()                          reads tail and slots
    C3 C4      vn_lane_rx_release()                       writes head, reads space_ev
    S1 S2      vn_lane_rx_arm()                           writes ev, reads tail
    still      brokered_arm(): ev says what it would say again, so it is not written
    disarm     vn_lane_rx_disarm(), a store like any      writes ev
    ring       vn_bell_ring() in vn_link_flush() and vn_link_release(); the store buffer is empty
               then, as in front of epoll_wait(), since the kernel takes locks

A rule is one line of the code; the model without it must fail:

    P2 S1 C3 F1   publishing is an exchange, not only a store
    S2 F2         looking once more before sleeping
    wrap          event indexes are compared by unsigned difference
    order         slots are read before their cursor is released
"""
from collections import namedtuple

from common.explore import Wrong, explore, judge

N, K, M = 12, 2, 8  # messages, slots, modulus of the cursors (more than twice K)
START = M - 2
TAIL, HEAD, EV, SPACE_EV, SLOT = range(5)

LOST = "asleep for ever"
MUTANTS = {"P2": LOST, "S1": LOST, "C3": LOST, "F1": LOST, "S2": LOST, "F2": LOST, "wrap": LOST,
           "order": "slot"}
RULES = frozenset(MUTANTS)

# next, published, got and released count messages from 0; memory and taken hold cursors.
State = namedtuple("State", "memory"
                            " producer p_buffer next published taken p_bell"
                            " consumer c_buffer got released seen c_bell")


def cursor(count):
    return (START + count) % M


def load(state, buffer, word):
    for where, value in reversed(buffer):
        if where == word:
            return value
    return state.memory[word]


def crossed(index, now, was, rules):
    if "wrap" in rules:
        return (now - index - 1) % M < (now - was) % M
    return was <= index < now


def drained(state, side):
    """The oldest store of a side's buffer becomes visible."""
    buffer = getattr(state, side)
    if buffer:
        memory = list(state.memory)
        word, value = buffer[0]
        memory[word] = value
        yield state._replace(memory=tuple(memory), **{side: buffer[1:]})


def room(state):
    return K - (cursor(state.next) - state.taken) % M


def producer(s, rules, wanted):
    at, buffer = s.producer, s.p_buffer
    if at == "push":
        if s.next < N and room(s) > 0:
            yield s._replace(p_buffer=buffer + ((SLOT + s.next % K, s.next),), next=s.next + 1)
        if s.next > s.published:
            yield s._replace(p_buffer=buffer + ((TAIL, cursor(s.next)),), producer="P3")
        elif s.next < N and room(s) == 0:
            head = load(s, buffer, HEAD)
            if (head - s.taken) % M > (cursor(s.published) - s.taken) % M:
                raise Wrong("an honest head looks like a lie")
            after = s._replace(taken=head)
            yield after if room(after) else after._replace(producer="F1")
    elif at == "P3":
        if not buffer or "P2" not in rules:
            ring = crossed(load(s, buffer, EV), cursor(s.next), cursor(s.published), rules)
            yield s._replace(producer="ring" if ring else "push", published=s.next)
    elif at == "ring":
        if not buffer:
            yield s._replace(producer="push", c_bell=True)
    elif at == "F1":
        want = (cursor(s.next) + wanted - 1 - K) % M
        yield s._replace(p_buffer=buffer + ((SPACE_EV, want),), producer="F2")
    elif at == "F2":
        if not buffer or "F1" not in rules:
            want = (cursor(s.next) + wanted - 1 - K) % M
            passed = (load(s, buffer, HEAD) - want - 1) % M < K and "F2" in rules
            yield s._replace(producer="push" if passed else "park")
    elif at == "park":
        if not buffer and s.p_bell:
            yield s._replace(producer="push", p_bell=False)


def consumer(s, rules):
    at, buffer = s.consumer, s.c_buffer
    if at == "take":
        if load(s, buffer, EV) == cursor(s.got):  # armed, yet awake: something else woke it
            yield s._replace(c_buffer=buffer + ((EV, cursor(s.got - 1)),))
        n = (load(s, buffer, TAIL) - cursor(s.got)) % M
        if n > K:
            raise Wrong("an honest tail looks like a lie")
        if n == 0:
            yield s._replace(c_buffer=buffer + ((EV, cursor(s.got)),), consumer="S2")
            if not buffer and load(s, buffer, EV) == cursor(s.got):
                yield s._replace(consumer="sleep")
        elif "order" in rules:
            yield s._replace(consumer="read", seen=n)
        else:  # mutant: the whole batch is given back, then read
            early = buffer + ((HEAD, cursor(s.got + n)),)
            yield s._replace(consumer="read", seen=n, c_buffer=early)
    elif at == "read":
        if load(s, buffer, SLOT + s.got % K) != s.got:
            raise Wrong(f"slot {s.got % K} does not hold message {s.got}")
        after = s._replace(got=s.got + 1, seen=s.seen - 1)
        if after.seen:
            yield after
        yield after._replace(consumer="C4", c_buffer=buffer + ((HEAD, cursor(after.got)),))
    elif at == "C4":
        if not buffer or "C3" not in rules:
            ring = crossed(load(s, buffer, SPACE_EV), cursor(s.got), cursor(s.released), rules)
            following = "read" if s.seen else "take"
            yield s._replace(consumer="ring" if ring else following, released=s.got)
    elif at == "ring":
        if not buffer:
            yield s._replace(consumer="read" if s.seen else "take", p_bell=True)
    elif at == "S2":
        if not buffer or "S1" not in rules:
            news = load(s, buffer, TAIL) != cursor(s.got) and "S2" in rules
            yield s._replace(consumer="take" if news else "sleep")
    elif at == "sleep":
        if not buffer and s.c_bell:
            yield s._replace(consumer="take", c_bell=False)


def ended(s):
    if s.got == N and s.published == N:
        return None
    return f"asleep for ever: {s.published} published, {s.got} taken"


def run(rules):
    """With each number of slots that the producer can want."""
    memory = (cursor(0),) * 4 + (None,) * K
    start = State(memory, "push", (), 0, 0, cursor(0), False, "take", (), 0, 0, 0, False)
    n_all = 0
    for wanted in range(1, K + 1):
        def successors(s):
            yield from drained(s, "p_buffer")
            yield from drained(s, "c_buffer")
            yield from producer(s, rules, wanted)
            yield from consumer(s, rules)

        n_states, wrong = explore(start, successors, ended)
        n_all += n_states
        if wrong:
            return n_all, wrong
    return n_all, None


if __name__ == "__main__":
    judge(RULES, run, MUTANTS)
