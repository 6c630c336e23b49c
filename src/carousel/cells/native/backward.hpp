// Backward in time: what stands at h_t is what arrived there and what the step after sends back.
#pragma once

#include "parallel.hpp"
#include "split.hpp"

namespace carousel::CAROUSEL_TARGET {

// w_hh [K, H] by units: [unit block][k][unit block in panel] vectors, K = G*H.
template <class T>
void pack_backward(const Run<T> &run, int64_t K, int64_t first, int64_t last, T *packed) {
    constexpr int L = kLanes<T>;
    for (int64_t panel = first; panel < last; panel += kMaxVectors) {
        const int blocks = static_cast<int>(last - panel < kMaxVectors ? last - panel : kMaxVectors);
        T *to = packed + panel * L * K;
        const int64_t units = run.hidden - panel * L;
        const int64_t width = int64_t(blocks) * L, filled = units < width ? units : width;
        for (int64_t k = 0; k < K; ++k, to += width) {
            const T *from = run.w_hh + k * run.hidden + panel * L;
            for (int64_t n = 0; n < filled; ++n) to[n] = from[n];
            for (int64_t n = filled; n < width; ++n) to[n] = T(0);
        }
    }
}

template <class T, class Cell>
class Backward {
   public:
    Backward(const Run<T> &run, const Cell &cell, const Split &split, const T *packed, double *sums)
        : run_(run), cell_(cell), split_(split), packed_(packed), norms_(sums) {}

    void go(Barrier &barrier) {
        for (int64_t s = run_.steps - 1; s >= 0; --s) {
            const int64_t later = s + 1 < run_.steps ? run_.sequences(s + 1) : 0;
            const int64_t present = run_.sequences(s);
            const int64_t continued = later < present ? later : present;
            each_block([&](int64_t panel, int blocks, int64_t first, int64_t last) {
                // Those that go on after step s, those that end with it, those that begin after it.
                block(s, panel, blocks, first, min(last, continued), true);
                block(s, panel, blocks, max(first, continued), min(last, present), false);
                begin(s + 1, panel, blocks, max(first, present), min(last, later));
            });
            barrier.wait(split_.team);
        }
        each_block([&](int64_t panel, int blocks, int64_t first, int64_t last) {
            begin(0, panel, blocks, first, min(last, run_.sequences(0)));
        });
    }

   private:
    static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
    static int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

    template <class Body>
    void each_block(Body body) {
        for (int64_t panel = split_.first_unit_block; panel < split_.last_unit_block;
             panel += kMaxVectors) {
            const int blocks = static_cast<int>(min(split_.last_unit_block - panel, kMaxVectors));
            for (int64_t r = split_.first_row_block; r < split_.row_blocks;
                 r += split_.row_block_step)
                body(panel, blocks, split_.row(r, run_.batch), split_.row(r + 1, run_.batch));
        }
    }

    // sums += what step s sends back to the states it started from, of sequences [first, last).
    void send_back(int64_t s, int64_t panel, int blocks, int64_t first, int64_t last, T *sums) {
        if (Cell::carries) {
            for (int64_t b = first; b < last; ++b)
                for (int u = 0; u < blocks; ++u) {
                    T *sum = sums + ((b - first) * blocks + u) * L;
                    const int64_t unit = (panel + u) * L;
                    const T *carry = run_.d_h_start + b * run_.hidden + unit;
                    store(sum, load(sum) + load<false>(carry, run_.lanes(panel + u)));
                }
        }
        if (run_.cell & CAROUSEL_TRUNCATED) return;
        const T *d_a[kMaxRows];
        const T *from = Cell::carries ? run_.d_q : run_.d_a;
        for (int64_t b = first; b < last; ++b) d_a[b - first] = from + run_.row(s, b) * K();
        multiply_for<T>(static_cast<int>(last - first), blocks)(
            d_a, packed_ + panel * L * K(), K(), sums);
    }

    void block(int64_t s, int64_t panel, int blocks, int64_t first, int64_t last, bool goes_on) {
        if (first >= last) return;
        for (int64_t b = first; b < last; ++b)
            for (int u = 0; u < blocks; ++u) {
                const int lanes = run_.lanes(panel + u);
                const int64_t unit = (panel + u) * L;
                Vector<T> v = all<T>(0);
                if (run_.d_output) v = any(run_.d_output + run_.row(s, b) * run_.hidden + unit, lanes);
                if (!goes_on && run_.d_h_end)
                    v = v + any(run_.d_h_end + b * run_.hidden + unit, lanes);
                store(sums_ + ((b - first) * blocks + u) * L, v);
            }
        if (goes_on) send_back(s + 1, panel, blocks, first, last, sums_);
        const int64_t continued = run_.continued(s);
        for (int64_t b = first; b < last; ++b) {
            const bool began_before = b < continued;
            const T *h_before = run_.before(run_.h, run_.h_start, s, b, began_before);
            const T *c_before =
                run_.c ? run_.before(run_.c, run_.c_start, s, b, began_before) : nullptr;
            const int64_t row = run_.row(s, b);
            for (int u = 0; u < blocks; ++u) {
                const T *sum = sums_ + ((b - first) * blocks + u) * L;
                const Vector<T> d_c = cell_.back(row, b, panel + u, h_before, c_before, goes_on, sum);
                keep(row, panel + u, load(sum), d_c);
            }
        }
    }

