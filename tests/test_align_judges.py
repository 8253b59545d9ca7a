"""Judges: the protocol of both orders, the simulated judge, and a language model as judge."""

from pathlib import Path

import jax
import lm_tiny
import numpy as np
import pytest

from prefjax import lm
from prefjax.align import judges
from prefjax.align.judges import AttributeJudge, FakeJudge, Question, Request, Status
from prefjax.data.attributes import ChoiceConfig, expected_label, measure

CHOICES = ("Output (a)", "Output (b)")


def make_questions(num):
    return [Question("polite", f"prompt {i}", f"left {i}", f"right {i}") for i in range(num)]


def test_agreement_decides_and_disagreement_is_a_tie():
    def answer(request):
        number = int(request.question.prompt.split()[1])
        shown_first = request.question.first.startswith("left")
        wanted = {0: shown_first, 1: not shown_first, 2: True, 3: False}[number]
        return "I say Output (a)" if wanted else "I say Output (b)"

    verdicts = judges.compare(FakeJudge(answer), make_questions(4))
    np.testing.assert_array_equal(verdicts.win, [1.0, 0.0, 0.5, 0.5])
    report = judges.quality(verdicts)
    assert (report.num_excluded, report.inconsistency, report.position_bias) == (0, 0.5, 0.0)


def test_invalid_answers_are_asked_for_once_more_then_left_out_and_counted():
    def answer(request):
        number = int(request.question.prompt.split()[1])
        insisted = "whole answer" in request.text
        return "Output (a)" if number == 0 or (number == 1 and insisted) else "well"

    judge = FakeJudge(answer)
    verdicts = judges.compare(judge, make_questions(3))
    np.testing.assert_array_equal(verdicts.win, [0.5, 0.5, np.nan])
    report = judges.quality(verdicts)
    assert judge.num_calls == 6 + 4
    assert (report.num_questions, report.num_excluded) == (3, 1)
    assert report.invalid_rate == pytest.approx(4 / 6)
    assert report.position_bias == 0.5


def test_both_templates_show_the_texts_and_their_own_choices():
    for template in (judges.ATTRIBUTES, judges.PROFILE):
        request = template.render(Question("{odd}", "why {x}?", "one {first}", "22"))
        assert "{odd}" in request.system
        assert request.text.index("one {first}") < request.text.index("22")
        assert all(choice in request.text for choice in template.choices)


def test_a_judge_that_loses_results_is_refused():
    class Forgetful:
        def complete(self, requests):
            return []

    with pytest.raises(RuntimeError, match="Forgetful gave 0 results for 2"):
        judges.compare(Forgetful(), make_questions(1))
    assert judges.compare(Forgetful(), []).win.shape == (0,)


def test_the_attribute_judge_answers_as_the_simulated_world_does():
    short, long = (
        "Yes, do.",
        "You may do that whenever it suits you, and as often as you like. " * 3,
    )
    weight = np.array([-0.4, 0, 0, 0, 0, 0, 0])
    config = ChoiceConfig(sharpness=1.5, order_bias=0.5)
    people = {f"person {i}": weight for i in range(3000)}
    judge = AttributeJudge(people, config=config)
    questions = [Question(name, "May I?", short, long) for name in people]
    verdicts = judges.compare(judge, questions)
    gap = (measure([short]) - measure([long])) @ weight
    assert verdicts.win.mean() == pytest.approx(float(expected_label(gap, config)[0]), abs=0.02)
    assert 0.02 < judges.quality(verdicts).position_bias < 0.2

    again = judges.compare(AttributeJudge(people, config=config), questions[:100])
    np.testing.assert_array_equal(again.win, verdicts.win[:100])
    swapped = [Question(name, "May I?", long, short) for name in people][:100]
    np.testing.assert_array_equal(judges.compare(judge, swapped).win, 1 - verdicts.win[:100])

    strange = judges.compare(judge, [Question("nobody", "", short, long)])
    assert np.isnan(strange.win[0])
    assert judges.quality(strange).failed_rate == 1.0


class Bytes:
    """A tokenizer that needs no files."""

    chat_template = None

    def encode(self, text, add_special_tokens=False):
        assert not add_special_tokens
        return list(text.encode())


def test_a_language_model_names_the_likelier_answer():
    config = lm.QwenConfig(
        vocab_size=128, hidden_size=16, intermediate_size=24, num_layers=1, num_heads=2,
        num_kv_heads=1, head_dim=8, max_length=128,
    )  # fmt: skip
    params = lm.init_params(jax.random.key(0), config, scale=0.5)
    model = lm.LanguageModel(config, params, Bytes(), Path("nowhere"))
    choices = ("Output (a)", "Output (bc)")
    requests = [Request("You.", "x" * n + str(n), choices) for n in (3, 11, 20, 300)]
    results = judges.JaxJudge(model, batch_size=4).complete(requests)
    assert [result.status for result in results] == [Status.OK] * 3 + [Status.FAILED]
    assert "window" in results[3].text
    for request, result in zip(requests[:3], results[:3], strict=True):
        prompt, scores = Bytes().encode(f"You.\n\n{request.text}\n\n"), []
        assert result.input_tokens == len(prompt)
        for choice in choices:
            whole = np.zeros((1, 64), np.int32)
            tokens = prompt + Bytes().encode(choice)
            whole[0, : len(tokens)] = tokens
            hidden = lm_tiny.forward(params, config, whole, np.arange(64)[None] < len(tokens))
            log_prob = jax.nn.log_softmax(lm.logits(params, config, hidden[0]))
            places = range(len(prompt), len(tokens))
            scores.append(sum(float(log_prob[t - 1, tokens[t]]) for t in places))
        assert result.choice == np.argmax(scores)
    with pytest.raises(ValueError, match="no tokenizer"):
        judges.JaxJudge(model._replace(tokenizer=None))
