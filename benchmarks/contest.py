"""Contestants against each other: each in a process of its own, in turns, only one computing at a time."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environment
import peers

OTHER = "other"
CLOSE = 1.1         # forms this much slower than a contestant's fastest still take part in the rounds
TOO_MANY = 1.15     # cores in use per thread allowed; beyond, the table says so
SPINNING = 0.05     # share of the others' turns that an idle contestant may compute


class Died(RuntimeError):
    """The process of a contestant ended by itself."""


class Worker:
    """A contestant's process; of this checkout and interpreter, or of another checkout with a .venv of its own."""

    def __init__(self, name, threads, keep_env, checkout=None):
        self.name, self.log = name, tempfile.TemporaryFile("w+")
        self.folder = tempfile.TemporaryDirectory(prefix="rae_fast_bench_") if checkout else None
        python = str(Path(checkout, ".venv", "bin", "python")) if checkout else sys.executable
        script = Path(checkout, "benchmarks") if checkout else Path(__file__).parent
        self.process = subprocess.Popen(
            [python, str(script / "worker.py"), peers.US if checkout else name, str(threads)],
            env=environment.timed(threads, keep_env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True)
        self.missing = self._answer().get("missing")
        self.idle_cpu = 0.0

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise Died(f"the process of {self.name} ended:\n" + "".join(self.log.readlines()[-15:]))
        return json.loads(line)

    def ask(self, do, **request):
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # _answer says what happened
        answer = self._answer()
        self.idle_cpu += answer.pop("idle_cpu")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        if self.folder:
            self.folder.cleanup()


class Contest:
    """Everyone at one number of threads."""

    def __init__(self, names, threads, keep_env, against=None):
        """against: another checkout, whose rae_fast takes part as "other"."""
        self.threads, self.folder = threads, tempfile.TemporaryDirectory(prefix="rae_fast_bench_")
        self.workers, self.missing = {}, {}
        for name in [*names, *[OTHER] * bool(against)]:
            worker = Worker(name, threads, keep_env, against if name == OTHER else None)
            if worker.missing:
                self.missing[name] = worker.missing
            else:
                self.workers[name] = worker
        if peers.US in self.missing:
            raise SystemExit(f"rae_fast cannot be imported: {self.missing[peers.US]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.workers.values():
            worker.close()
        self.folder.cleanup()

    def describe(self):
        return {name: worker.ask("describe") for name, worker in self.workers.items()}

    def limits(self, dtype):
        return self.workers[peers.US].ask("limits", dtype=dtype)

    def _leave_out(self, name, reason, record):
        """A contestant that died takes no further part; without rae_fast there is nothing to compare."""
        if name == peers.US:
            raise SystemExit(str(reason))
        self.workers.pop(name).close()
        self.missing[name] = "died"
        record["notes"].append(f"{name}: {reason}; left out from here on")

    def race(self, case, dtype, rounds, seconds):
        """One row of the table: seconds per update of everyone's fastest form, rounds interleaved."""
        record = {"threads": self.threads, "case": case.name, "dtype": dtype, "seconds": {}, "form": {}, "forms": {},
                  "cores": {}, "notes": []}
        samples = {}  # (contestant, form): seconds per update
        for name, worker in list(self.workers.items()):
            try:
                # Another checkout has its own way of writing down what everyone must compute.
                folder = (worker.folder or self.folder).name
                prepared = worker.ask("prepare", case=case.name, dtype=dtype, folder=folder)
            except Died as reason:
                self._leave_out(name, reason, record)
                continue
            wrong = {**prepared["wrong"], **prepared["failed"]}
            if name == peers.US and wrong:
                raise SystemExit(f"case {case.name} {dtype}: rae_fast: {wrong}")
            record["notes"] += [f"{name}, {form}: {why}; left out" for form, why in wrong.items()]
            record["forms"][name] = prepared["forms"]
            best = min(prepared["forms"].values(), default=0.0)
            samples |= {(name, form): [] for form, once in prepared["forms"].items() if once <= CLOSE * best}
        cores = dict.fromkeys(samples, 0.0)
        for worker in self.workers.values():
            worker.idle_cpu = 0.0
        start = time.perf_counter()
        for _ in range(rounds):
            for name, form in list(samples):
                try:
                    timed = self.workers[name].ask("time", form=form, seconds=seconds)
                except Died as reason:
                    self._leave_out(name, reason, record)
                    samples = {entry: times for entry, times in samples.items() if entry[0] != name}
                    break
                samples[name, form] += timed["seconds"]
                cores[name, form] = max(cores[name, form], timed["cores"])
        elapsed = time.perf_counter() - start
        for name, worker in self.workers.items():
            mine = [entry for entry in samples if entry[0] == name]
            if not mine:
                continue
            best = min(mine, key=lambda entry: min(samples[entry]))
            record["seconds"][name], record["form"][name], record["cores"][name] = samples[best], best[1], cores[best]
            if cores[best] > TOO_MANY * self.threads:
                record["notes"].append(f"{name} computed on {cores[best]:.2f} cores")
            if worker.idle_cpu > SPINNING * elapsed:
                record["notes"].append(f"{name} computed for {worker.idle_cpu:.2f} s while others were timed")
        return record
