"""A window's measurements as named numbers, units in the names: what objectives and constraints are about."""

import math
from collections.abc import Sequence

from mustherd.terms import Energy, LoadReport


def metrics(window_seconds: float, energies: Sequence[Energy], load: LoadReport | None) -> dict[str, float]:
    """Every metric that one window gives; what was not measured is not in it, and nothing in it is NaN or infinite.

    `energy_joules` is the sum over packages: core and DRAM zones are parts of them or of another meter.
    """
    found: dict[str, float] = {"window_seconds": window_seconds}
    packages = [e.joules for e in energies if e.kind == "package"]
    if packages and window_seconds > 0:
        found["energy_joules"] = math.fsum(packages)
        found["power_watts"] = found["energy_joules"] / window_seconds
    if load is None:
        return found
    found["offered_qps"] = load.offered_qps
    found["achieved_qps"] = load.achieved_qps
    found["misses"] = float(load.misses)
    if load.offered_qps > 0:
        found["achieved_ratio"] = load.achieved_qps / load.offered_qps
    if load.requests > 0 and "energy_joules" in found:
        found["joules_per_request"] = found["energy_joules"] / load.requests
    if "server_cpu_seconds" in load.counters:
        found["server_cpu_seconds"] = load.counters["server_cpu_seconds"]
        if load.requests > 0:
            found["cpu_seconds_per_request"] = found["server_cpu_seconds"] / load.requests
    for kind, latencies in (("read", load.read_us), ("update", load.update_us)):
        for name, value in latencies.items():
            found[f"{kind}_{name}_us"] = value
    return {name: value for name, value in found.items() if math.isfinite(value)}
