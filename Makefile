# make demo | make test: each does all of its own set-up in a private .venv.
# Needs Python >= 3.11 with venv, and a C compiler. PYTHON=python3.13 make test picks another Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml $(wildcard rae_fast/*.py rae_fast/*.pyx rae_fast/*.pxd csrc/*.c csrc/*.h csrc/*.py)

.PHONY: demo test slow seeds fuzz bench quality docs dist wheels lint sanitize clean

demo: $(VENV)/built
	$(BIN)/python benchmarks/demo.py $(DEMO)

test: $(VENV)/built
	$(BIN)/python -m pytest -n auto --maxprocesses 4

# Every float32 bit pattern through tanh, on every instruction set; csrc alone with sanitizers; instruction counts; every
# allocation refused once: about fifteen minutes.
slow: $(VENV)/built
	$(BIN)/python -m pytest -m slow

# The tests of mathematics with other random data, a process for each of SEEDS: hours for all of a hundred.
SEEDS ?= $(shell seq 0 99)
SEEDED := tests/test_reference.py tests/test_weights.py tests/test_properties.py tests/test_kernels.py \
  tests/test_sequence.py
seeds: $(VENV)/built
	for seed in $(SEEDS); do echo "seed $$seed"; \
	  RAE_FAST_TEST_SEEDS=$$seed $(BIN)/python -m pytest -q -n auto --maxprocesses 4 $(SEEDED) || exit; done

# Half of SECONDS each for files and for input. What is found stands in build/fuzz; what reached new code is kept there.
SECONDS ?= 3600
fuzz: $(VENV)/built
	$(BIN)/python -m pip install --quiet --group fuzz
	mkdir -p build/fuzz/load build/fuzz/inputs
	$(BIN)/python tests/fuzz/fuzz_load.py build/fuzz/load $$(($(SECONDS) / 2))
	$(BIN)/python tests/fuzz/fuzz_inputs.py build/fuzz/inputs $$(($(SECONDS) / 2))

# Against NumPy, JAX, Numba, PyTensor and PyTorch, three quarters of an hour; BENCH="--case A B --json FILE" for less, or
# more. All of them go with the NumPy of .venv; Numba asks for one below 2.5, and pip would put it there.
bench: $(VENV)/built
	$(BIN)/python -m pip install --quiet --group bench "torch==2.13.0"
	$(BIN)/python benchmarks/run.py --peers $(BENCH)

# What training reaches, half an hour: with the GRU auto-encoder in PyTorch and the data sets in aeon's files.
quality: $(VENV)/built
	$(BIN)/python -m pip install --quiet "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --no-deps "aeon==1.6.0"
	$(BIN)/python benchmarks/quality.py --plot docs/recall.png

# The site, its gallery of examples included, into build/site; warnings are errors.
docs: $(VENV)/built
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs/site build/site
	@echo "build/site/index.html"

lint: $(VENV)/built
	$(BIN)/python -m pip install --quiet --group lint
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

# The whole suite with gcc's AddressSanitizer and UndefinedBehaviorSanitizer compiled in.
sanitize: $(VENV)/built
	RAE_FAST_SANITIZE=address,undefined $(BIN)/python setup.py -q build_ext --inplace --force
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 PYTHONMALLOC=malloc \
	  $(BIN)/python -m pytest -p no:cacheprovider -k "not ctrl_c and not memory_is_given_back"; \
	  status=$$?; $(BIN)/python setup.py -q build_ext --inplace --force; exit $$status

# The wheel is built from the sdist, so that a file missing there shows.
dist: $(VENV)/built
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

# On Linux: the wheel again, under the tag of the oldest C library that it runs with. An index takes no other.
wheels: dist
	$(BIN)/python -m pip install --quiet --group wheels
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m auditwheel repair --wheel-dir dist/repaired dist/*.whl
	rm dist/*.whl
	mv dist/repaired/*.whl dist
	rmdir dist/repaired
	$(BIN)/python -m auditwheel show dist/*.whl

$(VENV)/built: $(VENV)/ready $(SOURCES)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rae_fast needs Python >= 3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --group build --group test --group demo
	touch $@

clean:
	rm -rf $(VENV) build dist demo docs/site/gallery docs/site/generated *.egg-info rae_fast/*.so rae_fast/*.c rae_fast/*.pxi
