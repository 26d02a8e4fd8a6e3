"""What a report says in words."""

import numpy as np
import pytest

from covidmt.comparison.analysis import analyse
from covidmt.comparison.findings import headlines, reference_words, reservations
from covidmt.comparison.style import VERDICTS
from covidmt.comparison.tables import configuration_notes, csv_tables, interval_words, latex
from covidmt.comparison.trained_runs import collect_runs
from datamodules.demo.write import MADE_UP
from metrics.paired import SIDES
from tests.helpers.sweeps import N, Store, flipped, pairs_table, scores

ALIKE = pairs_table(*np.zeros((3, N), bool)).assign(p_original=0.2, p_received=0.3)


def test_a_model_with_one_answer_gets_no_praise(store: Store):
    made = analyse(collect_runs([store.trial(pairs=ALIKE), store.trial(n_tasks=6, pairs=flipped(1))], store))
    assert made.ranking[0].label == "ResNet-50, 1 task"
    assert any("same answer" in text for text in reservations(made))


@pytest.mark.parametrize(
    ("constant", "words"),
    [
        ([True, False], "ResNet-50, 1 task gives every image the same answer: its stability is no merit."),
        ([True, True], "Both ResNet-50, 6 tasks and ResNet-50, 1 task give every image the same answer: their "),
    ],
)
def test_a_headline_says_whose_trainings_answer_all_alike(store: Store, constant: list[bool], words: str):
    runs = [
        store.trial(n_tasks=n, pairs=ALIKE if same else flipped(n)) for n, same in zip((1, 6), constant, strict=True)
    ]
    statements = [headline.statement for headline in headlines(analyse(collect_runs(runs, store)))]
    assert any(statement.startswith(words) for statement in statements)


def test_some_trainings_that_answer_all_alike_are_counted(store: Store):
    runs = [store.trial(seed=seed, pairs=ALIKE if seed else flipped(0)) for seed in range(3)]
    runs += [store.trial(n_tasks=6, seed=seed, pairs=flipped(6)) for seed in range(3)]
    statements = [headline.statement for headline in headlines(analyse(collect_runs(runs, store)))]
    words = "ResNet-50, 1 task in 2 of 3 trainings gives every image the same answer: its stability is no merit."
    assert words in statements


def test_made_up_images_are_said_in_a_report(store: Store):
    for tags in ({"made_up": "True"}, {}):
        run = store.trial(tags=tags, metrics=scores(3))
        notes = configuration_notes(analyse(collect_runs([run], store)))
        assert (MADE_UP in notes) == bool(tags)


def test_what_must_agree_and_does_not_is_said(store: Store):
    tags = [{"mask_source": source, "decoder": "area-1"} for source in ("segmenter a", "segmenter a", "folder")]
    runs = [store.trial(seed=seed, tags=own, metrics=scores(3)) for seed, own in enumerate(tags)]
    said = [text for text in reservations(analyse(collect_runs(runs, store))) if "differ in" in text]
    assert len(said) == 1
    assert "mask_source; segmenter a: 2; folder: 1" in said[0]


def test_ols_says_its_convention_and_two_conventions_are_a_warning(store: Store):
    runs = [store.trial(seed=seed, tags={"mask_heart": "in"}, metrics=scores(3)) for seed in range(2)]
    said = reservations(analyse(collect_runs(runs, store)))
    (text,) = [text for text in said if "part behind the heart" in text]
    assert text.startswith("OLS is measured with lung fields with the part behind the heart (data.masks.heart=in). ")
    assert "Under the other convention it can be several times as high or low" in text
    runs.append(store.trial(seed=2, tags={"mask_heart": "out"}, metrics=scores(3)))
    said = [text for text in reservations(analyse(collect_runs(runs, store))) if "heart" in text]
    assert len(said) == 1
    assert "differ in whether their lungs hold the part behind the heart" in said[0]


def test_how_much_is_counted_and_relative_only_where_it_is_shown(store: Store):
    """Two of 120 answers change against six of 120: not shown, so it is not "67 % fewer"."""
    runs = [store.trial(seed=seed, pairs=flipped(seed, 9)) for seed in range(3)]
    runs += [store.trial(n_tasks=6, seed=seed, pairs=flipped(*[3] * (seed < 2))) for seed in range(3)]
    (headline,) = headlines(analyse(collect_runs(runs, store)))
    assert headline.verdict == "not shown"
    assert headline.lines[0] == (
        "How much: 2 of 120 answers (3 trainings x 40 pairs; 1.67\N{NO-BREAK SPACE}%) change with ResNet-50, 6 tasks, "
        "6 of 120 answers (3 trainings x 40 pairs; 5.00\N{NO-BREAK SPACE}%) with ResNet-50, 1 task; 3.33 points. "
        "Of the originals 100.0\N{NO-BREAK SPACE}% and 100.0\N{NO-BREAK SPACE}% are answered rightly."
    )
    runs = [store.trial(pairs=flipped(*range(20))), store.trial(n_tasks=6, pairs=flipped(0, 1))]
    (headline,) = headlines(analyse(collect_runs(runs, store)))
    assert "45.00 points (90\N{NO-BREAK SPACE}% fewer)." in headline.lines[0]


