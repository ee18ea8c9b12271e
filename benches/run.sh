#!/usr/bin/env bash
# The gate beside the naive floor: the same load on each in turns, one core for the server and one for the load, over
# HTTP/1.1 as the API server calls a Service. Prints ratios; with RECORD=1 writes them to docs/performance.md.
# Needs wrk, h2load and sqlite3 (Debian: wrk, nghttp2-client, sqlite3). Loopback alone, bounded in time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for program in wrk h2load taskset curl sqlite3; do
  command -v $program >/dev/null || { echo "error: $program is missing; on Debian: apt-get install wrk nghttp2-client util-linux curl sqlite3" >&2; exit 1; }
done
seconds=${SECONDS_EACH:-5} rounds=${ROUNDS:-3}
declare -A pid
cargo build --quiet --release --bin freshgate --example floor --example bench_images --example bench_scan
target=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d); pids=()
stop() { for one in "${pids[@]}"; do kill -CONT "$one" 2>/dev/null || true; kill "$one" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap stop EXIT

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" -subj /CN=localhost -days 2 2>/dev/null
"$target/examples/bench_images" "$work/images"
mkdir "$work/policies"
printf 'apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {name: p}\nspec: {validationActions: [Deny], imageAge: {maxAge: 90d}}\n' > "$work/policies/p.yaml"
# What an API server sent: a Deployment's first apply, and the apply that brought its next image.
declare -A review=([create]=$PWD/tests/fixtures/review-create-deployment.json [update]=$PWD/tests/fixtures/review-update-image-of-deployment.json)
for kind in create update; do
  cat > "$work/$kind.lua" <<LUA
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("${review[$kind]}", "rb"); wrk.body = file:read("*a"); file:close()
LUA
done

# Ten thousand workloads in turns.
cat > "$work/names.lua" <<LUA
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("${review[create]}", "rb"); local body = file:read("*a"); file:close()
local turn = 0
request = function()
  turn = turn % 10000 + 1
  return wrk.format(nil, nil, nil, (body:gsub('"name":"checkout"', '"name":"checkout-' .. turn .. '"')))
end
LUA

# Both rules, with a snapshot of one service, and with one of ten thousand.
for count in 1 10000; do
  mkdir "$work/policies-$count"
  printf 'apiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {name: p}\nspec: {validationActions: [Deny], imageAge: {maxAge: 90d}, errorBudget: {sources: [slo]}}\n' > "$work/policies-$count/p.yaml"
  printf 'apiVersion: freshgate.dev/v1alpha1\nkind: BudgetSource\nmetadata: {name: slo}\nspec: {format: File, file: {path: budgets.json}, interval: 30s, maxAge: 1d, service: {from: [Mapping], mapping: [{service: service-1}]}}\n' > "$work/policies-$count/s.yaml"
  awk -v n="$count" -v now="$(date -u +%FT%TZ)" 'BEGIN {
    printf "{\"time\":\"%s\",\"budgets\":[", now
    for (i = 1; i <= n; i++) printf "%s{\"service\":\"service-%d\",\"slo\":\"availability\",\"objective\":0.999,\"window\":\"30d\",\"total\":1000000,\"bad\":400}", (i > 1 ? "," : ""), i
    printf "]}"}' > "$work/policies-$count/budgets.json"
done

# A thousand policies, each for a namespace of its own but the first.
mkdir "$work/policies-thousand"; cp "$work/policies/p.yaml" "$work/policies-thousand/"
for i in $(seq 999); do
  printf -- '---\napiVersion: freshgate.dev/v1alpha1\nkind: GatePolicy\nmetadata: {name: p%s}\nspec: {match: {namespaces: [team-%s, "team-%s-*"]}, validationActions: [Deny], imageAge: {maxAge: 90d}}\n' "$i" "$i" "$i"
done > "$work/policies-thousand/all.yaml"

