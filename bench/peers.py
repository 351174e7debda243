"""Vowpal Wabbit and MABWiser on the candidates given as JSON on stdin; µs per decision as JSON on stdout.

Runs in an environment of its own, so it imports nothing of this project.
"""

import json
import sys
import time
import timeit
from collections.abc import Callable
from functools import partial

import numpy as np
from mabwiser.mab import MAB, LearningPolicy  # type: ignore[import-not-found]  # not in this environment
from vowpalwabbit import Workspace  # type: ignore[import-not-found]  # likewise


def time_of(work: Callable[[], object]) -> list[float]:
    timer = timeit.Timer(work, timer=time.process_time)
    calls, took = timer.autorange()
    calls = max(1, int(calls * 0.05 / took))
    return [each / calls * 1e6 for each in timer.repeat(9, calls)]


def vowpal_wabbit(rows: list[list[float]]) -> dict[str, list[float]]:
    """One model over all candidates, as ours: each is a line of its d features."""
    vw = Workspace("--cb_explore_adf --epsilon 0.1 --quiet")

    def lines(label: str = "") -> list[str]:
        texts = ["| " + " ".join(f"f{i}:{value:.6g}" for i, value in enumerate(row)) for row in rows]
        return [label + texts[0], *texts[1:]]

    for step in range(200):
        vw.learn(lines(f"0:{((step % 5) - 2) / 2}:0.5 "))
    prepared = vw.parse(lines())
    result = {
        "Vowpal Wabbit, its text format": time_of(lambda: vw.predict(lines())),
        "Vowpal Wabbit, parsed beforehand": time_of(lambda: vw.predict(prepared)),
    }
    vw.finish()
    return result


def mabwiser(rows: list[list[float]]) -> dict[str, list[float]]:
    """A model for each arm, given one context: the nearest it has to candidates with features."""
    contexts = np.array(rows)
    arms = list(range(len(rows)))
    steps = range(200)
    chosen = [step % len(arms) for step in steps]
    result = {}
    learners = {"LinGreedy": LearningPolicy.LinGreedy(epsilon=0.1), "LinUCB": LearningPolicy.LinUCB(alpha=1.0)}
    for name, learner in learners.items():
        mab = MAB(arms, learner, seed=1)
        mab.fit(chosen, [((step % 5) - 2) / 2 for step in steps], contexts[chosen])
        result[f"MABWiser {name}, a model for each arm"] = time_of(partial(mab.predict, contexts[:1]))
    return result


if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump(vowpal_wabbit(given) | mabwiser(given), sys.stdout)
