"""A job for worker processes, and a workflow that logs."""

from __future__ import annotations

import logging

from holdfast import App, Retry, get_logger

app = App()
log = get_logger("shop.orders")


@app.activity
async def square(number: int) -> int:
    return number * number


@app.activity(retry=Retry(max_attempts=1))
def charge(number: int) -> int:
    logging.getLogger("shop.bank").warning("charging %d", number, extra={"customer": "acme"})
    return number


@app.activity(isolation="process")
def render(number: int) -> int:
    logging.getLogger("shop.render").warning("rendering %d", number)
    try:
        raise ValueError("no ink")
    except ValueError:
        logging.getLogger("shop.render").exception("a page is white")
    return number


@app.workflow
async def order(number: int) -> int:
    log.info("order %d", number)
    total = await charge(number) + await render(number)
    log.info("total %d", total)
    return total
