"""Fit a twin's constants to the recorded grid again: python -m tests.benchmarks._fit_twin (minutes).

Robust least squares on the logarithms of energy, throughput and latencies, from the profile's present constants, with
the model of mustherd.node.twin.model as it is. Prints the constants to put into the profile and the cost before and
after. Constants that the grid does not determine stay as they are.
"""

import csv
import math
import sys

import msgspec
from scipy.optimize import least_squares

from mustherd.node.twin.model import predict
from mustherd.node.twin.profiles import C6220, Profile
from mustherd.terms import Load
from tests.shared_data import path

HELD = {
    "power": {"sleep_us", "uncore"},
    "service": set(),
    "latency": {"jitter_us", "update_kcycles"},
    "loop": {"polling_us"},
}
"""Constants that are not fitted, by part."""

WEIGHTS = {"read_avg": 1.0, "read_p90": 1.0, "read_p95": 1.0, "read_p99": 2.0}
ENERGY_WEIGHT = 5.0
THROUGHPUT_WEIGHT = 5.0
SATURATED_WEIGHT = 0.5
"""Of latencies where the load isn't carried: they depend on how the generator gives way."""

Names = list[tuple[str, str]]


def free(profile: Profile) -> Names:
    """Every constant that is fitted, as part and field; the empty part is the profile itself."""
    names = [("", "adaptive_us"), ("", "turbo_mhz")]
    for part, held in HELD.items():
        names += [(part, field) for field in getattr(profile, part).__struct_fields__ if field not in held]
    return names


def read(profile: Profile, names: Names) -> list[float]:
    """The values of these constants."""
    return [getattr(getattr(profile, part) if part else profile, field) for part, field in names]


def put(profile: Profile, names: Names, values: list[float]) -> Profile:
    """The profile with these constants."""
    for (part, field), value in zip(names, values, strict=True):
        if part:
            changed = msgspec.structs.replace(getattr(profile, part), **{field: value})
            profile = msgspec.structs.replace(profile, **{part: changed})
        else:
            profile = msgspec.structs.replace(profile, **{field: value})
    return profile


def main() -> int:
    with path("c6220_memcached_grid.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["campaign"] == "0"]
    names = free(C6220)
    start = read(C6220, names)

    def residuals(factors: list[float]) -> list[float]:
        profile = put(C6220, names, [f * s for f, s in zip(factors, start, strict=True)])
        found: list[float] = []
        for row in rows:
            load = Load(qps=float(row["target_qps"]))
            seen = predict(profile, int(row["itr_delay_us"]), int(row["dvfs"], 16) // 0x100 * 100, load)
            achieved = float(row["achieved_qps"])
            weight = 1.0 if achieved >= 0.98 * load.qps else SATURATED_WEIGHT
            joules = seen.power_watts * float(row["seconds"])
            found.append(ENERGY_WEIGHT * math.log(joules / float(row["pkg_joules"])))
            found.append(THROUGHPUT_WEIGHT * math.log(seen.achieved_qps / achieved))
            for name, each in WEIGHTS.items():
                latency = seen.read_us[name.removeprefix("read_")]
                found.append(weight * each * math.log(latency / float(row[name])))
        return found

    result = least_squares(
        residuals, [1.0] * len(names), bounds=(0.3, 3.0), loss="soft_l1", f_scale=0.05, diff_step=1e-4, max_nfev=60
    )
    for (part, field), factor, value in zip(names, result.x, start, strict=True):
        print(f"{part + '.' if part else ''}{field} = {factor * value:.4g}")
    before = least_squares(residuals, [1.0] * len(names), loss="soft_l1", f_scale=0.05, max_nfev=1).cost
    print(f"cost {before:.4f} -> {result.cost:.4f} in {result.nfev} steps", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
