"""Pictures of the results; matplotlib only here."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import tables  # noqa: E402
from cases import CASES  # noqa: E402


def speed_ups(results, path):
    """How many times longer the best rival takes, one group of bars a case."""
    records = results["results"]
    labels = list(dict.fromkeys(r["case"] for r in records))
    series = list(dict.fromkeys((r["dtype"], r["threads"]) for r in records))
    figure, axes = plt.subplots(figsize=(10, 4.8), layout="constrained")
    width = 0.8 / len(series)
    for i, (dtype, threads) in enumerate(series):
        compared = {r["case"]: tables.compare(r["seconds"]) for r in records
                    if (r["dtype"], r["threads"]) == (dtype, threads)}
        x = [k + (i - (len(series) - 1) / 2) * width for k in range(len(labels))]
        bars = axes.bar(x, [compared[c][1] - 1 for c in labels], width * 0.95, bottom=1,
                        label=f"{dtype}, {threads} thread{'s' * (threads > 1)}")
        axes.bar_label(bars, [f"{compared[c][1]:.2f}\n{compared[c][0]}" for c in labels], fontsize=6)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xticks(range(len(labels)), [f"{c} {CASES[c].sizes}\n{CASES[c].what}" for c in labels], fontsize=8)
    axes.set_ylabel("time of the best rival / time of rae_fast")
    config = results["config"]
    axes.set_title(f"One training update, rae_fast against the best rival\n{config['machine']['cpu']}, "
                   f"{config['kernels']['isa']}", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"wrote {path}")


def roofline(sweep, path):
    """Achieved GFLOP/s against the number of hidden units, under what the machine could do (sweep.py's results)."""
    figure, axes = plt.subplots(figsize=(10, 6), layout="constrained")
    colours = {"float32": "tab:orange", "float64": "tab:blue"}
    for dtype, limit in sweep["limits"].items():
        for key, style, name in (("peak", "-", "multiply-add peak"), ("gemm", "--", "matrix product (BLAS)")):
            axes.axhline(limit[key] / 1e9, color=colours[dtype], linestyle=style, linewidth=1)
            axes.annotate(f"{name}, {dtype}: {limit[key] / 1e9:.0f}", (0, limit[key] / 1e9), (4, 2),
                          xycoords=axes.get_yaxis_transform(), textcoords="offset points", fontsize=8,
                          color=colours[dtype])
    curves = {}
    for r in sweep["results"]:
        curves.setdefault((r["dtype"], r["B"]), []).append((r["H"], r["flops"] / min(r["seconds"]["auto"]) / 1e9))
    for (dtype, B), points in curves.items():
        many = B > 1
        axes.plot(*zip(*sorted(points)), color=colours[dtype], marker="o" if many else "^", markersize=4,
                  linestyle="-" if many else ":",
                  label=f"{dtype}, {f'a batch of {B} sequences' if many else 'one sequence at a time'}")
    sizes = sorted({r["H"] for r in sweep["results"]})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([size for size in sizes if size & (size - 1) == 0])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("hidden units H (inputs: H / 2)")
    axes.set_ylabel("GFLOP/s = 10⁹ multiplications and additions a second")
    axes.set_title(f"How close rae_fast comes to what the machine could do, by size of the model\n"
                   f"one whole training update, {sweep['steps']} steps, {sweep['threads']} thread"
                   f"{'s' * (sweep['threads'] > 1)}; {sweep['config']['machine']['cpu']}, "
                   f"{sweep['config']['kernels']['isa']}", fontsize=11)
    axes.grid(True, which="major", linewidth=0.3)
    axes.legend(loc="lower right", fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"wrote {path}")
