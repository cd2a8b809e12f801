"""What callers of `orders.py` do, for `ringback tune` and `ringback compare`: nine totals for each currency."""

from ringback.compare.scenario import call


def scenario(number):
    if number % 10 == 0:
        assert (yield call("currency")) == "EUR"
    else:
        assert (yield call("total", number)) == 7 * number
