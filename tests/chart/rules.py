"""Prints the rules of a rendered file, as Prometheus reads them; with --bare without annotations, so that a test can be about
labels alone."""
import sys

import yaml

with open(sys.argv[1]) as file:
    rules = [one["spec"] for one in yaml.safe_load_all(file) if one and one["kind"] == "PrometheusRule"]
assert len(rules) == 1, "there should be one PrometheusRule"
if "--bare" in sys.argv:
    for rule in rules[0]["groups"][0]["rules"]:
        del rule["annotations"]
yaml.safe_dump(rules[0], sys.stdout, sort_keys=False)
