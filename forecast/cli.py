"""The command line of the verbs that Hydra configures: what may be written, what is said when it is wrong.

Hydra's own messages are several lines and end in advice that a strict schema refuses (`+key=…`), so each is
translated: what was found, what was expected, the nearest valid choices.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from forecast.errors import UsageError, nearest
from forecast.verbs.help import ALLOWED, CONFIGURED, LONG, VALUED, VERBS, choices, defaults, groups, hidden, marked

EXAMPLE = dict.fromkeys(CONFIGURED, "run=latest") | {"train": "trainer.max_epochs=3"}
# A word for the kind of a part; no group of conf/: `engine` is a plain key of another verb, and Hydra takes one only.
SHORTHAND = {("predict", "engine"): "engine.kind"}
SWITCHES = {"--resolve": "--resolve", "--multirun": "--multirun", "-m": "--multirun"}


class Words(NamedTuple):
    """A command line after its verb."""

    flags: tuple[str, ...]  # for Hydra, each with its value behind it
    overrides: tuple[str, ...]

    @property
    def carried(self) -> tuple[str, ...]:
        """The flags that a process of ours must be given too, to compose the same config."""
        at = [i for i, word in enumerate(self.flags) if word == "--config-dir"]
        return tuple(word for i in at for word in self.flags[i : i + 2])


def read(verb: str, words: Sequence[str]) -> Words:
    """Sort flags from overrides; a UsageError for what is neither."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, joined, value = word.partition("=")
        if verb == "predict" and word == "--dry-run":
            overrides.append("dry_run=true")
        elif not word.startswith("-"):
            overrides.append(override(verb, word))
        elif word in SWITCHES:
            flags.append(SWITCHES[word])
        elif name in VALUED:
            long = VALUED[name]
            if not joined:
                value = rest.pop(0) if rest and "=" not in rest[0] and not rest[0].startswith("-") else ""
            flags += [long, flag_value(long, value)]
        else:
            raise no_flag(verb, name if joined else word)
    return Words(tuple(flags), tuple(overrides))


def flag_value(flag: str, value: str) -> str:
    """The value of a flag, checked."""
    if flag == "--info" and not value:
        return "all"
    allowed = ALLOWED.get(flag)
    if not value:
        raise UsageError(f"{flag} has no value", f"expected {' or '.join(allowed) if allowed else 'one'}")
    if allowed and value not in allowed:
        raise UsageError(f"{flag} {value} is not known", f"expected {', '.join(allowed)}", nearest(value, allowed))
    if flag == "--config-dir" and not Path(value).is_dir():
        raise UsageError(f"--config-dir {value} is no directory", "expected a folder of YAML files")
    return value


def no_flag(verb: str, word: str) -> UsageError:
    """For `--epochs 3` and the like."""
    close = get_close_matches(word, LONG, n=1, cutoff=0.75)
    do = f"did you mean {close[0]}?" if close else f"flags are {', '.join(LONG)}"
    return UsageError(
        f"{word} is not a flag of forecast {verb}", f"options are written key=value, e.g. {EXAMPLE[verb]}", do
    )


def override(verb: str, word: str) -> str:
    """A word that Hydra may parse: key=value, or ~key."""
    key, joined, value = word.partition("=")
    if (verb, key) in SHORTHAND and not value.startswith("{"):
        return f"{SHORTHAND[verb, key]}={value}"
    if key in defaults(verb) and hidden(value):
        raise no_choice(f"{key}/{value}", None)
    if key and (joined or word.startswith("~")):
        return word
    expected = f"options are written key=value, e.g. {EXAMPLE[verb]}"
    if word in defaults(verb):
        raise UsageError(
            f"{word} has no value", f"expected {word}=CHOICE", f"choose one of: {', '.join(choices(word))}"
        )
    raise UsageError(f"'{word}' is not key=value" if key else f"'{word}' names no key", expected)


def translate(fault: Exception, verb: str, overrides: Sequence[str]) -> UsageError:
    """What Hydra, OmegaConf or the YAML reader raised while composing, as our one line."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
    from yaml import MarkedYAMLError

    chain = list(causes(fault))
    line = next((m[1] for f in chain if (m := re.match(r"Error merging override (.+)", str(f)))), None)
    below = next((f for f in chain if isinstance(f, OmegaConfBaseException) and f.full_key), None)
    if isinstance(fault, OverrideParseException):
        said = fault.message.split("\nSee ")[0].split("\n")[-1]
        do = "quote special signs: 'key=\"a=b\"'"
        return UsageError(f"'{fault.override}' cannot be read ({said})", "expected key=value", do)
    if isinstance(fault, MissingConfigException) and fault.missing_cfg_file:
        return no_choice(fault.missing_cfg_file, fault.options)
    if isinstance(fault, MarkedYAMLError) and (mark := fault.problem_mark):
        return UsageError(f"{mark.name} line {mark.line + 1}: {fault.problem}", "expected YAML")
    if isinstance(below, ConfigAttributeError | ConfigKeyError):
        return no_key(below, verb)
    if below is not None:
        return no_value(below, line)
    return by_message(str(fault), verb, overrides)


def by_message(text: str, verb: str, overrides: Sequence[str]) -> UsageError:
    """Where Hydra's message is all there is."""
    if match := re.match(r"Ambiguous value for argument '(.*)'", text):
        key, _, values = match[1].partition("=")
        do = f"add -m to run each, or write a list as '{key}=[{values}]'"
        return UsageError(f"{match[1]} holds several values", "expected one", do)
    if match := re.match(r"In '(.+)': \w+ raised while composing config:\n([^\n]+)\n\s+full_key: (\S+)", text):
        return in_file(match[1], match[2], match[3], text)
    if match := re.search(r"Could not override '(.+?)'", text):
        where = re.match(r"(In '.+?'): ", text)
        return no_group(match[1], verb, f" ({where[1]})" if where else "")
    if match := re.match(r"Multiple values for (\S+?)\.", text):
        return UsageError(f"{match[1]} is chosen twice", "expected one choice", f"write {match[1]}=… without +")
    if text.startswith("Config group override must be"):  # `model=null`, `model=5`
        for word in overrides:
            group, _, value = word.partition("=")
            if group in defaults(verb) and value not in choices(group):
                return no_choice(f"{group}/{value}", None)
    return UsageError(text.strip().split("\n")[0].rstrip("."), f"see forecast {verb} --help")


