"""Product-quantisation codes: decoding and scoring against loops."""

import pytest
import torch
from tests.eagleray_kernels.sampling import random

import eagleray_kernels as kernels


def random_codes(rows, parts, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, parts), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 16, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_decoding_is_a_lookup(size, dtype, implementation):
    codes, codebook = random_codes(50, 7, 1), random(7, 256, size, seed=2, dtype=dtype)
    found = kernels.pq_decode(codes, codebook)
    wanted = [
        torch.cat([codebook[part, int(code)] for part, code in enumerate(row)]) for row in codes
    ]
    assert found.dtype == dtype
    assert torch.equal(found, torch.stack(wanted))
    place = torch.zeros(60, 7 * size, dtype=dtype)
    kernels.pq_decode(codes, codebook, out=place[5:55])
    assert torch.equal(place[5:55], found) and not place[:5].any() and not place[55:].any()


@pytest.mark.parametrize("size", [4, 8])
def test_what_no_cache_holds_is_decoded_alike(size, implementation):
    codes, codebook = (
        random_codes(9000, 64 * 8 // size, 12),
        random(64 * 8 // size, 256, size, seed=13),
    )
    found = kernels.pq_decode(codes, codebook)
    parts = [codebook[part][codes[:, part].long()] for part in range(codes.shape[1])]
    assert found.nbytes >= 16 << 20
    assert torch.equal(found, torch.cat(parts, dim=1))
    place = torch.zeros(found.numel() + 1)[1:].view_as(found)  # not aligned to 16 bytes
    assert torch.equal(kernels.pq_decode(codes, codebook, out=place), found)


@pytest.mark.parametrize("texts", [1, 2, 5, 8, 19, 102])
@pytest.mark.parametrize("parts", [1, 6, 64])
def test_scores_are_the_products_of_decoded_vectors_and_texts(texts, parts, implementation):
    codes, codebook = random_codes(40, parts, 3), random(parts, 256, 3, seed=4)
    vectors = random(texts, parts, 3, seed=5)
    tables = torch.einsum("tmd,mkd->tmk", vectors, codebook)
    found = kernels.pq_scores(codes, tables)
    wanted = kernels.pq_decode(codes, codebook) @ vectors.reshape(texts, -1).T
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    one = kernels.pq_scores(codes, tables[-1])
    assert one.shape == (40,)
    torch.testing.assert_close(one, found[:, -1], rtol=1e-5, atol=1e-5)


def test_scores_in_double_precision(implementation):
    codes, table = random_codes(9, 5, 6), random(5, 256, seed=7, dtype=torch.float64)
    wanted = torch.stack([table[torch.arange(5), row.long()].sum() for row in codes])
    torch.testing.assert_close(kernels.pq_scores(codes, table), wanted)


def test_codes_that_are_not_contiguous_and_none(implementation):
    codes, codebook = random_codes(9, 5, 8), random(5, 256, 4, seed=9)
    turned = codes.T.contiguous().T
    assert torch.equal(kernels.pq_decode(turned, codebook), kernels.pq_decode(codes, codebook))
    table = random(5, 256, seed=10)
    assert torch.equal(kernels.pq_scores(turned, table), kernels.pq_scores(codes, table))
    assert kernels.pq_decode(codes[:0], codebook).shape == (0, 20)
    assert kernels.pq_scores(codes[:0], table).shape == (0,)


def test_arguments_that_do_not_fit_are_refused():
    codes, codebook, table = random_codes(3, 4, 11), torch.zeros(4, 256, 2), torch.zeros(4, 256)

    def refused(match, function, *arguments):
        with pytest.raises(kernels.KernelInputError, match=match):
            function(*arguments)

    refused("codes must be uint8", kernels.pq_decode, codes.long(), codebook)
    refused("codes must have shape", kernels.pq_decode, codes[0], codebook)
    refused("codes must be uint8 of 1 or more", kernels.pq_scores, codes[:, :0], table[:0])
    refused(r"codebook must have shape \(4, 256, d\)", kernels.pq_decode, codes, codebook[:, :9])
    refused("codebook must be of a floating type", kernels.pq_decode, codes, codebook.int())
    wide = torch.zeros(3, 9)
    refused(r"out must have shape \(3, 8\)", kernels.pq_decode, codes, codebook, wide)
    refused("out must be contiguous", kernels.pq_decode, codes, codebook, wide[:, :8])
    refused("out must be contiguous", kernels.pq_decode, codes, codebook, wide[:, 1:].long())
    refused(r"table must have shape \(4, 256\)", kernels.pq_scores, codes, table[:3])
    refused(r"table must have shape \(T, 4, 256\)", kernels.pq_scores, codes, codebook)
    refused("table must be float32 or float64", kernels.pq_scores, codes, table.half())
