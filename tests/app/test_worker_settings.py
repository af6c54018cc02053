"""Where the settings of workers come from, and what is said about those that cannot work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from holdfast import App
from holdfast.app.worker_settings import PREFIX, Configured, Said, given_by, read_worker_settings
from holdfast.core.errors import ConfigurationError
from holdfast.core.settings import SETTINGS, WorkerSettings, find_mistakes

WRITTEN: Mapping[str, tuple[str, str, object]] = {
    # in a variable or an option, in a file, and what it is
    "name": ("payroll", '"payroll"', "payroll"),
    "mode": ("execution", '"execution"', "execution"),
    "transfer_batch_size": ("17", "17", 17),
    "parallelism_factor": ("2.5", "2.5", 2.5),
    "buckets": ("critical=3 very-low=0", "{ critical = 3, very-low = 0 }", {"critical": 3, "very-low": 0}),
    "bucket_buffer_size": ("0", "0", 0),
    "bucket_buffer_lead_time": ("250ms", "0.25", timedelta(milliseconds=250)),
    "skip_warm_up": ("yes", "true", True),
    "max_activities": ("7", "7", 7),
    "max_threads": ("8", "8", 8),
    "max_processes": ("2", "2", 2),
    "max_transactions": ("3", "3", 3),
    "lease": ("1m30s", '"1m30s"', timedelta(seconds=90)),
    "poll": ("250ms", "0.25", timedelta(milliseconds=250)),
    "grace": ("600", "600", timedelta(minutes=10)),
    "cached_runs": ("0", "0", 0),
    "journal_warn_rows": ("10", "10", 10),
    "journal_warn_bytes": ("11", "11", 11),
    "journal_max_rows": ("12", "12", 12),
    "journal_max_bytes": ("13", "13", 13),
    "hints": ("off", "false", False),
    "keep": (
        "succeeded=30d, failed=90",
        '{ succeeded = "30d", failed = 90 }',
        {"succeeded": timedelta(days=30), "failed": timedelta(seconds=90)},
    ),
    "keep_keys": ("60d", '"60d"', timedelta(days=60)),
}


MORE = "; for more of one lane, set buckets or parallelism_factor"
MEANT = "; did you mean 'HOLDFAST_WORKER_GRACE'?"


def read(
    start: Path,
    environ: Mapping[str, str] | None = None,
    *,
    flags: Mapping[str, object] | None = None,
    **options: object,
) -> list[Configured]:
    said = {name: Said(value=value, origin=f"--{name}", form="text") for name, value in (flags or {}).items()}
    return read_worker_settings(said, given_by("app.worker", options), environ=environ or {}, start=start)


def one(start: Path, environ: Mapping[str, str] | None = None, **options: Any) -> Configured:
    (found,) = read(start, environ, **options)
    return found


def mistakes(start: Path, environ: Mapping[str, str] | None = None, **options: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(start, environ, **options)
    return list(caught.value.mistakes)


def variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project that says nothing."""
    (tmp_path / "holdfast.toml").touch()
    return tmp_path


def write(place: Path, text: str, file: str = "holdfast.toml") -> None:
    (place / file).write_text(text, encoding="utf-8")


# ---- each setting, from each place


def test_every_setting_is_tried_here() -> None:
    assert {*WRITTEN, "lane"} == set(SETTINGS) == {one.name for one in fields(WorkerSettings)} - {"alone"}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_setting_from_everywhere(place: Path, name: str) -> None:
    text, in_file, value = WRITTEN[name]

    def origin() -> str:
        found = one(place, environ, flags=flags, **options)
        assert getattr(found.settings, name) == value
        return found.origins[name]

    environ: dict[str, str] = {}
    options: dict[str, object] = {}
    flags: dict[str, object] = {}
    # From the last place to the first: each goes before those that were there before.
    write(place, f"{variable(name)}='{text}'\n", ".env")
    assert origin() == f"{variable(name)} in {place / '.env'}"
    write(place, f"[holdfast.worker]\n{name} = {in_file}\n")
    assert origin() == f"[holdfast.worker] in {place / 'holdfast.toml'}"
    write(place, f"[holdfast.worker.lanes.default]\n{name} = {in_file}\n[holdfast.worker]\n{name} = {in_file}\n")
    assert origin() == f"[holdfast.worker.lanes.default] in {place / 'holdfast.toml'}"
    environ[variable(name)] = text
    assert origin() == variable(name)
    options[name] = value
    assert origin() == f"app.worker({name}=)"
    flags[name] = text
    assert origin() == f"--{name}"


def test_the_first_place_decides_each_setting_for_itself(place: Path) -> None:
    write(place, '[holdfast.worker]\nlease = "40s"\npoll = "2s"\ngrace = 1\n')
    write(place, f"{variable('max_threads')}=3\n{variable('grace')}=2\n", ".env")
    found = one(place, {variable("poll"): "3s"}, lease=timedelta(seconds=50)).settings
    assert (found.lease.seconds, found.poll.seconds, found.grace.seconds, found.max_threads) == (50, 3, 1, 3)


