// Vectors stored as product-quantisation codes: decoding, and products with texts by table. A row of
// codes has one byte per part of the vector.
#pragma once

#include <ATen/ops/empty.h>

#if defined(__SSE2__) && !defined(__CUDACC__)
#define EAGLERAY_STREAMS
#include <ATen/Parallel.h>
#include <emmintrin.h>
#endif

#include "lanes.h"

namespace eagleray {

constexpr int64_t kCodeEntries = 256;  // entries per part, all values of a byte

// Copies the pieces of entries, whatever type they are of: all of a row, or on CUDA one of them.
template <class Piece>
struct PqDecode {
  const uint8_t* codes;  // (N, M)
  const Piece* entries;  // (M, 256, pieces of an entry)
  int64_t parts, pieces;
  Piece* decoded;  // (N, M, pieces)

  EAGLERAY_HD void operator()(int64_t /*image*/, int64_t row, int64_t lane) const {
    const int64_t part = lane / pieces;
    const int64_t entry = part * kCodeEntries + codes[row * parts + part];
    decoded[row * parts * pieces + lane] = entries[entry * pieces + lane - part * pieces];
  }

  EAGLERAY_HD void operator()(int64_t row) const {
    // Copies: a compiler must assume that writing bytes may change the members.
    const int64_t num_parts = parts, num_pieces = pieces;
    const uint8_t* code = codes + row * num_parts;
    const Piece* entry = entries;
    Piece* target = decoded + row * num_parts * num_pieces;
    for (int64_t part = 0; part < num_parts; ++part, entry += kCodeEntries * num_pieces) {
      const Piece* source = entry + code[part] * num_pieces;
      for (int64_t piece = 0; piece < num_pieces; ++piece) *target++ = source[piece];
    }
  }
};

// Bytes of any alignment that a CPU copies at once.
template <int kCount>
struct Bytes {
  uint8_t bytes[kCount];
};

#ifdef EAGLERAY_STREAMS
// Of so much no cache keeps the beginning until the end is written. Written past the caches, it need
// not be fetched before, which is half of the traffic.
constexpr int64_t kStreamBytes = 16 << 20;

template <int kPieces>
void pq_decode_streamed(const at::Tensor& codes_of_all, const at::Tensor& codebook,
                        const at::Tensor& decoded) {
  const int64_t parts = codes_of_all.size(1);
  const uint8_t* codes = codes_of_all.const_data_ptr<uint8_t>();
  const auto* entries = static_cast<const __m128i*>(codebook.const_data_ptr());
  auto* all_decoded = static_cast<__m128i*>(decoded.data_ptr());
  at::parallel_for(0, codes_of_all.size(0), /*grain_size=*/256, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const uint8_t* code = codes + row * parts;
      const __m128i* entry = entries;
      __m128i* target = all_decoded + row * parts * kPieces;
      for (int64_t part = 0; part < parts; ++part, entry += kCodeEntries * kPieces) {
        const __m128i* source = entry + code[part] * kPieces;
        EAGLERAY_UNROLL
        for (int piece = 0; piece < kPieces; ++piece) {
          _mm_stream_si128(target++, _mm_loadu_si128(source + piece));
        }
      }
    }
    _mm_sfence();  // before another thread is told that these rows are there
  });
}

// Decodes past the caches where that is worth it; returns whether it did.
inline bool try_streaming(const at::Tensor& codes, const at::Tensor& codebook,
                          const at::Tensor& decoded) {
  constexpr int64_t kPiece = sizeof(__m128i);
  if (static_cast<int64_t>(decoded.nbytes()) < kStreamBytes ||
      reinterpret_cast<uintptr_t>(decoded.data_ptr()) % kPiece != 0) {
    return false;
  }
  const int64_t size = codebook.size(2) * codebook.element_size();
  if (size == kPiece) return pq_decode_streamed<1>(codes, codebook, decoded), true;
  if (size == 2 * kPiece) return pq_decode_streamed<2>(codes, codebook, decoded), true;
  if (size == 4 * kPiece) return pq_decode_streamed<4>(codes, codebook, decoded), true;
  return false;
}
#endif

template <typename scalar_t, int kTexts>
struct PqScores {
  const uint8_t* codes;
  const scalar_t* tables;  // (M, 256, texts)
  int64_t parts, texts, first_text;
  scalar_t* scores;  // (N, texts)

  EAGLERAY_HD void operator()(int64_t lane, int64_t row) const {
    using Sums = Row<scalar_t, kTexts>;
    const int64_t text = first_text + lane * kTexts;
    const uint8_t* code = codes + row * parts;
    const scalar_t* table = tables + text;
    const int64_t step = kCodeEntries * texts;
    // Several sums, so that an addition need not wait for the one before it.
    constexpr int kChains = 4;
    Sums sums[kChains];
    EAGLERAY_UNROLL
    for (int chain = 0; chain < kChains; ++chain) sums[chain] = Sums::zeros();
    int64_t part = 0;
    for (; part + kChains <= parts; part += kChains) {
      EAGLERAY_UNROLL
      for (int chain = 0; chain < kChains; ++chain) {
        sums[chain].add(Sums::load(table + chain * step + code[part + chain] * texts));
      }
      table += kChains * step;
    }
    for (; part < parts; ++part, table += step) {
      sums[0].add(Sums::load(table + code[part] * texts));
    }
    EAGLERAY_UNROLL
    for (int chain = 1; chain < kChains; ++chain) sums[0].add(sums[chain]);
    sums[0].store(scores + row * texts + text);
  }
};

