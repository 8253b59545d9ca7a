"""A real browser takes part: by keyboard alone, without JavaScript, on a phone, for everybody.

Needs Chromium (Debian's package ``chromium``) and playwright; skipped without.
"""

import dataclasses
import shutil
import threading
import time

import pytest
import uvicorn
from study_world import CONFIG, make_materials

from prefjax.study import StudyEngine, replay
from prefjax.study.web.app import StudySite

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)"
    ),
    # Sockets that Chromium leaves open when it ends.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LONG = "\n\n".join(f"{n}. A paragraph of an answer that is long, and longer." for n in range(40))
NUM_TRIALS = 15


class Served:
    """A study on loopback, in a thread."""

    def __init__(self, folder):
        materials = make_materials()
        responses = [f"{text}\n\n```\ncode\n```\n" for text in materials.responses]
        responses[::2] = [f"{text}\n\n{LONG}" for text in responses[::2]]
        materials = dataclasses.replace(
            materials, responses=tuple(responses), config=dataclasses.replace(CONFIG, seed=4)
        )
        self.materials = materials
        self.engine = StudyEngine(materials, folder)
        self.engine.warm()
        self.site = StudySite(self.engine)
        config = uvicorn.Config(self.site.app, port=0, log_level="error", access_log=False)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def close(self):
        self.server.should_exit = True
        self.thread.join()
        self.engine.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("browser"))
    yield served
    served.close()


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()


def open_page(chromium, **options):
    page = chromium.new_context(**options).new_page()
    page.set_default_timeout(20_000)
    page.messages = []
    page.on("console", lambda message: page.messages.append(message.text))
    return page


