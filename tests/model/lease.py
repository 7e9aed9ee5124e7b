#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lease - blocks and requests that are lent to a worker, which may be killed at any step

On each of C connections R requests arrive. The broker lends a block of its lane with each (DATA),
and has only B blocks. A worker handles its connections side by side: it may give the block back
early (ACK, its window was full), it publishes the answer alone or together with the commit in one
store of tail, it may close a connection that is at rest, and it is killed up to D times. The broker
takes descriptors one by one, sends output when the client lets it, takes a connection at rest back
(REVOKED), and settles after a death. Bells and cursors are left out: what is published is a queue
(bell.py shows that it is one).

Shown, whatever the interleaving: a block is free or lent to one attachment, is never taken from a
live worker and comes home exactly once; a request whose commit was published is not run again; no
client sees an answer twice or out of order; unless it was closed or reset, all requests are
answered; nothing is left over at the end.

    step         stands for
    lend         vn_dispatch_attach(), vn_debt_push_data(): DATA with a block and the generation
    take         vn_intake_take(): SEND, ACK, COMMIT, CLOSE, one by one
    revoke       vn_dispatch_revoke(), when the worker's lane is taken up to its tail
    settle       vn_intake_drain() after waitid(), then the rules of one connection after the other
    handle       a handler in the worker: vn_read(), vn_write(), vn_close()

A rule is one line of the design; the model without it must fail:

    drain        what was published before the death is taken
    first        and it is taken before anything is settled
    generation   a descriptor of an attachment that is over is ignored
    ignore       so does the worker with DATA that crossed its CLOSE
    reset        when part of an answer was sent, or input acknowledged without a commit
    withdraw     output that was not committed is dropped before the request is lent again
    honour       a CLOSE that crosses REVOKED counts while nobody else has the connection
