# What questions, proofs and replays of recorded decisions take; sourced by run.sh. One core each, the program's start included.

seconds_of() { # command…: CPU seconds (user and system) that it took; its output is dropped
  local TIMEFORMAT='%U %S'
  { time taskset -c 1 "$@" > "$work/said" 2> "$work/said.log"; } 2>&1 | awk '{printf "%.2f", $1 + $2}'
}
milliseconds_of() { # command…: the middle one of five
  for _ in 1 2 3 4 5; do
    local begun=$(date +%s%N)
    taskset -c 1 "$@" > "$work/said" 2> "$work/said.log" || { cat "$work/said.log" >&2; exit 1; }
    echo $((($(date +%s%N) - begun) / 100000))
  done | sort -n | awk 'NR == 3 {printf "%.1f", $1 / 10}'
}

proofs() { # freshgate, a store that a gate has filled, its policies
  local count took
  count=$(sqlite3 "$2" 'SELECT count(*) FROM decisions')
  echo "$count records that the load above made, in CPU seconds of one core:"
  echo
  took=$(seconds_of "$1" audit verify --store "sqlite:$2")
  echo "- \`audit verify\`: $took ($(awk "BEGIN {printf \"%.1f\", $took * 1000000 / $count}") for a million)"
  took=$(seconds_of "$1" audit replay --since 1d --store "sqlite:$2")
  echo "- \`audit replay\`: $took ($(awk "BEGIN {printf \"%.1f\", $took * 100000 / $count}") for 100,000)"
  took=$(seconds_of "$1" simulate --since 1d --policies "$3" --store "sqlite:$2")
  echo "- \`simulate\`: $took ($(awk "BEGIN {printf \"%.1f\", $took * 100000 / $count}") for 100,000)"
}

questions() { # freshgate, a store with the tables and no record
  sqlite3 "$2" 'PRAGMA synchronous = 0;' '.read tests/gate/audit/million.sql'
  echo "At 1,000,000 records of 10,000 workloads \`audit query\` takes, in milliseconds with the program's start:"
  echo
  while read -r name flags; do
    case $name in counts*) ;; *) flags="--limit 100 $flags" ;; esac
    # shellcheck disable=SC2086 # flags are words
    echo "- ${name//_/ }: $(milliseconds_of "$1" audit query -o json --store "sqlite:$2" $flags)"
  done <<'FLAGS'
the_newest
workload_and_time --namespace team-7 --name app-207 --since 2026-12-01
user --user system:serviceaccount:ci:deployer-7
denials --decision deny
digest --digest sha256:0000000000000000000000000000000000000000000000000000000000000000
repository --repository registry.example/team-7/app-207
decision_id --id 019a0000-0000-7000-8000-00000001e240
user,_decision_and_time --user system:serviceaccount:ci:deployer-7 --decision deny --since 2026-12-01
three_common_ones,_never_together --policy team-7 --kind Deployment --decision deny
counts_by_namespace --count-by namespace
counts_by_rule,_of_a_namespace --namespace team-7 --count-by rule
counts_by_user,_of_denials --decision deny --count-by user
FLAGS
}
