"""The ``prefjax`` command: every subcommand, its errors and its exit codes."""

import io
import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from serve_world import PROMPTS, RESPONSES, make_model

import prefjax
from prefjax import cli
from prefjax.cli import _main
from prefjax.lab import evaluation
from prefjax.serve import PeopleService, PeopleStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of texts, a pool of questions and a table of responses."""
    here = tmp_path_factory.mktemp("cli")
    make_model().save(here / "model")
    pool = [{"prompt": prompt, "responses": RESPONSES} for prompt in PROMPTS[:2]]
    (here / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool))
    rows = [
        {"prompt": PROMPTS[0], "response": text, "who": f"w{number % 5}"}
        for number, text in enumerate(RESPONSES)
    ]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return here


def type_in(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_help_of_everything_shows_examples(capsys):
    assert cli.main(["--help"]) == 0
    overview = capsys.readouterr().out
    for name, line in _main.commands().items():
        assert f"{name} " in overview
        assert line
        assert cli.main([name, "--help"]) == 0
        said = capsys.readouterr().out
        assert line in said
        assert f"prefjax {name} " in said.partition("xamples:")[2]
    assert {"ask", "convert", "evaluate", "fit", "rank", "score"} <= set(_main.commands())
    assert cli.main(["--version"]) == 0
    assert cli.main([]) == 2
    assert cli.main(["nope"]) == 2
    assert cli.main(["fit"]) == 2
    assert "there is no command 'nope'" in capsys.readouterr().err


def test_the_overview_imports_nothing_heavy():
    code = "import sys; from prefjax.cli import main; main(['--help']); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fit", "nowhere.jsonl", "--out", "m"], "no file nowhere.jsonl"),
        (["rank", "nowhere", "a.jsonl"], "nowhere holds no model"),
        (
            ["rank", "{}/model", "--user", "nobody", "--prompt", "Why?", "a", "b"],
            "no user 'nobody'",
        ),
        (["rank", "{}/model", "a", "b"], "need --prompt"),
        (["rank", "{}/model", "nowhere.jsonl"], "no file nowhere.jsonl"),
        (["score", "{}/model", "{}/rows.jsonl", "out.xls"], "suffix must be one of"),
        (["score", "{}/model", "{}/pool.jsonl", "out.csv"], "no column 'response'"),
        (["convert", "{}/rows.jsonl", "out.csv"], "rows.jsonl"),
        (["evaluate", "{}/rows.jsonl", "--column", "prompt"], "NAME=COLUMN"),
        (["ask", "{}/model", "{}/pool.jsonl", "--person", "p.json", "--rule", "x"], "valid rules"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(folder, tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main([word.format(folder) for word in argv]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert said[-1].startswith(f"prefjax {argv[0]}: ")
    assert not any("Traceback" in line for line in said)


def test_an_interview_is_kept_after_every_answer_and_goes_on(folder, tmp_path, monkeypatch, capsys):
    path = tmp_path / "ann.json"
    argv = ["ask", str(folder / "model"), str(folder / "pool.jsonl"), "--person", str(path)]
    type_in(monkeypatch, "1\nwhat?\nt\nq\n")
    assert cli.main([*argv, "--questions", "4"]) == 0
    said = capsys.readouterr().out
    assert said.count("Which do you prefer?") == 4
    assert "2 answers kept" in said
    model = prefjax.load(folder / "model")
    kept = model.load_person(path)
    assert [answer.label for answer in kept.log] == [1.0, 0.5]
    opened = kept.open_question
    type_in(monkeypatch, "2\n1\n")
    assert cli.main([*argv, "--questions", "4"]) == 0
    said = capsys.readouterr().out
    assert "going on" in said
    assert opened.shown.first.split()[0] in said.partition("[3/4]")[2]
    done = model.load_person(path)
    assert [answer.label for answer in done.log] == [1.0, 0.5, 0.0, 1.0]
    assert done.log[2].asked == opened
    assert cli.main([*argv, "--questions", "4"]) == 0
    assert "4 answers in" in capsys.readouterr().out


def test_an_interview_that_was_begun_otherwise_is_not_gone_on_with(
    folder, tmp_path, monkeypatch, capsys
):
    argv = ["ask", str(folder / "model"), str(folder / "pool.jsonl")]
    argv += ["--person", str(tmp_path / "ann.json"), "--questions", "3"]
    type_in(monkeypatch, "1\nq\n")
    assert cli.main([*argv, "--rule", "random", "--seed", "3"]) == 0
    for more, message in (
        (["--rule", "d_optimal"], "was begun with rule 'random', not 'd_optimal'"),
        (["--seed", "4"], "was begun with seed 3, not 4: leave out --seed"),
        (["--user", "w1"], "was begun with user None, not 'w1'"),
    ):
        assert cli.main([*argv, *more]) == 1
        assert message in capsys.readouterr().err
    type_in(monkeypatch, "q\n")
    assert cli.main([*argv, "--rule", "random", "--seed", "3"]) == 0


def test_an_interview_ends_where_the_pool_does(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "two.txt").write_text("Tea.\nCoffee.\n")
    type_in(monkeypatch, "1\n")
    path = tmp_path / "w1.json"
    argv = ["ask", str(folder / "model"), str(tmp_path / "two.txt"), "--person", str(path)]
    assert cli.main([*argv, "--user", "w1"]) == 0
    assert "Everything in the pool was asked" in capsys.readouterr().out
    assert prefjax.load(folder / "model").load_person(path).user == "w1"


def test_rank_is_that_of_the_library(folder, capsys, monkeypatch):
    model = prefjax.load(folder / "model")
    argv = ["rank", str(folder / "model"), "--user", "w2"]
    assert cli.main([*argv, str(folder / "pool.jsonl"), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = model.person("w2").rank(PROMPTS[1], RESPONSES)
    assert [one["response"] for one in lines[1]["ranking"]] == [RESPONSES[i] for i in found.order]
    rewards = [one["reward"] for one in lines[1]["ranking"]]
    np.testing.assert_allclose(rewards, found.reward[found.order], atol=1e-6)
    assert cli.main([*argv, "--prompt", PROMPTS[1], *RESPONSES]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert RESPONSES[found.order[0]][:20] in shown[2]
    type_in(monkeypatch, "\n".join(RESPONSES))
    assert cli.main([*argv, "-"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(RESPONSES)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_score_is_that_of_the_library(folder, tmp_path, capsys, suffix):
    out = tmp_path / f"out.{suffix}"
    argv = ["score", str(folder / "model"), str(folder / "rows.jsonl"), str(out)]
    assert cli.main([*argv, "--user-column", "who"]) == 0
    assert "4 users are known, 0 are not" in capsys.readouterr().out
    from prefjax.cli._tables import read_rows

    table = read_rows(str(out))
    model = prefjax.load(folder / "model")
    for row, (text, reward, deviation) in enumerate(
        zip(
            *(table[name].to_pylist() for name in ("response", "reward", "reward_std")), strict=True
        )
    ):
        value, spread = model.person(f"w{row}").reward(PROMPTS[0], text)
        assert float(reward) == pytest.approx(value, abs=1e-5)
        assert float(deviation) == pytest.approx(spread, abs=1e-5)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_answers_of_a_servers_people_are_a_table_that_fit_reads(tmp_path, capsys, suffix):
    with PeopleStore(tmp_path / "people") as store:
        service = PeopleService(make_model(), store)
        service.create("ann")
        service.ask("ann", ("Tea?", ["Yes.", "No."]))
        service.tell("ann", 1.0)
        service.observe("w1", "Tea?", "Yes.", "Never!", 0.5)
        service.observe("w1", None, np.zeros(128, np.float32), None, 1.0)
    out = tmp_path / f"answers{suffix}"
    assert cli.main(["people", str(tmp_path / "people"), str(out)]) == 0
    assert "2 answers of 2 people; 1 about embeddings are left out" in capsys.readouterr().out
    data = prefjax.data.read(out)
    assert list(data.users) == ["ann", "w1"]
    assert sorted(data.comparisons.label.tolist()) == [0.5, 1.0]
    assert cli.main(["people", str(tmp_path / "nobody"), str(out)]) == 1
    assert "there is no file" in capsys.readouterr().err


def test_convert_there_and_back(folder, tmp_path, capsys):
    rows = [
        {"prompt": "Tea?", "chosen": "yes", "rejected": "no", "annotator": name}
        for name in ("ann", "bob")
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ours, back = tmp_path / "ours.csv", tmp_path / "back.parquet"
    assert cli.main(["convert", str(tmp_path / "rows.jsonl"), str(ours)]) == 0
    assert "2 of 2 comparisons" in capsys.readouterr().out
    assert cli.main(["convert", str(ours), str(back), "--to", "trl"]) == 0
    assert pq.read_table(back)["chosen"].to_pylist() == ["yes", "yes"]


def rows_of(gains, control=None):
    rows = []
    for number, (value, low, high) in gains.items():
        told = [
            ("minus_population", control, 0),
            ("auc_user", control, 0.7),
            ("worst_decile", control, 0.5),
            ("accuracy", control, 0.65),
            ("hurt_rate", control, 0.2),
            ("hurt_rate", "wrong-user", 0.5),
            ("flip_rate", "reversed-answers", 0.3),
        ]
        for metric, which, base in told:
            rows.append(
                {
                    "method": "pref",
                    "metric": metric,
                    "control": which,
                    "num_answers": number,
                    "num_users": 90,
                    "value": base + value,
                    "low": base + low,
                    "high": base + high,
                }
            )
    return rows


NO_GAIN = {0: (0, 0, 0), 5: (0, -0.001, 0.001), 20: (0, -0.001, 0.001)}


@pytest.mark.parametrize(
    ("gains", "verdict", "words"),
    [
        (
            {0: (0, 0, 0), 5: (0.03, 0.02, 0.04), 20: (0.06, 0.05, 0.07), 40: (0.07, 0.06, 0.08)},
            "pays",
            "told from none after 5 answers, and most of it is there after 20 answers",
        ),
        (
            {0: (0, 0, 0), 5: (0.001, -0.001, 0.003), 20: (0.007, 0.003, 0.011)},
            "pays a little or cannot tell",
            "told from none after 20 answers",
        ),
        (
            {0: (0, 0, 0), 5: (0.001, -0.01, 0.03), 20: (0.007, -0.003, 0.011)},
            "pays a little or cannot tell",
            "More people, or more answers of each",
        ),
        (NO_GAIN, "does not pay", "gain nothing of it"),
    ],
)
def test_the_verdict_is_that_of_the_interval(gains, verdict, words):
    rows = rows_of(gains) + rows_of(NO_GAIN, "wrong-user") + rows_of(NO_GAIN, "shuffled-users")
    found = evaluation.judge(rows, [], "pref", "asked and scored")
    assert found.verdict == verdict
    said = evaluation.describe(found)
    assert said.startswith(f"Personalization {verdict} ")
    assert words in said
    assert "does not hold" not in said


def test_a_control_that_gains_takes_the_verdict_back():
    gains = {0: (0, 0, 0), 20: (0.06, 0.05, 0.07)}
    rows = rows_of(gains) + rows_of(gains, "wrong-user")
    said = evaluation.describe(evaluation.judge(rows, [], "pref", ""))
    assert "A control gains as well (wrong user +0.060" in said


def test_a_control_that_cannot_be_told_from_the_gain_is_not_called_none():
    gains = {0: (0, 0, 0), 20: (0.06, 0.05, 0.07)}
    rows = rows_of(gains) + rows_of({0: (0, 0, 0), 20: (0.02, -0.09, 0.13)}, "wrong-user")
    said = evaluation.describe(evaluation.judge(rows, [], "pref", ""))
    assert "The controls are too uncertain to be told from the gain: wrong user +0.020" in said


def test_a_taste_for_length_stands_beside_the_gain():
    gains = {0: (0, 0, 0), 20: (0.06, 0.05, 0.07)}
    length = [row | {"method": "length-only"} for row in rows_of(gains)]
    found = evaluation.judge(rows_of(gains) + length, [], "pref", "")
    assert found.length is not None
    said = evaluation.describe(found)
    assert "A taste for the length of a response alone gains +0.060 [+0.050, +0.070]." in said


def test_evaluate_prints_what_was_found(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"prompt": "", "chosen": "a", "rejected": "b", "user": "ann"}) + "\n"
    )
    asked = {}

    def evaluate(data, **settings):
        asked.update(settings, data=data)
        settings["say"]("rows, hashed, seed 0, pref: 0.1 s")
        gains = {0: (0, 0, 0), 20: (0.06, 0.05, 0.07)}
        return evaluation.judge(rows_of(gains), [], "pref", "")

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    argv = ["evaluate", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out")]
    assert cli.main([*argv, "--families", "pref,my.module:F", "--draws", "2"]) == 0
    assert asked["families"] == ("pref", "my.module:F")
    assert asked["seeds"] == (0, 1)
    assert asked["data"].users == ("ann",)
    assert capsys.readouterr().out.startswith("Personalization pays")
    assert cli.main([*argv, "--draws", "0"]) == 1


def test_an_audit_names_whoever_always_takes_one_side(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(240):
        user = f"w{number % 6}"
        label = 1.0 if user == "w3" else float(rng.integers(2))
        a, b = (RESPONSES[place] for place in rng.permutation(len(RESPONSES))[:2])
        rows.append({"user": user, "prompt": "", "response_a": a, "response_b": b, "label": label})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.main(["audit", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 people always take one side" in said
    assert "| w3 |" in said


def test_a_head_over_ngrams_cannot_be_exported(folder, tmp_path, capsys):
    assert cli.main(["export", str(folder / "model"), str(tmp_path / "out")]) == 1
    assert "only a head over a language model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
