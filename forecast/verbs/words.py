"""KEY=VALUE words of the verbs that need no config."""

from collections.abc import Mapping, Sequence

from forecast.errors import UsageError, nearest


def read(verb: str, words: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """The words of a verb as a dict over the defaults in `known`; UsageError for any other word."""
    made = dict(known)
    for word in words:
        key, joined, value = word.partition("=")
        if not joined:
            raise UsageError(
                f"{word!r} is not KEY=VALUE", f"expected {', '.join(known)}", f"see forecast {verb} --help"
            )
        if key not in known:
            raise UsageError(
                f"{key} is not a key of forecast {verb}", f"expected {', '.join(known)}", nearest(key, known)
            )
        if not value:
            raise UsageError(f"{key} has no value", f"expected {key}=…")
        made[key] = value
    return made
