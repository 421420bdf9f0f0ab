// Marching of one ray through cascaded occupancy bits.
//
// The samples of a ray lie on its step lattice t, t + dt(t), ... in single precision. An empty cell
// is left by stepping along that lattice until its far side is passed, so samples never depend on how
// much empty space was crossed at once. Blocks of 8^3 and 32^3 cells are contiguous in Morton order;
// one that holds no bit is crossed in one go (`cross_block`) where that provably gives the lattice
// point that cell by cell marching would test next.
#pragma once

#include "morton.h"
#include "portable.h"

namespace eagleray {

struct Ray {
  float origin[3];
  float direction[3];
  float inverse[3];  // 1 / direction
};

struct Cell {
  float position[3];
  int idx[3];
  int level;
  float bound;      // the cascade covers [-bound, bound]^3
  int64_t bit;      // into the occupancy bits
};

EAGLERAY_HD Ray read_ray(const float* rays_o, const float* rays_d, int64_t ray) {
  Ray r;
  for (int axis = 0; axis < 3; ++axis) {
    r.origin[axis] = rays_o[3 * ray + axis];
    r.direction[axis] = rays_d[3 * ray + axis];
    r.inverse[axis] = 1.0f / r.direction[axis];
  }
  return r;
}

// By the sign bit, so that -0 counts as running down.
EAGLERAY_HD bool runs_down(float direction) { return copysignf(1.0f, direction) < 0.0f; }

struct MarchGrid {
  static constexpr int kNumBlockSizes = 2;

  const uint8_t* bits;
  const bool* block_occupied[kNumBlockSizes];  // by Morton index; null: blocks are not skipped
  int cascades;
  int size;  // cells per axis, a power of two
  float scale;
  float step_factor;
  float min_step;
  float max_step;

  // log2 of the cells per axis of a block: 8 and 32.
  EAGLERAY_HD static int block_log2(int which) { return which == 0 ? 3 : 5; }

  EAGLERAY_HD float step_at(float t) const {
    if (step_factor == 0.0f) return min_step;  // short cut: t then waits for one addition only
    return clamp_to(t * step_factor, min_step, max_step);
  }

  EAGLERAY_HD int level_of_step(float step) const {
    return clamp_level(frexp_exponent(step * static_cast<float>(size)));
  }

  EAGLERAY_HD Cell cell_at(const Ray& ray, float t, float step) const {
    Cell cell;
    float largest = 0.0f;
    for (int axis = 0; axis < 3; ++axis) {
      cell.position[axis] = ray.origin[axis] + t * ray.direction[axis];
      largest = nan_max(largest, fabsf(cell.position[axis]));
    }
    const int level_of_position = clamp_level(frexp_exponent(largest) + 1);
    const int level_of_dt = level_of_step(step);
    cell.level = level_of_dt > level_of_position ? level_of_dt : level_of_position;
    cell.bound = nan_min(0.5f * static_cast<float>(1 << cell.level), scale);
    const float inverse_bound = 1.0f / cell.bound;
    for (int axis = 0; axis < 3; ++axis) {
      const float index =
          0.5f * (cell.position[axis] * inverse_bound + 1.0f) * static_cast<float>(size);
      cell.idx[axis] = static_cast<int>(clamp_to(index, 0.0f, static_cast<float>(size - 1)));
    }
    cell.bit = static_cast<int64_t>(cell.level) * size * size * size +
               morton_code(cell.idx[0], cell.idx[1], cell.idx[2]);
    return cell;
  }

  EAGLERAY_HD bool occupied(const Cell& cell) const {
    return (bits[cell.bit >> 3] >> (cell.bit & 7)) & 1;
  }

  // The next lattice point to test after an empty one; infinite where the lattice stands still.
  EAGLERAY_HD float leave(const Ray& ray, const Cell& cell, float t, float t_end) const {
    for (int which = kNumBlockSizes - 1; which >= 0; --which) {
      if (block_occupied[which] == nullptr) continue;
      if (block_occupied[which][cell.bit >> (3 * block_log2(which))]) continue;
      float next;
      if (cross_block(ray, cell, t, t_end, block_log2(which), &next)) return next;
    }
    return leave_cell(ray, cell, t, t_end);
  }

  // Calls emit(sample, t, step) for each occupied lattice point in [t, t_end), at most max_samples
  // times, and returns their number.
  template <class Emit>
  EAGLERAY_HD int64_t march(const Ray& ray, float t, float t_end, int64_t max_samples,
                            const Emit& emit) const {
    int64_t count = 0;
    while (t < t_end && count < max_samples) {
      const float step = step_at(t);
      const Cell cell = cell_at(ray, t, step);
      if (occupied(cell)) {
        emit(count++, t, step);
        t += step;
      } else {
        t = leave(ray, cell, t, t_end);
      }
    }
    return count;
  }

 private:
  EAGLERAY_HD int clamp_level(int level) const {
    if (level < 0) return 0;
    return level < cascades ? level : cascades - 1;
  }