def tab_to(page, text):
    """Presses Tab until something with this text has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        shown = page.evaluate("document.activeElement.textContent || document.activeElement.value")
        if text in shown:
            return
    raise AssertionError(f"Tab does not reach {text!r}")


def press(page, key):
    """Presses a key that leads to another page."""
    with page.expect_navigation(wait_until="load"):
        page.keyboard.press(key)


def trial_of(page):
    field = page.locator('input[name="trial"]')
    return int(field.get_attribute("value")) if field.count() else None


def choices(served):
    last = served.engine.store.one("SELECT MAX(number) AS n FROM participant")["n"]
    rows = served.engine.store.all(
        "SELECT choice FROM answer WHERE participant = ? ORDER BY idx", last
    )
    return "".join(row["choice"] for row in rows)


def to_trials(page, served, submit):
    page.goto(served.url)
    submit("Continue")
    submit("I agree")
    for name, value in (("q-length", "Short"), ("q-age", "Yes")):
        page.locator(f'input[name="{name}"][value="{value}"]').check()
    submit("Continue")


def test_by_keyboard_alone_with_reload_and_back(chromium, served):
    page = open_page(chromium, viewport={"width": 1280, "height": 800})

    def submit(text):
        tab_to(page, text)
        press(page, "Enter")

    page.goto(served.url)
    submit("Continue")
    submit("I agree")
    link = page.url
    page.keyboard.press("Tab")  # skip link
    assert "Skip" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # the first option
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.type("a b n")  # typing in a field presses no button
    submit("Continue")
    sent = ""
    while (trial := trial_of(page)) is not None:
        assert trial == len(sent)
        if trial == 4:
            before = page.content()
            page.reload()
            assert page.content() == before
        if trial == 7:
            page.goto(served.url)
            page.go_back()
            page.wait_for_load_state()
            assert (trial_of(page), page.url) == (7, link)
        if trial == 9:
            submit("I prefer B")  # the buttons can be reached, too
            sent += "B"
            continue
        key = "abn"[trial % 3]
        press(page, key)
        sent += key.upper()
    assert len(sent) == NUM_TRIALS
    tab_to(page, "")
    submit("Finish")
    assert page.locator(".code").inner_text() == "COMPLETE"
    assert choices(served) == sent
    times = served.engine.store.all("SELECT client_ms FROM answer")
    assert all(row["client_ms"] > 0 for row in times)
    assert page.messages == []  # nothing was blocked by the policy
    assert replay(served.materials, served.engine.store).differences == []
    page.context.close()


def test_a_stale_page_leads_to_the_open_trial(chromium, served):
    page = open_page(chromium)

    def submit(text):
        with page.expect_navigation():
            page.get_by_role("button", name=text).click()

    to_trials(page, served, submit)
    second = page.context.new_page()
    second.goto(page.url)
    press(page, "a")
    press(page, "a")
    press(second, "b")  # shows trial 0, where A stands
    assert trial_of(second) == 2
    assert choices(served) == "AA"
    page.context.close()


def test_without_javascript(chromium, served):
    page = open_page(chromium, java_script_enabled=False)

    def submit(text):
        with page.expect_navigation():
            page.get_by_role("button", name=text).click()

    to_trials(page, served, submit)
    assert not page.locator("kbd").first.is_visible()
    for n in range(NUM_TRIALS):
        submit(("I prefer A", "No preference", "I prefer B")[n % 3])
    submit("Finish")
    assert page.locator(".code").inner_text() == "COMPLETE"
    assert choices(served) == "ANB" * 5
    page.context.close()


def test_on_a_phone(chromium, served):
    page = open_page(
        chromium, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )

    def submit(text):
        fits = "document.documentElement.scrollWidth <= window.innerWidth"
        assert page.evaluate(fits)
        with page.expect_navigation():
            page.get_by_role("button", name=text).tap()

    to_trials(page, served, submit)
    for n in range(3):
        answers = [box.bounding_box() for box in page.locator(".answer").all()]
        assert answers[0]["y"] + answers[0]["height"] <= answers[1]["y"]  # one column
        for button in page.locator("button").all():
            box = button.bounding_box()
            assert min(box["width"], box["height"]) >= 44
            assert box["y"] + box["height"] <= 844
        submit(("I prefer A", "No preference", "I prefer B")[n])
    assert choices(served) == "ANB"
    page.context.close()


def test_nothing_moves_from_trial_to_trial(chromium, served):
    page = open_page(chromium, viewport={"width": 1280, "height": 800})

    def submit(text):
        with page.expect_navigation():
            page.get_by_role("button", name=text).click()

    to_trials(page, served, submit)
    press(page, "a")  # practice has a hint above
    places, scrolled = set(), False
    for _ in range(8):
        boxes = page.locator(".answer, button").all()
        places.add(tuple(tuple(box.bounding_box().values()) for box in boxes))
        answers = page.locator(".answer")
        assert answers.nth(0).bounding_box()["y"] == answers.nth(1).bounding_box()["y"]
        scrolled |= answers.first.evaluate("box => box.scrollHeight > box.clientHeight + 50")
        press(page, "b")
    assert len(places) == 1
    assert scrolled  # long answers scroll in their own box
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility(chromium, served, scheme):
    page = open_page(chromium, color_scheme=scheme, viewport={"width": 1280, "height": 800})
    checker, names = axe.Axe(), []

    def check(name):
        page.wait_for_load_state("networkidle")
        names.append(name)
        found = checker.run(page).response["violations"]
        assert [(name, one["impact"], one["id"], one["nodes"][0]["html"]) for one in found] == []

    def submit(text):
        check(text)
        with page.expect_navigation():
            page.get_by_role("button", name=text).click()

    to_trials(page, served, submit)
    link = page.url
    for _ in range(NUM_TRIALS):
        if trial_of(page) in (0, 1):
            check("trial")
        press(page, "n")
    submit("Finish")
    check("end")
    for path in ("/about", "/withdraw"):
        page.goto(link + path)
        check(path)
    page.goto(served.url + "/s/nobody")
    check("unknown link")
    page.goto(served.url + "/researcher")
    check("sign in")
    page.get_by_label("Token").fill(served.site.researcher_token)
    with page.expect_navigation():
        page.get_by_role("button", name="Continue").click()
    check("researcher")
    assert len(names) == 12
    page.context.close()
