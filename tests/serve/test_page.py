"""The page in Chromium. No test sleeps for a fixed time: each waits for what a reader would see."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image as PillowImage

sys.path.insert(0, str(Path(__file__).parents[1]))
from chromium import chromium, moving, write_y4m
from clips import make_clip
from serving import Server, running

from mftn.labels import COLOURS, EXPRESSIONS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[Browser]:
    camera = write_y4m(tmp_path_factory.mktemp("camera") / "faces.y4m", moving(photos, 20))
    with chromium(camera) as started:
        yield started


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, server: Server) -> Iterator[Page]:
    """The page, ready; it may ask nothing of another host, and no script may fail."""
    page = context.new_page()
    elsewhere: list[str] = []
    failures: list[str] = []
    page.on("request", lambda request: None if _own(request.url, server) else elsewhere.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text) if _grave(message) else None)
    page.goto(server.address)
    page.wait_for_selector("html[data-ready]")
    yield page
    assert not elsewhere and not failures


def _own(url: str, server: Server) -> bool:
    return url.startswith((server.address, "blob:", "data:"))


def _grave(message: Any) -> bool:
    """An error of the page's; the browser also notes each answer of status 4xx."""
    return message.type == "error" and "Failed to load resource" not in message.text


def add(page: Page, *paths: Path) -> None:
    page.set_input_files("#files", list(paths))
    page.wait_for_selector("#images-progress", state="hidden")


def bars(page: Page, panel: str = ".bars-panel") -> dict[str, str]:
    rows = page.locator(panel).first.locator("tr")
    return {row.locator("th").inner_text(): row.locator("td").last.inner_text() for row in rows.all()}


def download(page: Page, button: str) -> Any:
    with page.expect_download() as started:
        page.click(button)
    return started.value


def grave_violations(page: Page) -> list[str]:
    axe: Any = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]


def test_photographs_show_faces_and_bars(page: Page, photos: Path) -> None:
    add(page, photos / "astronaut.jpg", photos / "grace_hopper.jpg")
    assert page.inner_text("#images-status") == "2 photographs, 2 faces"
    labels = [face.get_attribute("aria-label") for face in page.locator(".face").all()]
    assert labels[0] == "Face 1: happiness 100%" and str(labels[1]).startswith("Face 1: neutral")
    shown = bars(page)
    assert list(shown) == list(EXPRESSIONS) and shown["happiness"] == "100%"
    colour = page.locator(".face").first.evaluate("face => getComputedStyle(face).getPropertyValue('--colour')")
    assert colour == COLOURS["happiness"]
    box, image = page.locator(".face").first.bounding_box(), page.locator(".stage img").first.bounding_box()
    assert box and image
    assert (box["x"] - image["x"]) / image["width"] == pytest.approx(180.43 / 512, abs=0.01)
    assert (box["y"] - image["y"]) / image["height"] == pytest.approx(71.12 / 512, abs=0.01)
    assert not grave_violations(page)


def test_a_face_is_chosen_by_pointer_and_keyboard(page: Page, photos: Path, tmp_path: Path) -> None:
    both = PillowImage.new("RGB", (1012, 600), "grey")
    both.paste(PillowImage.open(photos / "astronaut.jpg"), (0, 0))
    both.paste(PillowImage.open(photos / "grace_hopper.jpg").convert("RGB").resize((500, 586)), (512, 0))
    both.save(tmp_path / "both.png")
    add(page, tmp_path / "both.png")
    faces = page.locator(".face")
    assert faces.count() == 2
    for number in (0, 1):
        faces.nth(number).hover()
        assert page.inner_text(".bars-panel h3") == faces.nth(number).get_attribute("aria-label")
    faces.nth(0).focus()
    assert page.inner_text(".bars-panel h3") == faces.nth(0).get_attribute("aria-label")
    page.keyboard.press("Tab")
    assert page.inner_text(".bars-panel h3") == faces.nth(1).get_attribute("aria-label")


def test_what_is_refused_says_why_and_the_rest_is_shown(page: Page, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "large.png").write_bytes(b"\x89PNG" + bytes(2_000_001))
    (tmp_path / "damaged.jpg").write_bytes((photos / "astronaut.jpg").read_bytes()[:200])
    PillowImage.new("RGB", (2500, 2000)).save(tmp_path / "pixels.png")
    names = ("notes.txt", "large.png", "damaged.jpg", "pixels.png")
    add(page, *(tmp_path / name for name in names), photos / "astronaut.jpg")
    messages = [message.inner_text() for message in page.locator(".card .message").all()]
    assert messages[0].startswith("This file is not a readable image")
    assert messages[1] == "2 MB is more than this server accepts (2 MB)."
    assert messages[2].startswith("The image is damaged or incomplete: damaged.jpg")
    assert "has 5 megapixels, and the limit is 4" in messages[3]
    assert page.inner_text("#images-status") == "1 photograph, 1 faces; 4 could not be read"