    void keep(int64_t row, int64_t unit_block, Vector<T> d_h, Vector<T> d_c) {
        const int lanes = run_.lanes(unit_block);
        const int64_t at = row * run_.hidden + unit_block * L;
        if (run_.d_h) put(run_.d_h + at, d_h, lanes);
        if (run_.d_c) put(run_.d_c + at, d_c, lanes);
        if (!norms_) return;
        double *norm = norms_ + (row * run_.blocks() + unit_block) * 2;
        norm[0] = sum_of_squares<T>(d_h);
        norm[1] = sum_of_squares<T>(d_c);
    }

    // The gradient on the initial states of sequences [first, last), whose first step is s.
    void begin(int64_t s, int64_t panel, int blocks, int64_t first, int64_t last) {
        if (first >= last) return;
        for (int64_t k = 0; k < (last - first) * blocks; ++k) store(sums_ + k * L, all<T>(0));
        send_back(s, panel, blocks, first, last, sums_);
        for (int64_t b = first; b < last; ++b)
            for (int u = 0; u < blocks; ++u)
                put(run_.d_h_start + b * run_.hidden + (panel + u) * L,
                    load(sums_ + ((b - first) * blocks + u) * L), run_.lanes(panel + u));
    }

    static Vector<T> any(const T *from, int lanes) {
        return lanes == L ? load(from) : load<false>(from, lanes);
    }
    static void put(T *to, Vector<T> v, int lanes) {
        if (lanes == L)
            store(to, v);
        else
            store<false>(to, v, lanes);
    }

    static constexpr int L = kLanes<T>;
    int64_t K() const { return Cell::gates * run_.hidden; }

    const Run<T> &run_;
    const Cell &cell_;
    const Split &split_;
    const T *const packed_;
    double *const norms_;  // [R][unit block][2], NULL: not kept
    alignas(kBytes) T sums_[kMaxRows * kMaxVectors * L];
};

// The number of rows that a run touches is at most this, whatever their layout.
template <class T>
int64_t rows_of(const Run<T> &run) {
    int64_t rows = 0;
    for (int64_t s = 0; s < run.steps; ++s) {
        const int64_t last = run.sequences(s) - 1;
        if (last >= 0 && run.row(s, last) + 1 > rows) rows = run.row(s, last) + 1;
    }
    return rows;
}

template <class T, class Cell>
void backward(const Run<T> &run) {
    const Cell cell(run);
    const int64_t K = Cell::gates * run.hidden;
    T *packed = static_cast<T *>(run.plain.scratch);
    double *partial = nullptr;
    if (run.plain.norms) {
        const int64_t bytes = (run.blocks() * kLanes<T> * K * sizeof(T) + 63) / 64 * 64;
        partial = reinterpret_cast<double *>(static_cast<char *>(run.plain.scratch) + bytes);
    }
    Barrier barrier;
    in_parallel(run.plain.threads, [&](int thread, int threads) {
        const Split split(run, Cell::gates, rows_for(kMaxVectors), thread, threads);
        const bool shared = split.team == 1;
        const int64_t blocks = run.blocks();
        int64_t first = split.first_unit_block, last = split.last_unit_block;
        if (shared) {
            const int64_t panels = (blocks + kMaxVectors - 1) / kMaxVectors;
            first = panels * thread / threads * kMaxVectors;
            last = panels * (thread + 1) / threads * kMaxVectors;
            last = last < blocks ? last : blocks;
        }
        if (!(run.cell & CAROUSEL_TRUNCATED)) pack_backward(run, K, first, last, packed);
        if (shared) barrier.wait(threads);
        Backward<T, Cell>(run, cell, split, packed, partial).go(barrier);
        if (!partial) return;
        barrier.wait(threads);
        double *norms = static_cast<double *>(run.plain.norms);
        const int64_t rows = rows_of(run);
        for (int64_t row = rows * thread / threads; row < rows * (thread + 1) / threads; ++row)
            for (int quantity = 0; quantity < 2; ++quantity) {
                double sum = 0;
                for (int64_t block = 0; block < blocks; ++block)
                    sum += partial[(row * blocks + block) * 2 + quantity];
                norms[row * 2 + quantity] = sum;
            }
    });
}

}  // namespace carousel::CAROUSEL_TARGET
