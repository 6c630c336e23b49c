// Forward in time: one product a step, and the gates, c and h of each block finished at once.
#pragma once

#include "parallel.hpp"
#include "split.hpp"

namespace carousel::CAROUSEL_TARGET {

// Rows of w_hh [G*H, H] side by side by unit: [unit block][k][unit block in panel][gate] vectors.
// A panel holds `width` unit blocks; those beyond the last unit are 0.
template <class T>
void pack_forward(const Run<T> &run, int gates, int width, int64_t first, int64_t last, T *packed) {
    const int64_t H = run.hidden;
    constexpr int L = kLanes<T>;
    constexpr int64_t tile = 64;
    for (int64_t panel = first; panel < last; panel += width) {
        const int blocks = static_cast<int>(last - panel < width ? last - panel : width);
        T *to = packed + panel * gates * L * H;
        const int64_t stride = int64_t(blocks) * gates * L;
        for (int64_t start = 0; start < H; start += tile) {
            const int64_t stop = start + tile < H ? start + tile : H;
            for (int u = 0; u < blocks; ++u) {
                const int lanes = run.lanes(panel + u);
                for (int g = 0; g < gates; ++g) {
                    T *column = to + (u * gates + g) * L;
                    for (int lane = 0; lane < L; ++lane) {
                        const int64_t unit = (panel + u) * L + lane;
                        const T *from = run.w_hh + (g * H + unit) * H;
                        for (int64_t k = start; k < stop; ++k)
                            column[k * stride + lane] = lane < lanes ? from[k] : T(0);
                    }
                }
            }
        }
    }
}

template <class T, class Cell>
void forward_steps(const Run<T> &run, const Cell &cell, const Split &split, const T *packed,
                   Barrier &barrier) {
    constexpr int L = kLanes<T>, G = Cell::gates, width = Cell::width;
    const T *const states = run.w_hh ? run.h : run.h_in;
    alignas(kBytes) T sums[kGroup * kMaxVectors * L];
    const T *h_before[kGroup];
    for (int64_t s = 0; s < run.steps; ++s) {
        const int64_t present = split.among(run.sequences(s)), continued = run.continued(s);
        for (int64_t panel = split.first_unit_block; panel < split.last_unit_block;
             panel += width) {
            const int64_t left = split.last_unit_block - panel;
            const int blocks = left < width ? static_cast<int>(left) : width, vectors = blocks * G;
            const T *weights = packed + panel * G * L * run.hidden;
            const int64_t groups = (present + kGroup - 1) / kGroup;
            for (int64_t group = 0; group < groups; ++group) {
                const int64_t first = group * present / groups;
                const int rows = static_cast<int>((group + 1) * present / groups - first);
                for (int m = 0; m < rows; ++m) {
                    const int64_t b = split.sequence(first + m), row = run.row(s, b);
                    h_before[m] = run.before(states, run.h_start, s, b, b < continued);
                    for (int u = 0; u < blocks; ++u)
                        cell.start(row, panel + u, sums + (m * vectors + u * G) * L);
                }
                if (run.w_hh) multiply_group(h_before, rows, weights, vectors, run.hidden, sums);
                for (int m = 0; m < rows; ++m) {
                    const int64_t b = split.sequence(first + m), row = run.row(s, b);
                    const T *c_before =
                        run.c ? run.before(run.c, run.c_start, s, b, b < continued) : nullptr;
                    for (int u = 0; u < blocks; ++u)
                        cell.finish(row, panel + u, h_before[m], c_before,
                                    sums + (m * vectors + u * G) * L);
                }
            }
        }
        barrier.wait(split.team);
    }
}

template <class T>
void copy_ends(const Run<T> &run, const T *states, void *ends) {
    if (!ends) return;
    for (int64_t s = 0; s < run.steps; ++s) {
        // Those that have no further step: the run goes on with fewer, or it is over.
        const int64_t on = s + 1 < run.steps ? run.sequences(s + 1) : 0;
        for (int64_t b = on; b < run.sequences(s); ++b)
            __builtin_memcpy(static_cast<T *>(ends) + b * run.hidden,
                             states + run.row(s, b) * run.hidden, run.hidden * sizeof(T));
    }
}

template <class T, class Cell>
void forward(const Run<T> &run) {
    const Cell cell(run);
    T *packed = static_cast<T *>(run.plain.scratch);
    Barrier barrier;
    in_parallel(run.plain.threads, [&](int thread, int threads) {
        const Split split(run, Cell::gates, thread, threads);
        if (run.w_hh) {
            const bool shared = split.team == 1;
            const int64_t blocks = run.blocks(), panels = (blocks + Cell::width - 1) / Cell::width;
            int64_t first = split.first_unit_block, last = split.last_unit_block;
            if (shared) {  // whole panels to each thread
                first = panels * thread / threads * Cell::width;
                last = panels * (thread + 1) / threads * Cell::width;
                last = last < blocks ? last : blocks;
            }
            pack_forward(run, Cell::gates, Cell::width, first, last, packed);
            if (shared) barrier.wait(threads);
        }
        forward_steps(run, cell, split, packed, barrier);
    });
    copy_ends(run, run.h, run.plain.h_end);
    if (run.c) copy_ends(run, run.c, run.plain.c_end);
}

}  // namespace carousel::CAROUSEL_TARGET
