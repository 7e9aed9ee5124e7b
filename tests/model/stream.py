#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stream - one connection and the workers that come and go under it

N requests of two parts each arrive on one connection. The handler reads the first part; holds;
reads the second one (the window may be full: then the first part is acknowledged without being
committed); waits for something else, perhaps; writes the answer; reads again, which acknowledges
and commits. The worker publishes what it has at any moment, is killed at any moment (K times in
all), and may be told to give the connection up (G times). The broker takes published descriptors in
order and sends when the client lets it; after a death it drains, withdraws output that was not
committed, then decides: go on, deliver again, or reset. A position counts parts here, an answer is
one unit of output.

Shown, whatever the interleaving: the client sees answers 1, 2, 3, ... in order, each once; without
a reset it sees all of them; a request whose commit was published is never run again; a handler
never starts inside a request; received >= delivered >= acked >= committed.

    step        stands for
    arrive      recv() into the kernel's buffer; `received`
    deliver     vn_debt_push_data() in the broker: DATA
    take        vn_intake_take() in the broker: SEND, ACK, ACK with VN_COMMIT
    send        sendmsg() out of the worker's lane; `sent`
    handle      vn_read(), vn_hold(), vn_write() in the worker
    publish     vn_lane_tx_flush(), between two runs of coroutines
    give up     vn_dispatch_release() in the broker, and the worker's RELEASED at a commit point
    settle      vn_settle_worker() after waitid(): vn_intake_drain(), withdraw(), decide()

A rule is one line of the design; the model without it must fail:

    drain       what was published before the death is taken first
    withdraw    output that was not committed and not sent is dropped
    reset       if an unfinished answer was sent, or input acknowledged without a commit
    merge       an acknowledgement is merged only into the last descriptor of the open batch
    hold        a full window acknowledges without committing
"""
from collections import namedtuple

from common.explore import Wrong, explore, judge

N, K, G = 3, 2, 1  # requests of two parts, kills, times that it is given up

MUTANTS = {"drain": "run again", "withdraw": "the client saw", "reset": "the client saw",
           "merge": "the client saw", "hold": "inside a request"}
RULES = frozenset(MUTANTS)

# The broker's, then the worker's, then history and what may still happen.
State = namedtuple("State", "received delivered acked committed queued_c unsent client reset"
                            " taken step batch lane"
                            " finished kills releases asked")


def take(s, descriptor):
    """What the broker does with one published descriptor."""
    kind, i = descriptor
    if kind == "SEND":
        return s._replace(unsent=s.unsent + (i,))
    if kind == "ACK":  # used up, but no place to start
        return s._replace(acked=max(s.acked, i))
    return s._replace(acked=max(s.acked, i), committed=max(s.committed, i),
                      queued_c=len(s.client) + len(s.unsent))


def settle(s, rules):
    """What the broker does when the worker is dead."""
    if "drain" in rules:
        for descriptor in s.lane:
            s = take(s, descriptor)
    s = s._replace(lane=(), batch=(), step="idle", asked=False, kills=s.kills - 1)
    if "withdraw" in rules:
        s = s._replace(unsent=s.unsent[:max(0, s.queued_c - len(s.client))])
    if "reset" in rules and (len(s.client) > s.queued_c or s.acked > s.committed):
        return s._replace(reset=True)
    return s._replace(delivered=s.committed, taken=s.committed, acked=s.committed)


def publish(s, rules):
    """One store of tail."""
    batch = s.batch
    if "merge" not in rules:  # mutant: acknowledgements ride on the last SEND of the batch
        batch = tuple(sorted(batch, key=lambda descriptor: descriptor[0] != "SEND"))
    commits = [i for kind, i in batch if kind == "COMMIT"]
    return s._replace(lane=s.lane + batch, batch=(), finished=max([s.finished] + commits))


def handle(s, rules):
    if s.step == "idle" and s.taken < s.delivered:  # the first part, then hold
        yield s._replace(taken=s.taken + 1, step="held")
    elif s.step == "held" and s.taken < s.delivered:  # the second part
        yield s._replace(taken=s.taken + 1, step="whole")
        ack = ("ACK" if "hold" in rules else "COMMIT", s.taken)  # the window is full
        yield s._replace(taken=s.taken + 1, step="whole", batch=s.batch + (ack,))
    elif s.step == "whole":
        yield s._replace(step="answered", batch=s.batch + (("SEND", s.taken // 2),))
    elif s.step == "answered":  # reads again
        yield s._replace(step="idle", batch=s.batch + (("COMMIT", s.taken),))


def give_up(s):
    if s.releases and not s.asked:
        yield s._replace(asked=True, releases=s.releases - 1)
    at_commit = s.step == "idle" and not s.batch and not s.lane
    if s.asked and at_commit and s.taken == s.acked == s.committed:
        yield s._replace(asked=False, delivered=s.committed)


def check(s):
    if s.client != tuple(range(1, len(s.client) + 1)):
        raise Wrong(f"the client saw answers {s.client}")
    if s.reset:
        return
    if s.step == "idle" and s.taken % 2:
        raise Wrong("a handler starts inside a request")
    if s.step == "whole" and s.taken <= s.finished:
        raise Wrong(f"request {s.taken // 2} is run again, its commit was published")
    if not s.received >= s.delivered >= s.acked >= s.committed:
        raise Wrong("the positions are out of order")


def ended(s):
    if s.reset or s.client == tuple(range(1, N + 1)):
        return None
    return f"nothing moves any more, the client saw answers {s.client}"


def run(rules):
    def successors(s):
        check(s)
        if s.reset:
            return
        if s.received < 2 * N:
            yield s._replace(received=s.received + 1)
        if s.delivered < s.received:
            yield s._replace(delivered=s.delivered + 1)
        if s.unsent:
            yield s._replace(client=s.client + s.unsent[:1], unsent=s.unsent[1:])
        if s.lane:
            yield take(s, s.lane[0])._replace(lane=s.lane[1:])
        yield from handle(s, rules)
        if s.batch:
            yield publish(s, rules)
        yield from give_up(s)
        if s.kills:
            yield settle(s, rules)

    start = State(0, 0, 0, 0, 0, (), (), False, 0, "idle", (), (), 0, K, G, False)
    return explore(start, successors, ended)


if __name__ == "__main__":
    judge(RULES, run, MUTANTS)
