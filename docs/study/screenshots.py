"""Screenshots of every page of a study, for docs/study.md.

    python -m prefjax.study serve FOLDER --port 8123      # says the researcher's token
    python docs/study/screenshots.py http://127.0.0.1:8123 TOKEN docs/study

Needs Chromium and playwright. The study is the example; one person takes part for each look.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

LOOKS = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


def shoot(page: Page, path: Path, *, full: bool = False) -> None:
    """Writes what a page shows, in 64 colors."""
    page.wait_for_load_state("networkidle")
    image = Image.open(io.BytesIO(page.screenshot(full_page=full))).convert("RGB")
    image.quantize(64).save(path, optimize=True)


def walk(page: Page, url: str, out: Path, look: str) -> None:
    """One person takes part, from the first page to the last."""

    def submit(name: str) -> None:
        with page.expect_navigation():
            page.get_by_role("button", name=name).click()

    def see(name: str) -> None:
        shoot(page, out / f"{look}-{name}.png")

    page.goto(url)
    see("welcome")
    submit("Continue")
    see("consent")
    submit("I agree")
    page.get_by_label("Long ones").check()
    page.get_by_label("30 to 49").check()
    see("survey")
    submit("Continue")
    see("practice")
    submit("I prefer A")
    see("trial")
    while page.locator("button[data-key]").count():
        submit("I prefer B")
    see("reasons")
    submit("Finish")
    see("end")
    link = page.url
    page.goto(link + "/about")
    see("about")
    page.goto(link + "/withdraw")
    see("withdraw")


def main(url: str, token: str, folder: str) -> None:
    """Takes all screenshots."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--disable-dev-shm-usage", "--disable-gpu"],
        )
        for look, options in LOOKS.items():
            context = browser.new_context(**options)
            walk(context.new_page(), url, Path(folder), look)
            context.close()
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url + "/researcher")
        page.get_by_label("Token").fill(token)
        with page.expect_navigation():
            page.get_by_role("button", name="Continue").click()
        shoot(page, Path(folder) / "desktop-researcher.png", full=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
