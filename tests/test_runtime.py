"""Recognizers in forked, spawned and threaded programs, and the memory that threads share."""

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import mftn
from mftn.image_cache import CachedImage
from mftn.recognize import Recognizer
from mftn.runtime import MemoryBudget, PerProcess
from mftn.types import Image, Prediction

KINDS = [("onnxruntime", "yunet"), ("openvino", "yunet"), ("onnxruntime", "mtcnn"), ("openvino", "none")]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def in_a_fork(function: Callable[[], Any], seconds: int = 60) -> Any:
    """What a function returns in a forked child, or None where the child does not end in time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writing, "wb") as file:
                pickle.dump(function(), file)
        finally:
            os._exit(0)
    os.close(writing)
    killer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
    killer.start()
    with os.fdopen(reading, "rb") as file:
        content = file.read()
    os.waitpid(child, 0)
    killer.cancel()
    return pickle.loads(content) if content else None


def faces(prediction: Prediction) -> list[dict[str, Any]]:
    return prediction.to_dict()["faces"]


@needs_fork
@pytest.mark.parametrize(("engine", "detector"), KINDS)
def test_a_forked_child_goes_on_with_its_parents_recognizer(
    photos: Path, astronaut: Image, engine: Any, detector: str
) -> None:
    recognizer = mftn.load(engine=engine, detector=detector, threads=2)
    expected = faces(recognizer.predict(astronaut))

    def child() -> Any:
        stream = [faces(prediction) for prediction in recognizer.stream([photos / "astronaut.jpg"] * 3)]
        return faces(recognizer.predict(astronaut)), stream, in_a_fork(lambda: faces(recognizer.predict(astronaut)))

    alone, stream, grandchild = in_a_fork(child)
    assert expected and alone == expected and stream == [expected] * 3 and grandchild == expected
    assert faces(recognizer.predict(astronaut)) == expected, "the parent's own still works"


@needs_fork
def test_a_fork_amid_another_threads_work(astronaut: Image) -> None:
    recognizer = mftn.load(engine="onnxruntime", threads=2)
    expected, stop = faces(recognizer.predict(astronaut)), threading.Event()

    def work() -> None:
        while not stop.is_set():
            recognizer.predict(astronaut)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(4):
            assert in_a_fork(lambda: faces(recognizer.predict(astronaut)), 30) == expected
    finally:
        stop.set()
        thread.join()


@needs_fork
def test_a_fork_amid_another_threads_results() -> None:
    stop = threading.Event()

    def work() -> None:
        held: list[CachedImage] = []
        while not stop.is_set():
            held = [*held[-90:], CachedImage(b"image")]

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(10):
            assert in_a_fork(lambda: CachedImage(b"image").image(), 10) == b"image"
    finally:
        stop.set()
        thread.join()


@needs_fork
def test_predict_works_in_a_pool_of_forked_processes(photos: Path) -> None:
    paths = [photos / "astronaut.jpg", photos / "grace_hopper.jpg"] * 2
    expected = [faces(mftn.predict(path)) for path in paths]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(mftn.predict, paths).get(timeout=60)
    assert [faces(prediction) for prediction in found] == expected


@needs_fork
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_forked_child_ends(engine: str) -> None:
    """As gunicorn's workers end, by `sys.exit`, whether or not they used the recognizer."""
    program = f"""
import os, sys, numpy, mftn
recognizer = mftn.load(engine={engine!r}, threads=2)
image = numpy.zeros((64, 64, 3), numpy.uint8)
recognizer.predict(image)
children = []
for used in (False, True):
    child = os.fork()
    if not child:
        used and recognizer.predict(image)
        sys.exit(7)
    children.append(child)
print(*[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["7", "7"], done.stderr


@pytest.mark.parametrize(("engine", "detector"), KINDS)
def test_recognizers_can_be_pickled_and_copied(astronaut: Image, engine: Any, detector: str) -> None:
    recognizer = mftn.load(engine=engine, detector=detector, threads=2)
    expected = faces(recognizer.predict(astronaut))
    for other in (pickle.loads(pickle.dumps(recognizer)), copy.deepcopy(recognizer)):
        assert isinstance(other, Recognizer) and repr(other) == repr(recognizer)
        assert faces(other.predict(astronaut)) == expected


def test_a_spawned_process_takes_a_recognizer(photos: Path) -> None:
    recognizers = [mftn.load(engine="onnxruntime", threads=1), mftn.load(engine="openvino", threads=1)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(recognizer.predict, photos / "astronaut.jpg") for recognizer in recognizers]
        for recognizer, future in zip(recognizers, running, strict=True):
            assert faces(future.result(timeout=60)) == faces(recognizer.predict(photos / "astronaut.jpg"))


def test_many_threads_share_one_value() -> None:
    made = []

    def make(name: str) -> object:
        time.sleep(0.05)
        made.append(name)
        return object()

    value = PerProcess(make, "x")
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: value(), range(8)))) == 1
    assert made == ["x"]


def starts(budget: MemoryBudget, number: int, size: int) -> threading.Thread:
    thread = threading.Thread(target=budget.take, args=(number, size), daemon=True)
    thread.start()
    thread.join(0.05)
    return thread


def test_work_waits_for_memory_except_what_is_due() -> None:
    budget = MemoryBudget(100)
    assert not starts(budget, 0, 1000).is_alive(), "what is due gets more than there is"
    second, third = starts(budget, 1, 60), starts(budget, 2, 60)
    assert second.is_alive() and third.is_alive()
    budget.keep(0, 40)
    time.sleep(0.05)
    assert second.is_alive() != third.is_alive(), "60 are left: enough for one"
    budget.release()
    second.join(1)
    assert not second.is_alive(), "it is due now, or has been let in before"
    budget.release()
    third.join(1)
    assert not third.is_alive()
    assert not starts(budget, 3, 40).is_alive(), "of 100 number 2 holds 60"
    assert starts(budget, 4, 1).is_alive()
    budget.release()
    budget.release()
    assert not starts(budget, 5, 99).is_alive(), "number 4 holds 1"


def test_work_of_no_size_is_let_in_and_a_closed_budget_lets_go() -> None:
    budget = MemoryBudget(10)
    budget.take(0, 10)
    budget.take(1, 0)
    failed = []

    def waits() -> None:
        try:
            budget.take(2, 1)
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=waits)
    thread.start()
    budget.close()
    thread.join(5)
    assert not thread.is_alive() and len(failed) == 1
