import pytest

from mustherd.load.generator.distributions import gaps, sizes
from mustherd.load.memcached import presets


@pytest.mark.parametrize("name", presets.PRESETS)
def test_the_generator_knows_every_presets_distributions(name: str) -> None:
    preset = presets.PRESETS[name]
    sizes(preset.key_size)
    sizes(preset.value_size)
    gaps(preset.arrivals)


def test_a_given_share_of_updates_replaces_the_presets() -> None:
    assert presets.load("etc", 10).update_ratio == 0.25
    assert presets.load("etc", 10, 0.0).update_ratio == 0.0
    with pytest.raises(KeyError):
        presets.load("tao", 10)
