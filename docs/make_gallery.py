"""The gallery of the docs' site, from runs of its own: make docs calls it with the folder that the site is made from.

Each experiment runs here and now on simulated nodes; reports, pictures and the README's picture are of these runs.
"""

import re
import runpy
import sys
from pathlib import Path

import mustherd
from mustherd.report import compare_page
from mustherd.report.story import story

ROOT = Path(__file__).resolve().parents[1]
CSS = ROOT / "mustherd/report/templates/report.css"
CURVE = """
workload:
  curve: {spans: experiment, sine: {low: 100k, high: 900k, period_seconds: 300, seconds: 600}}
trials: 20
constraints: [read_p99_us <= 500]
herd: {simulated: {profile: c6220, speed: 1000}}
knobs: {itr-delay: [200, 300], dvfs: [1200 MHz, 1900 MHz]}
"""
PAPER = '<svg xmlns="http://www.w3.org/2000/svg" style="background: #ffffff"'
"""How a file of its own begins: a page may be dark, and its ink isn't."""
TABLE = "{400k: {itr-delay: 300, dvfs: 1200 MHz}, 800k: {itr-delay: 200, dvfs: 1900 MHz}}"
RUNS = {
    "quickstart": ("A search, and its verdict", None),
    "loads": (
        "Settings for each of three loads, learnt together",
        "name: loads\nherd: {simulated: {profile: c6220, musters: 2, speed: 1000}}\n"
        "workload: {qps: [200k, 400k, 600k]}\n"
        "knobs:\n  itr-delay: [2, 50, 100, 200, 300, 400]\n  dvfs: [1200 MHz, 1600 MHz, 2000 MHz, 2600 MHz]\n"
        "constraints: [read_p99_us <= 500]\ntrials: 18\nconfirmation: {candidates: 1}\n",
    ),
    "follow": (
        "Settings that follow a load",
        f"name: follow{CURVE}policy: {{name: follow, options: {{load: oracle, table: {TABLE}}}}}\n",
    ),
    "as-found": ("The same load on a node that is left as it is found", f"name: as-found{CURVE}policy: nop\n"),
}
"""Folder to the heading and the definition, None: the quickstart's."""


def colours() -> dict[str, str]:
    """The page's own colours by the names that its pictures call them, as on paper."""
    light = CSS.read_text(encoding="utf-8").partition("}")[0]
    return dict(re.findall(r"(--[a-z]+): (#[0-9a-f]+)", light))


def pictures(report: str) -> list[tuple[str, str]]:
    """A report's pictures as files of their own, each with its title."""
    found = []
    known = colours()
    for drawn in re.findall(r"<svg.*?</svg>", report, flags=re.DOTALL):
        svg = re.sub(r"var\((--[a-z]+)\)", lambda found: known[found[1]], drawn)
        title = re.search(r"<title[^>]*>(.*?)</title>", svg, flags=re.DOTALL)
        found.append((title[1] if title else "", svg.replace("<svg", PAPER, 1)))
    return found


def main() -> None:
    """Run them, and write pages and pictures into the folder that is named, and reports into `extra` of it."""
    site = Path(sys.argv[1])
    runs, reports, drawn = site / "runs", site / "extra" / "reports", site / "pictures" / "gallery"
    for folder in (reports, drawn):
        folder.mkdir(parents=True, exist_ok=True)
    page = [
        "# Gallery",
        "",
        "Made by runs of this site's own build, on simulated nodes: each picture is of its report.",
    ]
    for name, (heading, definition) in RUNS.items():
        result = mustherd.run(definition, into=runs / name)
        report = result.report(reports / f"{name}.html").read_text(encoding="utf-8")
        page += [
            "",
            f"## {heading}",
            "",
            " ".join(story(result.view())).replace(str(result.folder.resolve()), name),
            "",
        ]
        page += [f"The whole report: <a href='reports/{name}.html'>{name}.html</a>", ""]
        for number, (title, svg) in enumerate(pictures(report)):
            (drawn / f"{name}-{number}.svg").write_text(svg, encoding="utf-8")
            page += [f"![{title}](pictures/gallery/{name}-{number}.svg)", ""]
    both = [mustherd.open(runs / name).view() for name in ("follow", "as-found")]
    compare_page.write(both, reports / "saved.html")
    page += ["## One beside the other", "", "What following saves: <a href='reports/saved.html'>saved.html</a>", ""]
    (site / "gallery.md").write_text("\n".join(page), encoding="utf-8")
    draw = runpy.run_path(str(ROOT / "docs" / "make_picture.py"))["draw"]
    draw(runs / "quickstart", site / "pictures" / "quickstart.svg")


if __name__ == "__main__":
    main()
