"""What real exporters wrote for unusual nets: almost every byte of their constants comes from the masters."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.constants import Kind

GOOD = Path(__file__).resolve().parents[1] / "golden" / "bundles" / "good"
SPIKES = sorted(path.stem.removeprefix("spike-") for path in GOOD.glob("spike-*.slim"))


def test_all_spikes_are_there() -> None:
    assert SPIKES == ["int8-mobilenet", "int8-unet", "int8-vit", "odd-layers", "two-inputs", "unet", "vit-block"]


@pytest.mark.parametrize("spike", SPIKES)
def test_constants_come_from_the_masters(spike: str) -> None:
    with SlimBundle.open(GOOD / f"spike-{spike}.slim") as bundle:
        bundle.check("files")
        for variant in bundle.manifest.variants:
            for artifact in variant.artifacts:
                there = artifact.explained_bytes + artifact.literal_bytes
                assert artifact.explained_bytes >= 0.99 * there, f"{variant.id}/{artifact.net}"


@pytest.mark.parametrize(
    ("spike", "variant", "kinds"),
    [
        ("int8-mobilenet", "executorch-int8-32", {Kind.INTEGERS, Kind.WEIGHT_SCALE, Kind.BIAS_INTEGERS}),
        ("int8-mobilenet", "coreml-w8-32", {Kind.INTEGERS, Kind.WEIGHT_SCALE, Kind.BIAS}),
        ("int8-unet", "litert-int8-16", {Kind.DEQUANTISED_WEIGHT, Kind.DEQUANTISED_BIAS}),
        ("vit-block", "litert-fp32-16", {Kind.WEIGHT, Kind.BIAS, Kind.VECTOR}),
        ("unet", "coreml-fp16-16", {Kind.WEIGHT, Kind.BIAS, Kind.VECTOR}),
    ],
)
def test_what_stands_in_a_runtimes_file(spike: str, variant: str, kinds: set[Kind]) -> None:
    with SlimBundle.open(GOOD / f"spike-{spike}.slim") as bundle:
        one = bundle.manifest.variant(variant)
        assert one is not None
        for artifact in one.artifacts:
            assert kinds <= {segment.kind for segment in bundle.recipe(one, artifact)}


def test_a_vector_of_channels_is_a_net_like_any_other() -> None:
    with SlimBundle.open(GOOD / "spike-unet.slim") as bundle:
        assert [(net.id, net.widths) for net in bundle.manifest.nets] == [
            ("0500", (500,)),
            ("1000", (1000,)),
            ("wide-skip", ()),
        ]


def test_one_net_at_two_inputs_shares_its_constants() -> None:
    with SlimBundle.open(GOOD / "spike-two-inputs.slim") as bundle:
        assert [info.id for info in bundle.manifest.inputs] == ["24x40", "32"]
        assert len(bundle.manifest.nets) == 2
        assert bundle.parts()["weights"] < bundle.manifest.variants[0].artifacts[1].total_bytes
