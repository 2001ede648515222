"""Pickles read as data: a small machine over the opcodes, as pickletools tells them, that calls nothing they name.

A pickle is a program, and loading one runs it. Here only what makes numbers, text, lists, tuples and dicts is
carried out, by this file itself; of the things a pickle may name, those that NumPy writes for its numbers and arrays
are known and decoded from their bytes. Any other name or opcode is a DataError, and nothing of it is imported. Strings
of Python 2 are read as Latin-1. Bounds on the size and on the objects made keep memory in proportion to the file.
"""

import codecs
import io
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from forecast.errors import DataError

T = TypeVar("T")

BYTES: Final = 256 << 20  # of a file
OBJECTS: Final = 20_000_000  # lists, dicts and tuples, those that are dropped again too
_MODULES: Final = ("numpy", "numpy.core", "numpy._core", "numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC: Final = ("numpy.core.numeric", "numpy._core.numeric")
_KNOWN: Final = {
    **{(module, "scalar"): "scalar" for module in _MODULES},
    **{(module, "_reconstruct"): "array" for module in _MODULES},
    **{(module, "_frombuffer"): "buffer" for module in _NUMERIC},
    ("numpy", "dtype"): "dtype",
    ("numpy", "ndarray"): "ndarray",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "no bytes",  # as older protocols write b""
}
_CODES: Final = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_VALUES: Final = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)


class _Name:
    """Something that a pickle names and this file knows; never the thing itself."""

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what


class _Dtype:
    """A kind of numbers, and the order of its bytes."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    def numbers(self, raw: bytes | str) -> list[Any]:
        """The numbers that bytes are; ValueError where they do not fit."""
        data = raw.encode("latin-1") if isinstance(raw, str) else raw
        found: list[Any] = np.frombuffer(data, dtype=self.order + self.code).tolist()
        return found


class Numbers:
    """An array: its numbers, flat."""

    __slots__ = ("numbers",)

    def __init__(self, numbers: list[Any]) -> None:
        self.numbers = numbers


def unpickle(path: Path) -> Any:
    """What a pickle holds, made of dict, list, tuple, str, bytes, int, float, bool, None and `Numbers`.

    DataError for a file that is too large, cut short, damaged, or that names anything but numbers of NumPy. Values may
    share parts and be their own parts: go down a known number of levels only.
    """
    size = path.stat().st_size
    if size > BYTES:
        raise _bad(path, f"has {size:,} bytes", f"expected up to {BYTES:,}", "convert its parts one by one")
    machine = _Machine(path)
    try:
        for name, argument in _opcodes(io.BytesIO(path.read_bytes())):
            machine.step(name, argument)
        (value,) = machine.stack
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, EOFError) as fault:
        text = [] if isinstance(fault, KeyError) else str(fault).strip().splitlines()
        raise _bad(path, f"is no whole pickle: {text[0][:80] if text else type(fault).__name__}") from fault
    return value


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Names of opcodes and their arguments; ValueError where the bytes are none, or end before STOP."""
    known = {opcode.code: opcode for opcode in pickletools.opcodes}
    while True:
        opcode = known.get(stream.read(1).decode("latin-1"))
        if opcode is None:
            raise ValueError("it is cut short, or no pickle at all")
        if opcode.name == "STRING":  # of Python 2: pickletools reads it as ASCII only
            yield opcode.name, codecs.escape_decode(stream.readline().strip()[1:-1])[0].decode("latin-1")
        else:
            yield opcode.name, opcode.arg.reader(stream) if opcode.arg else None
        if opcode.name == "STOP":
            return


def _bad(path: Path, found: str, expected: str = "", do: str = "get the file again") -> DataError:
    return DataError(f"{path.name} {found}", expected or "expected lists of events", do)


