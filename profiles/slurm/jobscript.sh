#!/bin/bash
# properties = {properties}
# SIGTERM (preemption, cancellation, the time limit) may come to this shell alone, or to all. Those below get it in any
# case, and this shell waits until the attack has saved its state.
trap 'trap "" TERM; kill -TERM 0' TERM
( {exec_job} ) &
while :; do
    wait $!
    code=$?
    kill -0 $! 2>/dev/null || exit $code
done
