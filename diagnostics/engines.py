"""Where the values of a search are worked on: in this process, in local ones, or by Ray.

All three do the same work in the same way, so that they give the same figures; values that are
done come back in whatever order they end.
"""

import functools
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

import torch

ENGINES = ("here", "processes", "ray")

_sent = b""  # the pickled task of a worker process


def each(
    task: Callable[[Any], Any], items: Sequence[Any], engine: str = "here", jobs: int | None = None
) -> Iterator[tuple[Any, Any]]:
    """Pairs of an item and `task(item)`, each as soon as it is there.

    :param task: deterministic. For "processes" it must be picklable (functions of a module, no
        lambdas), and a script must start it under `if __name__ == "__main__":`; Ray takes any.
    :param engine: "here": one after the other in this process. "processes": in new local
        processes, with one thread each. "ray": as tasks of one CPU each on the Ray cluster that
        this process is connected to, that RAY_ADDRESS names, or else on this machine.
    :param jobs: local processes at a time; default: one a core. One of them is no new process.
    :raises ValueError: for an unknown engine, for Ray where it is not installed, and for a task
        that cannot be sent to another process.
    """
    check(engine, jobs)
    if engine == "ray":
        return _by_ray(task, items)
    jobs = min(jobs or _cores(), len(items))
    if engine == "here" or jobs <= 1:
        return ((item, task(item)) for item in items)
    return _in_processes(task, items, jobs)


def check(engine: str, jobs: int | None) -> None:
    """:raises ValueError: for an engine or a number of jobs that there is not."""
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1; got {jobs}")
    if engine == "ray" and not _has_ray():
        raise ValueError(
            "engine 'ray' needs Ray, which is not installed: pip install 'bitsback[ray]'"
        )


def _has_ray() -> bool:
    try:
        import ray  # noqa: F401
    except ImportError:
        return False
    return True


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_processes(task, items: Sequence[Any], jobs: int) -> Iterator[tuple[Any, Any]]:
    try:
        sent = pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"engine 'processes' cannot send this work to another process ({error}): use functions "
            "of a module, not lambdas or functions inside functions, or engine='here'"
        ) from None
    # Bytes, and not tensors, which would be shared by file descriptors. Spawned: a fork of a
    # process with threads may hang.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _install, (sent,))
    try:
        waiting = {pool.submit(_work, item): item for item in items}
        for future in as_completed(waiting):
            yield waiting[future], pickle.loads(future.result())
    finally:
        pool.shutdown(cancel_futures=True)


def _install(sent: bytes) -> None:
    global _sent
    torch.set_num_threads(1)
    _sent = sent


@functools.cache
def _task() -> Callable[[Any], Any]:
    # Not in `_install`, whose errors a pool does not tell.
    return pickle.loads(_sent)


def _work(item: Any) -> bytes:
    return pickle.dumps(_task()(item))


def _by_ray(task, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    import ray

    if not ray.is_initialized():
        ray.init()
    sent, call = ray.put(task), ray.remote(_call)
    waiting = {call.remote(sent, item): item for item in items}
    while waiting:
        (ready,), _ = ray.wait(list(waiting))
        yield waiting.pop(ready), ray.get(ready)


def _call(task: Callable[[Any], Any], item: Any) -> Any:
    return task(item)
