"""The calls to `orders.py` for `ringback tune` and `ringback compare`: nine totals per currency."""

from ringback.compare.scenario import call


def scenario(number):
    if number % 10 == 0:
        assert (yield call("currency")) == "EUR"
    else:
        assert (yield call("total", number)) == 7 * number
