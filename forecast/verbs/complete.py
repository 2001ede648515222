"""forecast completion bash|zsh|fish: what makes the Tab key complete verbs, groups, keys, values and runs.

The shell asks `forecast completion answer WORD …` at each Tab, so nothing heavy is imported: choices are the files of
conf/, keys and their kinds are read from those files and from the text of schemas/.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from forecast.errors import UsageError, nearest
from forecast.verbs import data
from forecast.verbs import help as pages
from forecast.where import CONF, DATASETS, PACKAGE, RUNS

UI: Final = tuple(flag.split()[0] for flag, _ in pages.UI_FLAGS)
FILES: Final = ":files"  # a line of the answer that asks the shell for names of files
HELP: Final = """\
forecast completion bash|zsh|fish     print a script that lets the Tab key complete words of forecast

For this shell, or as a line of ~/.bashrc or ~/.zshrc (there after compinit):
  eval "$(forecast completion bash)"
  eval "$(forecast completion zsh)"
  forecast completion fish > ~/.config/fish/completions/forecast.fish

It completes the command `forecast`, not `python -m forecast`."""

BASH: Final = r"""# forecast: completion for bash. eval "$(forecast completion bash)"
_forecast() {
    local IFS=$'\n' words=() n=0 i word line cut="" char files=""
    # bash takes `model=inf` for three words: put together what stands together.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((n > 0)) && [[ $word == [=:]* || ${words[n - 1]} == *[=:] ]] &&
            [[ -z $COMP_LINE || $COMP_LINE == *"${words[n - 1]}$word"* ]]; then
            words[n - 1]+=$word
        else
            words[n]=$word
            n=$((n + 1))
        fi
    done
    ((n > 0)) && word=${words[n - 1]} || word=""
    # A reply replaces what follows the last of these characters.
    for char in = :; do
        if [[ $COMP_WORDBREAKS == *$char* && $word == *$char* ]]; then
            line=${word%"${word##*$char}"}
            ((${#line} > ${#cut})) && cut=$line
        fi
    done
    COMPREPLY=()
    for line in $("${COMP_WORDS[0]/#\~\//$HOME/}" completion answer "${words[@]}" 2>/dev/null); do
        [[ $line == :files ]] && files=1 || COMPREPLY+=("${line#"$cut"}")
    done
    if [[ -n $files ]]; then
        [[ $word == *=* ]] && char=${word%%=*}= || char=""
        word=${word#"$char"}
        for line in $(compgen -f -- "${word/#\~\//$HOME/}"); do
            line=$char$line
            COMPREPLY+=("${line#"$cut"}")
        done
        compopt -o filenames 2>/dev/null
    fi
    [[ ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _forecast forecast"""

ZSH: Final = r"""#compdef forecast
# forecast: completion for zsh. eval "$(forecast completion zsh)"
_forecast() {
    local -a found open
    found=("${(@f)$("${(Q)words[1]/#\~\//$HOME/}" completion answer "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" \
        2>/dev/null)}")
    open=("${(@M)found:#*[=.]}")
    [[ -n $open ]] && compadd -S '' -- "${open[@]}"
    open=("${(@)found:#(*[=.]|:files|)}")
    [[ -n $open ]] && compadd -- "${open[@]}"
    if (( ${found[(Ie):files]} )); then
        compset -P '*='
        _files
    fi
}
[[ $zsh_eval_context[-1] == loadautofunc ]] && _forecast "$@" || compdef _forecast forecast"""

FISH: Final = r"""# forecast: completion for fish. forecast completion fish > ~/.config/fish/completions/forecast.fish
function __forecast_answer
    set -l line (commandline -opc)
    set -l word (commandline -ct)
    for found in ($line[1] completion answer $line[2..-1] "$word" 2>/dev/null)
        if test "$found" = :files
            set -l key (string match -r '^[^=]*=' -- "$word")
            for path in (__fish_complete_path (string replace -r '^[^=]*=' '' -- "$word"))
                echo "$key$path"
            end
        else
            echo $found
        end
    end
end
complete -c forecast -f -a '(__forecast_answer)'"""

SCRIPTS: Final = {"bash": BASH, "zsh": ZSH, "fish": FISH}
OF_DATA: Final = {
    "gaps": ("all",),
    "kind": ("series", "events", "labelled"),
    "twice": ("keep", "drop"),
}  # of `forecast data`
OF_FILES: Final = ("input", "output", "runs", "data.path", "data.test", "data.card", "data.holidays")  # keys
OF_FLAG: Final = {**pages.ALLOWED, "--config-dir": (FILES,)}


def main(argv: Sequence[str]) -> int:
    """Print the script of a shell, or what may stand in place of the last word of a line."""
    if argv and argv[0] == "answer":
        print("\n".join(answer(argv[1:])))
        return 0
    if not argv or {"-h", "--help"} & set(argv):
        print(HELP)
        return 0
    if len(argv) > 1 or argv[0] not in SCRIPTS:
        word = argv[-1]
        raise UsageError(f"there is no `forecast completion {' '.join(argv)}`", nearest(word, SCRIPTS), "see --help")
    print(SCRIPTS[argv[0]])
    return 0


def answer(words: Sequence[str]) -> list[str]:
    """Whole words that may stand in place of the last of `words`, the line after the name of the program.

    One that ends in `=` or `.` goes on; FILES among them asks for names of files.
    """
    *before, word = words or [""]
    found: Iterable[str] = ()
    if not before:
        found = (*pages.VERBS, "help", "--help", "--version")
    elif before[0] in pages.CONFIGURED:
        found = _configured(before[0], before[1:], word)
    elif before[0] == "tune":
        found = (*_configured("train", before[1:], word), *(() if "=" in word else ("trials=", "prune=")))
    elif before[0] == "data":
        found = _data(before[1:], word)
    elif before[0] == "ui":
        found = (FILES,) if before[-1] in ("--store", "--runs", "--jobs") else (*UI, "--help")
    elif len(before) == 1:
        found = {"help": pages.VERBS, "completion": SCRIPTS}.get(before[0], ())
    return [each for each in found if each == FILES or each.startswith(word)]


def _data(before: Sequence[str], word: str) -> Iterable[str]:
    """For `forecast data`: its words, data sets and files, options."""
    if not before:
        return (*data.WORDS, "--help")
    key, joined, _ = word.partition("=")
    if joined:
        if key in OF_DATA:
            return (f"{key}={value}" for value in OF_DATA[key])
        return (FILES,) if key in ("save", "holidays", "to", "test") else ()
    sets = sorted(card.parent.name for card in DATASETS.glob("*/card.yaml"))
    options = {"list": (), "fetch": ("to",), "convert": ("to", "name", "unit")}.get(before[0])
    if options is None:
        options = tuple(dict.fromkeys(("kind", *data.OPTIONS, *data.OF_EVENTS, *data.OF_LABELLED)))
    shown = () if before[0] == "convert" else sets
    return () if before[0] == "list" else (*shown, *(f"{key}=" for key in options), FILES)


def _configured(verb: str, before: Sequence[str], word: str) -> Iterable[str]:
    """For the verbs that take KEY=VALUE: flags, keys, values."""
    last = pages.VALUED.get(before[-1]) if before else None
    if last:
        return OF_FLAG.get(last, pages.defaults(verb))
    key, joined, value = word.partition("=")
    if word.startswith("-"):
        return [f"{key}={each}" for each in OF_FLAG.get(key, ())] if joined else pages.LONG
    if not joined:
        return _keys(verb, before, key)
    said = dict(part.partition("=")[::2] for part in before)
    if key in ("run", "resume") and "/" not in value:
        return (f"{key}={each}" for each in ("latest", *_runs(said.get("runs") or RUNS)))
    if key == "compare" and "/" not in value:
        return (f"{key}={each}" for each in ("latest", "all", *_runs(said.get("runs") or RUNS, "sweep")))
    if key in (*OF_FILES, "run", "resume", "compare"):
        return (FILES,)
    begun = value[: value.rfind(",") + 1]  # of a sweep: model=informer,linear
    return (f"{key}={begun}{each}" for each in _values(verb, before, key) if each not in begun.split(","))


def _keys(verb: str, before: Sequence[str], word: str) -> Iterable[str]:
    """Groups and keys; those of a group once its name and a dot are written."""
    groups = chosen(verb, before)
    group, dot, _ = word.partition(".")
    if dot:
        choice = groups.get(group)
        if group not in groups:  # a part of the verb's own file
            return (f"{group}.{key}=" for key in schemas().classes.get(_schema(verb).get(group, ""), ()))
        return [f"{group}.{key}=" for key in keys(group, choice)] if choice and group != "experiment" else ()
    inner = [f"{group}." for group, choice in groups.items() if choice and group != "experiment"]
    own = {key: kind for key, kind in _schema(verb).items() if key not in groups}
    parts = (f"{key}.{leaf}=" for key, kind in own.items() for leaf in schemas().classes.get(kind, ()))
    return [*(f"{group}=" for group in groups), *inner, *(f"{key}=" for key in own), *parts]


def _values(verb: str, before: Sequence[str], key: str) -> list[str]:
    """What a key may be, where that is a short list: choices of a group, of an enum, true and false."""
    groups = chosen(verb, before)
    if key in groups:
        return pages.choices(key)
    group, dot, leaf = key.partition(".")
    if dot:
        choice = groups.get(group)
        part = schemas().classes.get(_schema(verb).get(group, ""), {})
        kind, default = keys(group, choice).get(leaf, Key()) if choice else Key(part.get(leaf, ""))
    else:
        kind, default = Key(_schema(verb).get(key, ""))
        kind = schemas().classes.get(kind, {}).get("kind", kind)  # engine=ray is engine.kind=ray
    parts = kind.split(" | ")
    found = [value for part in parts for value in schemas().enums.get(part, ())]
    found += ["true", "false"] if "bool" in parts or isinstance(default, bool) else []
    return [*found, "null"] if found and "None" in parts else found


class Key(NamedTuple):
    """What is known of a key without composing: its annotation in schemas/, its value in a file of conf/."""

    kind: str = ""
    default: Any = None


def chosen(verb: str, before: Sequence[str]) -> dict[str, str | None]:
    """Group → choice as the words of the line make it: what they say, else what an experiment or a model chooses."""
    made = pages.defaults(verb)
    said = {key: value for key, joined, value in (word.partition("=") for word in before) if joined and key in made}
    made |= said
    for group in ("experiment", "model"):
        if made.get(group):
            made |= {**_overrides(f"{group}/{made[group]}"), **said}
    return made


def keys(group: str, choice: str) -> dict[str, Key]:
    """The keys of a choice: those of its file, of the files it is built on, and of its schema."""
    found: dict[str, Key] = {}
    content = _read(f"{group}/{choice}")
    for base in (entry for entry in content.get("defaults", ()) if isinstance(entry, str)):
        if base.startswith("schema_"):
            found |= {key: Key(kind) for key, kind in _schema(base).items()}
        elif base != "_self_":
            found |= keys(group, base)
    if group == "trainer":  # the one group whose schema is named by that of the verb
        found |= {key: Key(kind, found.get(key, Key()).default) for key, kind in _schema("trainer").items()}
    for key, value in content.items():
        if not key.startswith("_") and key != "defaults":
            found[key] = Key(found.get(key, Key()).kind, value)
    return {key: each for key, each in found.items() if not key.startswith("_")}


def _overrides(path: str) -> dict[str, str]:
    """Group → choice of the lines `override /GROUP: CHOICE` of a file and of those it is built on."""
    found: dict[str, str] = {}
    for entry in _read(path).get("defaults", ()):
        if isinstance(entry, dict):
            ((group, choice),) = entry.items()
            found[re.sub(r"^override /(\w+).*", r"\1", group)] = str(choice)
        elif entry != "_self_":
            found |= _overrides(f"{path.partition('/')[0]}/{entry}")
    return found


def _read(path: str) -> dict[str, Any]:
    """A file of conf/, empty where there is none (a schema, a word that is no choice)."""
    return pages.read(path) if (CONF / f"{path}.yaml").is_file() else {}


def _runs(folder: str, kind: str = "train") -> list[str]:
    """Names of the training runs (or sweeps) below a folder, the newest first."""
    place = Path(folder).expanduser() / kind
    return sorted((path.name for path in place.iterdir() if path.is_dir()), reverse=True) if place.is_dir() else []


class Schemas(NamedTuple):
    classes: dict[str, dict[str, str]]  # class → key → annotation
    enums: dict[str, list[str]]  # enum → its values


@cache
def schemas() -> Schemas:
    """The dataclasses and enums of schemas/, from their text: importing them takes thrice as long as all the rest."""
    made = Schemas({}, {})
    texts = (path.read_text(encoding="utf-8") for path in sorted((PACKAGE / "schemas").glob("*.py")))
    for node in (node for text in texts for node in ast.parse(text).body):
        if isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] == ["StrEnum"]:
            made.enums[node.name] = [ast.literal_eval(line.value) for line in node.body if isinstance(line, ast.Assign)]
        elif isinstance(node, ast.ClassDef):
            lines = (line for line in node.body if isinstance(line, ast.AnnAssign))
            made.classes[node.name] = {ast.unparse(line.target): ast.unparse(line.annotation) for line in lines}
        elif isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("StrEnum("):
            assert isinstance(node.value, ast.Call)  # StrEnum("Name", [values])
            made.enums[ast.unparse(node.targets[0])] = ast.literal_eval(node.value.args[1])
    return made


def _schema(name: str) -> dict[str, str]:
    """Key → annotation of the dataclass that a verb, or a line `schema_…` of a file, names: schema_series is Series."""
    return schemas().classes.get("".join(part.capitalize() for part in name.removeprefix("schema_").split("_")), {})
