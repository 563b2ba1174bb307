"""The workload: memcached, what loads it (mutilate, the built-in generator, a twin), and how that is measured."""
