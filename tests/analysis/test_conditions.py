from dataclasses import asdict
from math import comb

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.multitest import multipletests

import mftn
from mftn import Settings
from mftn.analysis import permutation
from mftn.analysis.compare_figures import draw_conditions
from mftn.analysis.conditions import SIGNALS, Units, compare, correct
from mftn.analysis.effects import effect_of_groups, effect_of_pairs
from mftn.labels import EXPRESSIONS

RNG = np.random.default_rng(0)


def units(people: list[str], levels: list[str], happiness: np.ndarray) -> Units:
    values = np.zeros((len(people), len(SIGNALS)))
    values[:, 1] = happiness
    return Units(np.array(people, object), np.array(levels, object), values, np.ones(len(people)))


def of_happiness(found: list, contrast: str | None = None):  # type: ignore[no-untyped-def, type-arg]
    return next(c for c in found if c.signal == "happiness" and contrast in (None, c.contrast))


@settings(max_examples=20)
@given(st.integers(3, 7), st.integers(0, 2**32 - 1))
def test_exact_permutations_agree_with_scipy(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 1, (n, 2)), rng.normal(0.8, 2, (n, 2))
    paired = scipy.stats.permutation_test((a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples")
    np.testing.assert_allclose(permutation.pairs(a, b, 10**6, 0), paired.pvalue, atol=1e-9)
    b = b[: max(n - 1, 3)]

    def welch(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(scipy.stats.ttest_ind(x, y, axis=axis, equal_var=False).statistic)

    grouped = scipy.stats.permutation_test((a, b), welch, alternative="greater", n_resamples=10**6)
    np.testing.assert_allclose(permutation.groups(a, b, 10**6, 0), grouped.pvalue, atol=1e-9)


def test_drawn_permutations_come_near_the_exact_ones() -> None:
    a, b = RNG.normal(0, 1, (10, 3)), RNG.normal(0.7, 1, (10, 3))
    np.testing.assert_allclose(permutation.pairs(a, b, 1000, 0), permutation.pairs(a, b, 2000, 0), atol=0.04)
    for test in (permutation.pairs, permutation.groups):
        assert (test(np.tile(a, (2, 1)) + 10, np.tile(b, (2, 1)), 999, 0) == 1 / 1000).all()  # the observed one is one


@pytest.mark.parametrize("values", [(0.93, 0.01, 0.5), (1 / 3, 0.2, 0.5), (0.1, 0.7, 0.5)])
@pytest.mark.parametrize("n", [3, 4, 5])
def test_rounding_makes_no_p_of_people_who_do_not_differ(values: tuple[float, ...], n: int) -> None:
    levels = [np.full((n, 1), value) for value in values]
    assert permutation.groups(levels[0], levels[1], 5000, 0)[0] == pytest.approx(permutation.least_p(n, n, 5000))
    for test in (permutation.any_groups, permutation.any_pairs):
        f, p = test(levels, 500, 0)
        assert f[0] == np.inf and p[0] < 0.05
        f, p = test([np.full((n, 1), values[0])] * 3, 500, 0)
        assert f[0] == 0 and p[0] == 1


@pytest.mark.parametrize("several", [False, True])
def test_drawn_permutations_do_not_depend_on_the_order_of_rows(several: bool) -> None:
    count, levels = 40, ["a", "b"] * 20
    people = [f"p{number // 2 if several else number:02d}" for number in range(count)]
    values, order = RNG.normal(0, 1, count), RNG.permutation(count)
    settings = Settings(permutations=500)
    one = of_happiness(compare("x", units(people, levels, values), settings, []))
    shuffled = units([people[k] for k in order], [levels[k] for k in order], values[order])
    assert of_happiness(compare("x", shuffled, settings, [])).p == one.p


def test_f_over_several_levels_agrees_with_scipy_and_statsmodels() -> None:
    levels = [RNG.normal(shift, 1, (9, 1)) for shift in (0, 0.4, 0.8)]
    f, p = permutation.any_groups(levels, 4000, 0)
    oracle = scipy.stats.f_oneway(*[level[:, 0] for level in levels])
    assert f[0] == pytest.approx(oracle.statistic)
    assert p[0] == pytest.approx(oracle.pvalue, abs=0.03)
    rows = [(person, k, level[person, 0]) for k, level in enumerate(levels) for person in range(9)]
    frame = pd.DataFrame(rows, columns=["person", "level", "value"])
    table = AnovaRM(frame, "value", "person", within=["level"]).fit().anova_table
    f, p = permutation.any_pairs(levels, 4000, 0)
    assert f[0] == pytest.approx(table["F Value"].iloc[0])
    assert p[0] == pytest.approx(table["Pr > F"].iloc[0], abs=0.03)


def test_intervals_of_differences_agree_with_scipy() -> None:
    a, b = RNG.normal(0, 1, (12, 2)), RNG.normal(0.5, 2, (12, 2))
    paired = scipy.stats.ttest_rel(a, b)
    effect = effect_of_pairs(a, b, 0.9)
    np.testing.assert_allclose(effect.statistic, paired.statistic)
    bounds = paired.confidence_interval(0.9)
    np.testing.assert_allclose([effect.low, effect.high], [bounds.low, bounds.high])
    welch = scipy.stats.ttest_ind(a, b[:7], equal_var=False)
    effect = effect_of_groups(a, b[:7], 0.95)
    np.testing.assert_allclose(effect.statistic, welch.statistic)
    bounds = welch.confidence_interval(0.95)
    np.testing.assert_allclose([effect.low, effect.high], [bounds.low, bounds.high])


@pytest.mark.parametrize("shift", [1, 20])
def test_effect_sizes_are_hedges_with_noncentral_bounds(shift: float) -> None:
    a, b = RNG.normal(shift, 1, (15, 1)), RNG.normal(0, 1, (10, 1))
    effect = effect_of_groups(a, b, 0.95)
    pooled = np.sqrt((14 * a.var(ddof=1) + 9 * b.var(ddof=1)) / 23)
    g = (a.mean() - b.mean()) / pooled
    assert effect.size[0] == pytest.approx(g * (1 - 3 / (4 * 23 - 1)), rel=1e-3)  # Hedges' approximate correction
    t, scale = g / np.sqrt(1 / 15 + 1 / 10), np.sqrt(1 / 15 + 1 / 10)
    correction = effect.size[0] / g
    for bound, tail in ((effect.size_low, 0.025), (effect.size_high, 0.975)):
        assert scipy.stats.nct.sf(t, 23, bound[0] / scale / correction) == pytest.approx(tail, abs=1e-4)


def test_bounds_hold_the_true_effect_as_often_as_they_say() -> None:
    draws = 2000
    a, b = RNG.normal(0.6, 1, (2, 20, draws))[0], RNG.normal(0, 1, (20, draws))
    effect = effect_of_groups(a, b, 0.95)
    assert 0.935 < ((effect.size_low < 0.6) & (effect.size_high > 0.6)).mean() < 0.965
    assert 0.935 < ((effect.low < 0.6) & (effect.high > 0.6)).mean() < 0.965


@pytest.mark.parametrize("design", ["pairs", "groups"])
def test_without_an_effect_one_in_twenty_is_found(design: str) -> None:
    draws = 2000
    if design == "pairs":
        person = RNG.normal(0, 1, (12, draws))
        a, b = person + RNG.gamma(0.5, 1, (12, draws)), person + RNG.gamma(0.5, 1, (12, draws))
        p = permutation.pairs(a, b, 999, 1)
    else:
        p = permutation.groups(RNG.gamma(0.5, 1, (10, draws)), RNG.gamma(0.5, 1, (14, draws)), 999, 1)
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_the_mixed_model_agrees_with_statsmodels() -> None:
    people = [f"p{number}" for number in range(10) for _ in range(4)]
    levels = ["a", "a", "b", "b"] * 10
    shift = np.repeat(RNG.normal(0, 1, 10), 4)
    values = shift + np.array([0, 0, 0.6, 0.6] * 10) + RNG.normal(0, 0.5, 40)
    found = of_happiness(compare("x", units(people, levels, values), Settings(test="mixed"), []))
    frame = pd.DataFrame({"value": values, "level": levels, "person": people})
    frame = frame.groupby(["person", "level"], as_index=False)["value"].mean()
    model = smf.mixedlm("value ~ C(level)", frame, groups=frame["person"]).fit(reml=True)
    difference, error = -model.params.iloc[1], model.bse.iloc[1]
    assert found.difference == pytest.approx(difference, rel=1e-4)
    assert found.statistic == pytest.approx(difference / error, rel=1e-3)
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(abs(difference / error), 9), rel=1e-2)
    paired = scipy.stats.ttest_rel(*(frame.loc[frame["level"] == level, "value"] for level in "ab"))
    assert (found.statistic, found.p) == pytest.approx((paired.statistic, paired.pvalue), rel=1e-2)
    assert found.effect == pytest.approx(difference / np.sqrt(model.scale + model.cov_re.iloc[0, 0]), rel=1e-3)


def test_the_mixed_model_holds_its_level_where_people_differ_in_their_response() -> None:
    rng, p = np.random.default_rng(5), []
    people, high = np.repeat([f"p{number}" for number in range(12)], 10), np.tile([0] * 5 + [1] * 5, 12)
    for _ in range(25):  # nine signals each
        own, response = rng.normal(0, 1, (2, 12, len(SIGNALS))).repeat(10, axis=1)
        values = own + high[:, None] * response + rng.normal(0, 1, (120, len(SIGNALS)))
        made = Units(people.astype(object), high.astype(str).astype(object), values, np.ones(120))
        p += [found.p for found in compare("x", made, Settings(test="mixed"), [])]
    assert np.mean(np.array(p) <= 0.05) < 0.1, "with stretches as units it is above 0.2"


def test_one_person_in_two_conditions_does_not_turn_groups_into_pairs() -> None:
    people = [f"p{number:02}" for number in range(20)] + ["p00"]
    levels = ["a"] * 10 + ["b"] * 10 + ["b"]
    values = RNG.normal(0, 1, 21)
    for test in ("permutation", "mixed"):
        notes: list[str] = []
        found = of_happiness(compare("x", units(people, levels, values), Settings(test=test), notes))
        assert (found.design, found.people) == ("between", 19)
        assert any("p00 is in several and left out" in note for note in notes)
        assert found.mean_a == pytest.approx(values[1:10].mean())


@pytest.mark.parametrize(("both", "design"), [(6, "within"), (5, "between")])
def test_people_are_their_own_comparison_if_at_least_half_were_seen_at_several_levels(both: int, design: str) -> None:
    names = [f"p{number:02}" for number in range(12)]
    levels = ["ab"[number % 2] for number in range(12)] + ["ba"[number % 2] for number in range(both)]
    found = of_happiness(compare("x", units(names + names[:both], levels, RNG.random(12 + both)), Settings(), []))
    assert (found.design, found.people) == (design, 6 if both == 6 else 7)


def test_too_few_people_are_not_tested() -> None:
    for people in (["p", "q", "p", "q"], ["p", "q", "r", "s"]):
        notes: list[str] = []
        assert not compare("x", units(people, ["a", "a", "b", "b"], RNG.random(4)), Settings(), notes)
        assert notes == ["x: a - b has too few people (2 and 2; 3 are needed): not tested"]


@pytest.mark.parametrize(
    ("people", "levels", "least"),
    [(6, 2, 2 / 20), (7, 2, 1 / 35), (12, 2, None), (5, 1, 2 / 32), (8, 1, 2 / 256), (10, 1, None)],
)
def test_a_test_that_can_find_nothing_is_noted(people: int, levels: int, least: float | None) -> None:
    names = [f"p{number}" for number in range(people)] * (3 - levels)
    said = ["ab"[number % 2] for number in range(people)] if levels == 2 else ["a"] * people + ["b"] * people
    values = np.array([level == "a" for level in said]) + RNG.normal(0, 1e-6, len(said))
    notes: list[str] = []
    found = of_happiness(compare("x", units(names, said, values), Settings(), notes))
    about = [note for note in notes if "no p can be below" in note]
    assert bool(about) == (least is not None)
    if least:
        assert found.p == pytest.approx(least) and f"below {least:.2g}" in about[0]
        assert f"nor {min(8 * least, 1):.2g} after correction for 8 tests" in about[0]


@given(st.integers(3, 5), st.integers(0, 2**32 - 1), st.integers(0, 7))
def test_swapped_groups_are_as_extreme_however_small_the_spread(people: int, seed: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = 1 + rng.normal(0, 10.0**-digits, (people, 9)), rng.normal(0, 1e-6, (people, 9))
    p = permutation.groups(a, b, 10_000, 0)
    assert (p >= 2 / comb(2 * people, people) - 1e-12).all()


def test_the_mixed_model_of_one_value_each_is_a_t_test() -> None:
    a, b = RNG.normal(0, 1, 9), RNG.normal(1, 1, 8)
    people = [f"p{number}" for number in range(17)]
    found = of_happiness(
        compare("x", units(people, ["a"] * 9 + ["b"] * 8, np.concatenate([a, b])), Settings(test="mixed"), [])
    )
    oracle = scipy.stats.ttest_ind(a, b)
    assert (found.statistic, found.p) == pytest.approx((oracle.statistic, oracle.pvalue))


def test_the_mixed_model_of_groups_with_several_values_each_is_a_t_test_of_people() -> None:
    own, names = RNG.normal([0] * 8 + [1] * 7, 1), [f"p{number:02}" for number in range(15)]
    values = own[:, None] + RNG.normal(0, 0.5, (15, 4))
    made = units(list(np.repeat(names, 4)), list(np.repeat(["a"] * 8 + ["b"] * 7, 4)), values.ravel())
    found = of_happiness(compare("x", made, Settings(test="mixed"), []))
    oracle = scipy.stats.ttest_ind(values[:8].mean(axis=1), values[8:].mean(axis=1))
    assert (found.statistic, found.p) == pytest.approx((oracle.statistic, oracle.pvalue), rel=1e-2)


def test_the_mixed_model_of_several_levels_is_an_analysis_of_variance() -> None:
    people = [f"p{number:02}" for number in range(24)]
    values = RNG.normal(np.repeat([0, 0.5, 1], 8), 1)
    found = compare("x", units(people, list("a" * 8 + "b" * 8 + "c" * 8), values), Settings(test="mixed"), [])
    oracle = scipy.stats.f_oneway(values[:8], values[8:16], values[16:])
    either = of_happiness(found, "any")
    assert (either.statistic, either.p) == pytest.approx((oracle.statistic, oracle.pvalue))


@pytest.mark.parametrize("several", [False, True])
def test_the_mixed_model_has_no_p_where_nobody_differs(several: bool) -> None:
    people = [f"p{number // 2 if several else number}" for number in range(12)]
    notes: list[str] = []
    made = units(people, ["a", "b"] * 6, np.array([0.93, 0.01] * 6))
    assert not [c for c in compare("x", made, Settings(test="mixed"), notes) if c.signal == "happiness"]
    assert any("x: the mixed model of happiness" in note and "not tested" in note for note in notes)


def test_a_person_counts_once_however_many_stretches_they_have() -> None:
    people = ["p1"] * 50 + ["p2", "p3", "p4"] + ["q1", "q2", "q3"]
    values = np.concatenate([np.full(50, 0.9), [0.1, 0.1, 0.1], [0.5, 0.5, 0.4]])
    found = of_happiness(compare("x", units(people, ["a"] * 53 + ["b"] * 3, values), Settings(), []))
    assert found.people == 7
    assert found.mean_a == pytest.approx((0.9 + 0.3) / 4)


def test_stretches_of_a_person_are_weighted_by_seen_time() -> None:
    people, levels = ["p", "p", "q", "q"], ["a"] * 4
    made = Units(
        np.array(people, object), np.array(levels, object), np.arange(36.0).reshape(4, 9), np.array([1, 3, 1, 1])
    )
    assert made.means()["a"]["p"][0] == pytest.approx(0.25 * 0 + 0.75 * 9)


def test_people_who_lack_a_level_are_named() -> None:
    people = [f"p{number}" for number in range(6)] * 2 + ["late"]
    levels = ["a"] * 6 + ["b"] * 6 + ["b"]
    notes: list[str] = []
    found = of_happiness(compare("x", units(people, levels, RNG.random(13)), Settings(), notes))
    assert (found.design, found.people) == ("within", 6)
    assert notes[0] == "x: 1 of the people lack a level and are left out of a - b: late"


def test_more_than_two_levels_are_tested_together_and_in_pairs() -> None:
    people = [f"p{number}" for number in range(8)] * 3
    values = np.concatenate([RNG.normal(shift, 0.1, 8) for shift in (0, 0, 1)])
    notes: list[str] = []
    found = compare("x", units(people, ["a"] * 8 + ["b"] * 8 + ["c"] * 8, values), Settings(), notes)
    assert of_happiness(found, "any").p < 0.01
    assert all(f"nor {24 * 2 / 256:.2g} after correction for 24 tests" in note for note in notes) and len(notes) == 3
    rows = correct(pd.DataFrame([asdict(one) for one in found]))
    for contrasts, tests in ((rows["contrast"] == "any", 1), (rows["contrast"] != "any", 3)):
        for signals, count in ((rows["signal"] == "valence_index", 1), (rows["signal"] != "valence_index", 8)):
            chosen = rows[contrasts & signals]
            assert (chosen["tests"] == tests * count).all() and len(chosen) == tests * count
            np.testing.assert_allclose(chosen["p_holm"], multipletests(chosen["p"], method="holm")[1])
    assert of_happiness(found, "a - c").p < 0.01 < of_happiness(found, "a - b").p
    assert len(found) == 4 * len(SIGNALS)


def test_the_studys_effect_is_found_and_corrected_openly(
    study: pd.DataFrame, segments: pd.DataFrame, groups: pd.DataFrame
) -> None:
    summary = mftn.summarize(study, people="one", segments=segments, groups=groups, baseline="rest")
    conditions = summary.conditions
    group = conditions[(conditions["factor"] == "group") & (conditions["signal"] != "valence_index")]
    assert group["signal"].tolist() == list(EXPRESSIONS)
    assert (group["tests"] == 8).all()
    np.testing.assert_allclose(group["p_holm"], multipletests(group["p"], method="holm")[1])
    happiness = group.set_index("signal").loc["happiness"]
    assert happiness["contrast"] == "control - treated" and happiness["design"] == "between"
    assert happiness["difference"] == pytest.approx(-0.2, abs=0.05)
    assert happiness["p_holm"] < 0.05 and happiness["high"] < 0
    within = conditions[(conditions["factor"] == "segment") & (conditions["signal"] == "happiness")].iloc[0]
    assert within["contrast"] == "question 1 - question 2" and within["design"] == "within" and within["people"] == 12


def test_tracks_are_not_taken_for_people(study: pd.DataFrame, groups: pd.DataFrame) -> None:
    broken = study.assign(track=np.where(study["time"] < 10, 1, 2))
    summary = mftn.summarize(broken, groups=groups)
    assert summary.conditions.empty
    assert any("conditions are not compared" in note for note in summary.notes)
    assert len(mftn.summarize(broken, groups=groups, people="one").conditions) == 9


def test_a_level_of_few_people_has_no_mixed_model() -> None:
    values = RNG.normal(0, 1, 13)
    notes: list[str] = []
    people = [f"p{number}" for number in range(7)]
    assert not compare("x", units(people, ["a"] * 6 + ["b"], values[:7]), Settings(test="mixed"), notes)
    assert notes == ["x: too few people in b (3 are needed): not tested"]
    people = people[:6] * 2 + ["p0"]
    found = compare("x", units(people, ["a"] * 6 + ["b"] * 6 + ["c"], values), Settings(test="mixed"), notes)
    assert {one.contrast for one in found} == {"a - b"}
    paired = scipy.stats.ttest_rel(values[:6], values[6:12])
    assert of_happiness(found).difference == pytest.approx((values[:6] - values[6:12]).mean())
    assert 0.5 < of_happiness(found).p / paired.pvalue < 2


def test_the_figure_shows_who_is_compared() -> None:
    people = [f"p{number:02}" for number in range(20)] + ["p00"]
    values = np.linspace(0, 1, 21)
    made = units(people, ["a"] * 10 + ["b"] * 11, values)
    found = compare("x", made, Settings(), [])
    figure = draw_conditions("x", made, correct(pd.DataFrame([asdict(one) for one in found])), 0.95, "")
    panel = figure.axes[1]
    assert panel.get_title().startswith("happiness, p = ")
    dots = [np.asarray(line.get_ydata()) for line in panel.lines if line.get_marker() == "o"]
    assert [np.mean(dot) for dot in dots] == pytest.approx([of_happiness(found).mean_a, of_happiness(found).mean_b])


def test_no_pair_speaks_for_a_panel_of_several() -> None:
    pairs = [("a", "b"), ("b", "c"), ("a", "c")]
    cells = [(f"p{number}", level) for number in range(12) for level in pairs[number % 3]]
    made = units([person for person, _ in cells], [level for _, level in cells], RNG.normal(0, 1, 24))
    found = compare("x", made, Settings(), [])
    assert {one.contrast for one in found} == {"a - b", "a - c", "b - c"}
    figure = draw_conditions("x", made, correct(pd.DataFrame([asdict(one) for one in found])), 0.95, "")
    assert figure.axes[1].get_title() == "happiness"
