"""Sparse features of differences: odd to the bit, few at a time, and people as on any basis."""

import jax
import numpy as np
import pytest
from interpret_world import NUM_KNOWN, make_world

from prefjax import basis, interpret
from prefjax.interpret import SparseConfig, fit_sparse, fit_sparse_code, sparse_axes
from prefjax.interpret.sparse import decode, encode

CONFIG = SparseConfig(
    num_features=8, num_active=2, prefixes=(4, 8), num_steps=600, batch_size=128, learning_rate=0.01
)


@pytest.fixture(scope="module")
def planted():
    """Differences made of two of six orthogonal directions at a time."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=(3000, 6)) * (rng.random((3000, 6)) < 1 / 3)
    atoms = np.linalg.qr(rng.normal(size=(12, 12)))[0][:6]
    differences = (size @ atoms).astype(np.float32)
    code, info = fit_sparse_code(jax.random.key(0), differences, config=CONFIG)
    return atoms, differences, code, info


def test_the_code_is_odd_sparse_and_reconstructs(planted):
    atoms, differences, code, info = planted
    z = np.asarray(encode(code, differences))
    np.testing.assert_array_equal(np.asarray(encode(code, -differences)), -z)
    assert float(info.num_active) == pytest.approx(2, abs=0.4)
    assert (z != 0).sum(axis=1).mean() == pytest.approx(float(info.num_active))
    np.testing.assert_allclose(np.linalg.norm(code.decoder, axis=1), 1, atol=1e-5)
    residual = differences - np.asarray(decode(code, z))
    explained = 1 - np.sum(residual**2) / np.sum(differences**2)
    assert float(info.explained) == pytest.approx(explained, abs=1e-4)
    assert explained > 0.8
    assert int(info.num_dead) == round((1 - float(info.alive)) * 8)
    found = np.abs(np.asarray(code.decoder) @ atoms.T)
    assert (found.max(axis=0) > 0.9).all()


def test_settings_that_make_no_code_are_refused():
    with pytest.raises(ValueError, match="num_active"):
        SparseConfig(num_active=40)
    with pytest.raises(ValueError, match="prefixes"):
        SparseConfig(prefixes=(8, 16))


def test_a_code_needs_two_responses_a_row():
    world = make_world()
    votes = world.split.train._replace(second=np.full_like(world.split.train.second, -1))
    with pytest.raises(ValueError, match="votes"):
        fit_sparse(
            jax.random.key(0), votes, world.embeddings, num_users=NUM_KNOWN, group=world.axes.group
        )


@pytest.mark.slow
def test_people_weigh_sparse_features_as_those_of_any_basis():
    world = make_world()
    fitted = fit_sparse(
        jax.random.key(0),
        world.split.train,
        world.axes.items.features,
        num_users=NUM_KNOWN,
        group=world.axes.group,
        config=basis.EMConfig(num_factors=3),
        code_config=SparseConfig(num_features=6, num_active=3, prefixes=(3, 6), num_steps=800),
    )
    axes = sparse_axes(fitted, world.axes.items.features, world.axes.group)
    first, second = world.split.test.first, world.split.test.second
    np.testing.assert_array_equal(axes.gap(first, second), -axes.gap(second, first))
    np.testing.assert_array_equal(axes.offset(first, second), -axes.offset(second, first))
    kernel = np.asarray(fitted.basis.params["out"]["kernel"])
    np.testing.assert_array_equal(fitted.basis.params["out"]["bias"], 0)
    own = axes.gap(first, second) @ kernel[:, :-1] @ np.asarray(fitted.people.mean).T
    np.testing.assert_allclose(
        axes.gap(first, second) @ axes.people.mean.T, own, rtol=1e-3, atol=1e-3
    )
    reader = interpret.PropertyReader(world.properties)
    config = interpret.NamingConfig(num_pairs=160, num_directions=500, num_intruders=10)
    sparse, dense = (
        interpret.name_axes(one, world.dataset, reader, split=world.split, config=config)
        for one in (axes, world.axes)
    )
    assert sparse.choices.basis_auc > dense.choices.basis_auc - 0.03
