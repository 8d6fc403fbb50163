"""The report's page in a real browser: nothing overflows, nothing complains, an accessibility checker finds nothing."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import chromium
import samples
from taskdemo_cli.documents.limits import LIMITS
from taskdemo_cli.reports import files
from taskdemo_server.contract.modes import MODES
from test_page import advised, app_run, burst

pytestmark = pytest.mark.browser


def limits_of_seven_modes() -> Any:
    """As many as are compared where nothing but Celery is installed, none of which can do anything more than partly."""
    cells = [
        {**cell, "verdict": "partly"} for cell in samples.saved(samples.limits_document())["modes"]["celery"].values()
    ]
    names = [mode.name for mode in MODES][:7]
    return samples.changed(
        samples.limits_document(), modes={name: dict(zip(LIMITS, cells, strict=True)) for name in names}
    )


def queued_run(count: int) -> Any:
    """Callers who wait, and tasks that are queued once they are answered."""
    samples_of = [samples.sample(n, 0.5, task=f"q{n}") for n in range(1, count + 1)]
    events = [event for n in range(1, count + 1) for event in samples.events_of(f"q{n}", 0.4, 0.4 + n / 5, 1.4 + n / 5)]
    return samples.recorder(samples_of, events).finish(samples.facts("background", count))


PAGES: dict[str, Any] = {
    "advised": advised(),
    "rounds": samples.comparison_document(3),
    "limits": limits_of_seven_modes(),
    "capacity": samples.capacity_document(),
    "scan": samples.scan_document(),
    "app": app_run(),
    "failed": samples.failed_run(),
    "interrupted": samples.interrupted_run(),
    "rate": samples.rate_run(),
    "hostile": samples.hostile_run(),
    "half": samples.recorder([samples.sample(n, n / 10) for n in range(1, 6)]).finish(samples.facts("blocking", 5)),
    "thousand": burst(1000),
    "stairs": queued_run(20),
    "crowd": queued_run(60),
}
WIDTHS = (360, 1280)
CUT = """[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth)
  .map(one => `${one.getAttribute('aria-label')}: ${one.scrollWidth - one.clientWidth}`)"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, document in PAGES.items():
        files.save(document, folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in PAGES}


OPEN_DETAILS = "document.querySelectorAll('details').forEach(one => { one.open = true })"


LOOKS = [
    *((name, 360, False) for name in PAGES),
    # The others are of the same parts, in the same colours.
    *((name, 1280, True) for name in ("advised", "limits", "capacity", "scan", "app", "thousand", "crowd")),
]


@pytest.mark.parametrize(("name", "width", "dark"), LOOKS)
def test_no_page_is_wider_than_the_window_or_complains_and_an_accessibility_checker_finds_nothing(
    browser: chromium.Browser, pages: dict[str, Path], axe: str, name: str, width: int, dark: bool
) -> None:
    browser.show(pages[name], width, dark=dark)
    browser.evaluate(OPEN_DETAILS)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.overflowing() == []
    assert browser.complaints == []
    assert browser.violations(axe) == []


@pytest.mark.parametrize("name", ["advised", "rounds", "limits", "capacity", "scan", "app"])
def test_no_table_loses_its_last_column_in_a_window_of_half_a_screen(
    browser: chromium.Browser, pages: dict[str, Path], name: str
) -> None:
    for width in (885, 1009, 1280):
        browser.show(pages[name], width)
        browser.evaluate(OPEN_DETAILS)
        assert browser.evaluate(CUT) == [], width


@pytest.mark.parametrize("dark", [False, True])
def test_each_kind_has_one_colour_however_many_requests_and_it_is_seen_on_the_paper(
    browser: chromium.Browser, pages: dict[str, Path], dark: bool
) -> None:
    seen = """(kinds => Object.fromEntries(kinds.map(kind => {
      const style = getComputedStyle(document.querySelector('.key .' + kind))
      return [kind, (style.stroke === 'none' ? style.fill : style.stroke).match(/\\d+/g).map(Number)]
    })))(['wait', 'queue'])"""
    colours = []
    for name in ("stairs", "crowd"):
        browser.show(pages[name], 1280, dark=dark)
        colours.append(browser.evaluate(seen))
    assert colours[0] == colours[1]
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert min(contrast(colour, paper) for colour in colours[0].values()) >= 3


def contrast(*colours: list[float]) -> float:
    """WCAG's contrast ratio of two colours."""
    bright = sorted(
        sum(
            weight * (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4)
            for weight, part in zip((0.2126, 0.7152, 0.0722), (each / 255 for each in colour[:3]), strict=True)
        )
        for colour in colours
    )
    return (bright[1] + 0.05) / (bright[0] + 0.05)


