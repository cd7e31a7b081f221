"""How quick the service is: this build and another one, in turn, each as a service of its own on SQLite.

    python -m benchmarks.service OTHER_CHECKOUT [--only up,intake,first,cold,jobs,polls] [--rounds 3]
    python -m benchmarks.service --only queue,latency,overhead,million,pair

``up``: from `radii up` to its word that it is ready. ``intake``: from the first byte of a model of 1 kB to `ready`.
``first``: the first job of a service that has just started, once its model and data set are ready. ``cold``: all of
that, from `radii up` on. ``jobs``: jobs of one input each a second, all queued before the only worker starts.
``polls``: answers a second to 50 clients that ask about a job as fast as they can.

Of this build alone: ``queue``: 2,000 queued jobs and 200 clients that poll once a second, for some seconds already.
``latency``: from the submission of a tiny job to the answer that has its result. ``overhead``: what of a job of 1,000
inputs is not computing samples, where an earlier job has found out what runs them fastest (at most 2 % of that one).
``million``: a million results, written straight into the database, as JSON Lines.
``pair``: a job of costly inputs by two workers and by one, which takes two cores that nobody else uses; beside it two
processes that do nothing but count, and one.

Each figure is a line, with the load of the machine then; a part that fails is told, and the next one follows.

The other build runs on this one's interpreter and packages, without uvloop and httptools, which it does not name.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.running import HERE, TINY, Service, clients, moment, service, wait_for, watched

JOBS, INPUTS, EARLIER = 300, 1000, 120
COSTLY, SAMPLES = 96, 100_000  # inputs of `pair`, and samples of each
HIDDEN = 512  # units of the network of `pair` and `overhead`: it is to be computing that they wait for
COUNTING = "for _ in range(10**8): pass"


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def tell(line: str) -> None:
    print(f"{line} [load {os.getloadavg()[0]:.1f}]", flush=True)


# Parts of both builds: each returns its figure.


def up(checkout: Path) -> float:
    """s from `radii up` to ready"""
    with service(checkout) as one:
        return one.up()


def intake(checkout: Path) -> float:
    """s from upload to ready, median of 7 models of 1 kB"""
    with service(checkout) as one:
        one.up()
        one.model(0)
        return statistics.median(timed(partial(one.model, seed)) for seed in range(1, 8))


def first(checkout: Path) -> float:
    """s of the first job of a fresh service"""
    with service(checkout) as one:
        one.up()
        ids = one.model(0), one.dataset()
        return timed(lambda: one.ended(f"/v1/certifications/{one.submit(*ids, 0, 1)}", "succeeded"))


def cold(checkout: Path) -> float:
    """s from `radii up` to the result of the first job, uploads included"""
    with service(checkout) as one:
        began = time.perf_counter()
        one.up()
        ids = one.model(0), one.dataset()
        one.ended(f"/v1/certifications/{one.submit(*ids, 0, 1)}", "succeeded")
        return time.perf_counter() - began


def jobs(checkout: Path) -> float:
    """jobs of one input each a second, one worker"""
    with service(checkout) as one:
        one.parts()
        ids = one.model(0), one.dataset()
        for index in range(JOBS):
            one.submit(*ids, index, index + 1)
        one.worker("certify")
        with sqlite3.connect(one.data / "radii.sqlite") as database:
            query = "SELECT count(*) FROM certifications WHERE state = 'succeeded'"
            wait_for(lambda: database.execute(query).fetchone()[0] == JOBS)
            moments = sorted(moment(row["finished_at"]) for row in certifications(one))
        return (JOBS - 20) / (moments[-1] - moments[19])  # the first ones start it


def certifications(one: Service) -> list[Any]:
    cursor, found = "", list[Any]()
    while True:
        page = one.get(f"/v1/certifications?limit=1000{cursor}")
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def polls(checkout: Path) -> float:
    """polls a second by 50 clients of a queued job"""
    with service(checkout) as one:
        one.parts()
        job = one.submit(one.model(0), one.dataset(), 0, 1)
        took, statuses = asyncio.run(clients(one.url, one.key, [f"/v1/certifications/{job}"], 50, 6, 0))
        assert set(statuses) == {200, 304}
        print(f"    p50 {percentile(took, 0.5) * 1e3:.1f} ms, p99 {percentile(took, 0.99) * 1e3:.1f} ms")
        return len(took) / 6


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# Parts of this build alone: each prints its figures.


def queue() -> None:
    with service(HERE) as one:
        one.parts()
        ids = one.model(0), one.dataset(2000)
        paths = [f"/v1/certifications/{one.submit(*ids, index, index + 1)}" for index in range(2000)]
        one.worker("certify")
        api = psutil.Process(one.api.pid)
        asyncio.run(clients(one.url, one.key, paths[-200:], 200, 3, 1))  # who has polled before
        before, cpu, began = api.memory_info().rss, sum(api.cpu_times()[:2]), time.perf_counter()
        took, statuses, late = asyncio.run(watched(clients(one.url, one.key, paths[-200:], 200, 20, 1)))
        cpu = (sum(api.cpu_times()[:2]) - cpu) / (time.perf_counter() - began)
        grown = (api.memory_info().rss - before) / 2**20
        bad = sum(status >= 500 for status in statuses)
        waiting = sum(row["state"] != "succeeded" for row in certifications(one))
        tell(
            f"queue: {len(took)} polls, {bad} of them 5xx, p50 {percentile(took, 0.5) * 1e3:.1f} ms, "
            f"p99 {percentile(took, 0.99) * 1e3:.1f} ms (a client that sleeps wakes up "
            f"{percentile(late, 0.99) * 1e3:.1f} ms late, p99), API {cpu:.0%} of a core, "
            f"memory {before / 2**20:.0f} MiB {grown:+.1f} MiB, {waiting} jobs still to do"
        )


def latency() -> None:
    with service(HERE) as one:
        one.up()
        ids = {"model_id": one.model(0), "dataset_id": one.dataset()}
        took = []
        for index in range(41):
            subset = {"start": index, "stop": index + 1}
            began = time.perf_counter()
            row = one.post("/v1/certifications", wait=30, **ids, method=TINY, subset=subset)
            took.append(time.perf_counter() - began)
            assert row["results"]["items"]
        tell(f"latency: median {statistics.median(took[1:]) * 1e3:.0f} ms, p90 {percentile(took, 0.9) * 1e3:.0f} ms")


def overhead() -> None:
    with service(HERE) as one:
        one.up()
        ids = one.model(0, HIDDEN), one.dataset(INPUTS + EARLIER)
        one.seconds(one.submit(*ids, INPUTS, INPUTS + EARLIER, n=10_000))
        job = one.submit(*ids, 0, INPUTS, n=10_000)
        wall = one.seconds(job)
        lines = one.client.get(f"/v1/certifications/{job}/results", headers={"Accept": "application/jsonl"}).text
        computing = sum(json.loads(line)["seconds"] for line in lines.splitlines())
        tell(f"overhead: {wall:.1f} s, of which {computing:.1f} s compute: {wall / computing - 1:.2%} on top")


def million() -> None:
    with service(HERE) as one:
        one.parts()
        job = one.submit(one.model(0), one.dataset(), 0, 1)
        detail = json.dumps({"pilot_class": 1, "counts": [0, 990, 10], "n": 1000, "seconds": 0.01})
        with sqlite3.connect(one.data / "radii.sqlite") as database:
            rows = ((job, index, 1, 1, 0.5, 0, detail) for index in range(1_000_000))
            columns = 'certification_id, "index", label, prediction, radius, abstained, detail'
            database.executemany(f"INSERT INTO results ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        api, most, count, began = psutil.Process(one.api.pid), 0, 0, time.perf_counter()
        before = api.memory_info().rss
        headers = {"Accept": "application/jsonl"}
        with one.client.stream("GET", f"/v1/certifications/{job}/results", headers=headers) as answer:
            for block in answer.iter_raw(2**20):
                count += block.count(b"\n")
                most = max(most, api.memory_info().rss)
        assert count == 1_000_000
        rate = count / (time.perf_counter() - began)
        grown = (most - before) / 2**20
        tell(f"million: {rate:.0f} results a second, API memory {before / 2**20:.0f} MiB {grown:+.1f} MiB at most")


def pair() -> None:
    with service(HERE) as one:
        one.parts()
        ids = one.model(0, HIDDEN), one.dataset(2 * COSTLY + 100)
        _, second = one.worker("certify", "one"), one.worker("certify", "two")
        with sqlite3.connect(one.data / "radii.sqlite") as database:
            query = "SELECT count(DISTINCT worker) FROM shards WHERE state = 'succeeded'"
            for index in range(2 * COSTLY, 2 * COSTLY + 100, 2):  # until both are warm, and know how long it takes
                some = [one.submit(*ids, at, at + 1, n=SAMPLES) for at in (index, index + 1)]
                for job in some:
                    one.seconds(job)
                if database.execute(query).fetchone()[0] == 2:
                    break
        two = one.seconds(one.submit(*ids, 0, COSTLY, n=SAMPLES))
        second.terminate()
        second.wait(60)
        alone = one.seconds(one.submit(*ids, COSTLY, 2 * COSTLY, n=SAMPLES))
        bare = 2 * timed(partial(count, 1)) / timed(partial(count, 2))
        tell(
            f"pair: {COSTLY} inputs of {SAMPLES} samples: one worker {alone:.1f} s, two {two:.1f} s: "
            f"{alone / two:.2f} times as quick (two processes that count: {bare:.2f})"
        )


def count(processes: int) -> None:
    """So many processes, each of which counts to the same number."""
    running = [subprocess.Popen([sys.executable, "-c", COUNTING]) for _ in range(processes)]
    for process in running:
        process.wait()


BOTH = {"up": up, "intake": intake, "first": first, "cold": cold, "jobs": jobs, "polls": polls}
ALONE = {"queue": queue, "latency": latency, "overhead": overhead, "million": million, "pair": pair}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?", help="a checkout of the other build")
    parser.add_argument("--only", default=",".join((*BOTH, *ALONE)))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    chosen = given.only.split(",")
    builds = {"ours": HERE} | ({"other": given.other.resolve()} if given.other else {})
    for name in (name for name in BOTH if name in chosen):
        with told_failure(name):
            compare(name, builds, given.rounds)
    for name in (name for name in ALONE if name in chosen):
        with told_failure(name):
            ALONE[name]()


@contextmanager
def told_failure(name: str) -> Iterator[None]:
    """A part that fails is no reason not to run the others."""
    try:
        yield
    except Exception as error:
        tell(f"{name}: failed: {f'{type(error).__name__}: {error}'[:500]}")


def compare(name: str, builds: dict[str, Path], rounds: int) -> None:
    """The part of each build in turn, and the median of each."""
    found: dict[str, list[float]] = {build: [] for build in builds}
    for _ in range(rounds):
        for build, checkout in builds.items():
            found[build].append(BOTH[name](checkout))
    middle = {build: statistics.median(figures) for build, figures in found.items()}
    told = ", ".join(f"{build} {figure:.3g}" for build, figure in middle.items())
    ratio = f": {middle['ours'] / middle['other']:.3g} of the other" if "other" in middle else ""
    tell(f"{name}: {BOTH[name].__doc__}: {told}{ratio}")


if __name__ == "__main__":
    main()
