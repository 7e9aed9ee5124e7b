#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bell_producers - one consumer, several lanes, and it sleeps on all of them at once

The broker polls only hot lanes; an idle lane stays armed and costs nothing. A bell makes its lane
hot; a lane that was found empty is armed, looked at once more, and cools down. The broker sleeps
when no lane is hot. Each producer sends N messages on its own lane of K slots and rings its own
bell. Store buffers and cursors are those of bell.py.

Shown, whatever the interleaving: each lane's messages are taken once and in order; nobody is asleep
for ever; a lane that is cold is always armed, so that no producer needs to know about the others.

    step          stands for
    push P2 P3    vn_lane_tx_push(), vn_lane_tx_flush() in a worker; room is what head shows
    take C3       vn_lane_rx_take(), vn_lane_rx_release() in the broker's turn over its hot lanes
    S1 S2         vn_lane_rx_arm(), before a lane cools down
    sleep         epoll_wait(), which tells each bell that was rung

A rule is one line of the code; the model without it must fail:

    P2 S1    publishing is an exchange, not only a store
    S2       looking once more before a lane cools down
    arm      each lane is armed before it cools down
    all      a wake makes every lane hot whose bell was rung, not only the first
"""
from collections import namedtuple

from common.explore import Wrong, explore, judge

R, N, K, M = 2, 2, 2, 8  # producers, messages of each, slots, modulus of the cursors
START = M - 1
TAIL, HEAD, EV, SLOT = range(4)
LANE_WORDS = SLOT + K

MUTANTS = {rule: "asleep for ever" for rule in ("P2", "S1", "S2", "arm", "all")}
RULES = frozenset(MUTANTS)

Producer = namedtuple("Producer", "at buffer next published")
State = namedtuple("State", "memory producers buffer rung hot at lane got")


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


def produce(s, lane, rules):
    p, base = s.producers[lane], lane * LANE_WORDS

    def step(**changes):
        return s._replace(producers=changed(s.producers, lane, p._replace(**changes)))

    if p.buffer:
        word, value = p.buffer[0]
        yield step(buffer=p.buffer[1:])._replace(memory=changed(s.memory, word, value))
    if p.at == "push":
        if p.next < N and (cursor(p.next) - load(s, p.buffer, base + HEAD)) % M < K:
            yield step(buffer=p.buffer + ((base + SLOT + p.next % K, p.next),), next=p.next + 1)
        if p.next > p.published:
            yield step(buffer=p.buffer + ((base + TAIL, cursor(p.next)),), at="P3")
    elif p.at == "P3":
        if not p.buffer or "P2" not in rules:
            index = load(s, p.buffer, base + EV)
            ring = crossed(index, cursor(p.next), cursor(p.published))
            yield step(at="ring" if ring else "push", published=p.next)
    elif p.at == "ring":
        if not p.buffer:
            yield step(at="push")._replace(rung=changed(s.rung, lane, True))


def consume(s, rules):
    base, got = s.lane * LANE_WORDS, s.got[s.lane]
    if s.buffer:
        word, value = s.buffer[0]
        yield s._replace(memory=changed(s.memory, word, value), buffer=s.buffer[1:])
    if s.at == "turn":
        for lane in range(R):
            if s.hot[lane]:
                yield s._replace(at="take", lane=lane)
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
        yield s._replace(at="turn", got=changed(s.got, s.lane, got + 1),
                         buffer=s.buffer + ((base + HEAD, cursor(got + 1)),))
    elif s.at == "S2":
        if not s.buffer or "S1" not in rules:
            news = load(s, s.buffer, base + TAIL) != cursor(got) and "S2" in rules
            yield s._replace(at="turn", hot=changed(s.hot, s.lane, news))


def ended(s):
    if all(p.published == N for p in s.producers) and s.got == (N,) * R:
        return None
    return f"asleep for ever: {[p.published for p in s.producers]} published, {list(s.got)} taken"


def run(rules):
    memory = ((cursor(0),) * SLOT + (None,) * K) * R
    start = State(memory, (Producer("push", (), 0, 0),) * R, (), (False,) * R, (False,) * R,
                  "turn", 0, (0,) * R)

    def successors(s):
        for lane in range(R):
            yield from produce(s, lane, rules)
        yield from consume(s, rules)

    return explore(start, successors, ended)


if __name__ == "__main__":
    judge(RULES, run, MUTANTS)
