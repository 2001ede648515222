"""Every task × model × head × embedding × data set composes, not only a twelfth of them; `make soak`."""

from tests.conf.test_compose import ALL, Compose, composes, made

__all__ = ["made"]


def test_every_combination_composes(made: Compose) -> None:
    for words in ALL:
        composes(made, words)
