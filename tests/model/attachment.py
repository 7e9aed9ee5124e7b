#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""attachment - one connection, the stays it has with workers, and the blocks that each of them leaves behind

R requests arrive on a connection. It stays with one worker after the other; a stay ends by CLOSE or RELEASED from
the worker or by REVOKED, a death, or a client's RESET and the CLOSE that answers it. Each request lies in a block of
the broker, each answer in a block of the worker that wrote it, and a worker has only as many as B. Answers that the
client does not take yet are a chain through blocks of several stays and incarnations, oldest first. A stay lives on
after its end, for its blocks, until FINAL. Each worker may be killed at every step, D times in all.

Shown, whatever crosses whatever: a block comes home exactly once and is never free while a live worker reads it; no
answer is sent from a block that was used again or went with its worker; the client sees the answers in order, each
once, all of them unless the connection was closed or reset; every stay gets its FINAL, and then nothing is left.

    step             stands for
    deliver          vn_dispatch_attach(), vn_debt_push_data(); OPEN rides on the first DATA of a stay
    take             vn_intake_take(): SEND, ACK with VN_COMMIT, CLOSE, RELEASED
    send             vn_socket_output(), and VN_D_SENT to the stay whose block it was
    revoke           vn_dispatch_revoke()
    release          vn_dispatch_release(): VN_D_RELEASE
    reset            vn_socket_gone() and VN_D_RESET
    final            VN_D_FINAL of vn_debt_pay(), or VN_FINAL on REVOKED
    kill, settle     waitid(), then vn_settle_worker(): vn_intake_drain(), withdraw(), copies, decide()
    hear             brokered_take(), vn_brokered_on_conn(); vn_conn_on_sent() and conn_final() bring blocks home
    publish          vn_brokered_send(), vn_brokered_ack(), stage_close(), RELEASED, then one vn_link_flush()

Not built: output in blocks of several living stays at once, which the design allows and this explores. The code
revokes only when everything is sent, and copies (vn_keep_output()) what a worker that released a connection has
not got out yet, so that FINAL can be said at once. What holds here holds for these, which do less.

A rule is one line of the design; the model without it must fail:

    final        FINAL comes only when all output of the stay was sent
    else         a CLOSE that crosses REVOKED is ignored when somebody else has the connection
    honour       but it counts while nobody has
    forget       a worker that released a connection ignores DATA that crosses
    home         CLOSE and RELEASED bring blocks home that are still in flight
    answer       after a RESET, FINAL waits for the worker's CLOSE
    copy         what a dead worker had published and no client has taken yet is copied before its memory goes
    withdraw     but not what was not committed
"""
from collections import namedtuple

from common.explore import Wrong, explore, judge

W, R, B, D = 2, 2, 1, 1  # workers, requests, blocks of each worker for answers, deaths

MUTANTS = {"final": "other bytes", "else": "closed by", "honour": "still open", "forget": "not out",
           "home": "left over", "answer": "not out", "copy": "gone", "withdraw": "the client saw"}
RULES = frozenset(MUTANTS)

# The connection in the broker's books. chain: (worker or None for a copy, incarnation, stay, block, answer).
Conn = namedtuple("Conn", "gen owner delivered committed block chain client over asked")
# A worker: its lanes, its stays (Stay), what its blocks for answers hold, and the broker's block lent to it.
Worker = namedtuple("Worker", "incarnation alive to from_ stays pool lent ended")
Stay = namedtuple("Stay", "gen step request asked")
State = namedtuple("State", "conn workers deaths releases resets closes closer")


def changed(row, i, value):
    return row[:i] + (value,) + row[i + 1:]


def with_conn(s, **changes):
    return s._replace(conn=s.conn._replace(**changes))


def with_worker(s, w, **changes):
    return s._replace(workers=changed(s.workers, w, s.workers[w]._replace(**changes)))


def tell(s, w, *message):
    return with_worker(s, w, to=s.workers[w].to + (message,))


# The broker.


def block_home(s, w):
    """The one block that the connection's input takes in that worker's lane is the broker's again."""
    if s.workers[w].lent is None:
        raise Wrong("a block comes home that is not out")
    return with_conn(with_worker(s, w, lent=None), block=False)


def detach(s, w, gen):
    return with_conn(with_worker(s, w, ended=s.workers[w].ended + (gen,)), owner=None, asked=False)


def deliver(s):
    c = s.conn
    if c.over or c.delivered > c.committed or c.committed == R or c.block:
        return
    alike = all(worker == s.workers[0] for worker in s.workers)
    for w in (0,) if alike else range(W) if c.owner is None else (c.owner,):
        if s.workers[w].lent is not None or not s.workers[w].alive:
            continue
        gen = c.gen + (c.owner is None)
        lent = with_worker(with_conn(s, gen=gen, owner=w, delivered=c.committed + 1, block=True), w, lent=gen)
        yield tell(lent, w, "DATA", gen, c.committed + 1, c.owner is None)


