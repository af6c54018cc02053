"""Limits and rates are checked where they are written, and say what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from holdfast import App, Debounce, DefinitionError, Limit, Rate, Throttle
from holdfast.core.limit import Ticket, noted
from holdfast.core.seal import Seal

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("most", [0, -1, True, 1.5, "5", None, 10_000_000])
def test_a_limit_is_a_whole_number_from_one_up(most: Any) -> None:
    with pytest.raises(DefinitionError, match=r"Limit: most= is a whole number from 1 to 1,000,000, not "):
        Limit(most)


@pytest.mark.parametrize("per", ["", 5, "a\0b", "x" * 201])
def test_a_key_is_the_name_of_a_parameter(per: Any) -> None:
    with pytest.raises(DefinitionError, match=r"Limit: per= is text of 1 to 200 printable characters"):
        Limit(1, per=per)
    with pytest.raises(DefinitionError, match=r"Rate: key= is text of 1 to 200 printable characters"):
        Rate(1, per=MINUTE, key=per)


@pytest.mark.parametrize("per", [timedelta(0), -MINUTE, 60, None, timedelta(days=400)])
def test_the_span_of_a_rate_is_a_duration(per: Any) -> None:
    with pytest.raises(DefinitionError, match=r"Rate: per= is a duration of more than zero and at most 366 days"):
        Rate(1, per=per)


def test_a_burst_comes_back_within_a_year() -> None:
    with pytest.raises(DefinitionError, match=r"a burst of 1000 takes 1000 days, 0:00:00 to come back"):
        Rate(1, per=timedelta(days=1), burst=1000)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": 0}, "count= is a whole number from 1 to 1,000,000, not 0"),
        ({"count": True}, "count= is a whole number from 1 to 1,000,000, not True"),
        ({"burst": 0}, "burst= is a whole number from 1 to 1,000,000, not 0"),
        ({"burst": "2"}, "burst= is a whole number from 1 to 1,000,000, not '2'"),
        (
            {"per": 60},
            "per= is a duration of more than zero and at most 366 days, such as timedelta(minutes=1), not",
        ),
        ({"per": timedelta(0)}, "per= is a duration of more than zero and at most 366 days"),
        (
            {"per": timedelta(days=1), "burst": 10_000},
            "a burst of 10000 takes 1000 days, 0:00:00 to come back, and may take 366 days: choose ",
        ),
        ({"key": ""}, "key= is text of 1 to 200 printable characters, not ''"),
        ({"name": "a\0b"}, "name= is text of 1 to 200 printable characters, not 'a\\x00b'"),
    ],
)
def test_a_throttle_says_which_of_its_arguments_cannot_be_used(given: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {"count": 10, "per": MINUTE, **given}
    with pytest.raises(DefinitionError) as error:
        Throttle(**arguments)
    assert str(error.value).startswith(f"Throttle: {said}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"window": 5}, "window= is a duration of more than zero and at most 366 days, such as timedelta(minutes=1), "),
        ({"window": -MINUTE}, "window= is a duration of more than zero and at most 366 days"),
        ({"at_most": 5}, "at_most= is a duration of more than zero and at most 366 days"),
        (
            {"at_most": MINUTE / 2},
            "at_most=0:00:30 is shorter than the window of 0:01:00: nothing would ever be",
        ),
        ({"per": 7}, "per= is text of 1 to 200 printable characters, not 7"),
        ({"name": "x" * 201}, "name= is text of 1 to 200 printable characters"),
    ],
)
def test_a_debounce_says_which_of_its_arguments_cannot_be_used(given: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {"window": MINUTE, **given}
    with pytest.raises(DefinitionError) as error:
        Debounce(**arguments)
    assert str(error.value).startswith(f"Debounce: {said}")


@pytest.mark.parametrize(
    ("count", "per", "interval"),
    [
        (100, MINUTE, timedelta(milliseconds=600)),
        (7, timedelta(seconds=1), timedelta(microseconds=142_858)),
        (3, timedelta(microseconds=1), timedelta(microseconds=1)),
    ],
)
def test_the_interval_of_a_rate_is_rounded_up_so_that_it_is_never_exceeded(
    count: int, per: timedelta, interval: timedelta
) -> None:
    assert Rate(count, per=per).interval == interval


def test_a_limit_that_begins_as_rates_do_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"name='rate x' begins with 'rate '"):
        Limit(1, name="rate x")


def test_narrow_limits_are_asked_for_before_wide_ones() -> None:
    app = App()

    @dataclass
    class Order:
        customer: str
        number: int = 0

    @app.activity(
        concurrency=[Limit(100), Limit(5, per="order.customer"), Limit(9, name="stripe")],
        rate=[Rate(10, per=MINUTE, burst=3), Rate(1, per=MINUTE, key="region")],
    )
    async def charge(order: Order, region: str = "eu") -> None: ...

    second = timedelta(seconds=6)
    assert charge.tickets == (
        Ticket("charge/order.customer", "order.customer", None, 5, None, 0),
        Ticket("charge", None, None, 100, None, 1),
        Ticket("stripe", None, None, 9, None, 1),
        Ticket("rate charge/region", "region", "eu", 1, MINUTE, 2),
        Ticket("rate charge", None, None, 3, second, 3),
    )


def test_a_number_is_a_limit() -> None:
    app = App()

    @app.workflow(concurrency=3)
    async def flow() -> None: ...

    assert flow.tickets == (Ticket("flow", None, None, 3, None, 1),)


@pytest.mark.parametrize("per", ["customer", "order.", "order..x", ".order"])
def test_a_key_that_begins_with_no_parameter_is_refused(per: str) -> None:
    with pytest.raises(DefinitionError, match=r"activity 'charge': per=.* begins with no parameter of it; its param"):

        @App().activity(concurrency=Limit(1, per=per))
        async def charge(order: str) -> None: ...


@pytest.mark.parametrize("concurrency", ["5", 2.5, True, [Limit(1), "x"], Rate(1, per=MINUTE)])
def test_what_is_no_limit_is_refused(concurrency: Any) -> None:
    with pytest.raises(DefinitionError, match=r"activity 'charge': concurrency= is one such as Limit\(5\), or a list"):

        @App().activity(concurrency=concurrency)
        async def charge() -> None: ...


@pytest.mark.parametrize("rate", [5, Limit(5), [MINUTE]])
def test_what_is_no_rate_is_refused(rate: Any) -> None:
    with pytest.raises(DefinitionError, match=r"workflow 'flow': rate= is one such as Rate\(100, per=timedelta"):

        @App().workflow(rate=rate)
        async def flow() -> None: ...


@pytest.mark.parametrize("throttle", [10, Rate(1, per=MINUTE), [Throttle(1, per=MINUTE), 5]])
def test_what_is_no_throttle_is_refused(throttle: Any) -> None:
    with pytest.raises(DefinitionError, match=r"activity 'index': throttle= is one such as Throttle\(10, per=time"):

        @App().activity(throttle=throttle)
        async def index() -> None: ...


@pytest.mark.parametrize("debounce", [MINUTE, [Debounce(MINUTE)], Throttle(1, per=MINUTE)])
def test_what_is_no_single_debounce_is_refused(debounce: Any) -> None:
    with pytest.raises(DefinitionError, match=r"workflow 'flow': debounce= is one such as Debounce\(time.*, not "):

        @App().workflow(debounce=debounce)
        async def flow() -> None: ...


@pytest.mark.parametrize("fair", ["", 5])
def test_what_is_no_key_of_turns_is_refused(fair: Any) -> None:
    with pytest.raises(DefinitionError, match=r"activity 'index': fair= is text of 1 to 200 printable char"):

        @App().activity(fair=fair)
        async def index(document: str) -> None: ...


def test_a_key_of_a_throttle_or_a_debounce_begins_with_a_parameter() -> None:
    with pytest.raises(DefinitionError, match=r"'index': key='page' begins with no parameter of it; .* document"):

        @App().activity(throttle=Throttle(1, per=MINUTE, key="page"))
        async def index(document: str) -> None: ...

    with pytest.raises(DefinitionError, match=r"'find': per='page' begins with no parameter of it; .*: none"):

        @App().activity(debounce=Debounce(MINUTE, per="page"))
        async def find() -> None: ...


def test_two_limits_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"activity 'charge' has two limits of the name 'charge'; give one"):

        @App().activity(concurrency=[Limit(1), Limit(2)])
        async def charge() -> None: ...

    with pytest.raises(DefinitionError, match=r"activity 'index' has two throttles of the name 'index'; give one"):

        @App().activity(throttle=[Throttle(1, per=MINUTE), Throttle(9, per=MINUTE)])
        async def index() -> None: ...


def test_a_transactional_activity_with_a_limit_is_read_committed() -> None:
    with pytest.raises(DefinitionError, match=r"with concurrency= or rate= its transaction gives its permits back"):

        @App().activity(concurrency=1, transactional=True, isolation_level="serializable")
        async def book(connection: Any) -> None: ...


class Backwards:
    """A codec."""

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


def test_the_key_of_a_sealed_input_is_noted_beside_it() -> None:
    app = App()

    @app.activity(concurrency=Limit(1, per="order.customer"), rate=Rate(1, per=MINUTE, key="order.lines.0"))
    async def charge(order: Any) -> None: ...

    @app.activity(concurrency=1)
    async def plain(order: Any) -> None: ...

    sealed, text = Seal(Backwards()), '{"order":{"customer":7,"lines":["a",true]}}'
    assert noted(None, charge, text, sealed) == '{"keys":{"order.customer":"7","order.lines.0":"a"}}'
    assert noted(None, charge, '{"order":5}', sealed) == '{"keys":{}}'
    assert noted(None, charge, text, Seal()) is None
    assert noted('{"headers":{}}', plain, text, sealed) == '{"headers":{}}'
