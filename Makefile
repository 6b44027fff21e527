# make            builds ./rootctl
# make test       installs what the tests need (where it may), then runs all of them
# make compare    SUITE=bionic VARIANT=minbase: our root beside debootstrap's and mmdebstrap's
# make compare-all ONLY=REGEXP: the whole table internal/reference/cases.txt, or the lines that match
# make bench      writes the table in docs/performance.md
# make soak       KILLS=6000 FLIPS=1000: kills and damages a cache, for half an hour
# make soak-run   KILLS=1000: kills processes of containers, for two minutes
# make lint race fuzz e2e e2e-stretch e2e-dist e2e-export e2e-kernel e2e-ci dist mirror clean

SHELL   := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
GO      ?= go
SUITE   ?= bionic
VARIANT ?= minbase
MIRROR  ?= .cache/mirror
FUZZTIME ?= 20s
N       ?= 5
ARCHES  := amd64 arm64
# What a build says of itself is the commit's and nothing else: no clock, no folder, no length that git chooses.
REVISION := $(shell r=$$(git rev-parse --short=12 HEAD 2>/dev/null) && { git diff --quiet HEAD || r=$$r-dirty; echo $$r; })
EPOCH    := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),0)
VERSION  := $(or $(patsubst v%,%,$(shell git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null)),0~git$(shell date -u -d @$(EPOCH) +%Y%m%d%H%M%S)$(if $(REVISION),.$(subst -,+,$(REVISION))))
TOOL    := $(GO) tool -modfile=tools.mod

.PHONY: all build test tools-for-tests race fuzz lint vet-arches e2e e2e-stretch e2e-dist e2e-export e2e-kernel e2e-ci ladder soak soak-run compare compare-all compare-lists bench many mirror dist clean

all: build

# compile FILE, LDFLAGS: the one way in which rootctl is built; the environment says for which machine. `go build
# ./cmd/rootctl` makes all of it, too; here the quick program, which starts sooner, comes into the same file (internal/quick).
define compile
	export CGO_ENABLED=0; $(GO) build -trimpath -buildvcs=false \
		-ldflags "$(2) -X main.release=$(VERSION) -X main.revision=$(REVISION) -X main.buildEpoch=$(EPOCH)" -o $(1).whole ./cmd/rootctl && \
	$(GO) build -trimpath -buildvcs=false -ldflags "-s -w -T=0x10001000" -o $(1).quick ./internal/quick && \
	env -u GOOS -u GOARCH $(GO) run ./internal/quick/join $(1).whole $(1).quick $(1) && rm $(1).whole $(1).quick
endef

build:
	@echo rootctl; $(call compile,rootctl,)

# What tests and the reference tools run. Nothing is installed when all of it is there.
TEST_PROGRAMS := git groff strace sudo curl gpgv xz zstd bzip2 dpkg-deb newuidmap setpriv unshare qemu-arm-static qemu-aarch64-static mkfs.btrfs mkfs.xfs script ip useradd nft iptables-nft pasta slirp4netns nsenter ps
TEST_PACKAGES := git groff-base strace sudo curl gpgv xz-utils zstd bzip2 dpkg uidmap util-linux qemu-user-static btrfs-progs xfsprogs bsdutils iproute2 passwd nftables iptables passt slirp4netns procps
REFERENCE_PROGRAMS := debootstrap mmdebstrap bwrap mkfs.btrfs mkfs.xfs systemd-nspawn runc podman crun
REFERENCE_PACKAGES := debootstrap mmdebstrap bubblewrap btrfs-progs xfsprogs systemd-container runc podman crun

# need PROGRAMS PACKAGES: as root or through sudo on Debian and Ubuntu, else it says what to do.
define need
	missing=""; for p in $(1); do PATH="$$PATH:/usr/sbin:/sbin" command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] && exit 0; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
	if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
		echo "installing for$$missing: $(2)"; \
		$$sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get -qq install -y --no-install-recommends $(2) >/dev/null; \
	else \
		echo "missing:$$missing; install them, on Debian and Ubuntu with: apt-get install $(2)" >&2; exit 1; \
	fi
endef

# The user is one without rights but with id ranges, which useradd gives.
tools-for-tests:
	@$(call need,$(TEST_PROGRAMS),$(TEST_PACKAGES))
	@id rootctl-test >/dev/null 2>&1 && grep -qs ^rootctl-test: /etc/subuid && exit 0; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
	if $$sudo true 2>/dev/null; then \
		id rootctl-test >/dev/null 2>&1 || $$sudo useradd --no-create-home --shell /usr/sbin/nologin rootctl-test; \
		grep -qs ^rootctl-test: /etc/subuid || $$sudo usermod --add-subuids 1000000000-1000065535 --add-subgids 1000000000-1000065535 rootctl-test; \
	fi

