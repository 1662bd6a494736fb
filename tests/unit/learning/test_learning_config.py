"""The training configuration: what is wrong is named, all at once."""

import pytest

from medview.core.errors import ReadError
from medview.learning.config import load_config
from tests.helpers.training import write_config


def test_a_good_configuration(tmp_path):
    config = load_config(write_config(tmp_path / "a.toml", tmp_path / "data"))
    assert config.network.class_name.endswith("UNet3d")
    assert config.data.patch == (16, 16, 16)
    assert config.optimiser.lr == 0.03
    assert config.augment.flip == (0,)


def test_paths_start_at_the_file(tmp_path):
    path = write_config(tmp_path / "a.toml", "../data", more='[export]\nid = "x"\ncard = "c.toml"')
    config = load_config(path)
    assert config.data.folder == str((tmp_path / "../data").resolve())
    assert config.export.card == str(tmp_path.resolve() / "c.toml")


def test_everything_wrong_is_named(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        'colour = 1\n[data]\npatch = 3\n[network]\nclass = "x"\nlayers = 2\n'
        '[loss]\nname = "best"\n[run]\nbatch = "two"\nema = true\n'
    )
    with pytest.raises(ReadError) as error:
        load_config(path)
    for words in (
        "unknown entry colour",
        "data.folder is missing",
        "data.patch must be a list",
        "unknown entry network.layers",
        "run.batch must be a whole number, not 'two'",
        "run.ema must be a number, not True",
    ):
        assert words in error.value.user_text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('[loss]\nname = "best"', "loss.name must be one of"),
        ("[export]\nid = 3", "export.id must be a text"),
    ],
)
def test_choices_and_types(tmp_path, line, words):
    with pytest.raises(ReadError, match=words):
        load_config(write_config(tmp_path / "a.toml", tmp_path, more=line))


def test_values_out_of_range_are_refused(tmp_path):
    path = write_config(tmp_path / "a.toml", tmp_path, epochs=0)
    path.write_text(path.read_text().replace("ema = 0.9", "ema = 1.0").replace("[0]", "[3]"))
    with pytest.raises(ReadError) as error:
        load_config(path)
    assert "schedule.epochs must be above zero" in error.value.user_text
    assert "run.ema must be at least 0 and below 1" in error.value.user_text
    assert "augment.flip may hold" in error.value.user_text


def test_a_file_that_is_no_toml(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[data")
    with pytest.raises(ReadError, match="could not be read"):
        load_config(path)
