# `make` lists the targets. Those under "Start here" install the Debian packages they use
# when run as root, and otherwise print what to install.
GO ?= go
export CGO_ENABLED ?= 0
# Then Go's build cache serves every clone, and the modules that are built as a user gets them.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)

# The packages of every module in go.work.
PACKAGES = $(shell $(GO) list -m -f '{{.Dir}}/...')

.PHONY: help
help:
	@awk -F ':.*## ' '/^## /{print "\n" substr($$0, 4)} /^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Start here

.PHONY: demo
demo: build ## capture packets longer than 60000 bytes, from streams in a Go process, with tcpdump
	@scripts/deps tcpdump
	bin/rxring run -- tcpdump -i net0 --immediate-mode -B 129 -n -c 20 greater 60000

.PHONY: check
check: lint-quick ## the inner loop, within a minute: gofmt, vet, import rules, short tests
	$(GO) test -vet=off -short -p 4 -timeout 5m $(PACKAGES)

# The steps before the tests need processors only, and run side by side, with tests that do not
# mind; the others have the machine to themselves. The last step prints which tests were skipped.
# Without symbols and DWARF, dozens of test programs are linked in less time. By default each
# program with -race sleeps for a second when it exits, for goroutines that outlive main.
.PHONY: test
test: export RXRING_SKIPPED = $(CURDIR)/bin/skipped
test: export GOFLAGS := $(GOFLAGS) -ldflags=-s
test: export GORACE := atexit_sleep_ms=0 $(GORACE)
test: deps ## everything that must hold: lint, explorations, fuzz targets, all tests, with -race where there are goroutines
	@! command -v chromium npm >/dev/null || $(MAKE) --no-print-directory browser || true
	@mkdir -p bin && rm -f $(RXRING_SKIPPED)
	@$(MAKE) --no-print-directory -j3 lint unraced explore-slots explore-blocks modules fuzz-smoke bench-smoke V=-short
	@packages=$$(scripts/raced | grep -vE $(MEASURE)) && set -x && \
	CGO_ENABLED=1 $(GO) test -race -vet=off -p 3 -timeout 30m $(LONGEST) $$packages; status=$$?; \
	$(GO) test -count=1 -v -run '^TestSkipped$$' ./internal/need && exit $$status

# Packages whose tests take longest begin first.
LONGEST = ./cmd/rxring ./source/iface ./fleet ./cmd/rxring/internal/dump ./cmd/rxring/internal/page ./interpose
# Packages that measure, or compare calls of one goroutine with Linux's.
MEASURE = '/rxring/(bench|conformance|cmd/rxring/internal/hostile)(/|$$)'

# interpose is here for its tests that run programs. lint has vetted all packages.
.PHONY: unraced
unraced:
	@packages=$$(scripts/raced --not | grep -vE $(MEASURE)) && set -x && \
	$(GO) test -vet=off -p 2 ./interpose ./conformance/... ./spec ./cmd/rxring/internal/hostile/... $$packages

## Build

.PHONY: build
build: ## bin/rxring
	$(GO) build -o bin/rxring ./cmd/rxring

.PHONY: static
static: ## bin/rxring without a C library, and without filter expressions
	$(GO) build -tags nolibpcap -o bin/rxring ./cmd/rxring

.PHONY: packages
packages: ## Debian packages for amd64 and arm64, in bin/packages
	@scripts/packages

## Check more

# In make test, other steps keep the other processors busy: on one each, these take less CPU time.
lint modules fuzz-smoke: export GOMAXPROCS := $(if $(RXRING_SKIPPED),1,$(GOMAXPROCS))

.PHONY: lint
lint: tools ## gofmt, vet, types on every system that builds, staticcheck, revive, misspell, import rules, API
	@scripts/lint

.PHONY: lint-quick
lint-quick: bin/imports
	@scripts/lint --quick

