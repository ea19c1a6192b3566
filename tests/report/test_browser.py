"""The page in headless Chromium: no errors, navigation by mouse and keyboard, a phone's width."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import lava_sc as lava

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

webdriver = pytest.importorskip("selenium.webdriver")
BINARY, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(not (BINARY and DRIVER), reason="Chromium and its driver are not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BINARY
    quiet = ("background-networking", "component-update", "sync", "quic", "gpu")
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("headless", "no-sandbox", "no-first-run", *(f"disable-{name}" for name in quiet)):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(browser: Chrome, stages, tmp_path_factory: pytest.TempPathFactory) -> Chrome:
    adata = lava.tl.module_genes(stages["amf"], copy=True)
    path = lava.report(adata, tmp_path_factory.mktemp("report") / "page.html", groupby="region")
    browser.get(path.as_uri())
    return browser


def test_it_loads_without_errors(page: Chrome) -> None:
    assert page.get_log("browser") == []
    widths = page.execute_script("return Array.from(document.images, image => image.complete && image.naturalWidth)")
    assert len(widths) > 5
    assert min(widths) > 50


@pytest.mark.parametrize("width", [1300, 390])
def test_nothing_is_wider_than_the_window(page: Chrome, width: int) -> None:
    page.set_window_size(width, 900)
    inner, content = page.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
    assert content <= inner
    page.set_window_size(1300, 900)


def test_links_lead_to_modules(page: Chrome) -> None:
    page.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    page.find_element("css selector", "nav a[href='#module-1']").click()
    top = page.execute_script("return document.getElementById('module-1').getBoundingClientRect().top")
    assert -5 < top < 400
    assert page.current_url.endswith("#module-1")


def test_by_keyboard(page: Chrome) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    address = page.current_url.partition("#")[0]
    page.get("about:blank")  # from where it is a new page, with the focus at its start
    page.get(address)
    ActionChains(page).send_keys(Keys.TAB).perform()
    assert page.switch_to.active_element.get_attribute("class") == "skip"
    ActionChains(page).send_keys(Keys.TAB).perform()
    assert page.switch_to.active_element.get_attribute("href").endswith("#overview")
    details = page.find_element("css selector", "#run details")
    details.find_element("css selector", "summary").send_keys(Keys.ENTER)
    assert details.get_attribute("open") is not None
