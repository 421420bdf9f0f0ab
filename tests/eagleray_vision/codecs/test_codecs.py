"""Codecs: bytes, errors, states that are found again, and codes that another fit refuses."""

import json
from dataclasses import replace

import pytest
import torch

from eagleray.task import SettingsError
from eagleray_kernels import pq_scores
from eagleray_vision.codecs import (
    Codec,
    CodecError,
    Codes,
    codec_of_json,
    fit_codec,
    measure_codec,
    parse_codec,
    transcode,
)

NAMES = ("fp32", "fp16", "uint8", "pca8", "pca8u8", "pq7", "opq7", "pq8", "ipq7")
CHANNELS = 24


def features(count: int, seed: int, *, signed: bool = False) -> torch.Tensor:
    """Non-negative features of ten directions, as a rectifier gives them."""
    directions = torch.randn(10, CHANNELS, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, 10, generator=generator) @ directions
    mixed += 0.1 * torch.randn(count, CHANNELS, generator=generator)
    return mixed if signed else mixed.relu()


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    return {name: fit_codec(name, features(1500, 0)) for name in NAMES}


@pytest.mark.parametrize(
    ("name", "num_bytes", "cosine"),
    [
        *(("fp32", 96, 1.0), ("fp16", 48, 0.999999), ("uint8", 26, 0.9999)),
        *(
            ("pca8", 16, 0.9),
            ("pca8u8", 8, 0.9),
            ("pq7", 7, 0.85),
            ("opq7", 7, 0.85),
            ("pq8", 8, 0.85),
            ("ipq7", 7, 0.85),
        ),
    ],
)
def test_bytes_and_cosine_on_unseen_vectors(codecs, name, num_bytes, cosine):
    codec = codecs[name]
    report = measure_codec(codec, features(400, 1), torch.randn(5, CHANNELS))
    assert report.bytes_per_vector == num_bytes == codec.encode(features(3, 2)).values.shape[1]
    assert report.bytes_per_image == (4 * CHANNELS if name == "ipq7" else 0)
    assert report.share_of_fp32 == (400 * num_bytes + report.bytes_per_image) / (400 * 96)
    assert report.mean_cosine >= cosine and report.cosine_p5 <= report.mean_cosine + 1e-6
    assert 0 <= report.relative_mse < 0.5 and 0.5 < report.agreement <= 1.0


def test_numbers_of_a_report_by_hand(codecs):
    vectors = features(200, 4)
    codec = codecs["pca8"]
    decoded = codec.decode(codec.encode(vectors))
    cosines = [float(a @ b / a.norm() / b.norm()) for a, b in zip(vectors, decoded, strict=True)]
    report = measure_codec(codec, vectors)
    assert report.mean_cosine == pytest.approx(sum(cosines) / 200, abs=1e-5)
    assert report.cosine_p5 == pytest.approx(torch.tensor(cosines).quantile(0.05).item(), abs=1e-5)
    spread = sum(float((v - vectors.mean(0)).square().sum()) for v in vectors)
    error = sum(float((a - b).square().sum()) for a, b in zip(vectors, decoded, strict=True))
    assert report.relative_mse == pytest.approx(error / spread, rel=1e-5)
    assert report.agreement is None


def test_rotation_helps_where_channels_are_correlated(codecs):
    sample, unseen = (features(1500, k, signed=True) for k in (0, 1))
    plain, rotated = (measure_codec(fit_codec(n, sample), unseen) for n in ("pq7", "opq7"))
    assert rotated.relative_mse < 0.3 * plain.relative_mse
    rectified = [measure_codec(codecs[n], features(400, 1)).relative_mse for n in ("pq7", "opq7")]
    assert rectified[1] < 1.05 * rectified[0]  # these lie along their own axes already


@pytest.mark.parametrize("name", NAMES)
def test_fits_are_the_same_and_are_found_again(codecs, name):
    codec = codecs[name]
    again = fit_codec(name, features(1500, 0))
    assert again.fingerprint == codec.fingerprint
    stored = json.loads(json.dumps(codec.to_json()))
    read = codec_of_json(stored)
    codes = codec.encode(features(20, 3))
    assert torch.equal(read.decode(codes), codec.decode(codes))
    assert codec.to("cpu").fingerprint == codec.fingerprint
    if codec.state:
        stored["fingerprint"] = "0" * 16
        with pytest.raises(CodecError, match="damaged"):
            codec_of_json(stored)


def test_codes_of_another_fit_are_refused(codecs):
    other = fit_codec("pq7", features(1500, 5))
    codes = other.encode(features(5, 3))
    with pytest.raises(CodecError, match=f"{other.fingerprint}, this codec is pq7"):
        codecs["pq7"].decode(codes)
    short = Codes(codes.values[:, :3], codes.fingerprint)
    with pytest.raises(CodecError, match=r"\(n, 7\) bytes, found \(5, 3\)"):
        other.decode(short)


def test_transcoding_needs_no_network(codecs):
    vectors = features(50, 6)
    half = codecs["fp16"].encode(vectors)
    codes = transcode(half, codecs["fp16"], codecs["pq7"])
    direct = codecs["pq7"].encode(vectors.half().float())
    assert torch.equal(codes.values, direct.values) and codes.fingerprint == direct.fingerprint