# STRICT=--strict makes a skip a failure. The tests on the real archives are among these: they run
# where an archive can be reached, and say so loudly where not.
test: tools-for-tests build
	ROOTCTL_E2E=1 ROOTCTL_PROGRAM=$(CURDIR)/rootctl $(GO) test -json -timeout 30m ./... | $(GO) run ./internal/reference/testsum $(STRICT)

race: tools-for-tests
	$(GO) test -race -timeout 30m ./...

# Every fuzz target for FUZZTIME.
fuzz: tools-for-tests
	@for pkg in $$($(GO) list ./...); do \
		list=$$($(GO) test -list '^Fuzz' $$pkg); \
		for f in $$(sed -n '/^Fuzz/p' <<<"$$list"); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg; \
		done; \
	done

lint:
	@unformatted=$$(gofmt -l ci cmd internal suites); [ -z "$$unformatted" ] || { echo "not gofmt'ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags e2e_stretch,e2e_export,e2e_examples,e2e_ci ./cmd/rootctl
	$(GO) vet -tags e2e_kernel ./internal/runner
	$(GO) vet -tags e2e_dist ./internal/reference/dist
	@[ -s .depguard.yml ] # without it depguard judges by rules of its own
	$(TOOL) depguard ./...
	$(TOOL) staticcheck ./...
	.ci/lint-proof "$$($(TOOL) -n depguard)"

vet-arches:
	@for a in $(ARCHES); do echo "GOARCH=$$a"; GOARCH=$$a CGO_ENABLED=0 $(GO) build ./...; GOARCH=$$a CGO_ENABLED=0 $(GO) vet ./...; done

e2e: tools-for-tests build
	ROOTCTL_E2E=1 $(GO) test -json -timeout 60m -run 'E2E|Real' ./... | $(GO) run ./internal/reference/testsum --strict
	$(GO) test -tags e2e_examples -count=1 -timeout 30m -v -run '^TestE2EExamples$$' ./cmd/rootctl

	@$(MAKE) --no-print-directory e2e-ci

# GitHub's workflow and action.yml step by step on the real archives, as a user with sudo: times, and what is asked for; as root.
e2e-ci: tools-for-tests build
	ROOTCTL_PROGRAM=$(CURDIR)/rootctl $(GO) test -tags e2e_ci -count=1 -timeout 15m -v -run '^TestE2EGitHub$$' ./cmd/rootctl

# The long forms of tests that end processes and damage files at random; `make test` has them short.
KILLS ?= 6000
FLIPS ?= 1000
soak: tools-for-tests
	ROOTCTL_SOAK_KILLS=$(KILLS) ROOTCTL_SOAK_FLIPS=$(FLIPS) ROOTCTL_SOAK_SIZES=50 ROOTCTL_SOAK_CALLS=1000 ROOTCTL_SOAK=3m \
		$(GO) test -count=1 -timeout 90m -v -run '^(TestSoak|TestFlips|TestFullDisks|TestFewFiles|TestFailingSystemCalls|TestKilledAtRandom)$$' ./cmd/rootctl ./internal/cache

# Processes of containers: monitors, keepers, inits.
soak-run: KILLS = 1000
soak-run: tools-for-tests
	ROOTCTL_SOAK_RUN_KILLS=$(KILLS) $(GO) test -count=1 -timeout 60m -v -run '^TestRunSoak$$' ./cmd/rootctl

# The real stretch, from archive.debian.org: it fails where that cannot be reached.
# E2E_STRETCH="--mirror URL ..." asks another mirror first.
e2e-stretch: build
	$(GO) test -tags e2e_stretch -count=1 -timeout 30m -v -run '^TestStretchFromItsArchive$$' ./cmd/rootctl

# The distribution of all architectures in two folders; its package in roots of bionic and bookworm, and judged by lintian: as
# root, with an archive.
e2e-dist: tools-for-tests
	$(GO) test -tags e2e_dist -count=1 -timeout 30m -v -run '^TestE2EDist$$' ./internal/reference/dist

# Exports in the hands of podman, skopeo, bsdtar, sbuild and schroot, on roots of the real archive, and rootctl in podman's
# containers: as root.
EXPORT_PROGRAMS := podman skopeo bsdtar sbuild schroot crun zstd
EXPORT_PACKAGES := podman skopeo libarchive-tools sbuild schroot crun zstd
e2e-export: tools-for-tests build
	@$(call need,$(EXPORT_PROGRAMS),$(EXPORT_PACKAGES))
	ROOTCTL_E2E=1 $(GO) test -tags e2e_export -count=1 -timeout 30m -v -run '^TestE2EExport|^TestLadderInPodman$$' ./cmd/rootctl

# The matrix where something stands in for what is refused: shifted trees, hidden parts of /proc, no right to mount; as root.
ladder: tools-for-tests build
	ROOTCTL_LADDER=1 $(GO) test -count=1 -timeout 30m -v -run '^TestMatrix$$' ./cmd/rootctl

# The runner's short suite on bookworm's kernel (6.1) and jammy's (5.15, where the root is copied), emulated: as root.
# rootctl itself fetches them, as packages of roots.
KERNELS ?= bookworm:linux-image-cloud-amd64 jammy:linux-image-virtual
KERNEL_PROGRAMS := qemu-system-x86_64 cpio insmod mkfs.ext4
KERNEL_PACKAGES := qemu-system-x86 cpio kmod e2fsprogs
KERNEL_DIR := $(CURDIR)/.cache/e2e-kernel
e2e-kernel: build
	@$(call need,$(KERNEL_PROGRAMS),$(KERNEL_PACKAGES))
	mkdir -p $(KERNEL_DIR)
	CGO_ENABLED=0 $(GO) test -tags e2e_kernel -c -o $(KERNEL_DIR)/runner.test ./internal/runner
	set -e; roots=; for s in $(KERNELS); do \
		./rootctl --cache $(KERNEL_DIR)/cache build $${s%%:*} --include $${s#*:} --json > $(KERNEL_DIR)/built; \
		d=$$(sed -n 's/.*"digest": *"sha256:\([0-9a-f]*\)".*/\1/p' $(KERNEL_DIR)/built | head -n1); \
		roots="$$roots $${s%%:*}=$(KERNEL_DIR)/cache/roots/$$d"; \
	done; E2E_KERNEL_TESTS=$(KERNEL_DIR)/runner.test E2E_KERNEL_ROOTS="$$roots" \
		$(GO) test -tags e2e_kernel -count=1 -timeout 30m -v -run '^TestE2EKernel$$' ./internal/runner

compare: build
	@$(call need,$(REFERENCE_PROGRAMS),$(REFERENCE_PACKAGES))
	$(GO) run ./internal/reference/compare --suite $(SUITE) --variant $(VARIANT) --mirror $(MIRROR) $(COMPARE)

compare-all: build
	@$(call need,$(REFERENCE_PROGRAMS),$(REFERENCE_PACKAGES))
	$(GO) run ./internal/reference/compare --cases internal/reference/cases.txt --only "$(ONLY)" --mirror $(MIRROR) $(COMPARE)

# Package lists alone: no root is made.
compare-lists:
	@$(MAKE) --no-print-directory compare-all ONLY='^(list|set) '

bench: build
	@$(call need,$(REFERENCE_PROGRAMS),$(REFERENCE_PACKAGES))
	$(GO) run ./internal/reference/bench --n $(N) --mirror $(MIRROR) $(BENCH)

# What a cache of 500 roots costs against one of a single root.
many:
	$(GO) test -run '^(TestManyRoots|TestCareIsLinear)$$' -count=1 -v ./cmd/rootctl

mirror:
	$(GO) run ./internal/reference/mirror --dir $(MIRROR)

# Static programs, packages of them, man pages, completions and checksums. Equal commits and Go make equal bytes, in
# whatever folder, by whomever and when: docs/dist.md. The man pages are written by a program of this machine's.
DIST ?= dist
DIST_ENV := GOFLAGS=-mod=readonly GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0
dist: export GOFLAGS := -mod=readonly
dist:
	rm -rf $(DIST) && mkdir -p $(DIST)
	@for a in $(ARCHES); do \
		echo "$(DIST)/rootctl-linux-$$a"; export GOOS=linux GOARCH=$$a $(DIST_ENV); \
		$(call compile,$(DIST)/rootctl-linux-$$a,-s -w); \
	done
	$(call compile,$(DIST)/rootctl,) && $(DIST)/rootctl manual $(DIST)/manual && rm $(DIST)/rootctl
	$(GO) build -o $(DIST)/pack ./internal/reference/dist
	@for a in $(ARCHES); do \
		deb=$(DIST)/rootctl_$(VERSION)_$$a.deb; echo $$deb; \
		$(DIST)/pack --version "$(VERSION)" --revision "$(REVISION)" --epoch $(EPOCH) --arch $$a --program $(DIST)/rootctl-linux-$$a --manual $(DIST)/manual -o $$deb; \
	done; rm $(DIST)/pack
	cd $(DIST) && find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs sha256sum > SHA256SUMS && cat SHA256SUMS

clean:
	rm -rf rootctl dist
