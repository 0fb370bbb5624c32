"""The environment of a process that is timed: BLAS presets removed, threads set, instruction set held."""

import os

# Presets that on some machines hold OpenBLAS to slower kernels than the CPU has.
PRESETS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
                    "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")
# What RAE_FAST_ISA=avx2 does to us, for everyone else: each library has a switch of its own. NumPy's names of
# what to leave out have changed between versions; those that a version does not know only make it warn. JAX is
# held only in part: its matrix products (YNNPACK inside XLA) ask the CPU and take AVX-512 where it has it.
# XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= turns YNNPACK off, for Eigen at half its rate in float64.
AVX2_ONLY = {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt,+movbe,+sse4.1,+sse4.2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


def held_to_avx2():
    return os.environ.get("RAE_FAST_ISA") == "avx2"


def removed(keep_env):
    """The presets that are set here and will not be in the processes that are timed."""
    return [] if keep_env else [f"{name}={os.environ[name]}" for name in PRESETS if name in os.environ]


def timed(threads, keep_env=False):
    """The environment for `threads` threads, as a new dict."""
    environment = dict(os.environ)
    if not keep_env:
        for name in PRESETS:
            environment.pop(name, None)
    environment.update({name: str(threads) for name in THREAD_VARIABLES})
    if held_to_avx2():
        # XLA has many other flags that a user may have set.
        theirs = environment.get("XLA_FLAGS", "").split()
        own = AVX2_ONLY["XLA_FLAGS"]
        environment |= {**AVX2_ONLY, "XLA_FLAGS": " ".join(theirs + [own] * (own not in theirs))}
    return environment


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def stay_on(threads):
    """Keep this process to as many cores as it may have threads.

    JAX has no setting for its number of threads that it keeps to; the number of cores it does. The last cores
    are taken, because the first serves the system's interrupts.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
