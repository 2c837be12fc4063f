"""A long time in the life of two sessions that share a cache, as fast as the machine can.

    python profiling/soak.py                                       an hour of frames at 30 fps, pretended runtime
    python profiling/soak.py --bundle us_mbv2.slim --target litert --frames 20000

Two processes run frames with random heat, battery, load and limits, and open a new session now and then. Meanwhile this
one removes the cache folder, removes and damages files in it, and kills the second process at random moments. Every
output of every frame is compared with what the same artifact's file, rebuilt outside any cache, answers.

    no wrong output      no frame without an answer
    no growth            of memory (RSS of the first process, after it has warmed up, within 5 %), descriptors, threads
    no file left behind  nothing unfinished in the cache, nothing in the temporary folder

With the pretended runtime (tests/runtime/pretend.py) time is simulated, an answer depends on every byte of the file,
and files are also damaged in place under the running session. A real runtime maps its file, so there files are damaged
by replacing them: what is mapped stays as it is, and the damage waits for the next load.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import record
from numpy.typing import NDArray

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.signals import Signals
from edgeslim.errors import EdgeslimError
from edgeslim.host.sampling import example_inputs
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.own_folder import NAME
from edgeslim.runtime.session import SlimSession

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "runtime"))
from pretend import PretendTarget, SimulatedClock, pretend_bundle, table_of

HOUR_FRAMES = 30 * 3600
SESSION_FRAMES = 1_500
SETTLE_EVERY = 50  # frames after which the loader may catch up: simulated frames leave it no time
FRAME_US = 33_333
PRETEND = "pretend"
SAMPLES = 200  # of memory, over the whole run


@dataclass(slots=True, kw_only=True)
class Report:
    """What one process found; ``rss_kb`` in order."""

    frames: int = 0
    wrong: int = 0
    errors: list[str] = field(default_factory=list)
    sessions: int = 0
    switches: int = 0
    artifacts: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    """Artifacts given up for another reason than a fault made on purpose."""
    rss_kb: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)


# One of the two processes


def live(bundle: Path, target: str, cache: Path, frames: int, seed: int) -> Report:
    """Run ``frames`` frames in as many sessions as it takes."""
    rng = random.Random(seed)
    report = Report()
    with SlimBundle.open(bundle) as opened:
        deployment = Deployment.of(opened, target)
        assert deployment.inputs is not None
        (image,) = example_inputs(deployment.inputs).values()
        answers = right_answers(deployment, target, image)
        while report.frames < frames:
            _one_session(
                opened, target, cache, image, answers, min(SESSION_FRAMES, frames - report.frames), rng, report
            )
            report.sessions += 1
            every = max(frames // SAMPLES, 1)
            if report.frames // every >= len(report.rss_kb):
                _measure_self(report)
    return report


def _one_session(
    bundle: SlimBundle,
    target: str,
    cache: Path,
    image: NDArray[Any],
    answers: dict[str, NDArray[np.float32]],
    frames: int,
    rng: random.Random,
    report: Report,
) -> None:
    runtime: str | PretendTarget = target
    clock: SimulatedClock | None = None
    options: dict[str, Any] = {}
    if target == PRETEND:
        clock = SimulatedClock()
        faults = {int(rng.choice(list(answers)).partition("/")[2]): "raise"} if rng.random() < 0.2 else {}
        runtime = PretendTarget(clock=clock, load_faults=faults)
        options = {"table": table_of(bundle.path), "clock_us": clock}
    heat = Signals()
    with SlimSession(
        bundle,
        runtime,
        cache_dir=cache,
        budget_ms=40,
        readings=lambda: heat,
        threads=1,
        max_loaded=rng.choice([1, 2, 2, 3]),
        **options,
    ) as session:
        for frame in range(frames):
            if frame % 100 == 0:
                heat = random_signals(rng)
            if frame % 500 == 0:
                session.limit(widest=rng.choice([None, *answers]))
            if clock is not None and isinstance(runtime, PretendTarget):
                runtime.slowdown = rng.choice([1.0, 1.0, 1.0, 1.3, 2.5])
                clock.advance(FRAME_US)
                if frame % SETTLE_EVERY == 0:
                    _let_the_loader_catch_up(session)
            try:
                result = session.run(image)
            except EdgeslimError as error:
                report.errors.append(f"{type(error).__name__}: {error}")
                report.frames += frames - frame
                return
            report.frames += 1
            report.wrong += not np.array_equal(result.output, answers[result.artifact])
            if report.wrong and len(report.errors) < 20:
                report.errors.append(f"wrong output at frame {report.frames}, {result.artifact}")
        report.switches += session.counts.switches
        for artifact, count in session.counts.frames_at.items():
            report.artifacts[artifact] = report.artifacts.get(artifact, 0) + count
        for event in session.events:
            report.events[event.kind] = report.events.get(event.kind, 0) + 1
            if event.kind == "lost" and "told to fail" not in event.message:
                report.lost.append(f"{event.label}: {event.message}")


def _let_the_loader_catch_up(session: SlimSession) -> None:
    end = time.monotonic() + 5
    with session._gate.opened():
        while not session._pool.idle() and time.monotonic() < end:
            time.sleep(0.0002)


def random_signals(rng: random.Random) -> Signals:
    return Signals(
        status=rng.choice([-1, 0, 0, 0, 1, 2, 3, 4]),
        headroom_milli=rng.choice([-1, -1, rng.randrange(1300)]),
        forecast_milli=rng.choice([-1, -1, rng.randrange(1300)]),
        battery_permille=rng.choice([-1, rng.randrange(1001)]),
        charging=rng.random() < 0.2,
        low_power=rng.random() < 0.1,
    )


def right_answers(deployment: Deployment, target: str, image: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """What every artifact answers to ``image``, from files rebuilt outside any cache."""
    runtime = PretendTarget() if target == PRETEND else targets.get(target)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for artifact, plan in deployment.plans.items():
            out = Path(folder) / artifact.replace("/", "-") / plan.name
            out.parent.mkdir()
            deployment.build(artifact, out)
            runner = runtime.load(out, threads=1)
            (found[artifact],) = runner.run({"image": image}).values()
            runner.close()
    return found


def _measure_self(report: Report) -> None:
    status = Path("/proc/self/status").read_text()
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    report.rss_kb.append(int(rows["VmRSS"].split()[0]))
    report.threads.append(int(rows["Threads"]))
    report.descriptors.append(len(os.listdir("/proc/self/fd")))


# The process that makes trouble


@dataclass(slots=True, kw_only=True)
class Trouble:
    """Removes and damages; counts what it did."""

    cache: Path
    rng: random.Random
    in_place: bool
    counts: dict[str, int] = field(default_factory=dict)

    def make(self) -> None:
        kinds = [
            self.remove_all,
            self.remove_one,
            self.damage_one,
            self.damage_one,
            self.replace_one,
            self.truncate_one,
        ]
        kind = self.rng.choice(kinds)
        with contextlib.suppress(OSError, IndexError, ValueError):  # it is gone, or became empty, meanwhile
            kind()
            self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1

    def _files(self) -> list[Path]:
        """Those that are not empty: one that is just being written or was cut off offers nothing to damage."""
        return [
            path for path in (self.cache / NAME / "artifacts").rglob("*") if path.is_file() and path.stat().st_size > 0
        ]

    def remove_all(self) -> None:
        if self.rng.random() < 0.3:
            shutil.rmtree(self.cache)

    def remove_one(self) -> None:
        shutil.rmtree(self.rng.choice(self._files()).parent)

    def damage_one(self) -> None:
        if not self.in_place:
            return self.replace_one()
        file = self.rng.choice(self._files())
        file.chmod(0o644)
        with file.open("r+b") as stream:
            stream.seek(self.rng.randrange(os.fstat(stream.fileno()).st_size))
            stream.write(self.rng.randbytes(3))
        return None

    def truncate_one(self) -> None:
        if self.in_place:
            file = self.rng.choice(self._files())
            file.chmod(0o644)
            os.truncate(file, self.rng.randrange(file.stat().st_size))

    def replace_one(self) -> None:
        """A damaged copy in its place: who has the old one mapped keeps it."""
        file = self.rng.choice(self._files())
        data = bytearray(file.read_bytes())
        data[self.rng.randrange(len(data))] ^= 0xFF
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as stream:
            stream.write(data)
        try:
            os.replace(stream.name, file)
        except OSError:
            os.unlink(stream.name)
            raise


def soak(
    folder: Path, *, frames: int = HOUR_FRAMES, bundle: Path | None = None, target: str = PRETEND, seed: int = 0
) -> dict[str, Any]:
    """The whole thing in ``folder``; the document that is printed."""
    bundle = bundle or pretend_bundle(folder / "pretend.slim", channels=128)
    cache, temporary = folder / "cache", folder / "tmp"
    temporary.mkdir()
    rng = random.Random(seed)
    trouble = Trouble(cache=cache, rng=rng, in_place=target == PRETEND)
    started = time.monotonic()
    kills = 0
    steady = _spawn(bundle, target, cache, temporary, frames, seed + 1)
    killed = _spawn(bundle, target, cache, temporary, frames, seed + 2)
    next_kill = time.monotonic() + rng.uniform(0.5, 2)
    while steady.poll() is None:
        time.sleep(rng.uniform(0.005, 0.05))
        trouble.make()
        if time.monotonic() > next_kill or killed.poll() is not None:
            killed.send_signal(signal.SIGKILL)
            _, words = killed.communicate()
            if killed.returncode not in (-signal.SIGKILL, 0):
                raise SystemExit(f"the second process died by itself ({killed.returncode}):\n{words.decode()}")
            kills += 1
            killed = _spawn(bundle, target, cache, temporary, frames, rng.randrange(1 << 30))
            next_kill = time.monotonic() + rng.uniform(0.5, 2)
    killed.terminate()
    killed.communicate()
    out, words = steady.communicate()
    if steady.returncode != 0:
        raise SystemExit(f"the first process died ({steady.returncode}):\n{words.decode()}")
    last = json.loads(_run_last(bundle, target, cache, temporary, seed))  # sweeps what the killed ones left
    return {
        "seconds": round(time.monotonic() - started, 1),
        "kills": kills,
        "trouble": trouble.counts,
        "left_behind": left_behind(cache, temporary),
        **verdict(json.loads(out), last),
    }


def _spawn(bundle: Path, target: str, cache: Path, temporary: Path, frames: int, seed: int) -> subprocess.Popen[bytes]:
    arguments = ["--live", str(cache), "--bundle", str(bundle), "--target", target]
    command = [sys.executable, __file__, *arguments, "--frames", str(frames), "--seed", str(seed)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def _run_last(bundle: Path, target: str, cache: Path, temporary: Path, seed: int) -> bytes:
    """A little more life without trouble, from an empty list of artifacts."""
    shutil.rmtree(cache / NAME / "artifacts", ignore_errors=True)
    process = _spawn(bundle, target, cache, temporary, 2_000 if target == PRETEND else 200, seed + 3)
    out, words = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"the last process died ({process.returncode}):\n{words.decode()}")
    return out


def left_behind(cache: Path, temporary: Path) -> list[str]:
    """What nobody needs any more. The folder of a killed process's own rebuilds outside the cache does not count."""
    unfinished = [path for path in cache.rglob("*") if path.name.startswith(".") or path.parent.name == "loading"]
    foreign = ("tmp", "torchinductor_")  # PyTorch, which ExecuTorch's binding imports, makes its own folder
    own = [path for path in temporary.iterdir() if not path.name.startswith(foreign)]
    spare = [path for path in own if not path.name.startswith("edgeslim-")]
    return [str(path) for path in (*unfinished, *spare)]


