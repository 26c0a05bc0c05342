"""What is drawn, from which entries, and where it goes in an experiment."""

from __future__ import annotations

import tomllib
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from tsjax_core.errors import ConfigError
from tsjax_tune.space import apply_values, flatten, parse_space, place_value

NESTED = """
"train.lr" = { loguniform = [1e-4, 1e-1] }
train.clip_norm = { choice = [0.5, 1.0] }

[[model]]
name = "core/gru"
hidden_size = { randint = [4, 6] }

[[model]]
name = "ar/ar"
model = { name = "core/lstm", hidden_size = { choice = [8, 16] } }
"""


def space_of(text):
    return parse_space(tomllib.loads(text), None)


def test_ranges_are_drawn_from_their_distributions():
    """Uniform in the number or its logarithm, both ends of whole numbers included."""
    space = space_of(
        'a = { uniform = [-1.0, 3.0] }\n"b.c" = { loguniform = [1e-4, 1e-1] }\n'
        "d = { randint = [2, 5] }\ne = { lograndint = [1, 8] }"
    )
    rng = np.random.default_rng(0)
    drawn = [space.draw(rng) for _ in range(4000)]
    a = [each["a"] for each in drawn]
    assert stats.kstest(a, stats.uniform(-1.0, 4.0).cdf).pvalue > 1e-3
    b = [each["b.c"] for each in drawn]
    assert stats.kstest(b, stats.loguniform(1e-4, 1e-1).cdf).pvalue > 1e-3
    d = Counter(each["d"] for each in drawn)
    assert sorted(d) == [2, 3, 4, 5]
    assert stats.chisquare([d[n] for n in sorted(d)]).pvalue > 1e-3
    e = Counter(each["e"] for each in drawn)
    edges = np.log(np.arange(0.5, 9.0))
    expected = np.diff(edges) / (edges[-1] - edges[0]) * len(drawn)
    assert stats.chisquare([e[n] for n in range(1, 9)], expected).pvalue > 1e-3
    assert all(type(each["d"]) is int and type(each["e"]) is int for each in drawn)


def test_draws_within_a_choice_are_drawn_for_the_option_that_was_chosen():
    """The table drawn takes the place of the whole table, and no option sees another's values."""
    space = space_of(NESTED)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        values = space.draw(rng)
        model = space.assign(values)["model"]
        if model["name"] == "core/gru":
            assert set(model) == {"name", "hidden_size"}
            seen.add(model["hidden_size"])
        else:
            assert set(model) == {"name", "model"}
            seen.add(model["model"]["hidden_size"])
    assert seen == {4, 5, 6, 8, 16}
    base = {"model": {"name": "core/gru", "num_layers": 2}, "train": {"epochs": 3}}
    tables = apply_values(base, space.assign(values))
    assert "num_layers" not in tables["model"]
    assert set(tables["train"]) == {"epochs", "lr", "clip_norm"}
    assert base == {"model": {"name": "core/gru", "num_layers": 2}, "train": {"epochs": 3}}
    flat = flatten({"model": {"name": "ar/ar", "model": {"hidden_size": 8}}, "train.lr": 0.1})
    assert flat == {"model.name": "ar/ar", "model.model.hidden_size": 8, "train.lr": 0.1}


def test_equal_seeds_draw_equal_values():
    """And another seed draws others."""
    space = space_of(NESTED)
    first, again, other = (
        [space.draw(np.random.default_rng(seed)) for _ in range(3)] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_grid_has_every_combination_once():
    """For each option of a choice those of the draws within it."""
    space = space_of(NESTED.replace("{ loguniform = [1e-4, 1e-1] }", "{ choice = [1e-3, 1e-2] }"))
    with pytest.raises(ConfigError, match="has a range \\(randint\\)") as caught:
        space.grid()
    print(caught.value)
    text = NESTED.replace("{ loguniform = [1e-4, 1e-1] }", "{ choice = [1e-3, 1e-2] }")
    space = space_of(text.replace("{ randint = [4, 6] }", "{ choice = [4, 5, 6] }"))
    grid = [flatten(space.assign(values)) for values in space.grid()]
    # 2 rates, 2 norms, and 3 sizes of one model and 2 of the other.
    assert len(grid) == 2 * 2 * (3 + 2)
    assert len({tuple(sorted(map(str, each.items()))) for each in grid}) == len(grid)


def test_probes_reach_every_option_and_both_ends_of_every_range():
    """Each of them is a whole set of values."""
    space = space_of(NESTED)
    probes = [flatten(space.assign(values)) for values, _ in space.probes()]
    reached = {(key, value) for probe in probes for key, value in probe.items()}
    assert {
        ("train.lr", 1e-4),
        ("train.lr", 1e-1),
        ("train.clip_norm", 1.0),
        ("model.hidden_size", 4),
        ("model.hidden_size", 6),
        ("model.model.hidden_size", 8),
        ("model.model.hidden_size", 16),
    } <= reached
    assert all("train.lr" in probe for probe in probes)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "is missing or empty"),
        ('"train.lr" = 1e-3', "says not what to draw"),
        ('"train.lr" = { loguniforn = [1, 2] }', "Did you mean 'loguniform'"),
        ('"train.lr" = { loguniform = [1e-2, 1e-4] }', "the lowest and the highest"),
        ('"train.lr" = { loguniform = [0.0, 1e-4] }', "a logarithm above 0"),
        ('"train.lr" = { uniform = [1e-3] }', "uniform = [0.001]; give the lowest"),
        ('"a.b" = { randint = [1.0, 4] }', "of the whole numbers, such as randint = [4, 64]"),
        ('"a.b" = { choice = [] }', "choice = []; give a list of values"),
        ('"a.b" = { choice = 3 }', "choice = 3; give a list of values"),
        ('model = { choice = [1] }\n"model.size" = { choice = [1] }', "is within 'model'"),
        ("model = [{ a = { uniform = [2, 1] } }]", "model[0].a: uniform = [2, 1]"),
    ],
)
def test_what_is_no_draw_is_refused(text, said):
    """With the key, and what to write."""
    with pytest.raises(ConfigError) as caught:
        space_of(text)
    print(caught.value)
    assert said in str(caught.value)
    assert str(caught.value).startswith("[search.space] ")


def test_places_in_lists_of_tables():
    """A list is entered by the number of a table, and a component by its name gets options."""
    tables = {"loss": [{"name": "core/mse"}], "model": {"name": "ar/ar", "model": "core/gru"}}
    place_value(tables, "loss.0.weight", 0.5)
    place_value(tables, "model.model.hidden_size", 4)
    assert tables["loss"] == [{"name": "core/mse", "weight": 0.5}]
    assert tables["model"]["model"] == {"name": "core/gru", "hidden_size": 4}
    for key, said in (
        ("loss.1.weight", "by its number, 0 to 0"),
        ("loss.weight", "by its number"),
        ("loss.0.weight.x", "loss.0.weight is 0.5 and has no 'x'"),
    ):
        with pytest.raises(ConfigError) as caught:
            place_value(tables, key, 1)
        print(caught.value)
        assert said in str(caught.value)