gate() { # name port admin store policies
  TOKIO_WORKER_THREADS=1 taskset -c 0 "$target/freshgate" serve --policies "$work/$5" --listen 127.0.0.1:"$2" --admin-listen 127.0.0.1:"$3" \
    --tls-cert "$work/cert.pem" --tls-key "$work/key.pem" --mirror "registry.example=oci:$work/images" --store "$4" >> "$work/$1.out" 2> "$work/$1.log" &
  pids+=($!); pid[$1]=$!
  for _ in $(seq 100); do curl -sf "http://127.0.0.1:$3/readyz" >/dev/null && return; sleep 0.1; done
  cat "$work/$1.log" >&2; exit 1
}
TOKIO_WORKER_THREADS=1 taskset -c 0 "$target/examples/floor" 127.0.0.1:19441 "$work/cert.pem" "$work/key.pem" & pids+=($!); pid[floor]=$!
gate durable 19442 19452 "sqlite:$work/durable.db" policies
gate stdout 19443 19453 stdout policies
gate both 19444 19454 "sqlite:$work/both.db" policies-1
gate many 19445 19455 "sqlite:$work/many.db" policies-10000
gate thousand 19446 19456 stdout policies-thousand
source benches/audit.sh
source benches/postgres.sh
start_postgres "$work/postgres"; pids+=("$postgres_pid")
FRESHGATE_SIGNING_KEY=$work/signing.pem FRESHGATE_AUDIT_JOURNAL=$work/journal gate behind 19448 19458 "$postgres_url/behind" policies
FRESHGATE_SIGNING_KEY=$work/signing.pem FRESHGATE_AUDIT_DURABILITY=store gate waiting 19449 19459 "$postgres_url/waiting" policies
answers() { # name kind: whether a review is allowed
  local answer
  answer=$(curl -sk -H 'Content-Type: application/json' --data-binary @"${review[$2]}" "https://127.0.0.1:${port[$1]}/validate?timeout=10s")
  grep -q '"allowed":true' <<<"$answer" || { echo "error: $1 answers $answer" >&2; exit 1; }
}
declare -A port=([floor]=19441 [durable]=19442 [stdout]=19443 [both]=19444 [many]=19445 [thousand]=19446 [large]=19447 [behind]=19448 [waiting]=19449)
# A store that knows a million images: what it knows of one, a million times.
gate large 19447 19457 "sqlite:$work/large.db" policies
answers large create
kill "${pid[large]}"; wait "${pid[large]}" || true
sqlite3 "$work/large.db" "
  CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT i FROM n;
  INSERT INTO image_facts SELECT printf('sha256:%064x', i), fact, fetched_at FROM n, (SELECT * FROM image_facts LIMIT 1);
  INSERT INTO first_seen SELECT printf('sha256:%064x', i), at FROM n, (SELECT * FROM first_seen LIMIT 1);"
gate large 19447 19457 "sqlite:$work/large.db" policies
gate million 19470 19480 "sqlite:$work/million.db" policies; kill "${pid[million]}"; wait "${pid[million]}" || true; unset "pid[million]"
for name in floor durable stdout both many thousand large behind waiting; do for kind in create update; do answers $name $kind; done; done

# They share one core, so all but the one that is measured stand still, and nobody takes an old backlog into a measurement.
stand_still() { for one in "${!pid[@]}"; do kill -STOP "${pid[$one]}"; done; }
declare -A admin=([durable]=19452 [both]=19454 [many]=19455 [large]=19457 [behind]=19458 [waiting]=19459)
settle() { # name: until its store has what its journal has
  [ -n "${admin[$1]:-}" ] || return 0
  for _ in $(seq 600); do
    curl -sf "http://127.0.0.1:${admin[$1]}/metrics" | grep -q '^freshgate_audit_waiting 0$' && return
    sleep 0.1
  done
  echo "error: the store of $1 does not catch up" >&2; exit 1
}
alone() { # name command…: runs the command while only that one server moves
  kill -CONT "${pid[$1]}"
  "${@:2}"
  settle "$1"
  kill -STOP "${pid[$1]}"
  # Who keeps what is printed is not the gate: nobody is measured while the disk writes the last one's lines.
  : > "$work/$1.out"
}
for name in durable both many large behind waiting; do settle $name; done
stand_still

