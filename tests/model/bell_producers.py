#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bell_producers - one consumer, several lanes, and it sleeps on all of them at once

The broker polls only hot lanes; an idle lane stays armed and costs nothing. A bell makes its lane
hot, and so does whatever else the broker has for that worker: it then says that it needs no bell. A
lane that was found empty is armed, looked at once more, and cools down. The broker sleeps when no
lane is hot. Each producer sends messages on its own lane of K slots, rings its own bell, and parks
when there is no room: the broker rings it in turn. Store buffers and cursors are those of bell.py.

Shown, whatever the interleaving: each lane's messages are taken once and in order; nobody is asleep
for ever, neither the broker nor any producer; a lane that is cold is always armed, so that no
producer needs to know about the others.

    step          stands for
    push P2 P3    vn_lane_tx_push(), vn_lane_tx_flush() in a worker; room is what head shows
    F1 F2 park    vn_lane_tx_want() in brokered_arm()
    take C3 C4    vn_lane_rx_take(), vn_lane_rx_release() in the broker's turn over its hot lanes
    S1 S2         vn_lane_rx_arm() in worker_arm(), before a lane cools down
    heat          vn_worker_heat() and its vn_lane_rx_disarm(), a store like any
    sleep         epoll_wait(), which tells each bell that was rung

A rule is one line of the code; the model without it must fail:

    P2 S1 C3 F1    publishing is an exchange, not only a store
    S2 F2    looking once more before a lane cools down, or a producer parks
    arm      each lane is armed before it cools down
    all      a wake makes every lane hot whose bell was rung, not only the first
"""
from collections import namedtuple

from common.explore import Wrong, explore, judge

R, N, K, M = 2, (3, 1), 1, 4  # producers, messages of each, slots, modulus of the cursors
START = M - 1
TAIL, HEAD, EV, SPACE_EV, SLOT = range(5)
LANE_WORDS = SLOT + K

MUTANTS = {rule: "asleep for ever" for rule in ("P2", "S1", "C3", "F1", "S2", "F2", "arm", "all")}
RULES = frozenset(MUTANTS)

Producer = namedtuple("Producer", "at buffer next published bell")
State = namedtuple("State", "memory producers buffer rung hot heated at lane got")


def cursor(count):
    return (START + count) % M


def load(state, buffer, word):
    for where, value in reversed(buffer):
        if where == word:
            return value
    return state.memory[word]


def crossed(index, now, was):
    return (now - index - 1) % M < (now - was) % M


def changed(row, i, value):
    return row[:i] + (value,) + row[i + 1:]


def has_room(s, p, base):
    return (cursor(p.next) - load(s, p.buffer, base + HEAD)) % M < K


def produce(s, lane, rules):
    p, base = s.producers[lane], lane * LANE_WORDS

    def step(**changes):
        return s._replace(producers=changed(s.producers, lane, p._replace(**changes)))

    if p.buffer:
        word, value = p.buffer[0]
        yield step(buffer=p.buffer[1:])._replace(memory=changed(s.memory, word, value))
    if p.at == "push":
        if p.next < N[lane] and has_room(s, p, base):
            yield step(buffer=p.buffer + ((base + SLOT + p.next % K, p.next),), next=p.next + 1)
        if p.next > p.published:
            yield step(buffer=p.buffer + ((base + TAIL, cursor(p.next)),), at="P3")
        elif p.next < N[lane] and not has_room(s, p, base):
            yield step(buffer=p.buffer + ((base + SPACE_EV, cursor(p.next - K)),), at="F2")
    elif p.at == "P3":
        if not p.buffer or "P2" not in rules:
            index = load(s, p.buffer, base + EV)
            ring = crossed(index, cursor(p.next), cursor(p.published))
            yield step(at="ring" if ring else "push", published=p.next)
    elif p.at == "ring":
        if not p.buffer:
            yield step(at="push")._replace(rung=changed(s.rung, lane, True))
    elif p.at == "F2":
        if not p.buffer or "F1" not in rules:
            yield step(at="push" if has_room(s, p, base) and "F2" in rules else "park")
    elif p.at == "park":
        if not p.buffer and p.bell:
            yield step(at="push", bell=False)


def consume(s, rules):
    base, got = s.lane * LANE_WORDS, s.got[s.lane]
    if s.buffer:
        word, value = s.buffer[0]
        yield s._replace(memory=changed(s.memory, word, value), buffer=s.buffer[1:])
    if s.at == "turn":
        for lane in range(R):
            if s.hot[lane]:
                yield s._replace(at="take", lane=lane)
            elif lane == 0 and not s.heated:  # once: something else than a bell
                yield s._replace(hot=changed(s.hot, lane, True), heated=True,
                                 buffer=s.buffer + ((lane * LANE_WORDS + EV, cursor(s.got[lane] - 1)),))
        if not any(s.hot) and not s.buffer and any(s.rung):
            heard = s.rung
            if "all" not in rules:
                heard = tuple(lane == s.rung.index(True) for lane in range(R))
            yield s._replace(hot=heard, rung=(False,) * R)
    elif s.at == "take":
        if load(s, s.buffer, base + TAIL) != cursor(got):
            yield s._replace(at="read")
        elif "arm" in rules:
            yield s._replace(at="S2", buffer=s.buffer + ((base + EV, cursor(got)),))
        else:
            yield s._replace(at="turn", hot=changed(s.hot, s.lane, False))
    elif s.at == "read":
        if load(s, s.buffer, base + SLOT + got % K) != got:
            raise Wrong(f"lane {s.lane}: slot {got % K} does not hold message {got}")
        yield s._replace(at="C4", got=changed(s.got, s.lane, got + 1),
                         buffer=s.buffer + ((base + HEAD, cursor(got + 1)),))
    elif s.at == "C4":
        if not s.buffer or "C3" not in rules:
            ring = crossed(load(s, s.buffer, base + SPACE_EV), cursor(got), cursor(got - 1))
            yield s._replace(at="ring" if ring else "turn")
    elif s.at == "ring":
        if not s.buffer:
            woken = s.producers[s.lane]._replace(bell=True)
            yield s._replace(at="turn", producers=changed(s.producers, s.lane, woken))
    elif s.at == "S2":
        if not s.buffer or "S1" not in rules:
            news = load(s, s.buffer, base + TAIL) != cursor(got) and "S2" in rules
            yield s._replace(at="turn", hot=changed(s.hot, s.lane, news))


def ended(s):
    if s.got == N and all(p.published == n for p, n in zip(s.producers, N)):
        return None
    return f"asleep for ever: {[p.published for p in s.producers]} published, {list(s.got)} taken"


def run(rules):
    # Nobody has asked for room yet; after HELLO a first bell would come unasked.
    memory = ((cursor(0),) * SPACE_EV + (cursor(-1),) + (None,) * K) * R
    start = State(memory, (Producer("push", (), 0, 0, False),) * R, (), (False,) * R, (False,) * R,
                  False, "turn", 0, (0,) * R)

    def successors(s):
        for lane in range(R):
            yield from produce(s, lane, rules)
        yield from consume(s, rules)

    return explore(start, successors, ended)


if __name__ == "__main__":
    judge(RULES, run, MUTANTS)
