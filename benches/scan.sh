#!/usr/bin/env bash
# A scan of 10,000 workloads over 2,000 images on a real API server: seconds of CPU, resident memory, and the p99 of reviews
# with and without a scan (R19). Usage: benches/scan.sh [WORKLOADS [IMAGES [SECONDS]]]. Making the fleet takes minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --quiet --release --bin freshgate --example bench_scan
"${CARGO_TARGET_DIR:-target}/release/examples/bench_scan" "${1:-10000}" "${2:-2000}" "${3:-10}"
