"""The report in a real browser, by its own clicks and keys; no text of a model runs there."""

import pytest
from browser import browser, emulate, needs_browser, open_page, requests, wait_for
from fake_workdir import STUDENTS, TRAITS, build, transfer, write_json

from sublax.report.comparison import write_comparison
from sublax.report.page import write_report

pytestmark = needs_browser

HOSTILE = "</div><script>window.ran = 1</script><img src=x onerror='window.ran = 2'> owl"
OWL = {
    "student": "owl student",
    "asked about": "owl",
    "shift": "+1.21 nats",
    "95 % of the shift": "+0.99 to +1.43",
    "lift": "+0.78 nats",
    "95 % of the lift": "+0.55 to +1.00",
    "p of the lift": "< 0.001",
    "p, all traits together": "0.001",
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = build(tmp_path_factory.mktemp("run"), hostile=HOSTILE)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def driver():
    with browser() as found:
        yield found


@pytest.fixture
def page(driver, workdir):
    """The browser with the page newly opened, as a reader with a light theme has it."""
    emulate(driver)
    open_page(driver, workdir / "report.html")
    return driver


def cells_of(page, selector):
    return page.execute_script(
        f"return [...document.querySelectorAll('{selector}')].filter(e => e.offsetParent)"
        ".map(e => e.textContent.trim())"
    )


def tip(page):
    """What the tooltip says, name -> text; nothing where it is hidden."""
    return page.execute_script(
        "const tip = document.getElementById('tip'); return tip.hidden ? {} : Object.fromEntries("
        "[...tip.querySelectorAll('dt')].map(t => [t.textContent, t.nextSibling.textContent]))"
    )


def matrix_cell(page, student, trait):
    label = f"{student} asked about {trait}:"
    return page.find_element("css selector", f'#figure-transfer [aria-label^="{label}"]')


def test_all_charts_are_drawn_with_nothing_logged_and_nothing_asked_for(page, workdir):
    drawn = page.execute_script(
        "return [...document.querySelectorAll('[data-chart]')].map(place => "
        "place.querySelectorAll('svg .role-mark > [tabindex]').length)"
    )
    assert len(drawn) >= 8 and min(drawn) > 0
    assert page.get_log("browser") == []
    assert requests(page) == [(workdir / "report.html").as_uri()]


def test_a_click_on_a_head_sorts_by_numbers_and_another_turns_it_round(page):
    head = page.find_element("css selector", "#cells th:nth-child(3) button")
    head.click()
    rising = cells_of(page, "#cells tbody td:nth-child(3)")
    numbers = [float(text.replace("−", "-")) for text in rising]
    assert len(numbers) == len(STUDENTS) * len(TRAITS) and numbers == sorted(numbers)
    head.click()
    assert cells_of(page, "#cells tbody td:nth-child(3)") == rising[::-1]
    heads = page.find_elements("css selector", "#cells th")
    assert [one.get_attribute("aria-sort") for one in heads[:3]] == [None, None, "descending"]


def test_what_has_no_value_comes_last_either_way(page):
    head = page.find_element("css selector", "#cells th:nth-child(7) button")
    for _ in range(2):
        head.click()
        column = cells_of(page, "#cells tbody td:nth-child(7)")
        assert column[3:] == ["–"] * 9 and "–" not in column[:3]


def test_the_filter_leaves_the_rows_that_have_all_its_words(page):
    label = page.find_element("css selector", "#lift .filter")
    field = label.find_element("css selector", "input")
    field.send_keys("control wolf")
    assert cells_of(page, "#cells tbody td:nth-child(-n + 2)") == ["control", "wolf"]
    assert "1 of 12" in label.text
    field.clear()
    field.send_keys("zebra")
    assert cells_of(page, "#cells tbody tr") == []


def test_a_cell_tells_value_interval_and_p_to_the_pointer(page):
    from selenium.webdriver import ActionChains

    assert tip(page) == {}
    ActionChains(page).move_to_element(matrix_cell(page, "owl student", "owl")).perform()
    wait_for(lambda: tip(page))
    assert tip(page) == OWL


def test_a_cell_tells_the_same_to_the_keyboard_and_arrows_go_on(page):
    cell = matrix_cell(page, "owl student", "owl")
    assert cell.get_attribute("tabindex") == "0"
    assert all(text in cell.get_attribute("aria-label") for text in ("+1.21", "+0.99 to +1.43"))
    page.execute_script("arguments[0].focus()", cell)
    assert tip(page) == OWL
    page.switch_to.active_element.send_keys("\ue014")  # the arrow to the right
    assert tip(page)["asked about"] == "wolf" and tip(page)["student"] == "owl student"
    page.switch_to.active_element.send_keys("\ue015")  # and down
    assert tip(page)["asked about"] == "wolf" and tip(page)["student"] == "wolf student"
    page.switch_to.active_element.send_keys("\ue00c")  # escape
    assert tip(page) == {}


def test_all_that_a_pointer_can_reach_takes_the_focus_in_turn(page):
    reached = set()
    for _ in range(80):
        page.switch_to.active_element.send_keys("\ue004")  # tab
        reached.add(
            page.execute_script(
                "const e = document.activeElement; return e.closest('[data-chart]')?.dataset.chart"
                " ?? (e.closest('table') ? 'head of a table' : e.classList[0] || e.id || e.tagName)"
            )
        )
    charts = page.execute_script(
        "return [...document.querySelectorAll('[data-chart]')].map(e => e.dataset.chart)"
    )
    assert {*charts, "theme", "head of a table", "INPUT", "token", "SUMMARY"} <= reached


def test_the_switch_changes_page_and_charts_and_paper_stays_light(page):
    ink = "return getComputedStyle(document.querySelector('#figure-shifts .role-axis text')).fill"
    surface = "return getComputedStyle(document.querySelector('header')).backgroundColor"
    light = [page.execute_script(script) for script in (ink, surface)]
    page.find_element("id", "theme").click()
    dark = [page.execute_script(script) for script in (ink, surface)]
    assert light == ["rgb(27, 31, 36)", "rgb(254, 254, 254)"]
    assert dark == ["rgb(232, 234, 237)", "rgb(23, 27, 32)"]
    emulate(page, media="print")
    assert page.execute_script(ink) == light[0]
    emulate(page)
    page.find_element("id", "theme").click()
    assert [page.execute_script(script) for script in (ink, surface)] == light


def test_the_theme_is_the_readers_until_it_is_switched(page):
    surface = "return getComputedStyle(document.querySelector('header')).backgroundColor"
    emulate(page, scheme="dark")
    assert page.execute_script(surface) == "rgb(23, 27, 32)"
    # The page hears of another scheme at the browser's next frame, after its colours have changed.
    wait_for(lambda: page.find_element("id", "theme").text == "Light")
    page.find_element("id", "theme").click()
    assert page.execute_script(surface) == "rgb(254, 254, 254)"


def test_text_of_a_model_is_inert(page):
    assert page.execute_script("return window.ran") is None
    shown = page.find_element("css selector", "#data .row div:nth-child(2)").text
    assert shown == HOSTILE
    token = page.find_element("css selector", ".token.below + .token.below")
    assert token.text == HOSTILE
    page.execute_script("arguments[0].focus()", token)
    assert tip(page) == {"token": HOSTILE, "log-likelihood ratio": "−0.40 nats"}
    assert page.execute_script("return window.ran") is None


def test_not_even_a_script_that_came_in_would_run(page):
    page.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.ran = 3';"
        "document.body.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 4\">');"
    )
    wait_for(lambda: len(page.get_log("browser")) > 0)
    assert page.execute_script("return window.ran") is None


