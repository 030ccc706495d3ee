"""The page in a real browser: nothing on its console, nothing too wide, sorted by hand and by keyboard, read aloud."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lieref.evaluate.report.carry_page import carry_page
from lieref.evaluate.report.compare_page import compare_page
from lieref.evaluate.report.demo_page import demo_page
from lieref.evaluate.report.finetune_page import finetune_page
from lieref.evaluate.report.fleet_page import fleet_page
from lieref.evaluate.report.forms import write_form
from lieref.train.history import History
from tests.evaluate.report.results import (
    HISTORY,
    QUANTISED,
    carried,
    comparison,
    demo,
    fleet,
    quantised_comparison,
    run,
)  # fmt: skip
from tests.pairs import EVERYTHING, pairs

webdriver = pytest.importorskip("selenium.webdriver")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
if BROWSER is None or DRIVER is None:
    pytest.skip("no browser: install chromium and chromium-driver", allow_module_level=True)

NAMES = [f"a class of number {number}" for number in range(20)]
MANY = {"samples": [9] * 20, "right": [3] * 20, "confusion": [[3] * 3 + [0] * 17] * 20}
JUDGED = {"classes": MANY, "interval": [0.1, 0.5]}
WIDE = run(**QUANTISED, classes=NAMES, test_outcomes={**run()["test_outcomes"], "base": JUDGED, "adapted": JUDGED})
COMMAND = (
    "lieref finetune base.onnx --train train.npz --test test.npz --learning-rate 0.01 --max-bytes 100000000 --out o"
)
LONG = run(command=COMMAND, base_accuracy=0.25, accuracy=0.791, base_metrics={"accuracy": 0.25},
           metrics={"accuracy": 0.791})  # fmt: skip
EPOCHS = {**HISTORY, "epochs": [{**HISTORY["epochs"][0], "epoch": n + 1} for n in range(60)]}
PAGES = {
    "long": finetune_page(LONG, History.from_dict(EPOCHS)),
    "comparison": compare_page(comparison()),
    "quantised": compare_page(quantised_comparison()),
    "run": finetune_page(WIDE, History.from_dict(HISTORY)),
    "fleet": fleet_page(fleet()),
    "demo": demo_page(demo(), History.from_dict(HISTORY)),
    "carried": carry_page(carried()),
}
each_page = pytest.mark.parametrize("name", PAGES)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    found.set_script_timeout(120)
    yield found
    found.quit()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Any:
    """Open a page at a width, light or dark."""

    def opened(name: str, width: int = 1280, scheme: str = "light") -> Any:
        path = tmp_path / f"{name}.html"
        path.write_bytes(write_form(PAGES[name], ".html"))
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(path.as_uri())
        return browser

    return opened


def first_column(browser: Any, table: str) -> list[str]:
    script = "return [...document.querySelector(arguments[0]).tBodies[0].rows].map(r => r.cells[0].dataset.value)"
    return list(browser.execute_script(script, table))


@each_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_says_nothing_on_the_console(show: Any, name: str, width: int, scheme: str) -> None:
    browser = show(name, width, scheme)
    assert browser.get_log("browser") == []
    too_wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(too_wide) == 0
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    plots = sum(hasattr(block, "summary") for section in PAGES[name].sections for block in section.blocks)
    shown = "return [...document.querySelectorAll('figure svg')].filter(e => e.checkVisibility()).length"
    assert browser.execute_script(shown) == plots
    # A text of a drawing is as large as one of the page, and inside of it.
    outside = """return [...document.querySelectorAll('figure svg text')].filter(e => e.checkVisibility()).filter(e => {
        const box = e.getBoundingClientRect();
        return box.left < 0 || box.right > window.innerWidth || box.height < 11;
    }).map(e => e.textContent)"""
    assert browser.execute_script(outside) == []
    colour = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, colour[4:-1].split(","))) > 382) == (scheme == "light")


VIEWS = [(390, "light"), (1280, "dark"), (390, "dark"), (1280, "light")]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [(name, *VIEWS[at % 4]) for at, name in enumerate(PAGES)] if not EVERYTHING else
    pairs(PAGES, [390, 1280], ["light", "dark"]),
)  # fmt: skip
def test_axe_finds_nothing(show: Any, name: str, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python.selenium").Axe()
    browser = show(name, width, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    found = axe.run(browser)
    broken = {
        each["id"]: [node["html"][:200] + str(node.get("failureSummary")) for node in each["nodes"]][:3]
        for each in found["violations"]
    }
    assert broken == {}
    assert len(found["passes"]) > 20


def test_a_table_sorts_by_click_and_by_keyboard(show: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = show("comparison")
    table = "#methods > div table"
    assert first_column(browser, table) == ["base", "slim", "wide r=2", "lost"]
    buttons = browser.find_elements("css selector", f"{table} thead button")
    buttons[1].click()  # accuracy: the largest first, what is missing last
    assert first_column(browser, table) == ["wide r=2", "slim", "base", "lost"]
    head = browser.find_elements("css selector", f"{table} thead th")[1]
    assert head.get_attribute("aria-sort") == "descending"
    buttons[1].send_keys(Keys.ENTER)
    assert first_column(browser, table) == ["base", "slim", "wide r=2", "lost"]
    assert head.get_attribute("aria-sort") == "ascending"
    assert "Sorted by Accuracy, ascending." in browser.find_element("id", "said").get_attribute("textContent")
    buttons[0].send_keys(Keys.SPACE)
    assert first_column(browser, table) == ["base", "lost", "slim", "wide r=2"]
    assert head.get_attribute("aria-sort") is None
    assert len(browser.find_elements("css selector", f"{table} thead [aria-sort]")) == 1


def test_only_what_is_too_wide_is_a_stop(show: Any) -> None:
    stops = (
        "return [...document.querySelectorAll('.scroll[role=region][tabindex]')].map(e => e.innerText.split('\\n')[0])"
    )
    assert show("comparison", 1280).execute_script(stops) == []
    assert "Every method" in show("comparison", 390).execute_script(stops)


def test_points_say_what_they_are(show: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser = show("comparison")
    tip = browser.find_element("id", "tip")
    assert not tip.is_displayed()
    points = [each for each in browser.find_elements("css selector", "g.point") if each.is_displayed()]
    assert len(points) == 2
    chosen = next(each for each in points if "slim" in each.get_attribute("aria-label"))
    browser.execute_script("arguments[0].focus()", chosen)
    assert tip.is_displayed()
    assert tip.text == "slim: 68.75 % (67.65 to 69.85), 1,234 bytes"
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not tip.is_displayed()
    ActionChains(browser).move_to_element(points[0]).perform()
    assert tip.is_displayed()
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", tip)
    assert box["left"] >= 0
    assert box["right"] <= 1280


def test_paper_shows_all_of_it(show: Any) -> None:
    browser = show("run")
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    closed = "return [...document.querySelectorAll('details')].filter(e => !e.open).length"
    assert browser.execute_script(closed) == 0
    assert browser.execute_script("return document.querySelector('nav').checkVisibility()") is False
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    assert len(printed["data"]) > 20_000
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_long_tables_stay_folded_on_paper(show: Any) -> None:
    browser = show("long")
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = "return [...document.querySelectorAll('#learning details')].filter(e => e.checkVisibility()).length"
    assert browser.execute_script(shown) == 0
    browser.execute_script("document.querySelectorAll('#learning details').forEach(e => { e.open = true; })")
    assert browser.execute_script(shown) == 2  # whoever opened them wants them
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def lines_of(browser: Any, selector: str) -> list[int]:
    """Return over how many lines each of the elements goes."""
    found: list[int] = browser.execute_script(
        """return [...document.querySelectorAll(arguments[0])].map(e => {
            const range = document.createRange();
            range.selectNodeContents(e);
            return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size;
        })""",
        selector,
    )
    return found


@pytest.mark.parametrize("width", [320, 390, 700, 1280])
def test_values_and_options_are_not_broken(show: Any, width: int) -> None:
    browser = show("long", width)
    assert set(lines_of(browser, ".figures strong")) == {1}
    words = lines_of(browser, "pre .word")
    assert len(words) > 8
    assert set(words) == {1}
    assert browser.execute_script("return document.querySelector('pre').textContent") == COMMAND


def test_without_script_it_reads_the_same(show: Any) -> None:
    browser = show("comparison")
    with_script = browser.execute_script("return document.querySelector('main').textContent")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(browser.current_url)
        text = browser.find_element("css selector", "main").get_attribute("textContent")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert " ".join(text.split()) == " ".join(with_script.split())
