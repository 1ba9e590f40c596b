"""The same work wherever it is done; Ray by a stand-in for its module."""

import os
import sys
from types import ModuleType

import pytest
from bitsback.diagnostics.engines import each


def work(item):
    return item**2, os.getpid()


def test_here_is_in_order_and_at_once():
    seen = each(work, [3, 1, 2])
    assert next(seen) == (3, (9, os.getpid()))
    assert [item for item, _ in seen] == [1, 2]


def test_processes_are_others_and_give_the_same():
    """`eval` is a task that any process has."""
    where = "__import__('os').getpid(), __import__('torch').get_num_threads()"
    late = "__import__('time').sleep(1), 1 / 0"
    found = {}
    with pytest.raises(ZeroDivisionError):
        for item, result in each(eval, ["3**2", "1**2", where, late], "processes", jobs=2):
            found[item] = result
    process, threads = found.pop(where)
    assert found == {"3**2": 9, "1**2": 1} and process != os.getpid() and threads == 1


def test_one_job_is_no_other_process():
    assert dict(each(work, [3], "processes")) == {3: (9, os.getpid())}
    assert dict(each(work, [3, 4], "processes", 1))[4] == (16, os.getpid())


def test_a_function_that_cannot_be_sent():
    with pytest.raises(ValueError, match=r"cannot send this work.*not lambdas"):
        list(each(lambda item: item, [1, 2], "processes", 2))


@pytest.mark.parametrize("options", [{"engine": "dask"}, {"engine": "processes", "jobs": 0}])
def test_refusals(options):
    with pytest.raises(ValueError, match=r"unknown engine 'dask'; known: here|jobs must be"):
        each(work, [1], **options)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"not installed: pip install 'bitsback\[ray\]'"):
        list(each(work, [1], "ray"))


class Ray(ModuleType):
    """What of Ray is used, with tasks that end in the opposite order."""

    def __init__(self):
        super().__init__("ray")
        self.started, self.objects = 0, {}

    def is_initialized(self):
        return bool(self.started)

    def init(self):
        self.started += 1

    def put(self, value):
        self.objects["put"] = value
        return "put"

    def remote(self, function):
        ray = self

        class Remote:
            def remote(self, reference, item):
                name = f"ref {len(ray.objects)}"
                ray.objects[name] = function(ray.objects[reference], item)
                return name

        return Remote()

    def wait(self, references):
        return references[-1:], references[:-1]

    def get(self, reference):
        return self.objects[reference]


def test_ray_shares_the_task_and_starts_once(monkeypatch):
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    for _ in range(2):
        found = list(each(lambda item: item + 1, [1, 2, 3], "ray"))
        assert found == [(3, 4), (2, 3), (1, 2)]
    assert ray.started == 1