"""
from collections import namedtuple

from common.explore import Wrong, explore, judge

C, R, B, D = 2, 2, 1, 1  # connections, requests on each, blocks, deaths

MUTANTS = {"drain": "run again", "first": "run again", "generation": "not out", "ignore": "not out",
           "reset": "answer", "withdraw": "answer", "honour": "still open"}
RULES = frozenset(MUTANTS)

# The broker's record; its block is out as long as `block` is not None.
Conn = namedtuple("Conn", "gen attached lent committed acked block unsent client ended")
# The worker's side of it: what it does with which request, and whether its block is still its own.
Handler = namedtuple("Handler", "gen step request block")
State = namedtuple("State", "conns blocks to_worker to_broker handlers alive deaths finished")


def changed(row, i, value):
    return row[:i] + (value,) + row[i + 1:]


def with_conn(s, c, **changes):
    return s._replace(conns=changed(s.conns, c, s.conns[c]._replace(**changes)))


def block_home(s, c):
    """The block that the connection's request lies in is the broker's again."""
    block = s.conns[c].block
    if block is None or s.blocks[block] is None:
        raise Wrong(f"connection {c}: a block comes home that is not out")
    return with_conn(s, c, block=None)._replace(blocks=changed(s.blocks, block, None))


def lend(s):
    for c, r in enumerate(s.conns):
        if r.lent or r.ended or r.committed == R or None not in s.blocks:
            continue
        block, gen = s.blocks.index(None), r.gen + (not r.attached)
        lent = with_conn(s, c, gen=gen, attached=True, lent=True, block=block)
        yield lent._replace(blocks=changed(s.blocks, block, (c, gen)),
                            to_worker=s.to_worker + (("DATA", c, gen, r.committed + 1, block),))


def take(s, descriptor, rules):
    kind, c, gen, request = descriptor
    r = s.conns[c]
    if r.ended:
        return s
    if kind == "CLOSE" and gen == r.gen and not r.attached and "honour" in rules:
        return with_conn(s, c, ended="closed")
    if "generation" in rules and (gen != r.gen or not r.attached):
        return s  # counted and ignored
    if kind == "SEND":
        return with_conn(s, c, unsent=r.unsent + (request,))
    if kind == "ACK":
        return with_conn(block_home(s, c), c, acked=True)
    if kind == "COMMIT":
        s = s if r.acked else block_home(s, c)
        return with_conn(s, c, committed=request, acked=False, lent=False)
    if r.block is not None:  # CLOSE brings home whatever is still out
        s = block_home(s, c)
    return with_conn(s, c, ended="closed", attached=False, lent=False)


def send(s):
    for c, r in enumerate(s.conns):
        if r.unsent:
            if r.unsent[0] != r.client + 1:
                raise Wrong(f"connection {c}: answer {r.unsent[0]} follows answer {r.client}")
            yield with_conn(s, c, unsent=r.unsent[1:], client=r.client + 1)


def revoke(s):
    for c, r in enumerate(s.conns):
        if r.attached and not r.lent and not r.ended and not s.to_broker:
            yield with_conn(s, c, attached=False)._replace(
                to_worker=s.to_worker + (("REVOKED", c, r.gen, None, None),))


def settle_one(s, c, rules):
    r = s.conns[c]
    if r.block is not None:
        s = block_home(s, c)
    if not r.ended and (r.client > r.committed or r.acked) and "reset" in rules:
        return with_conn(s, c, ended="reset", attached=False, lent=False, acked=False, unsent=())
    if "withdraw" in rules:
        s = with_conn(s, c, unsent=tuple(i for i in r.unsent if i <= r.committed))
    return with_conn(s, c, attached=False, lent=False, acked=False)


def settle(s, rules):
    """The pidfd is readable; from here on nothing of this incarnation runs."""
    drained, left = s, ()
    if "drain" in rules and "first" in rules:
        for descriptor in s.to_broker:
            drained = take(drained, descriptor, rules)
    elif "drain" in rules:
        left = s.to_broker
    for c in range(C):
        drained = settle_one(drained, c, rules)
    return drained._replace(to_worker=(), to_broker=left, handlers=(None,) * C, alive=True)


def publish(s, c, handler, *kinds):
    """One store of tail."""
    h = s.handlers[c]
    finished = s.finished
    if "COMMIT" in kinds:
        finished = changed(finished, c, h.request)
    batch = tuple((kind, c, h.gen, h.request) for kind in kinds)
    return s._replace(to_broker=s.to_broker + batch, finished=finished,
                      handlers=changed(s.handlers, c, handler))


def handle(s, rules):
    if s.to_worker:
        kind, c, gen, request, block = s.to_worker[0]
        after = s._replace(to_worker=s.to_worker[1:])
        h = s.handlers[c]
        if kind == "DATA" and h and h.gen == gen and h.step == "over" and "ignore" in rules:
            yield after
        elif kind == "DATA":
            if request <= s.finished[c]:
                raise Wrong(f"connection {c}: request {request} is run again, it was committed")
            started = Handler(gen, "read", request, block)
            yield after._replace(handlers=changed(s.handlers, c, started))
        elif h and h.gen == gen and h.step == "rest":
            yield after._replace(handlers=changed(s.handlers, c, None))
        else:
            yield after
    for c, h in enumerate(s.handlers):
        if h is None:
            continue
        rest = h._replace(step="rest", block=None)
        if h.step == "read":
            if h.block is not None:
                yield publish(s, c, h._replace(block=None), "ACK")
            yield publish(s, c, h._replace(step="wrote"), "SEND")
            yield publish(s, c, rest, "SEND", "COMMIT")
        elif h.step == "wrote":
            yield publish(s, c, rest, "COMMIT")
        elif h.step == "rest":
            yield publish(s, c, h._replace(step="over"), "CLOSE")


def check(s):
    for c, h in enumerate(s.handlers):
        if s.alive and h and h.block is not None and s.blocks[h.block] != (c, h.gen):
            raise Wrong(f"connection {c}: a block is not out although a live worker reads it")


def ended(s):
    for c, r in enumerate(s.conns):
        if not r.ended and (r.committed < R or r.client < R):
            return f"connection {c}: nothing moves any more, the client saw {r.client} answers"
        h = s.handlers[c]
        if not r.ended and h and h.step == "over" and h.gen == r.gen:
            return f"connection {c}: still open although its last handler closed it"
    return None if s.blocks == (None,) * B else "a block is left over"


def run(rules):
    conn = Conn(0, False, False, 0, False, None, (), 0, None)
    start = State((conn,) * C, (None,) * B, (), (), (None,) * C, True, 0, (0,) * C)

    def successors(s):
        check(s)
        yield from lend(s)
        yield from send(s)
        yield from revoke(s)
        if s.to_broker:
            yield take(s, s.to_broker[0], rules)._replace(to_broker=s.to_broker[1:])
        if not s.alive:
            yield settle(s, rules)
        else:
            yield from handle(s, rules)
            if s.deaths < D:
                yield s._replace(alive=False, deaths=s.deaths + 1)

    return explore(start, successors, ended)


if __name__ == "__main__":
    judge(RULES, run, MUTANTS)
