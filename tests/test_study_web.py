"""The pages of a study by HTTP: the flow, what is refused, what is never said."""

import dataclasses
import re
import threading
import time

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient
from study_world import LIMITS, make_materials

from prefjax.study import StudyEngine
from prefjax.study.config import RecruitingConfig, StopConfig
from prefjax.study.web.app import StudySite
from prefjax.study.web.limits import RateLimit
from prefjax.study.web.markdown import render

FORM = {"content-type": "application/x-www-form-urlencoded"}
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


class Tab:
    """A browser without JavaScript."""

    def __init__(self, client):
        self.client, self.path = client, ""

    def begin(self, **recruiting):
        response = self.client.post("/begin", data=recruiting or {"none": "1"})
        assert response.status_code == 303
        self.path = response.headers["location"]
        return self

    def look(self):
        response = self.client.get(self.path)
        assert response.status_code == 200
        return response.text

    def fields(self, **extra):
        return dict(HIDDEN.findall(self.look())) | extra

    def send(self, **extra):
        response = self.client.post(self.path, data=self.fields(**extra))
        assert response.status_code == 303
        assert response.headers["location"] == self.path
        return self

    def to_trials(self):
        self.send()
        return self.send(**{"q-length": "Short", "q-age": "Yes"})


def make_site(tmp_path, materials=None, **changes):
    materials = make_materials() if materials is None else materials
    config = dataclasses.replace(materials.config, **changes)
    engine = StudyEngine(dataclasses.replace(materials, config=config), tmp_path)
    return engine, StudySite(engine)


@pytest.fixture
def site(tmp_path):
    engine, site = make_site(tmp_path)
    yield site
    engine.close()


@pytest.fixture
def client(site):
    return TestClient(site.app, follow_redirects=False)


def answers_of(engine):
    rows = engine.store.all("SELECT participant, idx, choice FROM answer ORDER BY participant, idx")
    return [tuple(row) for row in rows]


def test_consent_to_code(site, client):
    tab = Tab(client).begin(PROLIFIC_PID="p1")
    assert "<em>agree</em>" in tab.look()
    tab.send()
    assert "How long?" in tab.look()
    tab.send(**{"q-length": "Long", "q-age": "Yes", "q-note": "hello <b>"})
    count = 0
    while 'name="choice"' in (page := tab.look()):
        assert page == tab.look()
        assert ("Practice" in page) == (count == 0)
        tab.send(choice="ABN"[count % 3], ms="1200")
        count += 1
    assert count == 15
    assert 'name="text"' in tab.look()
    tab.send(text="because")
    assert "<code>COMPLETE</code>" in tab.look()
    assert tab.look() == Tab(client).begin(PROLIFIC_PID="p1").look()  # came back
    rows = site._engine.store.all("SELECT client_ms FROM answer")
    assert {row["client_ms"] for row in rows} == {1200}


def test_the_arm_cannot_be_told_from_the_page(site, client):
    """Pages differ in texts, index and progress, and in nothing else."""
    tab = Tab(client).begin().to_trials()
    shapes = set()
    for _ in range(15):
        page = tab.look()
        token = tab.path.rpartition("/")[2]
        for pattern in (
            r'<h1 class="prompt".*?</h1>',
            r'<div class="answer".*?</div>',
            r'name="trial" value="\d+"',
            r">\d+ of \d+<",
            r'<progress id="done" value="\d+" max="\d+">',
            token,
        ):
            page = re.sub(pattern, "…", page, flags=re.DOTALL)
        if "Practice" not in page:
            shapes.add(page)
        tab.send(choice="A")
    assert len(shapes) == 1
    assert not re.search(r"personal|arm|default", shapes.pop())


def test_every_page_takes_the_same_time(tmp_path):
    engine, site = make_site(
        tmp_path, limits=dataclasses.replace(LIMITS, response_time=0.2), survey=()
    )
    engine.warm()
    client = TestClient(site.app, follow_redirects=False)
    tab = Tab(client).begin()
    tab.send()
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        fields = tab.fields(choice="A")
        spent.append(time.perf_counter() - start)
        client.post(tab.path, data=fields)
    assert min(spent) >= 0.2
    engine.close()