  // Coordinate of the face before cell `index` along an axis.
  EAGLERAY_HD float face(int index, float bound) const {
    return (static_cast<float>(index) * (1.0f / static_cast<float>(size)) * 2.0f - 1.0f) * bound;
  }

  EAGLERAY_HD float leave_cell(const Ray& ray, const Cell& cell, float t, float t_end) const {
    float exit = INFINITY;
    for (int axis = 0; axis < 3; ++axis) {
      const int ahead = runs_down(ray.direction[axis]) ? 0 : 1;
      const float far_side = face(cell.idx[axis] + ahead, cell.bound);
      exit = nan_min(exit, (far_side - cell.position[axis]) * ray.inverse[axis]);
    }
    const float target = t + nan_max(0.0f, exit);
    do {
      const float next = t + step_at(t);
      if (next == t) return INFINITY;
      t = next;
    } while (t < target && t < t_end);
    return t;
  }

  // Interval that holds the exact parameter at which the ray leaves an aligned block, whatever the
  // lattice point of the block from which single precision computes it.
  EAGLERAY_HD void exit_interval(const Ray& ray, const Cell& cell, float t, int log2, float* low,
                                 float* high) const {
    constexpr float kRounding = 4.76837158203125e-7f;  // 2^-21: eight units in the last place
    float first = INFINITY, last = INFINITY;
    for (int axis = 0; axis < 3; ++axis) {
      if (ray.direction[axis] == 0.0f) continue;
      const int begin = (cell.idx[axis] >> log2) << log2;
      const int side = runs_down(ray.direction[axis]) ? begin : begin + (1 << log2);
      const float distance = (face(side, cell.bound) - cell.position[axis]) * ray.inverse[axis];
      const float tolerance = fabsf(ray.inverse[axis]) * kRounding *
                              (fabsf(ray.origin[axis]) + 2.0f * cell.bound);
      first = nan_min(first, distance - tolerance);
      last = nan_min(last, distance + tolerance);
    }
    const float slack = kRounding * (fabsf(t) + fabsf(last));
    *low = t + first - slack;
    *high = t + last + slack;
  }

  // Whether every lattice point between two cells of one block is in that block, on the same level.
  // Positions and cell indices are computed by monotone operations, so a range of t whose two ends
  // lie in a block lies in it whole; the level needs a look at what it was taken from.
  EAGLERAY_HD bool same_block(const Cell& a, const Cell& b, int log2, int level_of_dt) const {
    if (a.level != b.level || (a.bit >> (3 * log2)) != (b.bit >> (3 * log2))) return false;
    if (level_of_dt == a.level || a.level == 0) return true;
    const float inner = 0.25f * static_cast<float>(1 << a.level);
    for (int axis = 0; axis < 3; ++axis) {
      const float p = a.position[axis], q = b.position[axis];
      if ((p >= inner && q >= inner) || (p <= -inner && q <= -inner)) return true;
    }
    return false;
  }

  EAGLERAY_HD bool cross_block(const Ray& ray, const Cell& cell, float t, float t_end, int log2,
                               float* next) const {
    const float step = step_at(t);
    float low, high;
    exit_interval(ray, cell, t, log2, &low, &high);
    if (!(low > t + 2.0f * step)) return false;  // too short to gain anything
    const int level_of_dt = level_of_step(step);
    if (low >= t_end) {
      *next = INFINITY;
      return same_block(cell, cell_at(ray, t_end, step_at(t_end)), log2, level_of_dt);
    }
    const float last = last_before(t, low);
    const float last_step = step_at(last);
    *next = last + last_step;
    if (!(*next > high)) return false;  // a lattice point too near the face: cell by cell decides
    return same_block(cell, cell_at(ray, last, last_step), log2, level_of_dt);
  }

  // The largest lattice point below `limit`, t < limit. Where the step is constant and the sum stays
  // between two powers of two, rounding makes each addition add the same amount once two in a row
  // have done so; hence many of them are one exact multiplication.
  EAGLERAY_HD float last_before(float t, float limit) const {
    const bool constant = limit * step_factor <= min_step || t * step_factor >= max_step;
    while (true) {
      const float next = t + step_at(t);
      if (!(next < limit) || next == t) return t;
      t = constant ? run_ahead(next, step_at(t), limit) : next;
    }
  }

  EAGLERAY_HD static float run_ahead(float t, float step, float limit) {
    if (!(t > 0.0f)) return t;  // towards 0 the sums are rounded ever more finely
    const float second = t + step;
    const float third = second + step;
    const float increment = second - t;
    const float top = nan_min(limit, ldexpf(1.0f, frexp_exponent(t)));
    if (!(third < top) || third - second != increment) return t;
    const float jumps = (top - second) / increment - 1.0f;
    if (!(jumps >= 1.0f && jumps < 1048576.0f)) return t;
    return second + static_cast<float>(static_cast<int>(jumps)) * increment;
  }
};

}  // namespace eagleray
