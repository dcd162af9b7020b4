# The front door: `make demo`, `make test`, `make check`, `make clean`.
# Each brings up what it needs on a Debian 12 as root, and is fast the second time.

PYTHON := .venv/bin/python
MAKEFLAGS += --no-print-directory

RUN_PACKAGES := python3-venv python3-libnbd qemu-system-x86 qemu-utils \
	mmdebstrap grub-pc-bin grub-common e2fsprogs xfsprogs fuse3
DEV_PACKAGES := btrfs-progs mandoc nbdkit nodejs npm shellcheck strace systemd util-linux

BENCH_PACKAGES := borgbackup restic

GUEST_SET := src/quiesce/errors.py src/quiesce/error_table.py src/quiesce/catalogue.py src/quiesce/values.py \
	src/quiesce/system src/quiesce/model src/quiesce/guest

PYTEST := $(PYTHON) -m pytest -q

.PHONY: help demo test check unit soak mutants bench clean packages dev-packages

help:
	@echo 'make demo    build a real VM, back it up under load, restore it, boot it, prove it'
	@echo 'make test    set up and run all tests'
	@echo 'make unit    the fast tests only'
	@echo 'make check   lint, types, imports, sizes'
	@echo 'make soak    the large counts'
	@echo 'make mutants break the product on purpose, and see that the tests notice'
	@echo 'make bench   how long a machine stands still, how fast vaults are, beside others'
	@echo 'make clean   remove what was built here (the image cache stays: quiesce demo --help)'

demo: packages .venv/run.stamp build/quiesce-guest.pyz
	@$(PYTHON) -m quiesce demo

test: check
	@tools/run-tests

unit: packages .venv/dev.stamp
	@$(PYTEST) tests/unit tests/contract

soak: dev-packages .venv/dev.stamp build/quiesce-guest.pyz
	@$(PYTEST) -m soak tests
	@$(PYTHON) tools/mutate.py

mutants: dev-packages .venv/dev.stamp
	@$(PYTHON) tools/mutate.py

bench: dev-packages .venv/dev.stamp build/quiesce-guest.pyz
	@tools/need-packages $(BENCH_PACKAGES)
	@PYTHONPATH=tests $(PYTHON) tests/perf/guest_window.py
	@PYTHONPATH=tests $(PYTHON) tests/perf/vault_speed.py

check: dev-packages .venv/dev.stamp
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/mypy --python-version 3.10 $(GUEST_SET)
	@.venv/bin/lint-imports
	@.venv/bin/vermin -q -t=3.9- --no-tips --violations --eval-annotations \
		$(GUEST_SET)
	@$(PYTHON) tools/check_sizes.py
	@$(PYTHON) tools/catalogue.py --check
	@$(PYTHON) tools/write_error_table.py --check
	@$(PYTHON) tools/write_man_pages.py --check
	@mandoc -T lint -W warning docs/man/*.[18]
	@.venv/bin/codespell README.md CHANGELOG.md contrib docs src tests tools
	@git ls-files | xargs awk 'FNR == 1 && /^#!.*[\/ ](ba)?sh( |$$)/ { print FILENAME }' | xargs -r shellcheck

build/quiesce-guest.pyz: .venv/run.stamp tools/build_pyz.py $(shell find $(GUEST_SET) -type f ! -name '*.pyc')
	@mkdir -p build
	@$(PYTHON) tools/build_pyz.py

packages:
	@tools/need-packages $(RUN_PACKAGES)

dev-packages:
	@tools/need-packages $(RUN_PACKAGES) $(DEV_PACKAGES)

.venv/run.stamp: pyproject.toml $(wildcard src/quiesce/locale/*/LC_MESSAGES/*.po) | packages
	@echo 'making the virtual environment'
	@test -x $(PYTHON) || /usr/bin/python3 -m venv --system-site-packages .venv
	@$(PYTHON) -m pip install -qq --disable-pip-version-check -U 'pip>=25.1'
	@$(PYTHON) -m pip install -qq --disable-pip-version-check -e '.[host,demo]'
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	@echo 'adding what development needs'
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --group dev
	@touch $@

clean:
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests tools -name __pycache__ -type d -exec rm -rf {} +
