"""The viewer at play, and in a real browser."""

import re
import shutil

import made_run
import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
webdriver = pytest.importorskip("selenium.webdriver")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compiles")]

from selenium.common.exceptions import (  # noqa: E402
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402
from test_view import Site  # noqa: E402

from vlm_games.viewing.app import make_app  # noqa: E402
from vlm_games.viewing.run_folder import RunFolder  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE = 100  # seconds
RED = "is there a red object ?"
SEAT = {"seat": "guesser", "checkpoint": "main:0", "images": "0,1,2,3/3"}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    config = made_run.make_config(play__turns=1)
    return made_run.make_run(tmp_path_factory.mktemp("run"), config)


@pytest.fixture(scope="module")
def site(workdir):
    found = Site(make_app(RunFolder(workdir.root)))
    yield found
    found.close()


@pytest.fixture(scope="module")
def played(site) -> str:
    """A game after its only question; compiles what the model needs."""
    site.ask("/play", SEAT)
    status, _, body = site.ask(site.place, {"words": RED})
    assert status == 200
    return body.decode()


@pytest.fixture(scope="module")
def browser(site):
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("There is no chromium with chromedriver.")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.page_load_strategy = "none"  # a model may take its time
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    found = webdriver.Chrome(options=options, service=service)
    yield found
    # What the pages' policy kept from loading would be told here; that a move
    # was refused is told as well.
    told = [entry["message"] for entry in found.get_log("browser")]
    found.quit()
    assert not [x for x in told if "400 (Bad Request)" not in x]


def until(browser, so):
    """What `so` gives of the browser, as soon as it gives something."""
    passing = [StaleElementReferenceException]  # of a page that goes
    waiting = WebDriverWait(browser, PATIENCE, ignored_exceptions=passing)
    return waiting.until(so)


def wait(browser, css: str):
    """The first element that `css` finds, as soon as it is there."""
    return until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, css))[0]


def press(browser, css: str) -> None:
    wait(browser, css).click()


def shown_in_full(browser) -> bool:
    """Whether every picture of the page came, as large as it is."""
    for image in browser.find_elements(By.CSS_SELECTOR, "img"):
        browser.execute_script("arguments[0].scrollIntoView()", image)
    loaded = "return [...document.images].every(i => i.complete)"
    until(browser, lambda b: b.execute_script(loaded))
    width = "return [...document.images].every(i => i.naturalWidth === 32)"
    return browser.execute_script(width)


def test_the_model_answers_a_person(played):
    (said,) = re.findall(r'<p class="answer">(.*?)<', played)
    assert said in ("yes", "no", "none")
    assert "All questions are asked" in played
    assert "is-target" not in played  # that would be telling


def test_a_word_that_no_token_stands_for_is_refused(site, played):
    site.ask("/play", SEAT)
    for words in ("is there a unicorn ?", "<image>", "<eos>", ""):
        status, _, body = site.ask(site.place, {"words": words})
        assert status == 400 and b'role="alert"' in body
    status, _, body = site.ask(site.place, {"guess": "7"})
    assert status == 400 and b"from 1 to 4" in body


def test_words_as_people_write_them_are_spelled_for_the_model(site, played):
    site.ask("/play", SEAT)
    status, _, body = site.ask(site.place, {"words": "Is there a RED object?"})
    assert status == 200 and f">{RED}<" in body.decode()


def test_a_checkpoint_plays_a_set_again(site):
    _, _, body = site.ask("/sets/main/1/0", {"checkpoint": "main:0"})
    again = body.decode().partition('id="replayed"')[2]
    assert again.count("<article") == 1 and ">base<" in again
    assert '<ol class="turns">' in again


def test_open_filter_and_open_a_game(browser, site):
    browser.get(f"http://127.0.0.1:{site.port}/")
    wait(browser, "svg.chart")
    press(browser, 'nav a[href="/games"]')
    outcome = Select(wait(browser, "select[name=outcome]"))
    outcome.select_by_visible_text("won")
    press(browser, "form.filter button")
    until(
        browser, lambda b: b.find_element(By.ID, "count").text == "2 of 8 games"
    )
    press(browser, "article a.id")
    wait(browser, "#turns")
    assert browser.find_element(By.TAG_NAME, "h1").text.startswith("Game 0")
    assert shown_in_full(browser)


def test_candidates_that_are_no_games_are_filtered_and_opened(
    browser, tmp_path
):
    config = made_run.make_config(method="stic", controls=())
    made_run.make_run(tmp_path, config)
    site = Site(make_app(RunFolder(tmp_path)))
    browser.get(f"http://127.0.0.1:{site.port}/")
    press(browser, 'nav a[href="/candidates"]')
    wait(browser, "input[name=word]").send_keys("blurred")
    press(browser, "form.filter button")
    until(
        browser, lambda b: b.find_element(By.ID, "count").text[:6] == "4 of 8"
    )
    assert shown_in_full(browser)
    press(browser, "article a.id")
    wait(browser, "#record")
    assert len(browser.find_elements(By.CSS_SELECTOR, "img")) == 2
    assert shown_in_full(browser)
    site.close()


def test_figures_come_anew_by_themselves(browser, site, workdir):
    browser.get(f"http://127.0.0.1:{site.port}/")
    assert "2 of 5" in wait(browser, ".status").text
    workdir.write_metrics("main", 2, made_run.metrics(2))
    until(
        browser,
        lambda b: "3 of 5" in b.find_element(By.CLASS_NAME, "status").text,
    )


def test_play_a_game_to_its_end_as_the_guesser(browser, site, played):
    browser.get(f"http://127.0.0.1:{site.port}/play?images=0,1,2,3/3")
    press(browser, "form.filter button")
    wait(browser, "input[name=words]").send_keys("is there a unicorn ?")
    press(browser, "form.say button")
    assert "unicorn" in wait(browser, ".error").text
    wait(browser, "input[name=words]").send_keys(RED)
    press(browser, "form.say button")
    assert wait(browser, ".turns .answer").text in ("yes", "no", "none")
    assert not browser.find_elements(By.CSS_SELECTOR, ".is-target")
    press(browser, "#guess button[value='2']")
    assert "You named image 3: right" in wait(browser, "#end").text
    assert wait(browser, "svg.belief")