def take_over(s, w, gen, committed, rules):
    """CLOSE or RELEASED of the stay that has the connection: all of its input comes home."""
    if s.conn.block and "home" in rules:
        s = block_home(s, w)
    return detach(with_conn(s, delivered=committed, committed=committed), w, gen)


def take(s, w, message, rules):
    kind, gen, number, block = message
    c = s.conn
    if gen != c.gen or c.owner != w:
        if kind == "CLOSE" and gen == c.gen and c.owner is None and not c.over:
            return with_conn(s, over="closed") if "honour" in rules else s
        if kind == "CLOSE" and "else" not in rules and not c.over:
            return with_conn(s, over="closed by a worker that does not have it")
        return s  # counted and ignored
    if kind in ("SEND", "BOTH") and not c.over:
        s = with_conn(s, chain=c.chain + ((w, s.workers[w].incarnation, gen, block, number),))
    if kind in ("COMMIT", "BOTH"):
        s = with_conn(block_home(s, w), committed=number)
    if kind == "CLOSE":
        s = take_over(s, w, gen, s.conn.delivered, rules)
        s = s if s.conn.over else with_conn(s, over="closed")
    if kind == "RELEASED":
        s = take_over(s, w, gen, number, rules)
    return s


def send(s):
    """The client takes one answer."""
    c = s.conn
    if not c.chain:
        return
    w, incarnation, gen, block, answer = c.chain[0]
    s = with_conn(s, chain=c.chain[1:], client=answer)
    if answer != c.client + 1:
        raise Wrong(f"the client saw answer {answer} after answer {c.client}")
    if w is not None:
        worker = s.workers[w]
        if worker.incarnation != incarnation:
            raise Wrong("an answer is sent from memory that is gone")
        if worker.pool[block] != (gen, answer):
            raise Wrong("other bytes are sent than were answered")
        if worker.alive:
            s = tell(s, w, "SENT", gen, answer, None)  # it is that stay's block, whoever has the connection now
    yield s


def revoke(s):
    c = s.conn
    if c.owner is None or c.over or c.delivered > c.committed or s.workers[c.owner].from_ or c.asked:
        return
    yield detach(tell(s, c.owner, "REVOKED", c.gen, None, None), c.owner, c.gen)


def release(s):
    c = s.conn
    if c.owner is not None and not c.over and c.delivered > c.committed and s.releases:
        yield tell(with_conn(s, asked=True), c.owner, "RELEASE", c.gen, None, None)._replace(releases=s.releases - 1)


def reset(s, rules):
    c = s.conn
    if c.over or not s.resets:
        return
    s = with_conn(s, over="reset", chain=())._replace(resets=s.resets - 1)
    if c.owner is not None:
        s = tell(s, c.owner, "RESET", c.gen, None, None)
        if "answer" not in rules:
            if c.block:
                s = block_home(s, c.owner)
            s = detach(s, c.owner, c.gen)
    yield s


def final(s, rules):
    for w, worker in enumerate(s.workers):
        for gen in worker.ended:
            if worker.alive and ("final" not in rules or all(part[2] != gen for part in s.conn.chain)):
                left = tuple(g for g in worker.ended if g != gen)
                yield tell(with_worker(s, w, ended=left), w, "FINAL", gen, None, None)


def settle(s, w, rules):
    """The worker is dead; nothing of this incarnation runs from here on, and its memory goes."""
    for message in s.workers[w].from_:
        s = take(s, w, message, rules)
    c = s.conn
    chain = c.chain
    if c.owner == w:
        if "withdraw" in rules:
            chain = tuple(part for part in chain if part[4] <= c.committed)
        if c.block:
            s = block_home(s, w)
        over = c.over or ("reset" if c.client > c.committed else None)
        s = with_conn(s, owner=None, delivered=c.committed, asked=False, over=over)
        chain = () if over == "reset" else chain
    if "copy" in rules:
        chain = tuple((None, None, None, None, p[4]) if p[0] == w else p for p in chain)
    return with_worker(with_conn(s, chain=chain), w, incarnation=s.workers[w].incarnation + 1, alive=True, to=(),
                       from_=(), stays=(), pool=(None,) * B, lent=None, ended=())


# A worker.


def stay_of(worker, gen):
    return next((i for i, stay in enumerate(worker.stays) if stay.gen == gen), None)


def with_stay(s, w, i, **changes):
    stays = s.workers[w].stays
    return with_worker(s, w, stays=changed(stays, i, stays[i]._replace(**changes)))


