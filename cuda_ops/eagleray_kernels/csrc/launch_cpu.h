// Runs an operator's arithmetic over the threads of the CPU.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>

namespace eagleray {

struct CpuLaunch {
  explicit CpuLaunch(const at::Tensor&) {}

  // f(i) for i in [0, count); `cost` is the work of one call in units of about one nanosecond.
  template <class F>
  void for_each(int64_t count, int64_t cost, const F& f) const {
    const int64_t grain = std::max<int64_t>(1, kGrainCost / std::max<int64_t>(1, cost));
    at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) f(i);
    });
  }

  // f(row, column) where calls of different rows and columns are independent. All rows of a block
  // of columns are done before the next block, so that what belongs to a column stays in cache.
  template <class F>
  void for_each_pair(int64_t rows, int64_t columns, const F& f) const {
    at::parallel_for(0, columns, kPairGrain, [&](int64_t begin, int64_t end) {
      pairs_of_block(0, rows, begin, end, f);
    });
  }

  // f(row, column) where calls of one row write to the same memory: one thread owns a row, which
  // makes the order of sums the same whatever the number of threads.
  template <class F>
  void for_each_owned_row(int64_t rows, int64_t columns, const F& f) const {
    at::parallel_for(0, rows, 1, [&](int64_t first_row, int64_t last_row) {
      pairs_of_block(first_row, last_row, 0, columns, f);
    });
  }

  // f(image, query, lane), all independent; `lanes` belong to each of `owners`. What an owner reads
  // stays in cache, as its queries follow each other. `cost` is that of one owner's lanes.
  template <class F>
  void for_each_cell(int64_t images, int64_t owners, int64_t queries, int64_t lanes, int64_t cost,
                     const F& f) const {
    const int64_t blocks = (queries + kQueryBlock - 1) / kQueryBlock;
    const int64_t grain = kGrainCost / (std::max<int64_t>(1, cost) * kQueryBlock) + 1;
    at::parallel_for(0, images * owners * blocks, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t owner = i / blocks, first = (i - owner * blocks) * kQueryBlock;
        cells_of_owner(owner, owners, first, std::min(queries, first + kQueryBlock), lanes, f);
      }
    });
  }

  // The same where calls of one image and one owner write to the same memory: one thread does them
  // in order, as in for_each_owned_row.
  template <class F>
  void for_each_owned_cell(int64_t images, int64_t owners, int64_t queries, int64_t lanes,
                           const F& f) const {
    at::parallel_for(0, images * owners, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) cells_of_owner(i, owners, 0, queries, lanes, f);
    });
  }

  // Whether the rows of rays_a follow each other without gap and take in all samples, so that every
  // element of a per-sample output gets written and needs no zeros first.
  bool covers_all(const at::Tensor& rays_a, int64_t num_samples) const {
    const int64_t* row = rays_a.const_data_ptr<int64_t>();
    const int64_t num_rays = rays_a.size(0);
    int64_t end = 0;
    for (int64_t i = 0; i < num_rays; ++i, row += 3) {
      if (row[0] < 0 || row[0] >= num_rays || row[1] != end || row[2] < 0) return false;
      end += row[2];
    }
    return end == num_samples;
  }

 private:
  static constexpr int64_t kGrainCost = 50000;
  static constexpr int64_t kPairGrain = 2048;
  static constexpr int64_t kQueryBlock = 64;
  static constexpr int64_t kBlock = 65536;  // long, so that a row's table is worth keeping in cache

  template <class F>
  static void cells_of_owner(int64_t image_and_owner, int64_t owners, int64_t begin, int64_t end,
                             int64_t lanes, const F& f) {
    const int64_t image = image_and_owner / owners;
    const int64_t first_lane = (image_and_owner - image * owners) * lanes;
    for (int64_t query = begin; query < end; ++query) {
      for (int64_t lane = 0; lane < lanes; ++lane) f(image, query, first_lane + lane);
    }
  }

  template <class F>
  static void pairs_of_block(int64_t first_row, int64_t last_row, int64_t begin, int64_t end,
                             const F& f) {
    for (int64_t block = begin; block < end; block += kBlock) {
      const int64_t block_end = std::min(end, block + kBlock);
      for (int64_t row = first_row; row < last_row; ++row) {
        for (int64_t column = block; column < block_end; ++column) f(row, column);
      }
    }
  }
};

}  // namespace eagleray