def test_forged_and_stale_answers_change_nothing(site, client):
    engine = site._engine
    tab, other = Tab(client).begin().to_trials(), Tab(client).begin().to_trials()
    first = tab.fields(choice="A")
    tab.send(choice="A")
    before = answers_of(engine)
    refused = client.post(tab.path, data=tab.fields(choice="C"))
    assert refused.status_code == 400
    assert "A choice is A, B or N." in refused.text
    for trial in ("", "x", "-1", "1e3", "٣", "9" * 30):
        assert client.post(tab.path, data=tab.fields(choice="A", trial=trial)).status_code == 400
    for trial in ("0", "7", "999"):
        forged = client.post(tab.path, data=tab.fields(choice="B", trial=trial))
        assert forged.status_code == 303  # to the trial that is open
    assert client.post(tab.path, data=first | {"choice": "B"}).status_code == 303
    assert client.post(other.path, data=first).status_code == 403  # another's form
    assert client.post(other.path, data=first | {"csrf": ""}).status_code == 403
    assert client.post("/s/" + "A" * 43, data=first).status_code == 404
    assert client.post("/s/1", data=first).status_code == 404
    assert client.post(tab.path, data=tab.fields(step="export")).status_code == 400
    assert client.post(tab.path, data=tab.fields(participant="2", choice="A")).status_code == 303
    assert answers_of(engine) == [*before, (1, 1, "A")]
    assert client.put(tab.path).status_code == 405


def test_bodies_are_bounded_and_of_one_kind(site, client):
    tab = Tab(client).begin().to_trials()
    fields = tab.fields(choice="A")
    big = client.post(tab.path, data=fields | {"padding": "x" * 10_000_000})
    assert big.status_code == 413

    def stream():
        for _ in range(200):
            yield b"a=" + b"x" * 1000 + b"&"

    assert client.post(tab.path, content=stream(), headers=FORM).status_code in (411, 413)
    assert client.post(tab.path, json=fields).status_code == 415
    assert client.post(tab.path, content=b"\xff\xfe=%zz&&", headers=FORM).status_code == 400
    many = {f"f{i}": "1" for i in range(2000)}
    assert client.post(tab.path, data=fields | many).status_code == 400
    assert answers_of(site._engine) == []
    tab.send(choice="A")
    assert answers_of(site._engine) == [(1, 0, "A")]


def test_texts_are_harmless(tmp_path):
    attack = "<script>alert(1)</script> [x](javascript:alert(1)) <img src=x onerror=alert(1)>"
    materials = make_materials()
    materials = dataclasses.replace(
        materials,
        responses=tuple(f"{text} {attack}" for text in materials.responses),
        prompts=tuple(f"{prompt} {attack}" for prompt in materials.prompts),
    )
    engine, site = make_site(tmp_path, materials)
    client = TestClient(site.app, follow_redirects=False)
    tab = Tab(client).begin(PROLIFIC_PID='"><script>alert(2)</script>').to_trials()
    for _ in range(5):
        page = tab.look()
        assert page.count("<script") == 1  # the file of the study
        assert "<img" not in page
        assert "onerror=" not in re.sub(r"&lt;img.*?&gt;", "", page)
        assert 'href="javascript' not in page
        tab.send(choice="A")
    welcome = client.get("/", params={"PROLIFIC_PID": '"><script>alert(2)</script>'})
    assert welcome.text.count("<script") == 1
    engine.close()


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# Big\n\ntext", "<h4>Big</h4>\n<p>text</p>\n"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"),
        ("```python\nx < 1\n```", "<pre><code>x &lt; 1\n</code></pre>\n"),
        ("[a](https://example.org)", "<p>a</p>\n"),
        ("<b onclick=x>hi</b>", "<p>&lt;b onclick=x&gt;hi&lt;/b&gt;</p>\n"),
        ("3. c\n4. d", '<ol start="3">\n<li>c</li>\n<li>d</li>\n</ol>\n'),
        ("&lt;script&gt;", "<p>&lt;script&gt;</p>\n"),
    ],
)
def test_markdown(text, html):
    assert render(text) == html


