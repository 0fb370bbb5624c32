"""show_config: what this process computes with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rae_fast import _kernels
from rae_fast._messages import shown

# Values of OPENBLAS_CORETYPE whose kernels use 512-bit vectors.
_AVX512_CORES = {"skylakex", "cooperlake", "sapphirerapids"}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def blas_pools() -> list[dict[str, Any]] | None:
    """Every BLAS in the process, SciPy's (which rae_fast uses) first; None without threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    # Wheels keep their OpenBLAS in scipy.libs and numpy.libs; NumPy's file is called scipy_openblas too.
    pools = [{"used_by": "scipy, rae_fast" if Path(p["filepath"]).parent.name.startswith("scipy")
              else "numpy or another package",
              "library": p["internal_api"], "version": p["version"],
              "core": p.get("architecture"), "threads": p["num_threads"]}
             for p in threadpool_info() if p["user_api"] == "blas"]
    return sorted(pools, key=lambda pool: "scipy" not in pool["used_by"])


def _hint(pools: list[dict[str, Any]] | None) -> str | None:
    """A sentence if an environment variable keeps BLAS from this CPU's AVX-512 kernels."""
    forced = os.environ.get("OPENBLAS_CORETYPE")
    if not forced or "avx512" not in _kernels.usable_isas():
        return None
    core = str(pools[0]["core"]) if pools else forced
    if core.lower() in _AVX512_CORES:
        return None
    return (f"OPENBLAS_CORETYPE={forced} holds OpenBLAS to {core} kernels (AVX2) on an AVX-512 CPU, at "
            "about half its speed; unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE before Python starts")


def config() -> dict[str, Any]:
    """The content of show_config as a dict."""
    from rae_fast import __version__

    pools = blas_pools()
    return {
        "versions": {"rae_fast": __version__, "python": platform.python_version(),
                     "numpy": _version("numpy"), "scipy": _version("scipy")},
        "machine": {"system": f"{platform.system()} {platform.machine()}", "cpu": _cpu(),
                    "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
                    else os.cpu_count()},
        "kernels": {"isa": _kernels.isa(), "usable": _kernels.usable_isas(),
                    "RAE_FAST_ISA": os.environ.get("RAE_FAST_ISA"),
                    "RAE_FAST_GEMM": os.environ.get("RAE_FAST_GEMM"),
                    "RAE_FAST_WEIGHTS": os.environ.get("RAE_FAST_WEIGHTS")},
        "blas": pools,
        "hint": _hint(pools),
    }


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print versions, the instruction set in use, and the BLAS in use with its threads and core type.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default="stdout"
        "dicts" returns the information instead of printing it.

    Raises
    ------
    ValueError
        For another mode.

    Examples
    --------
    >>> import rae_fast
    >>> rae_fast.show_config("dicts")["kernels"]["isa"] in ("avx512", "avx2", "base")
    True
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode must be 'stdout' or 'dicts'; got {shown(mode)}")
    content = config()
    if mode == "dicts":
        return content
    versions, machine, kernels = content["versions"], content["machine"], content["kernels"]
    print("  ".join(f"{name} {number}" for name, number in versions.items()))
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}")
    forced = " (forced by RAE_FAST_ISA)" if kernels["RAE_FAST_ISA"] else ""
    print(f"kernels: {kernels['isa']}{forced}; this CPU can run {', '.join(kernels['usable'])}")
    if kernels["RAE_FAST_GEMM"]:
        print(f"matrix products forced by RAE_FAST_GEMM={kernels['RAE_FAST_GEMM']}")
    if kernels["RAE_FAST_WEIGHTS"]:
        print(f"a single sequence's recurrent weights, if not tied, are read as RAE_FAST_WEIGHTS="
              f"{kernels['RAE_FAST_WEIGHTS']}")
    if content["blas"] is None:
        print("BLAS: SciPy's (install threadpoolctl to see its core type and threads)")
    for pool in content["blas"] or []:
        print(f"BLAS of {pool['used_by']}: {pool['library']} {pool['version']}, {pool['core']} kernels, "
              f"{pool['threads']} threads")
    if content["hint"]:
        print(f"hint: {content['hint']}")
    return None