def causes(fault: BaseException | None) -> Iterable[BaseException]:
    """An exception and those it was raised from."""
    while fault is not None:
        yield fault
        fault = fault.__cause__


def no_choice(path: str, options: Sequence[str] | None) -> UsageError:
    """`model=informr`, or a file that names a choice which is not there."""
    group, _, name = path.rpartition("/")
    valid = [option for option in options or choices(group) if not hidden(option)]
    near = get_close_matches(name, valid, n=3)
    do = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(marked(valid, None))}"
    return UsageError(f"{group}={name} is not there", f"expected a choice of {group}", do)


def no_group(name: str, verb: str, where: str) -> UsageError:
    """`forecast evaluate model=linear`: a group of another verb, or an odd package."""
    plain = name.partition("@")[0]
    if plain in groups() and plain not in defaults(verb):
        do = f"it is one of forecast train; see forecast {verb} --help"
    else:
        do = nearest(plain, defaults(verb))
    return UsageError(f"{name} is not a group of forecast {verb}{where}", "expected GROUP=CHOICE", do)


def in_file(file: str, said: str, key: str, text: str) -> UsageError:
    """A fault in a config file, such as an experiment of the user's."""
    from forecast import schemas

    schema = getattr(schemas, text.rpartition("object_type=")[2].strip(), None)
    leaf = key.rpartition(".")[2]
    names = [each.name for each in fields(schema)] if is_dataclass(schema) else []
    do = nearest(leaf, names) if names and leaf not in names else ""
    return UsageError(f"conf file {file}: {key}: {said}", do)


def no_key(fault: Any, verb: str) -> UsageError:
    """`model.d_modl=3`: the keys beside it, or keys of this name elsewhere."""
    from forecast.config import dotted

    full, leaf, node = str(fault.full_key), str(fault.key), fault.parent_node
    above = full[: -len(leaf)] if full.endswith(leaf) else ""
    keys = [str(key) for key in node if key != "hydra" and not str(key).startswith("_")]
    place = above.rstrip(".") or f"forecast {verb}"
    if not keys:
        return UsageError(f"{full} is not a key", f"{place} takes a value, not keys")
    close = [above + key for key in get_close_matches(leaf, keys, n=3, cutoff=0.6)]
    close = close or elsewhere(leaf, list(dotted(node._get_root())))
    do = f"did you mean {' or '.join(close)}?" if close else "see --cfg job"
    return UsageError(f"{full} is not a key of {place}", f"expected one of {', '.join(keys)}", do)


def elsewhere(leaf: str, names: Sequence[str]) -> list[str]:
    """Full names whose last part is this one, or else is like it."""
    last = [name.rpartition(".")[2] for name in names]
    near = [leaf] if leaf in last else get_close_matches(leaf, set(last), n=2, cutoff=0.75)
    return [name for name, end in zip(names, last, strict=True) if end in near][:3]


def no_value(fault: Any, line: str | None) -> UsageError:
    """`trainer.max_epochs=three`: what kind of value is expected there."""
    from omegaconf import DictConfig, ListConfig

    key, node = str(fault.full_key), fault.parent_node
    found = f"{line or key} is not valid"
    if isinstance(node, ListConfig):
        return UsageError(found, f"expected a list, each {kind(node._metadata.element_type)}")
    child = node._get_node(fault.key) if isinstance(node, DictConfig) and fault.key in node else None
    if child is None:
        return UsageError(found, (fault.msg or "").split("\n")[0])
    ref = child._metadata.ref_type
    optional = " or null" if child._metadata.optional else ""
    names = list(getattr(ref, "__members__", ()))
    if names:
        near = get_close_matches((line or "").partition("=")[2], names, n=2)
        do = f"did you mean {' or '.join(near)}?" if near else ""
        return UsageError(found, f"expected one of {', '.join(names)}{optional}", do)
    now = child._value()
    shown = isinstance(now, bool | int | float | str) and not str(now).startswith(("${", "???"))
    do = f"e.g. {key}={str(now).lower() if isinstance(now, bool) else now}" if shown else ""
    return UsageError(found, f"expected {kind(ref)}{optional}", do)


def kind(ref: Any) -> str:
    """A type in words."""
    if get_origin(ref) in (Union, UnionType):
        return " or ".join(kind(part) for part in get_args(ref) if part is not NoneType)
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        list: "a list, e.g. [1,2]",
    }
    return words.get(get_origin(ref) or ref, "a group of keys")


def no_verb(word: str) -> UsageError:
    """`forecast trian`, `forecast model=informer`, `forecast --epochs 3`."""
    expected = f"expected a verb: {', '.join(VERBS)}"
    if "=" in word and not word.startswith("-"):
        return UsageError(f"{word} stands before the verb", expected, f"e.g. forecast train {word}")
    if word.startswith("-"):
        return UsageError(f"{word} is not a flag of forecast", expected, "flags here are --help, --version")
    close = get_close_matches(word, VERBS, n=1)
    return UsageError(
        f"{word} is not a verb", expected, f"did you mean {close[0]}?" if close else "see forecast --help"
    )