def verdict(report: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """The first process's figures, and whether they are good."""
    rss = report.pop("rss_kb")
    tenth = max(len(rss) // 10, 1)
    early, late = statistics.median(rss[tenth : 2 * tenth] or rss), statistics.median(rss[-tenth:])
    descriptors, threads = report.pop("descriptors"), report.pop("threads")
    return {
        **report,
        "wrong": report["wrong"] + last["wrong"],
        "rss_mb": {
            "early": round(early / 1024, 1),
            "late": round(late / 1024, 1),
            "growth": round(late / early - 1, 4),
        },
        "descriptors": {"early": descriptors[0], "late": descriptors[-1]},
        "threads": {"early": threads[0], "late": threads[-1]},
    }


def faults(document: dict[str, Any]) -> Iterator[str]:
    """What should not be."""
    if document["wrong"]:
        yield f"{document['wrong']} wrong outputs"
    if document["rss_mb"]["growth"] > 0.05:
        yield f"memory grew by {document['rss_mb']['growth']:.1%}"
    for name in ("descriptors", "threads"):
        if document[name]["late"] > document[name]["early"] + 2:
            yield f"{name} grew from {document[name]['early']} to {document[name]['late']}"
    if document["left_behind"]:
        yield f"left behind: {document['left_behind']}"
    if document["errors"]:
        yield f"frames without an answer: {document['errors'][:3]}"


def figures(document: dict[str, Any], target: str) -> list[record.Figure]:
    made = sum(document["trouble"].values())
    none = record.Promise(comparison="==", number=0, text="none")
    return [
        record.Figure(
            aim=f"wrong outputs, frames without an answer, files left behind ({target})",
            promised=none,
            measured=tuple(
                float(count) for count in (document["wrong"], len(document["errors"]), len(document["left_behind"]))
            ),
            unit="",
            of=("wrong", "unanswered", "left behind"),
            notes=(f"{document['frames']:,} frames, {document['kills']} kills, {made:,} faults made in the cache.",),
        ),
        record.Figure(
            aim=f"growth of memory ({target})",
            promised=record.Promise(comparison="<=", number=5, text="within 5 %"),
            measured=(round(100 * document["rss_mb"]["growth"], 2),),
            unit="%",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--target", default=PRETEND)
    parser.add_argument("--frames", type=int, default=HOUR_FRAMES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--live", type=Path, help=argparse.SUPPRESS)
    record.add_option(parser)
    arguments = parser.parse_args()
    passport = record.begin("ai-edge-litert", "executorch")
    if arguments.live is not None:
        report = live(arguments.bundle, arguments.target, arguments.live, arguments.frames, arguments.seed)
        print(json.dumps({name: getattr(report, name) for name in Report.__slots__}))
        return
    with tempfile.TemporaryDirectory() as folder:
        document = soak(
            Path(folder),
            frames=arguments.frames,
            bundle=arguments.bundle,
            target=arguments.target,
            seed=arguments.seed,
        )
    wrongs = list(faults(document))
    print(json.dumps({**document, "faults": wrongs}, indent=1))
    if arguments.record:
        record.write(f"soak-{arguments.target}", figures(document, arguments.target), passport)
    sys.exit(4 if wrongs else 0)


if __name__ == "__main__":
    main()