def test_a_phone_scrolls_the_page_one_way(page):
    emulate(page, width=400)
    wait_for(lambda: page.execute_script("return window.innerWidth") == 400)
    assert page.execute_script("return document.documentElement.scrollWidth") == 400
    chart = page.execute_script(
        "const e = document.querySelector('#figure-transfer');"
        "return [e.querySelector('svg').getBoundingClientRect().width, e.clientWidth]"
    )
    assert chart[0] <= chart[1]


def test_two_runs_stand_beside_each_other(driver, workdir, tmp_path):
    other = build(tmp_path / "other", null=True)
    write_json(other / "transfer.json", transfer(null=True))
    emulate(driver)
    open_page(driver, write_comparison(workdir, other, tmp_path / "comparison.html"))
    assert driver.get_log("browser") == []
    verdicts = cells_of(driver, "#verdicts h2")
    assert verdicts[0] == "The data passed on all 3 traits" and "null" in verdicts[1]
    driver.find_element("css selector", "#lift-table th:nth-child(6) button").click()
    assert cells_of(driver, "#lift-table tbody td:nth-child(6)") == ["−0.80", "−0.34", "−0.28"]


def test_an_axis_over_tens_has_plain_numbers(driver, tmp_path):
    folder = build(tmp_path / "run")
    content = transfer()
    content["shift"] = [[40 * value for value in row] for row in content["shift"]]
    content["interval"] = [
        [[40 * end for end in ends] for ends in row] for row in content["interval"]
    ]
    write_json(folder / "transfer.json", content)
    write_report(folder)
    open_page(driver, folder / "report.html")
    ticks = driver.execute_script(
        "return [...document.querySelectorAll('#figure-shifts .role-axis text')]"
        ".map(e => e.textContent)"
    )
    assert {"0", "20", "40"} <= set(ticks) and not any("e+" in tick for tick in ticks)
