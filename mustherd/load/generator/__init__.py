"""The built-in load generator: for machines without mutilate, for one machine on its own, and for tests.

It is open-loop: requests fall due by a schedule that waits for no answer, and a latency counts from the time that its
request was due, so that a stall of the server (or of the generator) is seen by every request it delayed. Only beyond
the load's `outstanding` requests does it hold back, as mutilate does, and what it holds back counts all the same.

Each worker is a process of its own that asks a fixed number of connections; this package's `Generator` starts and
merges them and is light enough for a muster. Counters that it adds to a report, worst worker where it says so:

- `generator_busy`: share of the window in which a worker had something to do (worst worker).
- `generator_lag_avg_us`, `generator_lag_p99_us`: how late requests were sent that nothing held back (worst worker).
- `generator_wait_share`: share of the window in which a worker was ready to run and had no core (worst worker).
- `generator_unsent_share`, `generator_late_share`: `unsent` as a share of the requests due, and the share of the mean
  latency that comes of sending late.
- `generator_takes_precedence`: 1 where every worker goes before other processes, which takes root.
- `generator_cpu_seconds`: CPU time of all workers; a worker that doesn't block takes a whole core.
- `counters_slack_s`: how far the servers' counters may have been read from the two ends of the window, in all.
- `unsent`: requests due in the window, not held back and yet not sent at its end. `held_back`: due and held back at
  its end. `unanswered`: sent and not answered at its end. `errors`: answers that were errors.

Its limit is about 60,000 requests a second for each worker with a core to itself, 80,000 at most (2.6 GHz EPYC, 1
memcached on loopback); `mustherd load limit` measures it where it runs. A report is `saturated` when the
generator was the bottleneck, by the limits in mustherd.load.saturation.
"""
