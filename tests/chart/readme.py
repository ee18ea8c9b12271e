"""Writes charts/freshgate/README.md from README.md.gotmpl, as `helm-docs --sort-values-order file` does; with --check it only
says whether the one that is there is current."""
import pathlib
import re
import sys

import yaml

import values

CHART = pathlib.Path(__file__).resolve().parents[2] / "charts/freshgate"


def readme():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    text = (CHART / "README.md.gotmpl").read_text()
    filled = {
        "chart.description": chart["description"],
        "chart.version": chart["version"],
        "chart.valuesSection": "## Values\n\n" + values.table((CHART / "values.yaml").read_text()),
    }
    return re.sub(r'\{\{ template "([\w.]+)" \. \}\}', lambda found: filled[found.group(1)], text)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        (CHART / "README.md").write_text(readme())
    elif (CHART / "README.md").read_text() != readme():
        sys.exit("error: charts/freshgate/README.md is not of these values: run tests/chart/readme.py")