def test_a_hostile_text_is_text_in_the_page(browser: chromium.Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["hostile"], 1280)
    assert browser.evaluate("document.scripts.length") == 0
    assert browser.evaluate("document.querySelectorAll('img, iframe, object, a').length") == 0
    text = browser.evaluate("document.body.textContent")
    assert text.count("<script>alert('x')</script>") > 3
    # Even a script that got in would not run: the page's own policy forbids it.
    browser.evaluate(
        "{ const bad = document.createElement('script'); bad.append('window.ran = 1'); document.body.append(bad) }"
    )
    assert browser.evaluate("window.ran === undefined")


UNPRINTED = """[...document.querySelectorAll('details > :not(summary)')].filter(
  one => !one.matches('.unprinted, .paper') && one.getBoundingClientRect().height === 0).length"""
SMALL = """[...document.querySelectorAll('body *')].filter(one => {
  const own = [...one.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim())
  return own && one.getClientRects().length && parseFloat(getComputedStyle(one).fontSize) < 8 * 96 / 72 - 0.01
}).map(one => one.outerHTML.slice(0, 100))"""


@pytest.mark.parametrize("name", ["advised", "limits", "capacity", "scan", "app", "thousand"])
def test_on_paper_what_is_folded_is_open_nothing_is_cut_and_nothing_too_small_to_read(
    browser: chromium.Browser, pages: dict[str, Path], name: str
) -> None:
    browser.show(pages[name], 688)  # pixels across A4 between the margins
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate(UNPRINTED) == 0
    assert browser.evaluate(CUT) == []
    assert browser.evaluate(SMALL) == []


@pytest.mark.parametrize("name", ["advised", "thousand"])
def test_a_page_can_be_printed(browser: chromium.Browser, pages: dict[str, Path], name: str) -> None:
    browser.show(pages[name], 1280, dark=True)
    printed = browser.pdf()
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page/") + printed.count(b"/Type/Page/") <= 12
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_timeline_is_seen_where_the_figures_say(
    browser: chromium.Browser, pages: dict[str, Path], width: int
) -> None:
    """Five blocking callers are stairs: each answered a second later than the one before it, the last at the right."""
    browser.show(pages["advised"], width)
    dots = browser.evaluate(
        "[...document.querySelector('.row:not(.top) svg.plot').querySelectorAll('circle.answered')]"
        ".map(dot => { const box = dot.getBoundingClientRect(); return [box.x + box.width / 2, box.y] })"
    )
    assert len(dots) == 5
    steps = [right[0] - left[0] for left, right in pairwise(dots)]
    assert max(steps) - min(steps) < 1
    assert min(steps) > 20
    assert [y for _, y in dots] == sorted(y for _, y in dots)


@pytest.mark.parametrize("name", ["advised", "rounds"])
def test_a_table_that_scrolls_on_a_narrow_page_keeps_the_names_of_its_rows_in_sight(
    browser: chromium.Browser, pages: dict[str, Path], name: str
) -> None:
    browser.show(pages[name], 360)
    left, scrolled = browser.evaluate("""(() => {
      const around = [...document.querySelectorAll('.scroll')].find(one => one.scrollWidth > one.clientWidth + 40)
      around.scrollLeft = 40
      const name = around.querySelector('tbody th')
      return [name.getBoundingClientRect().left - around.getBoundingClientRect().left, around.scrollLeft]
    })()""")
    assert scrolled == 40
    assert left == 0


def test_no_two_labels_of_a_narrow_timeline_overlap(browser: chromium.Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["half"], 360)
    labels = browser.evaluate("""
      [...document.querySelector('.axis').querySelectorAll('text')].map(one => one.getBoundingClientRect())
        .filter(box => box.width).map(box => [box.left, box.right])
    """)
    assert len(labels) >= 3
    assert all(before[1] < after[0] for before, after in pairwise(labels))


def test_of_what_is_complained_each_page_has_its_own(browser: chromium.Browser, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.html", tmp_path / "good.html"
    bad.write_text(
        "<link rel=stylesheet href='http://example.invalid/'>"
        "<script>console.error('early'); setInterval(() => console.warn('late'), 1)</script>"
    )
    good.write_text("<p>Nothing is wrong.")
    for _ in range(3):
        browser.show(bad, 360)
        assert all(any(what in complaint for complaint in browser.complaints) for what in ("asked for", "early"))
        browser.show(good, 1280)
        browser.evaluate("new Promise(done => setTimeout(done, 20))")
        assert browser.complaints == []
