"""What the page says about sentences: both networks, the gradient by word, and the counts."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import torch

from carousel import CarouselError
from carousel.learn import (
    AccuracySpec,
    Beginning,
    SentenceSpec,
    agreement_accuracy,
    ask_sentence,
    continue_sentence,
    parse,
)
from carousel.learn._agreement_models import CELLS, FOLDER, Predictor, encode, file_name, trained
from carousel.learn._train_agreement import Plan, counted, right, train_all, words
from carousel.learn._wilson import share
from carousel.tasks import VOCABULARY, Agreement, other_number, read_sentence

OWN = "The cat, which my sister bought yesterday from the lost shelters, sits."
SMALL = Plan(
    steps={"short": 3, "long": 6},
    learning_rates=(0.01, 0.03),
    seeds=(0, 1),
    batch=4,
    longest=4,
    sentences=6,
    validation=2,
    tested_to=20,
    tests=2,
    curve_points=3,
)


def test_a_sentence_made_to_measure() -> None:
    spec = SentenceSpec(distance=20, attractors=3, number="plural", seed=5)
    answer = ask_sentence(spec)
    read = read_sentence([word.text for word in answer.words])
    assert (read.distance, len(read.attractors), read.plural) == (20, 3, True)
    assert read.part == "test"
    roles = [word.role for word in answer.words]
    assert roles.index("subject") == read.subject
    assert roles.index("verb") == read.verb
    assert [at for at, role in enumerate(roles) if role == "attractor"] == list(read.attractors)
    assert (answer.right_form, answer.wrong_form) == (read.words[-1], other_number(read.words[-1]))
    assert [one.cell for one in answer.predictions] == list(CELLS)
    assert ask_sentence(spec) == answer


@pytest.mark.parametrize("budget", ["short", "long"])
def test_predictions_are_those_of_the_network(budget: str) -> None:
    answer = ask_sentence(SentenceSpec(own=OWN, budget=budget))  # type: ignore[arg-type]
    assert answer.text == OWN
    before = [word.text for word in answer.words[:-1]]
    for one in answer.predictions:
        model = trained(one.cell, budget)  # type: ignore[arg-type]
        with torch.no_grad():
            logits = model.head(model(encode(before)[:, None])[-1, 0])
        sits, sit = logits[encode(["sits", "sit"])].tolist()
        assert (one.right_logit, one.wrong_logit) == pytest.approx((sits, sit), abs=1e-5)
        assert one.right == (sits > sit)
        assert one.preferred == ("sits" if sits > sit else "sit")
        assert one.share == pytest.approx(math.exp(sits) / (math.exp(sits) + math.exp(sit)))
        best = logits.softmax(0).topk(5)
        assert [guess.word for guess in one.guesses] == [VOCABULARY[k] for k in best.indices]
        assert [guess.probability for guess in one.guesses] == pytest.approx(best.values.tolist())


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_finite_differences(cell: str) -> None:
    """d_word by moving each word's vector, in float64; d_h leads to it by one step's Jacobian."""
    answer = ask_sentence(SentenceSpec(own=OWN))
    (one,) = (prediction for prediction in answer.predictions if prediction.cell == cell)
    model = Predictor(one.cell).double()
    model.load_state_dict(trained(one.cell, "long").state_dict())
    before = encode([word.text for word in answer.words[:-1]])[:, None]
    forms = encode([answer.right_form, answer.wrong_form])
    x = model.embedding(before).detach()

    def difference(at: int, step: torch.Tensor) -> float:
        moved = x.clone()
        moved[at, 0] += step
        with torch.no_grad():
            logits = model.head(model.recurrent(moved)[0][-1, 0])[forms]
        return (logits[0] - logits[1]).item()

    eye = torch.eye(x.shape[-1], dtype=torch.float64) * 1e-5
    for at in (0, 1, 6, len(before) - 1):
        slopes = [(difference(at, e) - difference(at, -e)) / 2e-5 for e in eye]
        norm = math.log10(math.hypot(*slopes))
        assert one.d_word[at] == pytest.approx(norm, abs=1e-3)

    state = x.clone().requires_grad_()
    h = model.recurrent(state)[0]
    last = model.head(h[-1, 0])[forms]
    (d_last,) = torch.autograd.grad(last[0] - last[1], h)
    assert one.d_h[-1] == pytest.approx(d_last[-1].norm().log10().item(), abs=1e-4)
    assert len(one.d_h) == len(one.d_word) == len(before)


def test_the_shortest_sentence() -> None:
    answer = ask_sentence(SentenceSpec(distance=1, attractors=0))
    assert answer.distance == 1
    assert "Not enough steps" in answer.predictions[0].horizon


def test_what_cannot_be() -> None:
    with pytest.raises(CarouselError, match="has to be 19 or more"):
        ask_sentence(SentenceSpec(distance=12, attractors=6))
    with pytest.raises(CarouselError, match="'platypus', is none of the grammar's"):
        ask_sentence(SentenceSpec(own="the platypus sits"))
    with pytest.raises(CarouselError, match="distance: expected a whole number from 1 to 100"):
        parse(SentenceSpec, {"distance": 101})
    with pytest.raises(CarouselError, match="own: expected at most 1200 printable characters"):
        parse(SentenceSpec, {"own": "the " * 301})


def test_the_longest_text_is_answered() -> None:
    clause = " near the cat" * 91
    text = f"the cat{clause} sits"
    assert len(text) < 1200
    answer = ask_sentence(SentenceSpec(own=text))
    assert answer.distance == 3 * 91 + 1
    kinds = (int, float)
    assert all(
        isinstance(level, kinds) or level in ("zero", "infinite", "nan")
        for one in answer.predictions
        for level in (*one.d_h, *one.d_word)
    )


def test_a_client_that_left_stops_the_work() -> None:
    def gone() -> None:
        raise InterruptedError

    for run, request in (
        (ask_sentence, SentenceSpec()),
        (continue_sentence, Beginning()),
        (agreement_accuracy, AccuracySpec()),
    ):
        with pytest.raises(InterruptedError):
            run(request, gone)  # type: ignore[operator]


def test_a_sentence_can_be_put_together_word_by_word() -> None:
    rng, text = random.Random(3), ""
    for _ in range(400):
        found = continue_sentence(Beginning(text))
        assert found.error == ""
        if found.finished:
            break
        text = f"{found.text} {rng.choice(rng.choice(found.groups).words)}"
    assert found.finished
    assert ask_sentence(SentenceSpec(own=text)).words[-1].role == "verb"
    refused = continue_sentence(Beginning("The cat, who"))
    assert (refused.text, refused.finished) == ("the cat ,", False)
    assert "expected which" in refused.error


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson(hits: int, count: int, low: float, high: float) -> None:
    found = share(hits, count)
    assert found.value == hits / count
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_the_networks_that_ship() -> None:
    counts = {cell: trained(cell, "short").parameter_count for cell in CELLS}
    assert abs(counts["rnn"] - counts["lstm"]) / counts["lstm"] < 0.01
    for cell in CELLS:
        for budget in ("short", "long"):
            assert (FOLDER / file_name(cell, budget)).stat().st_size < 200_000  # type: ignore[arg-type, attr-defined]
    table = agreement_accuracy(AccuracySpec("short"))
    assert {cell.cell: cell.parameters for cell in table.cells} == counts


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("budget", ["short", "long"])
def test_the_counts_are_those_of_the_networks_that_ship(cell: str, budget: str) -> None:
    """Some of the test sentences made and counted anew."""
    found = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    plan = found["plan"]
    (run,) = (one for one in found["runs"] if (one["cell"], one["budget"]) == (cell, budget))
    for distance, attractors in ((1, 0), (19, 6), (30, 2), (70, 1)):
        given = words(distance, plan["tests"], "test", 3, attractors)
        hits = int(right(trained(cell, budget), given).sum())  # type: ignore[arg-type]
        # Another processor may round a logit that is all but level the other way.
        assert abs(hits - run["hits"][distance - 1][attractors]) <= 1


def test_the_table_adds_up() -> None:
    for budget in ("short", "long"):
        table = agreement_accuracy(AccuracySpec(budget))  # type: ignore[arg-type]
        assert table.steps == {one.name: one.steps for one in table.budgets}[budget]
        for cell in table.cells:
            within, beyond = (
                cell.by_distance[: table.trained_to],
                cell.by_distance[table.trained_to :],
            )
            assert sum(one.hits for one in within) == cell.within.hits
            assert sum(one.count for one in beyond) == cell.beyond.count
            assert sum(one.hits for one in cell.by_attractors_beyond) == cell.beyond.hits
            assert len(cell.by_distance) == table.tested_to == 100
            assert len(cell.by_attractors) == 7
            assert [point.step for point in cell.curve][-1] == table.steps
            assert cell.learning_rate in table.learning_rates
            assert [cell.seed, *(one.seed for one in cell.others)] == [0, 1, 2, 3, 4]
            for one in cell.others:
                share_of = [part.count / cell.within.count for part in within]
                mean = sum(map(math.prod, zip(share_of, one.by_distance, strict=False)))
                assert one.within == pytest.approx(mean)
                assert len(one.by_attractors) == len(one.by_attractors_beyond) == 7
                assert [p.step for p in one.curve] == [p.step for p in cell.curve]


def test_the_sentence_at_first_and_what_is_said_of_it() -> None:
    """The networks that were trained for longer, who tell it; a rate of no sign has no horizon."""
    answer = ask_sentence(SentenceSpec())
    assert answer.text == "Our cat, which the lost brothers saw recently from the gardens, sits."
    assert [one.right for one in answer.predictions] == [True, True]
    short = ask_sentence(SentenceSpec(budget="short"))
    horizons = [one.horizon for one in (*answer.predictions, *short.predictions)]
    assert [said != "" for said in horizons] == [False, False, False, True]
    assert "halves every" in horizons[3]


def test_of_a_text_that_is_none_what_can_be_read_goes_on() -> None:
    refused = continue_sentence(Beginning("the dogs near my platypus often"))
    assert refused.text == "the dogs near my"
    assert refused.error.startswith("Word 5, 'platypus'")
    assert len(refused.error) < 160
    assert refused.groups == continue_sentence(Beginning("the dogs near my")).groups
    late = continue_sentence(Beginning("The cat sits, often"))
    assert (late.text, late.groups, late.finished) == ("the cat sits", (), False)


def test_training_is_the_same_every_time(tmp_path: Path) -> None:
    """Twice the smallest plan: the same files, which the loader reads, and complete counts."""
    said: list[str] = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        train_all(tmp_path / name, SMALL, said.append)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == sorted(
        [file_name(cell, budget) for cell in CELLS for budget in SMALL.steps] + ["results.json"]
    )
    for name in files:
        first, second = (tmp_path / folder / name for folder in ("first", "second"))
        if name.endswith(".safetensors"):
            assert first.read_bytes() == second.read_bytes()
    both = [json.loads((tmp_path / f / "results.json").read_text()) for f in ("first", "second")]
    for one in both:
        del one["cpu_seconds"]
    assert both[0] == both[1]
    assert [len(row) for row in both[0]["runs"][0]["hits"]] == [
        1 + min(6, (distance - 1) // 3) for distance in range(1, 21)
    ]
    for run in both[0]["runs"]:
        assert run["validation_loss"] == min(loss for _, loss in run["tried"])
    assert len(said) == 2 * (1 + 4 * (2 + 1))


def test_right_does_not_look_at_the_verb() -> None:
    """A network that copies what it reads cannot be right by it: the verb is masked by position."""
    given = words(5, 8, "validation", 0)
    model = trained("lstm", "short")
    changed = given.words.clone()
    changed[given.verb, torch.arange(8)] = given.wrong
    swapped = type(given)(changed, given.verb, given.words[given.verb, torch.arange(8)])
    assert torch.equal(right(model, given), ~right(model, swapped))
    assert counted(model, [[given]]) == [[int(right(model, given).sum())]]


def test_training_and_test_sentences_are_apart() -> None:
    rng = random.Random(0)
    seen = {
        part: {
            Agreement(distance, 0).sentence(rng, part=part).words[:-1]  # type: ignore[arg-type]
            for distance in (1, 2, 3)
            for _ in range(150)
        }
        for part in ("training", "validation", "test")
    }
    assert not seen["training"] & seen["test"]
    assert not seen["training"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
