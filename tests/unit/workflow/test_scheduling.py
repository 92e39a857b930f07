"""Snakemake's scheduler, and how often it wakes itself up."""

import threading
import time

from snakemake.scheduling.job_scheduler import JobScheduler

from gradleak.workflow import scheduling


class Waiting(JobScheduler):
    """A scheduler that counts how often it is woken up."""

    def __init__(self):
        self._open_jobs = threading.Semaphore(0)

    def woken(self) -> int:
        return sum(iter(lambda: self._open_jobs.acquire(blocking=False), False))


def test_many_looks_at_the_ready_jobs_set_one_timer(monkeypatch):
    monkeypatch.setattr(
        JobScheduler, "_schedule_reevalutation", JobScheduler._schedule_reevalutation
    )  # put back afterwards
    scheduling.wake_once_at_a_time()
    waiting = Waiting()
    for _ in range(20):
        waiting._schedule_reevalutation(0.2)
    assert waiting._open_jobs.acquire(timeout=10)
    time.sleep(0.3)
    assert waiting.woken() == 0
    waiting._schedule_reevalutation(0.1)  # and the next look sets the next one
    assert waiting._open_jobs.acquire(timeout=10)


def test_another_version_of_snakemake_is_left_alone(monkeypatch):
    monkeypatch.delattr(JobScheduler, "_schedule_reevalutation")
    scheduling.wake_once_at_a_time()
    assert not hasattr(JobScheduler, "_schedule_reevalutation")
