"""Sessions and thread pools that survive forks and pickling, and a memory budget shared by threads."""

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Condition, Lock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

WORTH_RETURNING_BYTES = 60_000_000
"""Freed bytes above which it is worth the time to return them to the system."""

T = TypeVar("T")
R = TypeVar("R")


class PerProcess(Generic[T]):
    """A value with threads of its own, which survives neither a fork nor pickling.

    It is created on first use, and again in every process that gets it through a fork or a pickle.

    Args:
        make: Creates the value; it and `arguments` must be picklable.
        arguments: The arguments of `make`.
    """

    def __init__(self, make: Callable[..., T], *arguments: object) -> None:
        self._make, self._arguments = make, arguments
        self._value: T | None = None
        self._lock = Lock()
        _living.add(self)

    def __call__(self) -> T:
        """The value of this process."""
        with self._lock:
            if self._value is None:
                self._value = self._make(*self._arguments)
            return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return PerProcess, (self._make, *self._arguments)

    def abandon(self) -> None:
        """In a forked child, drop the parent's value without destroying it, which would wait for its threads."""
        if self._value is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._value))
        self._value, self._lock = None, Lock()


_living: WeakSet[PerProcess[Any]] = WeakSet()


def _after_fork() -> None:
    for value in list(_living):
        value.abandon()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_after_fork)


class Session:
    """An ONNX Runtime session on the CPU.

    Args:
        model: The ONNX file's bytes.
        threads: CPU threads; 0 for all cores.

    Raises:
        Exception: One of ONNX Runtime's own, if the bytes are not an ONNX model.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        self._session = PerProcess(_open_session, model, threads)
        self._session()

    @property
    def metadata(self) -> dict[str, str]:
        """The model file's metadata."""
        return dict(self._session().get_modelmeta().custom_metadata_map)

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """The shapes of inputs and outputs by name; None for a dynamic dimension."""
        session = self._session()
        ports = [*session.get_inputs(), *session.get_outputs()]
        return {port.name: tuple(each if isinstance(each, int) else None for each in port.shape) for port in ports}

    def run(self, outputs: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
        """Run the model on inputs by name and return the named outputs, or all."""
        return list(self._session().run(outputs, inputs))


class Pool:
    """A thread pool that survives forks and pickling.

    Args:
        threads: Number of threads.
    """

    def __init__(self, threads: int) -> None:
        self._pool = PerProcess(ThreadPoolExecutor, threads)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """The function's results, in the order of the items."""
        return self._pool().map(function, items)


class MemoryBudget:
    """A memory budget for tasks that are numbered from 0 and released in that order.

    The task that is due next always gets what it needs, which avoids deadlocks; all others wait until they fit.

    Args:
        size: Bytes.
    """

    def __init__(self, size: int) -> None:
        self._free, self._held = size, dict[int, int]()
        self._due, self._closed = 0, False
        self._changed = Condition()

    def take(self, number: int, size: int) -> None:
        """Wait until this many bytes are available to a task, including those that it holds already.

        Raises:
            RuntimeError: The budget was closed.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: size <= self._free + self._held.get(number, 0) or number == self._due or self._closed
            )
            if self._closed:
                raise RuntimeError("the memory budget was closed")
            self._hold(number, size)

    def keep(self, number: int, size: int) -> None:
        """Reduce the bytes that a task holds to this many."""
        if self._held.get(number, 0) - size > WORTH_RETURNING_BYTES:
            return_freed_memory()
        with self._changed:
            self._hold(number, size)

    def release(self) -> None:
        """Free the bytes of the task that was due."""
        with self._changed:
            self._hold(self._due, 0)
            del self._held[self._due]
            self._due += 1

    def close(self) -> None:
        """Stop; waiting tasks get an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _hold(self, number: int, size: int) -> None:
        self._free += self._held.pop(number, 0) - size
        self._held[number] = size
        self._changed.notify_all()


def return_freed_memory() -> None:
    """Return freed memory to the system; glibc keeps it per thread, which adds up."""
    with suppress(AttributeError, OSError, TypeError):  # other C libraries lack this function
        ctypes.CDLL(None).malloc_trim(0)


def _open_session(model: bytes, threads: int) -> Any:
    # ONNX Runtime sends telemetry over the network unless this is set before the import; the telemetry thread also
    # keeps forked processes from exiting.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Idle threads would otherwise spin, and take the cores from decoding and detection that run in parallel.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: its warnings concern the export
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