.PHONY: modules
modules: ## each module alone, and what a module that requires them gets
	GOWORK=off $(GO) test -C tools -timeout 30m ./...

# make test passes V=-short, which leaves out the largest scopes.
.PHONY: explore
explore: ## every interleaving of the ring's real code, at small scope; V=-v prints a trace of each fault
	@$(MAKE) --no-print-directory -j2 explore-slots explore-blocks

.PHONY: explore-slots explore-blocks
explore-slots: # an exploration has one thread
	$(GO) test -vet=off -tags explore -run 'TestExplore$$' $(V) ./internal/ownership
explore-blocks:
	$(GO) test -vet=off -tags explore -run TestExploreBlocks $(V) ./internal/writer

.PHONY: spec
spec: deps ## the Promela models, each with the verdict it must have; make test runs them too
	@scripts/spec

# FUZZTIME is go test's -fuzztime: by default inputs enough to run each target and to try
# the neighbours of its corpus. FUZZTIME=60s searches.
FUZZTIME ?= 2000x
.PHONY: fuzz-smoke
fuzz-smoke: ## each fuzz target for FUZZTIME, 2000 inputs
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: deps ## rxring beside its peers, its budgets and the last release, in some minutes; then a fleet
	$(GO) run -C bench ./cmd/table $(BENCHFLAGS)
	$(GO) test -C fleet -run '^$$' -bench 'Hosts|FirstPacket' -benchtime 10x

# BASE is a commit or a tag, ROUNDS the number of runs of each, BENCHFLAGS the flags of bench/cmd/table.
ROUNDS ?= 5
.PHONY: bench-against
bench-against: deps ## the benchmarks with the code of BASE=commit and with this tree's, in turn, compared
	@scripts/bench-against $(BASE) $(ROUNDS) $(BENCHFLAGS)

.PHONY: bench-smoke
bench-smoke: ## check that every contender of bench moves the packets it claims to
	$(GO) test -C bench -vet=off ./...
	$(GO) test -C bench -vet=off -tags explore ./scaling

.PHONY: scaling
scaling: ## predict what up to 64 writers would do to a ring, by simulation: docs/scaling.md
	@$(GO) run -C bench -tags explore ./cmd/scaling

.PHONY: api
api: tools ## changes of the exported API since the last tag
	@scripts/api

## Set up

# DEPS are Debian packages that tests use; a test that lacks one is skipped.
DEPS = tcpdump tshark ngrep netsniff-ng tcpreplay p0f tcpflow iproute2 net-tools ethtool gcc tcc libpcap-dev \
	python3 python3-scapy arp-scan util-linux procps spin iperf3 wireshark-common zstd systemd podman runc uidmap \
	nmap iputils-arping linuxptp wpasupplicant iftop softflowd argus-server argus-client httpry sngrep \
	libnet-pcap-perl tmux iptraf-ng shellcheck
# MORE are larger, or in bookworm-backports as suricata is.
MORE = dpdk-dev librte-net-af-packet23 librte-bus-vdev23 librte-mempool-ring23 pmacct termshark suricata \
	masscan zmap darkstat chromium nodejs

.PHONY: deps
deps: ## the Debian packages that tests use
	@scripts/deps --optional $(DEPS)

.PHONY: deps-more
deps-more: ## larger packages, whose tests are skipped otherwise
	@scripts/deps --optional $(MORE)

.PHONY: browser
browser: ## playwright-core, with which TestPageInABrowser drives chromium; needs npm
	npm ci --prefix cmd/rxring/testdata/browser --no-audit --no-fund

.PHONY: tools
tools: bin/imports ## the linters in tools/go.mod
	@GOWORK=off $(GO) build -C tools -o ../bin/ tool ./typecheck

bin/imports: tools/go.mod tools/imports/main.go
	@GOWORK=off $(GO) build -C tools -o ../$@ ./imports

.PHONY: tidy
tidy: ## go mod tidy in every module
	@scripts/tidy
