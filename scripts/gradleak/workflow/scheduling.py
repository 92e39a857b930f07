"""A fix for Snakemake's scheduler, which wakes itself up more and more often in long runs."""

from __future__ import annotations

import threading


def wake_once_at_a_time() -> None:
    """Let a scheduler have one timer running, not one for every job that ever ended.

    Where a limit on jobs per timespan may have left jobs waiting, Snakemake (9.27) sets a timer after each
    look at the ready ones; when it ends they are looked at, and the next one is set. But each job's end is a
    look too, so that each starts a chain of timers of its own, and none of them ends while any job is ready:
    after a few hundred jobs Snakemake looks through everything all the time.
    """
    from snakemake.scheduling.job_scheduler import JobScheduler

    if not hasattr(JobScheduler, "_schedule_reevalutation"):  # sic
        return  # another version

    def schedule(self: JobScheduler, delay: float) -> None:
        if getattr(self, "_timer_runs", False):
            return
        self._timer_runs = True

        def wake() -> None:
            self._timer_runs = False
            self._open_jobs.release()

        timer = threading.Timer(delay, wake)
        timer.daemon = True  # a run that has ended need not wait for it
        timer.start()

    JobScheduler._schedule_reevalutation = schedule
