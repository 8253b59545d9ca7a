"""The Attributes world, fitted: attributes are named axes on new prompts and people."""

import numpy as np
import pytest

from experiments import fig5_interpretation as fig5
from prefjax import interpret
from prefjax.data.attributes import ATTRIBUTES


@pytest.mark.slow
def test_attributes_are_recovered_as_named_axes():
    config = fig5.Config()
    planted = fig5.make_planted(config, 0)
    group = np.asarray(planted.dataset.prompt_index)
    axes = fig5.fit_axes(planted.split, planted.inputs, group, config.num_factors)
    reader = interpret.PropertyReader(planted.properties)
    naming = interpret.name_axes(axes, planted.dataset, reader, split=planted.split)
    columns = {axis.label.column for axis in naming.axes if axis.is_named}
    assert len(columns) >= 5
    assert columns <= set(range(len(ATTRIBUTES)))
    assert all(axis.p < 0.05 for axis in naming.axes if axis.is_named)
    assert naming.named_choices.retained.low > 0.8
    assert naming.named_choices.minus_population.low > 0


@pytest.mark.slow
def test_shuffled_people_give_no_named_axis():
    config = fig5.Config()
    planted = fig5.make_planted(config, 0, shuffled=True)
    group = np.asarray(planted.dataset.prompt_index)
    axes = fig5.fit_axes(planted.split, planted.inputs, group, config.num_factors)
    reader = interpret.PropertyReader(planted.properties)
    naming = interpret.name_axes(axes, planted.dataset, reader, split=planted.split)
    assert naming.num_named == 0
