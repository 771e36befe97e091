"""A headless Chromium for tests of pages, or the reason why there is none."""

import contextlib
import functools
import json
import shutil
import time

import pytest


def why_not():
    """What is missing to drive a browser; nothing if all is there."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: pip install -e '.[test]'"
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    names = " and ".join(missing)
    return f"no {names}: apt-get install chromium chromium-driver" if missing else ""


needs_browser = pytest.mark.skipif(bool(why_not()), reason=why_not())


@contextlib.contextmanager
def browser():
    """A browser that sees no network, and keeps what pages log and ask for."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu",
                     "hide-scrollbars", "host-resolver-rules=MAP * ~NOTFOUND"):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_window_size(1200, 1000)
        yield driver
    finally:
        driver.quit()


def open_page(driver, path, charts=True):
    """Opens a page from disk and waits until its charts are drawn."""
    driver.get_log("performance")
    driver.get_log("browser")
    driver.get(path.absolute().as_uri())
    if charts:
        wait_for(
            functools.partial(
                driver.execute_script, "return document.documentElement.dataset.charts === 'drawn'"
            )
        )


def wait_for(holds, seconds=60):
    """Waits until something holds; fails if it does not."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def emulate(driver, scheme="light", media="screen", width=None):
    """Sets what the page is told of its reader: colour scheme, medium, and a phone's width."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    if width is None:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    else:
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def requests(driver):
    """The addresses that were asked for since the page was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
