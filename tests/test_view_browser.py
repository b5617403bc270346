"""The viewer in a real browser: open, filter, open a game, play one."""

import shutil

import made_run
import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
webdriver = pytest.importorskip("selenium.webdriver")
pytestmark = pytest.mark.slow

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402
from test_view import Site  # noqa: E402

from vlm_games.viewing.app import make_app  # noqa: E402
from vlm_games.viewing.run_folder import RunFolder  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE = 300  # seconds: the first move of a model compiles it


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    config = made_run.make_config(play__turns=1)
    made_run.make_run(root, config, hostile=True)
    found = Site(make_app(RunFolder(root)))
    yield found
    found.close()


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
    # What the pages' policy kept from loading would be told here.
    told = [entry["message"] for entry in found.get_log("browser")]
    found.quit()
    assert not told


def wait(browser, css: str):
    """The first element that `css` finds, as soon as it is there."""
    found = WebDriverWait(browser, PATIENCE).until(
        lambda b: b.find_elements(By.CSS_SELECTOR, css)
    )
    return found[0]


def press(browser, css: str) -> None:
    wait(browser, css).click()


def test_open_filter_and_open_a_game(browser, site):
    browser.get(f"http://127.0.0.1:{site.port}/")
    wait(browser, "svg.chart")
    press(browser, 'nav a[href="/games"]')
    outcome = Select(wait(browser, "select[name=outcome]"))
    outcome.select_by_visible_text("won")
    press(browser, "form.filter button")
    WebDriverWait(browser, PATIENCE).until(
        lambda b: b.find_element(By.ID, "count").text == "2 of 8 games"
    )
    press(browser, "article a.id")
    wait(browser, "#turns")
    assert browser.find_element(By.TAG_NAME, "h1").text.startswith("Game 0")
    loaded = "return [...document.images].every(i => i.complete)"
    for image in browser.find_elements(By.CSS_SELECTOR, "img"):
        browser.execute_script("arguments[0].scrollIntoView()", image)
    WebDriverWait(browser, PATIENCE).until(lambda b: b.execute_script(loaded))
    width = "return [...document.images].every(i => i.naturalWidth === 32)"
    assert browser.execute_script(width)


def test_play_a_game_to_its_end_as_the_guesser(browser, site):
    browser.get(f"http://127.0.0.1:{site.port}/play?images=0,1,2,3/2")
    press(browser, "form.filter button")
    wait(browser, "input[name=words]").send_keys("is there a unicorn ?")
    press(browser, "form.say button")
    assert "unicorn" in wait(browser, ".error").text
    wait(browser, "input[name=words]").send_keys("is there a red object ?")
    press(browser, "form.say button")
    assert wait(browser, ".turns .answer").text in ("yes", "no", "none")
    assert not browser.find_elements(By.CSS_SELECTOR, ".is-target")
    press(browser, "#guess button[value='2']")
    assert "You named image 3: right" in wait(browser, "#end").text
    assert wait(browser, "svg.belief")
