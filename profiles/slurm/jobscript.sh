#!/bin/bash
# properties = {properties}
# SIGTERM (preemption, cancellation, the time limit) must not end this shell: what runs below saves its state first.
trap : TERM
{exec_job}
