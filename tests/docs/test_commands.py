"""Every command in README, CONTRIBUTING and docs works, in the order in which a reader would type it.

The commands run on a small net: SMALLER says what is exchanged so that a document takes a minute instead of a day.
Nothing else is changed, and a command of a kind not listed here fails the test.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
from command_line import run

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKING = [*DOCUMENTS, ROOT / "profiling" / "README.md", *sorted((ROOT / "edgeslim").rglob("*.md"))]
NOT_FOLLOWED = {"reference.md", "results.md"}  # generated; and what was run to make the figures in it

SMALLER = [
    (r"--data imagenet --data-root \S+", "--data folder:images"),
    (r"--init torchvision:mobilenet_v2", "--init torchvision_mobilenet_v2.pt"),  # random weights in that layout
    (r"^edgeslim train (.*)", r"edgeslim train \1 --input-size 32"),
    (r"-m edgeslim train (.*)", r"-m edgeslim train \1 --input-size 32"),
    (r"--epochs \d+", "--epochs 1"),
    (r"--batch-size \d+", "--batch-size 8"),
    (r"--nproc-per-node \d+", "--nproc-per-node 2"),
    (r"--widths 0\.35:1\.0:0\.\d+", "--widths 0.35,1.0"),
    (r"--widths 0\.35,0\.5,0\.75,1\.0", "--widths 0.35,0.5,1.0"),
    (r"--target (all|coreml|executorch)\b", "--target litert"),
    (r"-224(-u8)?/", r"-32\1/"),  # in the ids of artifacts
    (r"--device ssh://\S+ ", ""),
    (r"^(edgeslim bench .*-o \S+)", r"\1 --seconds 0.3 --runs 20 --retries 0 --cool-wait 1"),
    (r"^edgeslim run (.*)", r"edgeslim run \1 --frames 20"),
    (r"^edgeslim simulate (.*)", r"edgeslim simulate \1 --minutes 1"),
]


def commands(document: Path) -> list[str]:
    """The lines of the document's bash blocks, comments and continuations resolved."""
    blocks = re.findall(r"^```bash\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"\s+#.*$", "", line).strip() for line in lines) if line and line[0] != "#"]


def smaller(command: str) -> str:
    for pattern, instead in SMALLER:
        command = re.sub(pattern, instead, command)
    return command


FOLLOWED = [document for document in DOCUMENTS if document.name not in NOT_FOLLOWED and commands(document)]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(path, marks=[] if path.name in ("README.md", "CONTRIBUTING.md") else [pytest.mark.slow])
        for path in FOLLOWED
    ],
    ids=lambda path: path.name,
)
def test_the_commands_work(document: Path, world: Path, tmp_path: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    folder = tmp_path / "reader"
    shutil.copytree(world, folder)
    made: set[str] = set()
    for command in commands(document):
        words = shlex.split(command)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
        elif words[:2] == ["pip", "install"]:
            wanted = re.findall(r"edgeslim\[([\w,-]+)\]", command)
            assert wanted, command
            assert set(wanted[0].split(",")) <= set(extras), command
        elif words[0] in ("edgeslim", "torchrun"):
            outs = set(re.findall(r"(?:-o|--out) (\S+)", command))
            if words[1] == "pack" and not outs:
                outs = {Path(words[2]).with_suffix(".slim").name}
            for out in outs - made:
                (folder / out).unlink(missing_ok=True)  # stood in for what the reader makes only now
                made.add(out)
            run(smaller(command), folder)
        else:
            pytest.fail(f"{document.name}: no rule says how to check {command!r}")


def test_links_lead_somewhere() -> None:
    broken = []
    for document in LINKING:
        prose = re.sub(r"`[^`\n]*`", "`code`", document.read_text(encoding="utf-8"))
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
            if not (document.parent / link).exists():
                broken.append(f"{document.relative_to(ROOT)}: {link}")
    assert not broken