def test_what_headers_say(site, client):
    tab = Tab(client).begin()
    for path in (tab.path, "/", "/static/study.css", "/nothing", "/researcher"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == (
            "public, max-age=3600" if "static" in path else "no-store"
        )
    page = tab.look()
    assert not re.search(r"<script(?! src=)|\son\w+=|style=|https?://", page)
    assert 'lang="en"' in page
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/"):
        assert client.get(path).status_code == 404


def test_links_withdraw_and_about(site, client):
    tab = Tab(client).begin(PROLIFIC_PID="p").to_trials()
    tab.send(choice="A")
    assert client.get(tab.path + "/about").status_code == 200
    asked = client.get(tab.path + "/withdraw").text
    assert client.post(tab.path + "/withdraw", data={"csrf": "x"}).status_code == 403
    assert answers_of(site._engine)
    fields = dict(HIDDEN.findall(asked))
    assert client.post(tab.path + "/withdraw", data=fields).status_code == 303
    assert "<code>WITHDRAWN</code>" in tab.look()
    assert answers_of(site._engine) == []
    assert client.post(tab.path, data=fields | {"step": "trial", "trial": "1", "choice": "A"}
                       ).status_code == 303  # fmt: skip
    assert answers_of(site._engine) == []


def test_screened_out_closed_and_twice(tmp_path):
    engine, site = make_site(
        tmp_path,
        stop=StopConfig(complete=1),
        ask_reasons=False,
        recruiting=RecruitingConfig(return_url="https://example.org/done?cc={code}"),
    )
    client = TestClient(site.app, follow_redirects=False)
    out = Tab(client).begin()
    out.send()
    out.send(**{"q-length": "Short", "q-age": "No"})
    assert "<code>SCREENED-OUT</code>" in out.look()
    assert 'href="https://example.org/done?cc=SCREENED-OUT"' in out.look()
    tab = Tab(client).begin(PROLIFIC_PID="p", SESSION_ID="1").to_trials()
    twice = client.post("/begin", data={"PROLIFIC_PID": "p", "SESSION_ID": "2"})
    assert (twice.status_code, "taken part already" in twice.text) == (200, True)
    while 'name="choice"' in tab.look():
        tab.send(choice="N")
    closed = client.post("/begin", data={"PROLIFIC_PID": "q"})
    assert (closed.status_code, "is closed" in closed.text) == (200, True)
    engine.close()


def test_survey_says_what_is_missing(site, client):
    tab = Tab(client).begin()
    tab.send()
    response = client.post(tab.path, data=tab.fields(**{"q-length": "Short"}))
    assert response.status_code == 400
    assert "Please answer: Old enough?" in response.text
    assert "How long?" in response.text


def test_the_researcher_needs_the_token(site, client):
    tab = Tab(client).begin().to_trials()
    tab.send(choice="A")
    assert "Token" in client.get("/researcher").text
    wrong = client.post("/researcher", data={"token": "é" * 43})
    assert wrong.status_code == 403
    right = client.post("/researcher", data={"token": site.researcher_token})
    assert right.status_code == 303
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = client.get("/researcher").text
    assert "in the trials" in page
    assert "win rate" not in page.lower().replace("win rates are not shown", "")


def test_rates_are_limited(tmp_path):
    limits = dataclasses.replace(LIMITS, starts_per_minute=2, requests_per_second=0.001, burst=6)
    engine, site = make_site(tmp_path, limits=limits)
    client = TestClient(site.app, follow_redirects=False)
    tab = Tab(client).begin()
    other = Tab(client).begin()
    assert client.post("/begin", data={"a": "1"}).status_code == 429
    codes = [client.get(tab.path).status_code for _ in range(8)]
    assert codes == [200] * 6 + [429] * 2
    assert client.get(other.path).status_code == 200  # others are not concerned
    guesses = [client.get(f"/s/{n:043d}").status_code for n in range(4)]
    assert guesses == [404, 404, 429, 429]
    engine.close()


def test_rate_limit_fills_up_again():
    now = [0.0]
    limit = RateLimit(2.0, 3, clock=lambda: now[0])
    for _ in range(3):
        limit.check("a")
    with pytest.raises(HTTPException):
        limit.check("a")
    limit.check("b")
    now[0] = 0.5
    limit.check("a")
    with pytest.raises(HTTPException):
        limit.check("a")


def test_an_error_tells_nothing(tmp_path):
    engine, site = make_site(tmp_path)
    client = TestClient(site.app, follow_redirects=False, raise_server_exceptions=False)
    tab = Tab(client).begin()
    engine.next = lambda participant: 1 / 0
    response = client.get(tab.path)
    assert response.status_code == 500
    assert "Your answers so far are safe" in response.text
    assert "division" not in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    engine.close()


def test_many_people_at_once(tmp_path):
    engine, site = make_site(tmp_path)
    failures = []

    def take_part(user):
        try:
            tab = Tab(TestClient(site.app, follow_redirects=False))
            tab.begin(PROLIFIC_PID=str(user)).to_trials()
            for n in range(15):
                tab.send(choice="ABN"[(n + user) % 3])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=take_part, args=(user,)) for user in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    counts = engine.store.all("SELECT COUNT(*) AS n FROM answer GROUP BY participant")
    assert [row["n"] for row in counts] == [15] * 6
    engine.close()
