"""Makes optima.tsv: the exact minimum of lost work for seeded preemptions.

Needs python3-scipy (HiGHS). The instances are those of quality_test.go, drawn by
the same generator from the same seeds; the test reads only the table.

Variables: x_j (gang j is evicted, all of it) and y_n (tasks of the preemptor on
node n).  g*y_n <= free_n + sum_j a_jn x_j;  sum y_n >= p;  for each queue
sum_j size_j x_j <= allocated - guaranteed;  minimise sum loss_j x_j.
"""
import sys
import time

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_matrix

MASK = (1 << 64) - 1


class Random:
    """splitmix64"""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


SIZES = [1] * 8 + [2] * 5 + [4] * 5 + [8] * 3 + [16] * 2 + [32, 64]


class Instance:
    def __init__(self, seed):
        r = Random(seed)
        self.nodes = n = (16, 64, 128)[seed % 3]
        self.tasks, self.gpus = ((1, 8), (n // 16, 8), (n // 8, 4))[seed // 3 % 3]
        ask = self.tasks * self.gpus
        self.guaranteed = [8 * n * share // 100 for share in (12, 16, 14, 18, 40)]
        self.allocated = [0] * 5
        self.free = [8] * n
        self.jobs = []  # (queue, {node: gpus}, loss)
        misses = 0
        while misses < 200:
            size = SIZES[r.below(len(SIZES))]
            per = min(size, 1 << r.below(4))
            queue = r.below(5)
            seconds = 60 + r.below(14340)
            start = r.below(n)
            if queue == 4 and self.allocated[4] + size + ask > self.guaranteed[4]:
                misses += 1
                continue
            free, held = list(self.free), {}
            for _ in range(size // per):
                for k in range(n):
                    at = (start + k) % n
                    if free[at] >= per:
                        free[at] -= per
                        held[at] = held.get(at, 0) + per
                        start = at + r.below(2)
                        break
                else:
                    held = None
                    break
            if held is None:
                misses += 1
                continue
            self.free = free
            self.allocated[queue] += size
            self.jobs.append((queue, held, size * seconds))


def solve(i):
    victims = [j for j in i.jobs if j[0] != 4]
    v, n = len(victims), i.nodes
    a = lil_matrix((n + 1 + 4, v + n))
    low = np.full(n + 5, -np.inf)
    high = np.zeros(n + 5)
    for k, (queue, held, _) in enumerate(victims):
        for at, gpus in held.items():
            a[at, k] = -gpus
        a[n + 1 + queue, k] = sum(held.values())
    for at in range(n):
        a[at, v + at] = i.gpus
        high[at] = i.free[at]
        a[n, v + at] = 1
    low[n], high[n] = i.tasks, np.inf
    for q in range(4):
        high[n + 1 + q] = i.allocated[q] - i.guaranteed[q]
    cost = np.array([j[2] for j in victims] + [0] * n, dtype=float)
    upper = np.array([1] * v + [8 // i.gpus] * n)
    high[n + 1:] = np.maximum(high[n + 1:], 0)  # a queue below its guarantee gives nothing
    res = milp(cost, constraints=LinearConstraint(a.tocsr(), low, high), integrality=np.ones(v + n),
               bounds=Bounds(0, upper), options={"mip_rel_gap": 0, "time_limit": 120})
    if res.status == 2:
        return None
    assert res.status == 0, (res.status, res.message)
    chosen = [victims[k] for k in range(v) if res.x[k] > 0.5]
    return sum(j[2] for j in chosen), len(chosen)


def main():
    print("# seed\tnodes\ttasks\tgpus\tgangs\tloss_gpu_s (-1: none without straddling)\tvictims")
    slowest = 0.0
    for seed in range(200):
        i = Instance(seed)
        began = time.time()
        found = solve(i)
        slowest = max(slowest, time.time() - began)
        loss, victims = found if found else (-1, 0)
        print(seed, i.nodes, i.tasks, i.gpus, len(i.jobs), loss, victims, sep="\t")
    print(f"slowest {slowest:.2f} s", file=sys.stderr)


main()
