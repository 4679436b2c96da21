"""The states that lie in an organism's folder."""

from stages.models.checkpoint import saved_steps, step_folder


def test_saved_steps_come_in_the_order_of_training(tmp_path):
    for step in (500, 62, 125):
        step_folder(tmp_path, step).mkdir(parents=True)
    assert saved_steps(tmp_path) == [62, 125, 500]
    assert (tmp_path / "checkpoints/step-62").is_dir()
    assert saved_steps(tmp_path / "without") == []
