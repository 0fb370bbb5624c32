"""What run.py prints: where the figures come from, and a table of them."""

import statistics

import environment
import peers


def print_provenance(described, missing, cores, keep_env):
    """Machine, versions and the BLAS kernels really used, contestant by contestant."""
    config = described[peers.US]["config"]
    print(f"{config['machine']['cpu']}, {cores} cores, {config['machine']['system']}")
    versions = "  ".join(f"{k} {v}" for k, v in config["versions"].items())
    print(f"{versions}  kernels {config['kernels']['isa']}")
    for pool in config["blas"] or [{"used_by": "unknown: install threadpoolctl", "library": "BLAS", "version": "",
                                    "core": "unknown"}]:
        print(f"{pool['library']} {pool['version']} ({pool['used_by']}): {pool['core']} kernels")
    for name, content in described.items():
        if content["about"] and name != peers.US:
            print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in content["about"].items() if v not in (None, "")))
    for name, reason in missing.items():
        print(f"{name}: left out: {reason}")
    gone = environment.removed(keep_env)
    if gone:
        print(f"{', '.join(gone)}: removed for this run")
    if environment.held_to_avx2():
        print("RAE_FAST_ISA=avx2: all rivals are held to AVX2 as well, by "
              + ", ".join(f"{name}={value}" for name, value in environment.AVX2_ONLY.items())
              + " (JAX's matrix products take AVX-512 all the same where the CPU has it)")
    elif config["hint"]:
        print(f"hint: {config['hint']}")
    print("microseconds per update: minimum, for rae_fast (median), of the rounds; loss, gradient and updates agreed "
          "with the reference before each timing")


def header(names):
    rivals = "".join(f"{name:>13}" for name in names if name != peers.US)
    return (f"{'case':5}{'(I,H,T,B)':17}{'dtype':9}{peers.US:>24}{rivals}{'best rival':>12}{'over it':>9}"
            f"{'(median)':>10}{'GFLOP/s':>9}{'of peak':>9}{'of GEMM':>9}")


def compare(seconds):
    """The best rival, and how many times longer the rivals take: by minimum and by median."""
    ours, rivals = seconds[peers.US], {name: times for name, times in seconds.items() if name != peers.US}
    if not rivals:
        return "none", float("nan"), float("nan")
    best = min(rivals, key=lambda name: min(rivals[name]))
    return (best, min(rivals[best]) / min(ours),
            min(statistics.median(times) for times in rivals.values()) / statistics.median(ours))


def row(case, record, names, limit):
    seconds = record["seconds"]
    ours = f"{min(seconds[peers.US]) * 1e6:,.1f} ({statistics.median(seconds[peers.US]) * 1e6:,.1f})"
    rivals = "".join(f"{min(seconds[name]) * 1e6:>13,.1f}" if name in seconds else f"{'-':>13}"
                     for name in names if name != peers.US)
    best, by_minimum, by_median = compare(seconds)
    rate = case.flops / min(seconds[peers.US])
    return (f"{case.name:5}{case.sizes:17}{record['dtype']:9}{ours:>24}{rivals}{best:>12}{by_minimum:>8.2f}x"
            f"{by_median:>9.2f}x{rate / 1e9:>9.1f}{rate / limit['peak']:>9.0%}{rate / limit['gemm']:>9.0%}")


def print_forms(records):
    """Which form was everyone's fastest, for those who have a choice."""
    several = [name for name in peers.RIVALS if any(len(r["forms"].get(name, ())) > 1 for r in records)]
    for name in several:
        used = {}
        for r in records:
            if name in r["form"]:
                used.setdefault(r["form"][name], []).append(f"{r['case']} {r['dtype']}")
        print(f"fastest form of {name}: " + "; ".join(f"{form} ({', '.join(where)})" for form, where in used.items()))


def print_notes(records):
    for r in records:
        for note in r["notes"]:
            print(f"note, case {r['case']} {r['dtype']}: {note}")