def test_a_pyproject_will_do(place: Path) -> None:
    (place / "holdfast.toml").unlink()
    write(place, "[tool.holdfast.worker]\nmax_threads = 5\n", "pyproject.toml")
    found = one(place)
    assert found.settings.max_threads == 5
    assert found.origins["max_threads"] == f"[tool.holdfast.worker] in {place / 'pyproject.toml'}"


def test_what_nobody_says_is_the_default(place: Path) -> None:
    found = one(place, {variable("lease"): "", variable("poll"): " "})
    assert found.settings == WorkerSettings()
    assert set(found.origins.values()) == {"default"}


def test_the_settings_of_an_app_are_not_disturbed_by_those_of_workers(place: Path, monkeypatch: Any) -> None:
    write(place, '[holdfast]\nschema = "orders"\n[holdfast.worker]\nlease = "nonsense"\n')
    monkeypatch.chdir(place)
    assert App().settings().schema.value == "orders"


def test_mistakes_of_the_app_are_told_together_with_those_of_its_workers(place: Path, monkeypatch: Any) -> None:
    write(place, '[holdfast]\nschema = "Not-Plain"\n[holdfast.worker]\nlease = "nonsense"\n')
    monkeypatch.chdir(place)
    with pytest.raises(ConfigurationError) as caught:
        App("mysql://x").worker(max_threads=0)
    assert [mistake.split(" ")[0] for mistake in caught.value.mistakes] == [
        "database_url", "schema", "max_threads", "lease",
    ]  # fmt: skip


# ---- lanes


@pytest.mark.parametrize(
    ("file", "environ", "options", "lanes"),
    [
        ("", {}, {}, ["default"]),
        ('lane = "a"', {}, {}, ["a"]),
        ('lane = ["a", "b"]', {}, {}, ["a", "b"]),
        ('lane = ["a", "b"]', {"lane": "c  d e"}, {}, ["c", "d", "e"]),
        ('lane = ["a", "b"]', {"lane": "c d"}, {"lane": "f"}, ["f"]),
        ('lane = ["a", "b"]', {"lane": "c d"}, {"lane": ["f", "g"]}, ["f", "g"]),
    ],
)
def test_several_lanes_are_several_workers(
    place: Path, file: str, environ: dict[str, str], options: dict[str, Any], lanes: list[str]
) -> None:
    write(place, f"[holdfast.worker]\n{file}\n")
    found = read(place, {variable(name): text for name, text in environ.items()}, **options)
    assert [worker.settings.lane for worker in found] == lanes


def test_a_lane_has_what_the_file_says_for_it_and_else_what_it_says_for_all(place: Path) -> None:
    write(
        place,
        '[holdfast.worker]\nlane = ["a", "b"]\nmax_threads = 8\npoll = "2s"\n'
        "[holdfast.worker.lanes.b]\nmax_threads = 2\nbuckets = { low = 0 }\n",
    )
    first, second = (worker.settings for worker in read(place, {variable("poll"): "5s"}))
    assert (first.max_threads, first.buckets, first.poll) == (8, {}, timedelta(seconds=5))
    assert (second.max_threads, second.buckets, second.poll) == (2, {"low": 0}, timedelta(seconds=5))
    # It holds for that lane also where it is served alone.
    assert one(place, lane="b").settings.max_threads == 2


def test_one_worker_for_several_lanes_is_refused_with_what_to_do(place: Path, monkeypatch: Any) -> None:
    write(place, '[holdfast.worker]\nlane = ["a", "b"]\n')
    monkeypatch.chdir(place)
    app = App("postgresql://localhost/x")
    with pytest.raises(ConfigurationError, match=r"'a', 'b' are several, and this is one worker.*app\.workers\(\)"):
        app.worker()
    assert [worker.settings.lane for worker in app.workers()] == ["a", "b"]
    assert [worker.settings.lane for worker in app.workers("c", "d")] == ["c", "d"]
    assert app.worker(lane="a").settings.lane == "a"


# ---- mistakes