inline void check_codes(const at::Tensor& codes, const at::Tensor& entries) {
  TORCH_CHECK(codes.dim() == 2 && codes.scalar_type() == at::kByte, "codes must be (N, M) uint8");
  TORCH_CHECK(entries.dim() == 3 && entries.size(0) == codes.size(1) &&
                  entries.size(1) == kCodeEntries,
              "a codebook or table must have shape (M, 256, n)");
}

template <class Piece, class Launch>
void pq_decode_pieces(const Launch& launch, const at::Tensor& codes, const at::Tensor& codebook,
                      const at::Tensor& decoded) {
  const int64_t parts = codes.size(1);
  const int64_t pieces = codebook.size(2) * codebook.element_size() / sizeof(Piece);
  const PqDecode<Piece> decode{codes.const_data_ptr<uint8_t>(),
                               static_cast<const Piece*>(codebook.const_data_ptr()), parts, pieces,
                               static_cast<Piece*>(decoded.data_ptr())};
#ifdef __CUDACC__
  launch.for_each_cell(1, 1, codes.size(0), parts * pieces, 1, decode);
#else
  launch.for_each(codes.size(0), parts * pieces, decode);
#endif
}

// Writes to `decoded`, whose rows follow each other.
template <class Launch>
void pq_decode_into(const at::Tensor& codes_in, const at::Tensor& codebook_in,
                    const at::Tensor& decoded) {
  check_codes(codes_in, codebook_in);
  TORCH_CHECK(decoded.is_contiguous() && decoded.scalar_type() == codebook_in.scalar_type() &&
                  decoded.dim() == 2 && decoded.size(0) == codes_in.size(0) &&
                  decoded.size(1) == codes_in.size(1) * codebook_in.size(2),
              "decoded must be contiguous (N, M d) of the codebook's type");
  const Launch launch(codes_in);
  const at::Tensor codes = codes_in.contiguous(), codebook = codebook_in.contiguous();
  // On a CPU as much of an entry as possible; on CUDA a thread per number, of which each is aligned.
#ifdef __CUDACC__
  const int64_t divisor = codebook.element_size();
  if (divisor == 8) pq_decode_pieces<uint64_t>(launch, codes, codebook, decoded);
  if (divisor == 4) pq_decode_pieces<uint32_t>(launch, codes, codebook, decoded);
  if (divisor == 2) pq_decode_pieces<uint16_t>(launch, codes, codebook, decoded);
  if (divisor == 1) pq_decode_pieces<uint8_t>(launch, codes, codebook, decoded);
#else
#ifdef EAGLERAY_STREAMS
  if (try_streaming(codes, codebook, decoded)) return;
#endif
  const int64_t size = codebook.size(2) * codebook.element_size();
  const int64_t divisor = size & -size;
  if (divisor >= 64) pq_decode_pieces<Bytes<64>>(launch, codes, codebook, decoded);
  if (divisor == 32) pq_decode_pieces<Bytes<32>>(launch, codes, codebook, decoded);
  if (divisor == 16) pq_decode_pieces<Bytes<16>>(launch, codes, codebook, decoded);
  if (divisor == 8) pq_decode_pieces<Bytes<8>>(launch, codes, codebook, decoded);
  if (divisor == 4) pq_decode_pieces<Bytes<4>>(launch, codes, codebook, decoded);
  if (divisor == 2) pq_decode_pieces<Bytes<2>>(launch, codes, codebook, decoded);
  if (divisor == 1) pq_decode_pieces<Bytes<1>>(launch, codes, codebook, decoded);
#endif
}

template <class Launch>
at::Tensor pq_decode(const at::Tensor& codes, const at::Tensor& codebook) {
  check_codes(codes, codebook);
  const at::Tensor decoded =
      at::empty({codes.size(0), codes.size(1) * codebook.size(2)}, codebook.options());
  pq_decode_into<Launch>(codes, codebook, decoded);
  return decoded;
}

// Scores of the texts from `first` on that are whole multiples of kTexts; returns the first left.
template <int kTexts, typename scalar_t, class Launch>
int64_t pq_scores_of(const Launch& launch, const at::Tensor& codes, const at::Tensor& tables,
                     int64_t first, const at::Tensor& scores) {
  const int64_t texts = tables.size(2), lanes = (texts - first) / kTexts;
  // All vectors before the next texts: so much of the tables stays in cache.
  launch.for_each_pair(lanes, codes.size(0),
                       PqScores<scalar_t, kTexts>{
                           codes.const_data_ptr<uint8_t>(), tables.const_data_ptr<scalar_t>(),
                           codes.size(1), texts, first, scores.data_ptr<scalar_t>()});
  return first + lanes * kTexts;
}

template <class Launch, typename scalar_t>
at::Tensor pq_scores(const at::Tensor& tables_in, const at::Tensor& codes_in) {
  check_codes(codes_in, tables_in);
  const Launch launch(codes_in);
  const at::Tensor codes = codes_in.contiguous(), tables = tables_in.contiguous();
  at::Tensor scores = at::empty({codes.size(0), tables.size(2)}, tables.options());
  int64_t first = 0;
#ifndef __CUDACC__
  first = pq_scores_of<8, scalar_t>(launch, codes, tables, first, scores);
#endif
  pq_scores_of<1, scalar_t>(launch, codes, tables, first, scores);
  return scores;
}

}  // namespace eagleray