def test_a_format_that_the_server_cannot_read_is_not_called_damaged(page: Page, tmp_path: Path) -> None:
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    error = {"code": "no_reader", "message": "photo.heic: a HEIC image: convert it to JPEG", "request_id": "1"}
    page.route("**/v1/predict*", lambda route: route.fulfill(status=415, json={"error": error}))
    add(page, tmp_path / "photo.heic")
    said = "This server cannot read this format: photo.heic: a HEIC image: convert it to JPEG"
    assert page.inner_text(".card .message") == said
    page.unroute("**/v1/predict*")


def test_the_threshold_hides_faces_and_the_model_is_chosen(page: Page, photos: Path) -> None:
    add(page, photos / "astronaut.jpg")
    first = bars(page)
    page.locator("#threshold").fill("0.99")
    assert page.locator(".face").count() == 0
    assert page.inner_text(".bars-panel") == "No face reaches this score."
    page.locator("#threshold").fill("0.5")
    names = page.locator("#model option").evaluate_all("options => options.map(option => option.value)")
    with page.expect_response(lambda answer: f"model={names[1]}" in answer.url) as answered:
        page.select_option("#model", names[1])
    page.wait_for_selector("#images-progress", state="hidden")
    assert answered.value.ok and page.locator(".face").count() == 1 and first.keys() == bars(page).keys()