def test_all_mistakes_are_told_at_once_each_with_its_place(place: Path) -> None:
    write(
        place,
        '[holdfast.worker]\nlane = ["a", "b", "a"]\nmax_treads = 4\npoll = "fast"\nhints = "perhaps"\n'
        "[holdfast.worker.lanes.c]\nlane = 'd'\nlise = 3\n",
    )
    write(place, f"{variable('grace')}=2d\n{variable('graze')}=1s\n", ".env")
    environ = {variable("max_processes"): "many", variable("buckets"): "urgent=1 low"}
    found = mistakes(place, environ, flags={"parallelism_factor": "0"}, mode="idle", max_threads="8", colour="red")
    toml = place / "holdfast.toml"
    assert sorted(found) == sorted(
        [
            "parallelism_factor (--parallelism_factor): above 0, at most 10000, not 0.0",
            "mode (app.worker(mode=)): 'idle' is not one of full, coordinator, execution, drain",
            "max_threads (app.worker(max_threads=)): '8' is not a whole number",
            "max_processes (HOLDFAST_WORKER_MAX_PROCESSES): 'many' is not a whole number",
            "buckets (HOLDFAST_WORKER_BUCKETS): 'low': write a priority and a number, such as very-low=0",
            f"lane ([holdfast.worker] in {toml}): 'a' stands there twice{MORE}",
            f"poll ([holdfast.worker] in {toml}): 'fast' is not a duration; write seconds, or 250ms, 1h30m, 11d, 2w",
            f"hints ([holdfast.worker] in {toml}): 'perhaps' is neither true nor false",
            f"'max_treads' ([holdfast.worker] in {toml}) is not a setting of a worker; did you mean 'max_threads'?",
            f"lane ([holdfast.worker.lanes.c] in {toml}): the heading says which lane this is for",
            f"'lise' ([holdfast.worker.lanes.c] in {toml}) is not a setting of a worker; did you mean 'lease'?",
            f"grace (HOLDFAST_WORKER_GRACE in {place / '.env'}): 0 s to 86400 s, not 172800 s",
            f"HOLDFAST_WORKER_GRAZE in {place / '.env'} is not a setting of a worker{MEANT}",
            next(words for words in found if words.startswith("'colour' (app.worker(colour=)) is not a setting")),
        ]
    )


def test_what_does_not_decide_is_not_complained_of(place: Path) -> None:
    write(place, "[holdfast.worker]\nmax_threads = 0\n")
    assert one(place, {variable("max_threads"): "3"}).settings.max_threads == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[holdfast\n", "cannot be read"),
        ("[holdfast]\nworker = 3\n", "[holdfast.worker] is not a table"),
        ("[holdfast.worker]\nlanes = 3\n", "[holdfast.worker.lanes] is not a table"),
        ("[holdfast.worker.lanes]\nreports = 3\n", "[holdfast.worker.lanes.reports] is not a table"),
        ("[holdfast.worker]\nlane = []\n", "at least one lane is needed"),
        ("[holdfast.worker]\nlane = 3\n", "3 is not a text"),
        ('[holdfast.worker]\nlane = ["a b"]\n', "1 to 200 characters without blanks, not 'a b'"),
        ("[holdfast.worker]\nlease = true\n", "not True, which is no timedelta"),
        ("[holdfast.worker]\nmax_threads = 2.5\n", "2.5 is not a whole number"),
        ("[holdfast.worker]\nmax_threads = true\n", "True is not a whole number"),
        ("[holdfast.worker]\nparallelism_factor = nan\n", "above 0, at most 10000, not nan"),
        ("[holdfast.worker]\nparallelism_factor = inf\n", "above 0, at most 10000, not inf"),
        ("[holdfast.worker]\nbuckets = 3\n", "3 is not a number for each priority"),
        ("[holdfast.worker]\nbuckets = { low = 101 }\n", "'low': 0 to 100, not 101"),
        ("[holdfast.worker]\nkeep = 3\n", "3 is not a timedelta for each way to end"),
        ("[holdfast.worker]\nkeep = { running = '1d' }\n", "'running' is not one of succeeded"),
        ("[holdfast.worker]\nkeep = { failed = '1s' }\n", "'failed': a timedelta of 1 minute to 36500 days"),
        ("[holdfast.worker]\nkeep = { failed = 'soon' }\n", "'soon' is not a duration"),
        ("[holdfast.worker]\nkeep = 'failed'\n", "'failed': write a status and a duration, such as succeeded=30d"),
        ("[holdfast.worker]\nkeep = 'failed=1d failed=2d'\n", "'failed' stands there twice"),
        ("[holdfast.worker]\nbuckets = { low = true }\n", "'low': 0 to 100, not True"),
        ("[holdfast.worker]\nbuckets = 'low=1 low=2'\n", "'low' stands there twice"),
        (
            "[holdfast.worker]\nbuckets = { very-low = 0, low = 0, medium = 0, high = 0, critical = 0 }\n",
            "at least one priority must have one",
        ),
        ("[holdfast.worker]\nalone = true\n", "'alone' ([holdfast.worker]"),
    ],
)
def test_a_mistake_in_the_file_is_told(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, text)
    (mistake,) = mistakes(tmp_path)
    assert words in mistake
    assert str(tmp_path / "holdfast.toml") in mistake


WORDS = st.text("a 1", max_size=3)


@over(st.dictionaries(st.sampled_from(SETTINGS), st.one_of(st.none(), st.integers(), WORDS, st.lists(st.none()))))
def test_whatever_is_given_is_a_setting_or_a_mistake(values: dict[str, Any]) -> None:
    """Nothing that is wrong comes through, and nothing breaks the check."""
    wrong = {name for name, _ in find_mistakes(values)}
    WorkerSettings(**{name: value for name, value in values.items() if name not in wrong})
    if wrong:
        with pytest.raises(ConfigurationError):
            WorkerSettings(**values)
