"""The study: its storage, what it queues first, its constraint, and what becomes of trials whose worker died."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from sa_mlops.config import ForgetConfig, TuneConfig
from sa_mlops.methods.selective_amnesia import EWC_LAMBDA, OPTIMISATION
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import processes
from sa_mlops.tuning import leader, space, storage
from sa_mlops.tuning import study as studies
from sa_mlops.tuning.choice import best_settings, choose, fresh_seeds
from sa_mlops.tuning.front import CLASS_DROP
from sa_mlops.tuning.workers import deal

CONFIG = TuneConfig(dataset="digits")


@pytest.fixture(autouse=True)
def silent() -> None:
    studies.quiet()


def opened(folder: Path, config: TuneConfig = CONFIG, search: str = "all") -> optuna.Study:
    return studies.open_study(str(folder / "a.journal"), "a", config, search)


def add(study: optuna.Study, gap: float, retention: float, drop: float = 0.0) -> optuna.trial.FrozenTrial:
    trial = study.ask()
    space.suggest(trial, CONFIG)
    trial.set_constraint("class_drop", drop - CLASS_DROP)
    return study.tell(trial, (gap, retention))


def finished_process() -> dict[str, str]:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return processes.identity() | {processes.PID: str(done.pid)}


def process_elsewhere() -> dict[str, str]:
    return processes.identity() | {processes.HOST: "elsewhere"}


def test_default_values_are_tried_first_within_the_space(tmp_path: Path) -> None:
    study = opened(tmp_path)
    values = space.suggest(study.ask(), CONFIG)
    assert values == {
        "ewc_lambda": EWC_LAMBDA["fast"],
        "replay_ratio": 1.0,
        "steps": 150,
        "lr": OPTIMISATION["fast"].lr,
    }


def test_paper_values_are_tried_second_within_the_space(tmp_path: Path) -> None:
    study = opened(tmp_path)
    space.suggest(study.ask(), CONFIG)
    values = space.suggest(study.ask(), CONFIG)
    assert values == {
        "ewc_lambda": 100.0,
        "replay_ratio": 1.0,
        "steps": 150,
        "lr": CONFIG.searchable["lr"].search[0],
    }


def test_opening_a_study_again_queues_nothing_twice(tmp_path: Path) -> None:
    opened(tmp_path)
    assert len(opened(tmp_path).trials) == 2


def test_workers_queue_nothing(tmp_path: Path) -> None:
    study = studies.open_study(str(tmp_path / "a.journal"), "a", CONFIG, "all", worker=1)
    assert study.trials == []


def test_study_refuses_another_search_space(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(storage.StudyError, match="another search space"):
        opened(tmp_path, search="another")


def test_storage_that_does_not_open_is_one_line() -> None:
    with pytest.raises(storage.StudyError) as error:
        storage.open_storage("postgresql+nosuchdriver://host/database")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_every_sampler_suggests_within_the_space(tmp_path: Path, sampler: str) -> None:
    config = TuneConfig(dataset="digits", sampler=sampler)
    study = opened(tmp_path, config)
    for _ in range(studies.STARTUP + 4):
        trial = study.ask()
        values = space.suggest(trial, config)
        assert 30 <= values["steps"] <= 150
        for name in ("ewc_lambda", "replay_ratio", "lr"):
            low, high = config.searchable[name].search
            assert low <= values[name] <= high
        trial.set_constraint("class_drop", -1.0)
        study.tell(trial, (values["lr"], values["replay_ratio"]))


def test_workers_draw_different_values(tmp_path: Path) -> None:
    drawn = []
    for worker in (1, 2):
        study = studies.open_study(str(tmp_path / f"{worker}.journal"), "a", CONFIG, "all", worker=worker)
        drawn.append(space.suggest(study.ask(), CONFIG)["lr"])
    assert drawn[0] != drawn[1]


def test_words_can_be_searched(tmp_path: Path) -> None:
    config = TuneConfig(dataset="digits", space="surrogate,update")
    assert space.suggest(opened(tmp_path, config).ask(), config) == {
        "surrogate": "noise",
        "update": "standard",
    }


def test_each_method_has_its_search_space(tmp_path: Path) -> None:
    config = TuneConfig(dataset="digits", method="retrain")
    assert config.searched == ("steps", "lr")
    assert space.suggest(opened(tmp_path, config).ask(), config).keys() == {"steps", "lr"}


def test_trial_that_breaks_the_constraint_is_not_on_the_front(tmp_path: Path) -> None:
    study = opened(tmp_path)
    add(study, 0.0, 1.0, drop=0.03)
    good = add(study, 0.5, 0.9)
    assert [t.number for t in studies.finished(study).best] == [good.number]


def test_front_is_ordered_by_the_gap(tmp_path: Path) -> None:
    study = opened(tmp_path)
    for gap, retention in ((0.5, 0.95), (0.1, 0.90), (0.3, 0.93), (0.4, 0.92)):
        add(study, gap, retention)
    assert [t.values for t in studies.finished(study).best] == [[0.1, 0.90], [0.3, 0.93], [0.5, 0.95]]


def test_knee_is_looked_for_among_trials_that_pass_the_gates(tmp_path: Path) -> None:
    study = opened(tmp_path)
    for gap, retention in ((0.0, 0.90), (0.1, 0.94), (1.0, 0.95)):
        add(study, gap, retention)
    found = studies.finished(study)
    assert choose(found, [False] * 3) == 1
    assert choose(found, [True, False, False]) == 0


def test_nothing_is_chosen_without_a_feasible_trial(tmp_path: Path) -> None:
    study = opened(tmp_path)
    add(study, 0.0, 1.0, drop=0.5)
    assert choose(studies.finished(study), [False]) is None


def test_trial_of_a_dead_worker_fails(tmp_path: Path) -> None:
    study = opened(tmp_path)
    trial = study.ask()
    trial.set_user_attr(studies.WORKER, finished_process())
    studies.fail_lost(study)
    assert study.trials[trial.number].state == TrialState.FAIL


def test_values_of_a_dead_worker_are_tried_again(tmp_path: Path) -> None:
    study = opened(tmp_path)
    trial = study.ask()
    trial.set_user_attr(studies.WORKER, finished_process())
    values = space.suggest(trial, CONFIG)
    studies.fail_lost(study)
    study.ask()
    assert space.suggest(study.ask(), CONFIG) == values


def test_queued_values_that_a_dead_worker_never_asked_for_are_tried_again(tmp_path: Path) -> None:
    study = opened(tmp_path)
    lost = study.ask()
    lost.set_user_attr(studies.WORKER, finished_process())
    studies.fail_lost(study)
    study.ask()
    assert space.suggest(study.ask(), CONFIG) == space.recipe_values(CONFIG, "fast")


def test_values_that_two_commands_queue_again_are_needed_once(tmp_path: Path) -> None:
    study = opened(tmp_path)
    trial = study.ask()
    space.suggest(trial, CONFIG)
    frozen = study.trials[trial.number]
    assert [studies.give_up(study, frozen), studies.give_up(study, frozen)] == [True, False]
    study.ask()
    begun = [study.ask().number for _ in range(2)]
    assert [studies.needed(study, number, wanted=9) for number in begun] == [True, False]


def test_trial_that_finished_is_not_needed_again(tmp_path: Path) -> None:
    study = opened(tmp_path)
    trial = study.ask()
    frozen = study.trials[trial.number]
    space.suggest(trial, CONFIG)
    study.tell(trial, (0.5, 0.5))
    assert not studies.give_up(study, frozen)
    study.ask()
    assert not studies.needed(study, study.ask().number, wanted=9)


def test_trial_that_repeats_a_lost_one_takes_its_place(tmp_path: Path) -> None:
    study = opened(tmp_path)
    lost, other = study.ask(), study.ask()
    storage.again(study, study.trials[lost.number])
    assert studies.needed(study, study.ask().number, wanted=2)
    assert not studies.needed(study, study.ask().number, wanted=2)
    assert studies.needed(study, other.number, wanted=2)


def test_workers_of_another_command_have_other_numbers(tmp_path: Path) -> None:
    study, place = opened(tmp_path), str(tmp_path / "a.journal")
    assert [leader.enlist(study, place) for _ in range(2)] == [0, leader.CREW]


def test_one_of_two_commands_leads(tmp_path: Path) -> None:
    study, place = opened(tmp_path), str(tmp_path / "a.journal")
    assert leader.Leadership(study, place, "first").other is None
    found = leader.Leadership(study, place, "second").other
    assert found is not None
    assert found.run == "first"


def test_another_command_takes_over_when_the_leading_process_is_gone(tmp_path: Path) -> None:
    study, place = opened(tmp_path), str(tmp_path / "a.journal")
    leader.Leadership(study, place, "first")
    second = leader.Leadership(study, place, "second")
    assert not second.refresh()
    found = study.user_attrs[leader.LEAD]
    study.set_user_attr(leader.LEAD, found | {"process": finished_process()})
    assert second.refresh()
    assert leader.lead_of(study).run == "second"  # type: ignore[union-attr]


def test_leader_of_an_earlier_version_leads_until_its_signs_of_life_stop(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.set_user_attr(leader.LEAD, {"run": "r", "process": ["host", 1, 0.0], "seen": time.time()})
    found = leader.lead_of(study)
    assert found is not None
    assert found.alive


def test_trial_of_a_live_worker_continues(tmp_path: Path) -> None:
    study = opened(tmp_path)
    trial = study.ask()
    trial.set_user_attr(studies.WORKER, processes.identity())
    assert studies.fail_lost(study) == []


def test_trial_of_another_machine_is_left_to_it(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.ask().set_user_attr(studies.WORKER, process_elsewhere())
    assert studies.fail_lost(study) == []


def test_command_leads_while_its_process_runs(tmp_path: Path) -> None:
    study = opened(tmp_path)
    leader.sign(study, "run")
    lead = leader.lead_of(study)
    assert lead is not None
    assert lead.alive


@pytest.mark.parametrize(("age", "alive"), [(10.0, True), (1000.0, False)])
def test_command_elsewhere_leads_while_it_gives_signs_of_life(age: float, alive: bool) -> None:
    lead = leader.Lead("run", process_elsewhere(), time.time() - age)
    assert lead.alive is alive


def test_fresh_seeds_were_not_used() -> None:
    assert fresh_seeds((0, 5), 2) == (6, 7)


def test_devices_without_cuda_are_the_requested_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert deal("auto", 2) == ["auto", "auto"]


def test_cuda_devices_are_dealt_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert deal("auto", 3) == ["cuda:0", "cuda:1", "cuda:0"]


def test_named_device_is_for_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert deal("cuda:1", 2) == ["cuda:1", "cuda:1"]


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (CONFIG, {"ewc_lambda": 3.5, "replay_ratio": 0.25, "steps": 40, "lr": 1e-3}),
        (TuneConfig(dataset="digits", method="esd", net="conv"), {"steps": 40, "lr": 1e-3}),
    ],
    ids=["default method", "another method and net"],
)
def test_best_settings_read_back_as_the_settings_of_the_trial(
    config: TuneConfig, values: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "best.json"
    path.write_text(json.dumps(best_settings(config, values)))
    again, tried = (
        ForgetConfig(dataset="digits", classes=("8",), settings=str(path)),
        config.trial(8, 0, values),
    )
    assert again.resolved((), None) == tried.resolved((), None)
    assert again.net_name == tried.net_name


def test_value_given_beside_a_settings_file_wins(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text('{"steps": 40, "lr": 0.001}')
    config = ForgetConfig(steps=70, settings=str(path))
    assert (config.steps, config.lr) == (70, 0.001)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"digit": 3}', '{"lambda": 1}', '{"steps": 0}', '{"steps": "40"}']
)
def test_settings_file_with_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ParameterError):
        ForgetConfig(settings=str(path))


def test_settings_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ParameterError, match="--settings"):
        ForgetConfig(settings="nowhere.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("space", "lambda"),
        ("space", "lr,lr"),
        ("space", "batch_size"),
        ("steps", (1, 2, 3)),
        ("study", "../../etc"),
        ("storage", "sqlite:///a.db"),
        ("storage", "postgresql://user:secret@host/database"),
    ],
)
def test_wrong_parameter_of_a_study_is_named(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"--{name}"):
        TuneConfig(**{name: value})


def test_password_is_not_shown_when_it_is_refused() -> None:
    with pytest.raises(ParameterError) as error:
        TuneConfig(storage="postgresql://user:secret@host/database")
    assert "secret" not in str(error.value)
