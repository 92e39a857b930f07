#!/bin/sh
# status.sh NUMBER: what became of a job, in Snakemake's words: running, success or failed.
# One question to SLURM answers for all jobs, and for five seconds. While SLURM does not answer, jobs count as running.
queue=.snakemake/slurm-queue

ask() {
    if squeue --me --noheader --states=all --format='%A %T' >"$queue.$$" 2>/dev/null; then
        mv "$queue.$$" "$queue"
    else
        rm -f "$queue.$$"
        false
    fi
}

state() { sed -n "s/^$1 //p" "$queue" 2>/dev/null | tail -n 1; }

age=$(($(date +%s) - $(stat -c %Y "$queue" 2>/dev/null || echo 0)))
[ "$age" -le 5 ] && [ -n "$(state "$1")" ] || ask || { echo running; exit; }
found=$(state "$1")
# Out of the queue's memory: the accounting, where there is one, still knows.
[ -n "$found" ] || found=$(sacct -nXP -o State -j "$1" 2>/dev/null | tail -n 1)
case "$found" in
    COMPLETED*) echo success ;;
    PENDING | CONFIGURING | RUNNING | SUSPENDED | COMPLETING | REQUEUE* | RESIZING | SIGNALING | STAGE_OUT | STOPPED | RESV_DEL_HOLD | SPECIAL_EXIT) echo running ;;
    *) echo failed ;; # CANCELLED, FAILED, NODE_FAIL, OUT_OF_MEMORY, PREEMPTED, TIMEOUT, …, or gone without a trace
esac