def test_a_stable_network_that_is_right_less_often_than_guessing_is_no_merit(store: Store):
    """A quarter of the images has the label. The second network calls 30 of 40 positive, always: stable, and wrong."""
    good, bad = flipped(0, 1), flipped()
    for pairs in (good, bad):
        pairs["label"] = np.arange(N) < 10.0
        for side in SIDES:
            pairs[f"positive_{side}"] = (np.arange(N) < 10) * 1.0
    good.loc[good.index[:2], "positive_received"] = 0.0
    for side in SIDES:
        bad[f"positive_{side}"] = (np.arange(N) >= 10) * 1.0
    (headline,) = headlines(analyse(collect_runs([store.trial(pairs=good), store.trial(n_tasks=6, pairs=bad)], store)))
    assert headline.lines[0].endswith(
        "Of the originals 0.0\N{NO-BREAK SPACE}% and 100.0\N{NO-BREAK SPACE}% are answered rightly. Always giving the "
        "more frequent answer would be right on 75.0\N{NO-BREAK SPACE}%: the stability of ResNet-50, 6 tasks is little "
        "merit."
    )


def test_where_the_origin_tells_the_label_it_is_said(store: Store):
    pairs = flipped(0, 1)
    runs = [store.trial(pairs=pairs), store.trial(n_tasks=6, pairs=pairs)]
    said = reservations(analyse(collect_runs(runs, store)))
    constant = "Always giving the more frequent answer would be right on 50.0\N{NO-BREAK SPACE}% of them."
    assert f"There are 40 pairs of which it is known whether they are labelled COVID-19. {constant}" in said
    pairs["patient"] = np.where(pairs["label"] == 1, "cohen:", "nih:") + pairs["patient"].str.removeprefix("p:")
    runs = [store.trial(pairs=pairs), store.trial(n_tasks=6, pairs=pairs)]
    assert (
        "Of these 40 pairs, all 20 labelled COVID-19 are from cohen and all 20 others from nih: these figures cannot "
        f"tell the disease from the source. {constant}"
    ) in reservations(analyse(collect_runs(runs, store)))


def test_a_network_trained_alone_in_several_ways_has_no_base_network(store: Store):
    """Which of them it would be is nobody's choice: the first one is a reference, and is named."""
    runs = [
        store.trial(seed=seed, pairs=flipped(seed), overrides={"model.weights": weights})
        for weights in ("a.pth", "b.pth")
        for seed in range(2)
    ]
    made = analyse(collect_runs(runs, store))
    assert made.single == []
    assert [each.label for each in made.references] == ["ResNet-50, 1 task, weights a.pth"]
    assert (
        reference_words(made) == "ResNet-50, 1 task, weights a.pth (the first of several configurations of one network)"
    )
    runs += [store.trial(backbone="vgg19", seed=seed, pairs=flipped(seed)) for seed in range(2)]
    made = analyse(collect_runs(runs, store))
    assert [each.network for each in made.single] == ["VGG-19"]
    assert reference_words(made).startswith("the base network alone or ResNet-50")


def test_a_single_seed_is_said_of_whom_it_is_true(store: Store):
    base, many = store.trial(pairs=flipped(0, 1, 2, 3)), store.trial(n_tasks=6, pairs=flipped(0))
    (headline,) = headlines(analyse(collect_runs([base, many], store)))
    assert "Both were trained with a single seed" in headline.lines[1]
    other = store.trial(n_tasks=6, seed=1, pairs=flipped(1))
    (headline,) = headlines(analyse(collect_runs([base, many, other], store)))
    assert "One of them was trained with a single seed" in headline.lines[1]


def test_one_seed_each_is_never_a_word_on_configurations(store: Store):
    """In words, colours, CSV and LaTeX: twenty of forty answers change against none."""
    made = analyse(
        collect_runs([store.trial(pairs=flipped(*range(20))), store.trial(n_tasks=6, pairs=flipped())], store)
    )
    (headline,) = headlines(made)
    assert headline.verdict == "these trainings only"
    assert "whether the configurations do cannot be told from a single seed" in headline.statement
    assert "nothing of what another training would" in headline.lines[1]
    assert VERDICTS[headline.verdict] not in (VERDICTS["clear"], VERDICTS["likely"])
    table = csv_tables(made)["comparisons"]
    assert set(table["verdict"]) == {"these trainings only"}
    assert set(table["holm_over"]) == {"fewest against most tasks"}
    assert set(table["interval_over"]) == {"patients, of these trainings"}
    assert "over patients, of each configuration's single training alone" in latex(made)