def hear(s, w, rules):
    worker = s.workers[w]
    kind, gen, number, opens = worker.to[0]
    s = with_worker(s, w, to=worker.to[1:])
    i = stay_of(worker, gen)
    if kind == "DATA" and opens:
        return with_worker(s, w, stays=worker.stays + (Stay(gen, "read", number, False),))
    if i is None:
        return s
    step = worker.stays[i].step
    if kind == "DATA":
        ignored = step == "over" or (step == "gone" and "forget" in rules)
        return s if ignored else with_stay(s, w, i, step="read", request=number)
    if kind == "SENT":
        return with_worker(s, w, pool=tuple(None if p and p[0] == gen and p[1] <= number else p for p in worker.pool))
    if kind == "FINAL":
        return with_worker(s, w, stays=worker.stays[:i] + worker.stays[i + 1:],
                           pool=tuple(None if p and p[0] == gen else p for p in worker.pool))
    if kind == "REVOKED" and step == "rest":
        return with_stay(s, w, i, step="gone")
    if kind in ("RELEASE", "RESET"):
        return with_stay(s, w, i, asked=kind)
    return s


def publish(s, w, i, step, *message):
    s = with_stay(s, w, i, step=step)
    return with_worker(s, w, from_=s.workers[w].from_ + (message,))


def handle(s, w):
    worker = s.workers[w]
    for i, stay in enumerate(worker.stays):
        free = worker.pool.index(None) if None in worker.pool else None
        if stay.asked == "RESET" and stay.step in ("read", "wrote", "rest"):
            yield publish(s, w, i, "over", "CLOSE", stay.gen, None, None)
        if stay.step == "read" and free is not None:
            wrote = with_worker(s, w, pool=changed(worker.pool, free, (stay.gen, stay.request)))
            yield publish(wrote, w, i, "wrote", "SEND", stay.gen, stay.request, free)
            yield publish(wrote, w, i, "rest", "BOTH", stay.gen, stay.request, free)
        elif stay.step == "wrote":
            yield publish(s, w, i, "rest", "COMMIT", stay.gen, stay.request, None)
        elif stay.step == "rest" and stay.asked == "RELEASE":
            yield publish(s, w, i, "gone", "RELEASED", stay.gen, stay.request, None)


def ordinary(s, rules):
    """What happens by itself, sooner or later."""
    yield from deliver(s)
    yield from send(s)
    yield from revoke(s)
    yield from final(s, rules)
    for w, worker in enumerate(s.workers):
        if worker.from_:
            yield take(with_worker(s, w, from_=worker.from_[1:]), w, worker.from_[0], rules)
        if not worker.alive:
            yield settle(s, w, rules)
        elif worker.to:
            yield hear(s, w, rules)
        if worker.alive:
            yield from handle(s, w)


def at_will(s, rules):
    """What may happen, or not."""
    yield from release(s)
    yield from reset(s, rules)
    for w, worker in enumerate(s.workers):
        if worker.alive and s.deaths:
            yield with_worker(s, w, alive=False)._replace(deaths=s.deaths - 1)
        for i, stay in enumerate(worker.stays):
            if worker.alive and stay.step == "rest" and s.closes:
                closed = publish(s, w, i, "over", "CLOSE", stay.gen, None, None)
                yield closed._replace(closes=s.closes - 1, closer=stay.gen)


def check(s):
    if s.conn.over and s.conn.over.startswith("closed by"):
        raise Wrong(s.conn.over)
    for worker in s.workers:
        for stay in worker.stays:
            if worker.alive and stay.step in ("read", "wrote") and worker.lent != stay.gen:
                raise Wrong("a block is not out although a live worker reads it")


def ended(s):
    c = s.conn
    if not c.over and (c.committed < R or c.client < R):
        return f"nothing moves any more: the client saw {c.client} answers"
    if not c.over and s.closer == c.gen:
        return "still open although its last handler closed it"
    for worker in s.workers:
        if worker.lent is not None or worker.stays or worker.ended or any(worker.pool):
            return f"left over: {worker}"
    return None


def run(rules):
    conn = Conn(0, None, 0, 0, False, (), 0, None, False)
    worker = Worker(0, True, (), (), (), (None,) * B, None, ())
    start = State(conn, (worker,) * W, D, 1, 1, 1, None)

    def successors(s):
        check(s)
        going_on = list(ordinary(s, rules))
        if not going_on and ended(s):
            raise Wrong(ended(s))
        yield from going_on
        yield from at_will(s, rules)

    return explore(start, successors, lambda s: None)


if __name__ == "__main__":
    judge(RULES, run, MUTANTS)