class _Machine:
    """The stack, the marks in it and the memo of a pickle; one method for each opcode that is carried out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.made = 0
        self.steps: dict[str, Callable[[Any], None]] = {
            name.removeprefix("op_").upper(): getattr(self, name) for name in dir(self) if name.startswith("op_")
        }
        self.steps |= dict.fromkeys(_VALUES, self.stack.append) | dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing)
        self.steps |= {"BINPUT": self.op_put, "LONG_BINPUT": self.op_put}
        self.steps |= {"BINGET": self.op_get, "LONG_BINGET": self.op_get}

    def step(self, name: str, argument: Any) -> None:
        """Carry out an opcode; DataError for one that would make objects of other kinds."""
        step = self.steps.get(name)
        if step is None:
            raise _bad(self.path, f"is a pickle of objects ({name.lower()})", do="ask for the data as JSON or CSV")
        step(argument)

    def above(self) -> list[Any]:
        """What lies above the last mark, taken off the stack."""
        place = self.marks.pop()
        values = self.stack[place:]
        del self.stack[place:]
        return values

    def push(self, made: Any) -> None:
        """A new list, dict or tuple."""
        self.made += 1
        if self.made > OBJECTS:
            raise _bad(self.path, f"makes more than {OBJECTS:,} lists and dicts", do="convert its parts one by one")
        self.stack.append(made)

    def op_none(self, _: Any) -> None:
        self.stack.append(None)

    def op_newtrue(self, _: Any) -> None:
        self.stack.append(True)

    def op_newfalse(self, _: Any) -> None:
        self.stack.append(False)

    def op_mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def op_pop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def op_pop_mark(self, _: Any) -> None:
        self.above()

    def op_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def op_put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_get(self, number: int) -> None:
        self.stack.append(self.memo[number])

    def op_empty_list(self, _: Any) -> None:
        self.push([])

    def op_list(self, _: Any) -> None:
        self.push(self.above())

    def op_append(self, _: Any) -> None:
        value = self.stack.pop()
        _made(list, self.stack[-1]).append(value)

    def op_appends(self, _: Any) -> None:
        values = self.above()
        _made(list, self.stack[-1]).extend(values)

    def op_empty_dict(self, _: Any) -> None:
        self.push({})

    def op_dict(self, _: Any) -> None:
        values = self.above()
        self.push({})
        _fill(self.stack[-1], values)

    def op_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _fill(_made(dict, self.stack[-1]), [key, value])

    def op_setitems(self, _: Any) -> None:
        values = self.above()
        _fill(_made(dict, self.stack[-1]), values)

    def op_empty_tuple(self, _: Any) -> None:
        self.push(())

    def op_tuple(self, _: Any) -> None:
        self.push(tuple(self.above()))

    def op_tuple1(self, _: Any) -> None:
        self.push((self.stack.pop(),))

    def op_tuple2(self, _: Any) -> None:
        last, first = self.stack.pop(), self.stack.pop()
        self.push((first, last))

    def op_tuple3(self, _: Any) -> None:
        last, middle, first = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.push((first, middle, last))

    def op_global(self, named: str) -> None:
        module, _, name = named.partition(" ")
        self.named(module, name)

    def op_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.named(_made(str, module), _made(str, name))

    def named(self, module: str, name: str) -> None:
        """Something of NumPy that is known here; DataError that says what else the pickle would have imported."""
        what = _KNOWN.get((module, name))
        if what is None:
            told = "".join(c if c.isprintable() else "?" for c in f"{module}.{name}")[:80]
            raise _bad(self.path, f"is a pickle that names {told}", do="nothing of it was run; get the data elsewhere")
        self.stack.append(_Name(what))

    def op_reduce(self, _: Any) -> None:
        arguments, what = _made(tuple, self.stack.pop()), _made(_Name, self.stack.pop()).what
        if what == "scalar":
            kind, raw = arguments
            (number,) = _made(_Dtype, kind).numbers(raw)
            self.stack.append(number)
        elif what == "dtype":
            if arguments[0] not in _CODES:
                raise _bad(self.path, "holds numbers of a kind that is not known", "expected whole or real numbers")
            self.stack.append(_Dtype(arguments[0]))
        elif what == "encode":
            self.stack.append(_made(str, arguments[0]).encode("latin-1"))
        elif what == "no bytes" and not arguments:
            self.stack.append(b"")
        elif what == "array":
            self.push(Numbers([]))
        elif what == "buffer":
            self.push(Numbers(_made(_Dtype, arguments[1]).numbers(arguments[0])))
        else:
            raise TypeError(f"{what} is no function")

    def op_build(self, _: Any) -> None:
        state, made = _made(tuple, self.stack.pop()), self.stack[-1]
        if isinstance(made, _Dtype):
            made.order = {"|": "<", "=": "<"}.get(state[1], ">" if state[1] == ">" else "<")
        else:
            _made(Numbers, made).numbers[:] = _made(_Dtype, state[2]).numbers(state[4])


def _nothing(_: Any) -> None:
    """What tells the machine nothing."""


def _made(kind: type[T], value: Any) -> T:
    """A value of the kind that an opcode needs; TypeError where a damaged pickle has another one there."""
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__.strip('_').lower()} expected, {type(value).__name__.strip('_').lower()} found")
    return value


def _fill(made: dict[Any, Any], values: list[Any]) -> None:
    """Keys and values by turns; keys are text or whole numbers, since hashing a deep tuple can end the process."""
    for key, value in zip(values[::2], values[1::2], strict=True):
        if type(key) not in (str, int, bytes):
            raise TypeError(f"a key is {type(key).__name__}")
        made[key] = value