def test_each_p_value_of_the_csv_says_what_it_was_adjusted_for(store: Store):
    """The couple of fewest and most tasks is asked alone and among all against the lowest PI: two adjusted p-values."""
    answers = {1: flipped(*range(20)), 3: flipped(*range(12)), 6: flipped()}
    runs = [store.trial(n_tasks=count, pairs=pairs) for count, pairs in answers.items()]
    table = csv_tables(analyse(collect_runs(runs, store)))["comparisons"]
    flips = table[table["score"] == "pi"]
    families = flips.groupby("holm_over")["p_holm"].apply(len).to_dict()
    assert families == {
        "fewest against most tasks": 1, "all others against fewest tasks": 1, "all against the lowest PI": 2,
    }  # fmt: skip
    couple = flips[flips["holm_over"] == "fewest against most tasks"].iloc[0]
    assert couple["p_holm"] == couple["p"]


def test_the_lowest_pi_is_not_called_the_most_stable_and_a_constant_answer_is_never_sure(store: Store):
    constant = pairs_table(*np.zeros((3, N), bool)).assign(p_original=0.2, p_received=0.3)
    positive = {f"test/pairs/positive/{side}": 0.0 for side in ("original", "received")}
    runs = [
        store.trial(seed=0, pairs=flipped(*range(20))),
        store.trial(seed=0, n_tasks=6, pairs=constant, metrics=positive),
        store.trial(seed=0, n_tasks=3, pairs=flipped(0, 1)),
    ]
    cards = headlines(analyse(collect_runs(runs, store)))
    assert not any("most stable" in card.title for card in cards)
    assert cards[-1].title.startswith("Lowest PI score of 3: ResNet-50, 6 tasks; next is ResNet-50, 3 tasks")
    assert [card.verdict for card in cards] == ["not shown"] * 2
    assert not any("interval of the difference" in line for card in cards for line in card.lines)


def test_few_patients_have_an_interval_and_no_p(store: Store):
    """Nineteen patients, ten of whose answers change against none: nothing is said, so no p is printed either."""
    runs = [store.trial(pairs=flipped(*range(10))[:19]), store.trial(n_tasks=6, pairs=flipped()[:19])]
    table = csv_tables(analyse(collect_runs(runs, store)))["comparisons"]
    assert set(table["verdict"]) == {"unknown"}
    assert table[["p", "p_holm"]].isna().all(axis=None)
    assert table[["low", "high"]].notna().all(axis=None)
    assert set(table["interval_over"]) == {"patients, of these trainings"}


def test_pairs_that_each_count_as_a_patient_are_a_warning(store: Store):
    def said(per_patient: int) -> bool:
        events = np.zeros(N, bool)
        runs = [store.trial(seed=seed, pairs=pairs_table(events, events, events, per_patient)) for seed in (0, 1)]
        return any("counts as another patient" in text for text in reservations(analyse(collect_runs(runs, store))))

    assert said(1)
    assert not said(2)


def test_without_tables_of_pairs_no_word_is_on_other_patients(store: Store):
    runs = [store.trial(seed=seed, metrics=scores(20 + seed)) for seed in (0, 1)]
    runs += [store.trial(seed=seed, n_tasks=6, metrics=scores(3 + seed)) for seed in (0, 1)]
    made = analyse(collect_runs(runs, store))
    (headline,) = headlines(made)
    assert headline.statement.endswith("than with ResNet-50, 1 task on these very images.")
    assert interval_words(made) == "Intervals are Student's over seeds, on the same images."
    assert "patients" not in latex(made)


def test_intervals_are_said_to_be_over_what_they_are(store: Store):
    one = [store.trial(pairs=flipped(0)), store.trial(n_tasks=6, pairs=flipped(1))]
    assert interval_words(analyse(collect_runs(one, store))) == (
        "Intervals of PI and OLS are over patients, of each configuration's single training alone; a single training "
        "has no interval of the other scores."
    )
    two = [store.trial(seed=1, pairs=flipped(2)), store.trial(seed=1, n_tasks=6, pairs=flipped(3))]
    assert interval_words(analyse(collect_runs([*one, *two], store))).startswith(
        "Intervals of PI and OLS are over patients and seeds; those of other scores are Student's"
    )
    alone = [store.trial(metrics=scores(4)), store.trial(n_tasks=6, metrics=scores(5))]
    assert interval_words(analyse(collect_runs(alone, store))) == "A single training has no interval."
