# SPDX-License-Identifier: MIT
"""explore - every state that a model can reach, and a verdict on the design and its mutants"""
import gc
import sys
from collections import deque


class Wrong(Exception):
    """A step that must never be possible was."""


def explore(start, successors, ended):
    """Breadth first, so that what is found is found on a shortest way.

    successors(state) yields the following states, or raises Wrong; ended(state) says what is wrong
    with a state in which nothing can move any more, or None if all is done. Returns the number of
    states and what is wrong.
    """
    gc.disable()  # millions of tuples without a cycle
    seen, todo = {start}, deque([start])
    while todo:
        state = todo.popleft()
        moved = False
        try:
            for following in successors(state):
                moved = True
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        except Wrong as wrong:
            return len(seen), str(wrong)
        if not moved and ended(state):
            return len(seen), ended(state)
    return len(seen), None


def judge(rules, run, mutants):
    """Runs the design with all its rules, and once without each; ends the program.

    run(rules) explores; mutants maps each rule to words of what must go wrong without it.
    """
    failed = False
    for left_out in [None, *mutants]:
        n_states, wrong = run(rules - {left_out})
        wanted = mutants.get(left_out)
        right = wrong is None if left_out is None else wrong is not None and wanted in wrong
        name = "as designed" if left_out is None else f"without {left_out}"
        print("ok  " if right else "FAIL", f"{name}: {n_states} states,",
              wrong or "nothing goes wrong", flush=True)
        failed |= not right
    sys.exit(failed)
