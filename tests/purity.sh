#!/usr/bin/env bash
# Fails where a pure module names IO, a clock or a runtime. Usage: tests/purity.sh [PROJECT]
set -euo pipefail
cd "${1:-.}"
shopt -s nullglob globstar
pure=(src/subject.rs src/subject/**/*.rs src/verdict.rs src/verdict/**/*.rs src/policy.rs src/policy/**/*.rs src/evidence.rs
  src/exception.rs src/exception/**/*.rs src/instant.rs src/json.rs src/json/**/*.rs src/admission/decode.rs src/admission/decode/**/*.rs
  src/authority.rs src/authority/**/*.rs src/webhook.rs src/webhook/**/*.rs
  src/dependency/{base,finding,forecast,ladder,rank,version,workload}.rs src/dependency/{forecast,version}/**/*.rs src/dependency/contents/inside.rs
  src/scanner/{known,nudges,pace,report,tally}.rs src/scanner/{nudges,tally}/**/*.rs
  src/budget.rs src/budget/{figures,freeze,freezes,lift,measure,service,snapshot,state,window}.rs src/budget/{answer,api,compile,crd,file,found,grafana,openslo,promql,pyrra,queried,query,sloth}.rs
  src/image/reference.rs src/image/reference/*.rs src/image/build_date.rs src/image/claims.rs src/audit/record.rs src/audit/record/**/*.rs src/audit/chain.rs src/audit/checkpoint.rs src/audit/checkpoint/known.rs src/audit/boundary.rs src/audit/columns.rs src/audit/columns/**/*.rs src/audit/facet.rs src/audit/facet/**/*.rs src/audit/{replay,simulate}.rs src/audit/{replay,simulate}/**/*.rs
  src/dependency/package.rs src/dependency/package/**/*.rs src/dependency/sbom.rs src/dependency/sbom/**/*.rs src/dependency/end_of_life.rs src/dependency/end_of_life/**/*.rs src/dependency/index/{protocol,settings,snapshot}.rs src/dependency/index/protocol/**/*.rs
  src/policy_cases.rs src/policy_cases/**/*.rs)
forbidden='\b(tokio|axum|reqwest|sqlx|oci_client)\b|\bkube::(\{[^}]*\b)?Client\b|\bSystemTime::now\b|\bUtc::now\b|\bInstant::now\b|\bstd::(fs|net|process)\b'
existing=(); for file in "${pure[@]}"; do [ -f "$file" ] && existing+=("$file"); done
# Comments may name what code may not.
found=$(awk -v pattern='^[[:space:]]*//' '$0 !~ pattern {print FILENAME ":" FNR ": " $0}' "${existing[@]}" | grep -E "$forbidden" || true)
if [ -n "$found" ]; then
  echo "a pure module names what it may not know (see ARCHITECTURE.md):"
  echo "$found"
  exit 1
fi
echo "${#existing[@]} pure modules are pure"