def test_a_photograph_at_work_is_recognised_again_by_the_model_that_was_chosen_meanwhile(
    page: Page, photos: Path
) -> None:
    held: list[Any] = []
    page.route("**/v1/predict*", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request("**/v1/predict*"):
        page.set_input_files("#files", photos / "astronaut.jpg")
    names = page.locator("#model option").evaluate_all("options => options.map(option => option.value)")
    page.select_option("#model", names[1])
    with page.expect_response(lambda answer: f"model={names[1]}" in answer.url, timeout=10_000):
        held[0].continue_()
    page.wait_for_selector("#images-progress", state="hidden")
    (prediction,) = json.loads(download(page, "#images-json").path().read_text("utf-8"))["predictions"]
    assert prediction["model"] == names[1]


def test_downloads_hold_what_the_server_answers(page: Page, photos: Path, server: Server) -> None:
    import httpx

    add(page, photos / "astronaut.jpg", photos / "grace_hopper.jpg")
    files = [("file", (name, (photos / name).read_bytes())) for name in ("astronaut.jpg", "grace_hopper.jpg")]
    expected = httpx.post(f"{server.address}/v1/predict", files=files, timeout=30)
    assert json.loads(download(page, "#images-json").path().read_text("utf-8")) == expected.json()
    table = httpx.post(f"{server.address}/v1/predict", params={"format": "csv"}, files=files, timeout=30).text
    saved = download(page, "#images-csv").path().read_text("utf-8")
    rows, saved_rows = (list(csv.reader(io.StringIO(text))) for text in (table, saved))
    assert saved_rows[0] == rows[0] and len(saved_rows) == len(rows)
    for row, saved_row in zip(rows[1:], saved_rows[1:], strict=True):
        assert [_number(cell) for cell in saved_row] == [_number(cell) for cell in row]
    image = download(page, "button:text('Annotated image') >> nth=0")
    assert image.suggested_filename == "astronaut_faces.png"
    with PillowImage.open(image.path()) as annotated:
        assert annotated.size == (512, 512)


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def test_dropped_and_pasted_photographs(page: Page, photos: Path) -> None:
    content = list((photos / "astronaut.jpg").read_bytes())
    for event, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([name, holder, content]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(content)], `${name}.jpg`, {type: "image/jpeg"}));
                const event = new Event(name, {bubbles: true, cancelable: true});
                Object.defineProperty(event, holder, {value: data});
                document.body.dispatchEvent(event);
            }""",
            [event, holder, content],
        )
        page.wait_for_selector(f".card:has(h2:text-is('{event}.jpg')) .face")


def test_long_work_is_cancelled(page: Page, photos: Path) -> None:
    held: list[Any] = []
    page.route("**/v1/predict*", lambda route: held.extend([route]))
    page.set_input_files("#files", [photos / "astronaut.jpg"] * 4)
    page.wait_for_selector("#images-progress")
    page.click("#images-cancel")
    page.wait_for_selector("#images-progress", state="hidden")
    assert page.inner_text("#images-status") == "Cancelled; 0 of 4 photographs are done"
    page.unroute("**/v1/predict*")
    page.click("#images-clear")
    assert page.locator(".card").count() == 0


def test_the_camera_shows_faces_and_is_released(page: Page) -> None:
    page.click("#tab-camera")
    page.click("#camera-start")
    page.wait_for_selector("#camera-faces .face")
    page.wait_for_selector("#camera-rate[data-rate]")
    assert "frames per second" in page.inner_text("#camera-rate")
    assert set(bars(page, "#camera-bars")) == set(EXPRESSIONS)
    track = page.evaluate_handle("document.querySelector('#camera-view').srcObject.getTracks()[0]")
    assert track.evaluate("track => track.readyState") == "live"
    assert not grave_violations(page)
    page.click("#camera-stop")
    assert track.evaluate("track => track.readyState") == "ended"
    assert page.evaluate("document.querySelector('#camera-view').srcObject") is None
    assert page.locator("#camera-faces .face").count() == 0


def test_leaving_the_camera_releases_it(page: Page) -> None:
    page.click("#tab-camera")
    page.click("#camera-start")
    page.wait_for_selector("#camera-stop")
    track = page.evaluate_handle("document.querySelector('#camera-view').srcObject.getTracks()[0]")
    page.click("#tab-images")
    assert track.evaluate("track => track.readyState") == "ended"


def test_leaving_the_camera_before_it_is_allowed_keeps_it_off(page: Page) -> None:
    page.evaluate(
        """() => {
            const devices = navigator.mediaDevices;
            const ask = devices.getUserMedia.bind(devices);
            devices.getUserMedia = (wish) => new Promise((resolve) => {
                window.allow = async () => resolve(window.stream = await ask(wish));
            });
        }"""
    )
    page.click("#tab-camera")
    page.click("#camera-start")
    page.click("#tab-images")
    page.evaluate("allow()")
    assert page.evaluate("stream.getTracks()[0].readyState") == "ended"
    assert page.evaluate("document.querySelector('#camera-view').srcObject") is None
    page.click("#tab-camera")
    assert not page.is_visible("#camera-stop") and not page.is_visible("#camera-message")
    page.click("#camera-start")
    page.evaluate("allow()")
    page.wait_for_selector("#camera-faces .face")


def test_a_video_has_a_timeline(page: Page, photos: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "film.mp4", moving(photos, 20))
    page.click("#tab-video")
    page.set_input_files("#video-file", clip)
    page.wait_for_selector("#video-cancel", state="hidden")
    assert page.inner_text("#video-status") == "20 frames, 2 people"
    page.focus("#video-timeline")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#video-timeline[aria-valuetext='0:00.2: happiness']")
    page.wait_for_selector("#video-faces .face")
    assert page.locator("#video-people button").all_inner_texts() == ["Person 1", "Person 2"]
    lines = download(page, "#video-json").path().read_text("utf-8").splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(20))
    rows = list(csv.DictReader(io.StringIO(download(page, "#video-csv").path().read_text("utf-8"))))
    assert {row["source"] for row in rows} == {"film.mp4"} and {row["track"] for row in rows} == {"1", "2"}
    assert not grave_violations(page)


def test_a_text_is_no_video(page: Page, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("no video")
    page.click("#tab-video")
    page.set_input_files("#video-file", tmp_path / "film.mp4")
    page.wait_for_selector("#video-message:text('not a video')")


def test_colours_follow_the_system_and_the_button(page: Page) -> None:
    def back() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = back()
    page.emulate_media(color_scheme="dark")
    dark = back()
    assert light != dark
    assert not grave_violations(page)
    page.click("#theme")
    assert back() == light


def test_a_phone_scrolls_in_one_direction_only(page: Page, photos: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    add(page, photos / "astronaut.jpg")
    for tab in ("images", "camera", "video"):
        page.click(f"#tab-{tab}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not grave_violations(page)


def test_tabs_and_limits_work_by_keyboard(page: Page) -> None:
    page.focus("#tab-images")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#camera") and not page.is_visible("#images")
    page.focus("#limits-open")
    page.keyboard.press("Enter")
    assert "not legal advice" in page.inner_text("#limits")
    assert not grave_violations(page)
    page.keyboard.press("Escape")
    assert not page.is_visible("#limits")


def test_a_server_that_is_gone_is_named(page: Page, photos: Path) -> None:
    page.route("**/v1/predict*", lambda route: route.abort())
    page.set_input_files("#files", photos / "astronaut.jpg")
    page.wait_for_selector(".message:text('The server does not respond')")
    page.unroute("**/v1/predict*")


def test_a_browser_gives_the_key_as_a_password(browser: Browser, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-key-of-some-length\n")
    with running("--api-key-file", str(tmp_path / "key")) as server:
        credentials: Any = {"username": "anybody", "password": "a-key-of-some-length"}
        page = browser.new_context(http_credentials=credentials).new_page()
        page.goto(server.address)
        page.wait_for_selector("html[data-ready]")
        add(page, photos / "astronaut.jpg")
        assert page.locator(".face").count() == 1


def test_the_description_of_the_api_works_offline(page: Page, server: Server) -> None:
    page.goto(f"{server.address}/docs")
    page.wait_for_selector(".opblock-summary-path:has-text('/v1/predict')")
