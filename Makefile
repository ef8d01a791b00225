# The short way to everything; meson.build and scripts/ do the work. `make help` lists the targets.
# Each target first installs the Debian packages that it needs and that are missing.

BUILD        ?= build
FUZZ_SECONDS ?= 60
PREFIX       ?= /usr/local
PYTHON       := /usr/bin/python3

.DEFAULT_GOAL := build
.PHONY: help build run run-check test lint analyze format check-format sanitize fuzz bench \
        bench-cost bench-scale bench-cluster e2e h2spec image chart install clean

help:  ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r t d; do \
	    printf '  %-14s %s\n' "$$t" "$$d"; done

build:  ## build/lintel and build/lintel-worker
	@scripts/install-deps build
	@scripts/build $(BUILD)

run: build  ## serve examples/quickstart with a few local backends, until Ctrl-C
	@scripts/install-deps run
	@LINTEL_BUILD=$(BUILD) $(PYTHON) scripts/run

run-check: build  ## the same, but run the printed curl lines, verify the answers, and end
	@scripts/install-deps run
	@LINTEL_BUILD=$(BUILD) $(PYTHON) scripts/run --check

test:  ## every test, in the normal build and under ASan + UBSan
	@scripts/install-deps build test lint image
	@$(PYTHON) scripts/test

e2e: build  ## with a real API server; needs Go; E2E='tests/e2e/test_image.py -k NAME' chooses
	@scripts/install-deps test image e2e
	@ninja -C $(BUILD) --quiet tests/unit/kube/follow
	@LINTEL_BUILD=$(BUILD) scripts/e2e $(E2E)

h2spec: build  ## somebody else's tests of HTTP/2; needs Go
	@scripts/install-deps test
	@LINTEL_BUILD=$(BUILD) scripts/h2spec

sanitize:  ## the tests under ASan + UBSan only
	@scripts/install-deps build test image
	@$(PYTHON) scripts/test --only sanitize

lint:  ## formatting, floors, banned functions, files that belong together
	@scripts/install-deps build lint
	@$(PYTHON) scripts/lint

analyze:  ## clang-tidy and cppcheck over everything; minutes
	@scripts/install-deps build analyze
	@scripts/build $(BUILD)
	@scripts/analyze $(BUILD)

format:  ## let clang-format rewrite the sources
	@scripts/install-deps lint
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs -r clang-format-14 -i

check-format:  ## only say which files it would rewrite
	@scripts/install-deps lint
	@$(PYTHON) scripts/lint format

fuzz:  ## each fuzz target for FUZZ_SECONDS (60)
	@scripts/install-deps build fuzz
	@scripts/fuzz $(FUZZ_SECONDS)

bench: build  ## beside nginx and HAProxy; BENCH='--quick --only NAME,...' chooses
	@scripts/install-deps build bench
	@ninja -C $(BUILD) --quiet bench/relay bench/handshake
	@LINTEL_BUILD=$(BUILD) bench/run $(BENCH)

bench-cost: build  ## system calls and instructions of a request
	@scripts/install-deps build bench
	@ninja -C $(BUILD) --quiet bench/request_cost
	@LINTEL_BUILD=$(BUILD) bench/cost

bench-scale: build  ## 10,000 Ingresses and 100,000 endpoints
	@scripts/install-deps build bench
	@LINTEL_BUILD=$(BUILD) bench/scale

image:  ## the container image: out/image (OCI layout), out/lintel-image.tar
	@scripts/install-deps build image
	@scripts/image

chart:  ## lint charts/lintel and write what follows from it: deploy/*.yaml, docs/helm.md
	@scripts/install-deps chart
	@$(PYTHON) scripts/chart

bench-cluster: build  ## the same through a real API server (needs Go)
	@scripts/install-deps build bench
	@LINTEL_BUILD=$(BUILD) bench/cluster

install: build  ## into PREFIX (/usr/local); DESTDIR is heeded
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@meson install -C $(BUILD)

clean:  ## remove what was built
	rm -rf build build-sanitize build-fuzz out