resident() { awk '/VmRSS/ {printf "%.0f", $2 / 1024}' "/proc/${pid[$1]}/status"; }
declare -A idle
for name in durable stdout large; do idle[$name]=$(resident $name); done

load() { alone "$1" load_of "$@"; }
load_of() { # name connections kind -> requests per second, p50 and p99 in microseconds
  taskset -c 1 wrk -t1 -c"$2" -d"${seconds}s" --latency -s "$work/$3.lua" "https://127.0.0.1:${port[$1]}/validate?timeout=10s" > "$work/wrk.out"
  awk '
    function us(text) { return text ~ /us$/ ? text + 0 : text ~ /ms$/ ? text * 1000 : text * 1000000 }
    /^ *50%/ {p50 = us($2)} /^ *99%/ {p99 = us($2)} /Requests\/sec/ {rps = $2} /Non-2xx/ {bad = $NF}
    END {if (bad) {print "error: " bad " answers were not 2xx" > "/dev/stderr"; exit 1} printf "%.0f %.0f %.0f\n", rps, p50, p99}' "$work/wrk.out"
}
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

declare -A p50_ratio
sync_us=$("$target/examples/bench_images" --fdatasync "$work")
{
  echo "| review | connections | floor req/s | durable req/s | ratio | stdout req/s | ratio | p50 µs floor / durable | p99 µs floor / durable |"
  echo "|---|---|---|---|---|---|---|---|---|"
  for kind in create update; do for connections in 1 8 32; do
    for name in floor durable stdout; do : > "$work/$name.$connections"; done
    for _ in $(seq "$rounds"); do
      for name in floor durable stdout; do load $name $connections $kind >> "$work/$name.$connections"; done
    done
    figure() { cut -d' ' -f"$2" "$work/$1.$connections" | median; }
    f=$(figure floor 1) d=$(figure durable 1) s=$(figure stdout 1)
    if [ "$connections" = 1 ]; then
      p50_ratio[$kind]=$(awk "BEGIN {printf \"%.2f\", $(figure durable 2) / ($(figure floor 2) + $sync_us)}")
    fi
    echo "| $kind | $connections | $f | $d | $(awk "BEGIN {printf \"%.2f\", $d / $f}") | $s | $(awk "BEGIN {printf \"%.2f\", $s / $f}") | $(figure floor 2) / $(figure durable 2) | $(figure floor 3) / $(figure durable 3) |"
  done; done
  echo
  for kind in create update; do
    for name in floor both many; do : > "$work/$name.rules"; done
    for _ in $(seq "$rounds"); do for name in floor both many; do load $name 32 $kind >> "$work/$name.rules"; done; done
    figure() { cut -d' ' -f1 "$work/$1.rules" | median; }
    f=$(figure floor) b=$(figure both) m=$(figure many)
    echo "Both rules, durable, 32 connections, $kind: $(awk "BEGIN {printf \"%.2f\", $b / $f}") of the floor with one service in the snapshot ($b req/s); with 10,000 services a decision costs $(awk "BEGIN {printf \"%.2f\", $b / $m}") times as much ($m req/s)."
    echo
  done
  for kind in create update; do
    for name in stdout thousand; do : > "$work/$name.policies"; done
    for _ in $(seq "$rounds"); do for name in stdout thousand; do load $name 32 $kind >> "$work/$name.policies"; done; done
    o=$(cut -d' ' -f1 "$work/stdout.policies" | median) t=$(cut -d' ' -f1 "$work/thousand.policies" | median)
    echo "With 1,000 policies a decision costs $(awk "BEGIN {printf \"%.2f\", $o / $t}") times as much as with one (stdout, 32 connections, $kind: $o and $t req/s)."
    echo
  done
  echo "With PostgreSQL, updates: *behind* is durable in the journal and PostgreSQL filled behind it, *waiting* answers when PostgreSQL has committed. The server is on the load's core and takes a part of it."
  echo
  echo "| connections | floor req/s | SQLite durable | ratio | behind | ratio | waiting | ratio | p50 µs durable / behind / waiting |"
  echo "|---|---|---|---|---|---|---|---|---|"
  for connections in 1 8 32; do
    for name in floor durable behind waiting; do : > "$work/$name.stores"; done
    for _ in $(seq "$rounds"); do for name in floor durable behind waiting; do load $name $connections update >> "$work/$name.stores"; done; done
    figure() { cut -d' ' -f"$2" "$work/$1.stores" | median; }
    ratio() { awk "BEGIN {printf \"%.2f\", $(figure "$1" 1) / $(figure floor 1)}"; }
    echo "| $connections | $(figure floor 1) | $(figure durable 1) | $(ratio durable) | $(figure behind 1) | $(ratio behind) | $(figure waiting 1) | $(ratio waiting) | $(figure durable 2) / $(figure behind 2) / $(figure waiting 2) |"
  done
  echo
  echo "One fdatasync on this disk: $sync_us µs (median of 500). At one connection the durable p50 is ${p50_ratio[create]} (create) and ${p50_ratio[update]} (update) times floor + one fdatasync."
  echo
  echo "Over HTTP/2 (h2load, updates, 8 connections, 4 streams each), requests per second:"
  for name in floor durable stdout; do
    rate=$(alone $name taskset -c 1 h2load -n 20000 -c 8 -m 4 -t 1 -d "${review[update]}" -H 'content-type: application/json' "https://127.0.0.1:${port[$name]}/validate?timeout=10s" | awk '/^finished in/ {print $4}')
    echo "$name $rate"
  done | paste -sd, | sed 's/,/, /g'
  echo
  echo "A burst of 200 new connections, one update each, handshakes included, seconds:"
  for name in floor durable; do
    took=$(alone $name taskset -c 1 h2load --h1 -n 200 -c 200 -t 1 -d "${review[update]}" -H 'content-type: application/json' "https://127.0.0.1:${port[$name]}/validate?timeout=10s" | awk '/^finished in/ {print $3}')
    echo "$name ${took%,}"
  done | paste -sd, | sed 's/,/, /g'
  echo
  for name in durable stdout; do
    echo "Resident memory, $name: ${idle[$name]} MiB idle, $(resident $name) MiB after all of this."
    echo
  done
  load large 8 names > "$work/large.load"
  echo "With 1,000,000 image facts in the store and 10,000 workloads reviewed in turns: ${idle[large]} MiB idle, $(resident large) MiB after $seconds s of load ($(cut -d' ' -f1 "$work/large.load") req/s at 8 connections)."
  echo
  kill -CONT "${pid[durable]}"; kill "${pid[durable]}"; tail --pid="${pid[durable]}" -f /dev/null
  proofs "$target/freshgate" "$work/durable.db" "$work/policies"
  echo
  questions "$target/freshgate" "$work/million.db"
  echo
  # A control plane needs the room that the others take.
  for one in "${!pid[@]}"; do { kill -CONT "${pid[$one]}" && kill "${pid[$one]}"; } 2>/dev/null || true; done
  "$target/examples/bench_scan" 10000 2000 "$seconds"
} | tee "$work/table"
if [ -n "${RECORD:-}" ]; then
  { sed '/^<!-- measured -->/q' docs/performance.md; echo
    echo "Commit $(git rev-parse --short HEAD), $(date -u +%F), $(nproc) cores ($(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo)), $rounds rounds of ${seconds} s each, medians."; echo
    cat "$work/table"; } > "$work/performance.md"
  cp "$work/performance.md" docs/performance.md
fi