def test_signed_features_have_an_offset():
    sample = features(500, 0, signed=True)
    codec = fit_codec("uint8", sample)
    assert codec.bytes_per_vector == CHANNELS + 4
    report = measure_codec(codec, features(100, 1, signed=True))
    assert report.mean_cosine > 0.9999
    with pytest.raises(CodecError, match="never negative"):
        fit_codec("uint8", sample.relu()).encode(sample)


def test_edge_vectors(codecs):
    for name in NAMES:
        codec = codecs[name]
        assert codec.decode(codec.encode(torch.empty(0, CHANNELS))).shape == (0, CHANNELS)
        zeros = codec.decode(codec.encode(torch.zeros(2, CHANNELS)))
        assert torch.isfinite(zeros).all()
        with pytest.raises(CodecError, match="NaN"):
            codec.encode(torch.full((1, CHANNELS), torch.nan))
        with pytest.raises(CodecError, match="24 channels"):
            codec.encode(torch.zeros(1, 3))
    assert measure_codec(codecs["fp16"], torch.zeros(3, CHANNELS)).mean_cosine == 1.0
    with pytest.raises(CodecError, match="65504"):
        codecs["fp16"].encode(torch.full((1, CHANNELS), 1e5))


@pytest.mark.parametrize("count", [1, 3, 200, 256])
def test_samples_smaller_than_a_codebook(count):
    sample = features(count, 7)
    for name in ("pq6", "opq6", "pca4u8", "ipq6"):
        codec = fit_codec(name, sample)
        decoded = codec.decode(codec.encode(sample))
        assert torch.isfinite(decoded).all()
        if name == "pq6":  # every vector has a center of its own
            torch.testing.assert_close(decoded, sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["fp8", "pq", "pq0", "uint8u8", "pq8u8", "fp1612", "pca", " pq8"])
def test_names_that_do_not_exist(name):
    with pytest.raises(SettingsError, match="allowed are fp32"):
        parse_codec(name)


def test_more_parts_than_channels():
    with pytest.raises(SettingsError, match="pq25 asks for 25 of 24"):
        fit_codec("pq25", features(10, 0))


def test_bytes_of_the_published_sizes():
    sizes = {n: parse_codec(n).bytes_per_vector(512) for n in ("fp32", "fp16", "uint8", "pca128")}
    assert sizes == {"fp32": 2048, "fp16": 1024, "uint8": 514, "pca128": 256}
    more = {n: parse_codec(n).bytes_per_vector(512) for n in ("pca128u8", "pq64", "opq32")}
    assert more == {"pca128u8": 128, "pq64": 64, "opq32": 32}
    assert all(parse_codec(n).name == n for n in (*sizes, *more))


def of_photographs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of photographs that differ in mean and spread, and the photograph of each."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.arange(count) // 100
    means, spreads = (2 * torch.rand(count // 100, CHANNELS, generator=generator) for _ in "ab")
    return (features(count, seed) * spreads[images] + means[images]), images


def test_means_and_spreads_of_photographs_help_with_unseen_ones():
    sample, images = of_photographs(3000, 0)
    unseen, others = of_photographs(500, 1)
    own = fit_codec("ipq7", sample, images=images)
    assert own.fingerprint == fit_codec("ipq7", sample, images=images).fingerprint
    ours = measure_codec(own, unseen, images=others)
    theirs = measure_codec(fit_codec("pq7", sample), unseen)
    assert ours.relative_mse < 0.8 * theirs.relative_mse
    codes = own.encode(unseen, others)
    assert codes.moments.shape == (5, 2, CHANNELS)
    torch.testing.assert_close(
        codes.moments[3, 0].float(), unseen[300:400].mean(0), rtol=2e-3, atol=0
    )
    decoded = own.decode(codes)
    assert bool((decoded >= 0).all())
    # Photographs in any order, and one whose vectors do not follow each other.
    order = torch.randperm(500, generator=torch.Generator().manual_seed(2))
    turned = own.decode(own.encode(unseen[order], others[order]))
    torch.testing.assert_close(turned, decoded[order])


def test_a_photographs_table_scores_what_is_decoded():
    sample, images = of_photographs(600, 3)
    codec, text = fit_codec("ipq7", sample, images=images), torch.randn(CHANNELS)
    codes = codec.encode(sample, images)
    tables = codec.score_tables(codes.moments, text)
    scores = torch.cat([pq_scores(codes.values[images == k], tables[k]) for k in range(6)])
    torch.testing.assert_close(scores, codec.decode(codes) @ text, rtol=1e-4, atol=1e-4)


def test_codes_of_photographs_say_what_they_lack():
    sample, images = of_photographs(300, 4)
    codec = fit_codec("ipq7", sample, images=images)
    codes = codec.encode(sample, images)
    with pytest.raises(CodecError, match="mean and spread of each photograph"):
        codec.decode(Codes(codes.values, codes.fingerprint))
    with pytest.raises(CodecError, match=r"of 3 photographs need .*found \(2, 2, 24\)"):
        codec.decode(replace(codes, moments=codes.moments[:2]))
    with pytest.raises(CodecError, match="300 vectors are as many numbers"):
        codec.encode(sample, images[:5])
    with pytest.raises(CodecError, match="never negative"):
        codec.encode(-sample, images)
    again = transcode(codec.encode(sample, images), codec, fit_codec("ipq6", sample, images=images))
    assert again.moments is not None and torch.equal(again.images, images)
    signed = fit_codec("ipq7", sample - 3.0, images=images)
    assert bool((signed.decode(signed.encode(sample - 3.0, images)) < 0).any())
