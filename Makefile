# Freshgate. `make` alone prints the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CACHE := $(or $(FRESHGATE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/freshgate)
IMAGE ?= freshgate:dev
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help demo test unit e2e chart node lint bench cluster image fmt clean setup

help: ## Print the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## Show the main job in a minute: needs Rust and a C compiler alone
	@cargo build --quiet --bin freshgate --example demo
	@cargo run --quiet --example demo

test: setup ## Run all tests, two kinds at a time; sets itself up on Debian with Rust and Go
	$(MAKE) --no-print-directory -j2 --output-sync=target node unit e2e chart

unit: setup ## Run the tests of the code and of the gate against real registries and disks
	cargo test --lib --bins --test gate

e2e: setup ## Run the tests in front of a real Kubernetes API server
	cargo test --test e2e

chart: setup ## Check the Helm chart, by itself and in front of a real Kubernetes API server
	cargo build --quiet --bin freshgate
	export FRESHGATE="$${CARGO_TARGET_DIR:-target}/debug/freshgate"; tests/chart/run.sh; tests/chart/api_server.sh

node: setup ## Run the tests on a real node, which needs Linux and root; elsewhere they are left out
	cargo test --test node

lint: ## Check form, clippy (warnings are errors) and that pure modules are pure
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	tests/purity.sh

bench: setup ## Measure the gate against the naive floor, side by side
	benches/run.sh

cluster: setup ## Start a real API server with the gate registered, and print its kubeconfig
	cargo build --quiet --bin freshgate --example cluster
	cargo run --quiet --example cluster

image: ## Build the container image with docker or buildah; PROFILE=dev is faster, BASE=… stands under it
	./image.sh $(if $(PROFILE),--profile $(PROFILE)) $(if $(BASE),--base $(BASE)) $(IMAGE)

fmt: ## Format the code
	cargo fmt

clean: ## Remove what builds and tests left, the cached test bed included
	cargo clean
	rm -rf "$(CACHE)"

# What the tests need from the system. Elsewhere than on Debian it says what is missing.
PACKAGES := etcd-server docker-registry prometheus curl util-linux gcc libc6-dev openssl python3 python3-yaml
# What a real node needs beside them; only where there is root, because nobody else can run one.
NODE_PACKAGES := containerd runc containernetworking-plugins iptables conntrack iproute2 busybox-static binutils buildah
NODE_PROGRAMS := containerd runc iptables conntrack ip busybox strip buildah
# A browser, for the page of a report. Elsewhere than on Debian its test is left out where there is none.
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable
setup:
	@missing=(); \
	for program in etcd docker-registry prometheus promtool curl flock cc openssl; do command -v $$program >/dev/null || missing+=("$$program"); done; \
	python3 -c 'import yaml' 2>/dev/null || missing+=(python3-yaml); \
	if [ $${#missing[@]} -gt 0 ]; then \
	  if command -v apt-get >/dev/null; then \
	    echo "installing $(PACKAGES)"; $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES) >/dev/null; \
	  else echo "error: missing: $${missing[*]}; install them (on Debian: $(PACKAGES))" >&2; exit 1; fi; \
	fi
	@for browser in $(BROWSERS); do command -v $$browser >/dev/null && exit 0; done; \
	if command -v apt-get >/dev/null; then \
	  echo "installing chromium"; $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else echo "without a browser ($(BROWSERS)) the page of a report is not tested"; fi
	@[ -n "$${KUBEBUILDER_ASSETS:-}" ] || command -v go >/dev/null || { echo "error: go is missing; install Go 1.26, or set KUBEBUILDER_ASSETS to a folder with kube-apiserver, etcd and kubectl" >&2; exit 1; }
	@if [ "$$(id -u)" = 0 ] && [ "$$(uname)" = Linux ]; then \
	  missing=(); \
	  for program in $(NODE_PROGRAMS) /usr/lib/cni/bridge; do command -v $$program >/dev/null || missing+=("$$program"); done; \
	  if [ $${#missing[@]} -gt 0 ]; then \
	    if command -v apt-get >/dev/null; then \
	      echo "installing $(NODE_PACKAGES)"; apt-get update -qq && env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(NODE_PACKAGES) >/dev/null; \
	    else echo "error: a real node needs: $${missing[*]}; install them (on Debian: $(NODE_PACKAGES))" >&2; exit 1; fi; \
	  fi; \
	  tests/cluster/build.sh node >/dev/null; \
	else tests/cluster/build.sh >/dev/null; fi
