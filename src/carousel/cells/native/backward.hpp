// Backward in time: what stands at h_t is what arrived there and what the step after sends back.
#pragma once

#include "parallel.hpp"
#include "product.hpp"
#include "split.hpp"

namespace carousel::CAROUSEL_TARGET {

// w_hh [K, H] by units: [unit block][k][unit block in panel] vectors, K = G*H.
template <class T>
void pack_backward(const Run<T> &run, int64_t K, int64_t first, int64_t last, T *packed) {
    constexpr int L = kLanes<T>;
    for (int64_t panel = first; panel < last; panel += kMaxVectors) {
        const int blocks =
            static_cast<int>(last - panel < kMaxVectors ? last - panel : kMaxVectors);
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
            const int64_t later =
                s + 1 < run_.steps ? split_.among(run_.sequences(s + 1)) : int64_t(0);
            const int64_t present = split_.among(run_.sequences(s));
            const int64_t continued = later < present ? later : present;
            each_panel(s, [&](int64_t panel, int blocks) {
                // Those that go on after step s, those that end with it, those that begin after it.
                through(s, panel, blocks, 0, continued, true);
                through(s, panel, blocks, continued, present, false);
                begin(s + 1, panel, blocks, present, later);
            });
            barrier.wait(split_.team);
        }
        each_panel(0, [&](int64_t panel, int blocks) {
            begin(0, panel, blocks, 0, split_.among(run_.sequences(0)));
        });
    }

   private:
    // To and fro from step to step, as forward.
    template <class Body>
    void each_panel(int64_t s, Body body) {
        const int64_t first = split_.first_unit_block, last = split_.last_unit_block;
        const int64_t panels = (last - first + kMaxVectors - 1) / kMaxVectors;
        for (int64_t p = 0; p < panels; ++p) {
            const int64_t panel = first + (s % 2 ? panels - 1 - p : p) * kMaxVectors;
            const int64_t left = last - panel;
            body(panel, left < kMaxVectors ? static_cast<int>(left) : kMaxVectors);
        }
    }

    // body(first, rows) for groups of the sequences [first, last) of this thread.
    template <class Body>
    static void each_group(int64_t first, int64_t last, Body body) {
        const int64_t all = last - first, groups = (all + kGroup - 1) / kGroup;
        for (int64_t group = 0; group < groups; ++group) {
            const int64_t begin = first + group * all / groups;
            body(begin, static_cast<int>(first + (group + 1) * all / groups - begin));
        }
    }

    // sums += what step s sends back to the states it started from.
    void send_back(int64_t s, int64_t panel, int blocks, int64_t first, int rows) {
        const T *from = run_.d_a;
        if (Cell::carries) {
            from = run_.d_q;
            for (int m = 0; m < rows; ++m)
                for (int u = 0; u < blocks; ++u) {
                    const int64_t at = split_.sequence(first + m) * run_.hidden + (panel + u) * L;
                    T *sum = sums_ + (m * blocks + u) * L;
                    store(sum, load(sum) + get(run_.d_h_start + at, run_.lanes(panel + u)));
                }
        }
        if (run_.cell & CAROUSEL_TRUNCATED) return;
        const T *d_a[kGroup];
        for (int m = 0; m < rows; ++m)
            d_a[m] = from + run_.row(s, split_.sequence(first + m)) * K();
        multiply_group(d_a, rows, packed_ + panel * L * K(), blocks, K(), sums_,
                       [&](int64_t part, int64_t parts) {
                           if (s > 0) fetch(s - 1, panel, blocks, first, rows, part, parts);
                       });
    }

    // Bring near a part of what the gates of step s were: they lie apart, and long ago they were
    // written.
    void fetch(int64_t s, int64_t panel, int blocks, int64_t first, int rows, int64_t part,
               int64_t parts) const {
        const int64_t bursts = int64_t(rows) * Cell::gates;
        for (int64_t k = bursts * part / parts; k < bursts * (part + 1) / parts; ++k) {
            const int64_t row = run_.row(s, split_.sequence(first + k / Cell::gates));
            const T *gate = run_.gates + (row * Cell::gates + k % Cell::gates) * run_.hidden;
            for (int u = 0; u < blocks; ++u) __builtin_prefetch(gate + (panel + u) * L, 0, 2);
        }
    }

    // Step s of some sequences, which go on after it or end with it.
    void through(int64_t s, int64_t panel, int blocks, int64_t begin, int64_t end, bool goes_on) {
        each_group(begin, end, [&](int64_t first, int rows) {
            for (int m = 0; m < rows; ++m)
                for (int u = 0; u < blocks; ++u)
                    store(sums_ + (m * blocks + u) * L,
                          arrived(s, split_.sequence(first + m), panel + u, goes_on));
            if (goes_on) send_back(s + 1, panel, blocks, first, rows);
            const int64_t continued = run_.continued(s);
            for (int m = 0; m < rows; ++m) {
                const int64_t b = split_.sequence(first + m), row = run_.row(s, b);
                const T *h_before = run_.before(run_.h, run_.h_start, s, b, b < continued);
                const T *c_before =
                    run_.c ? run_.before(run_.c, run_.c_start, s, b, b < continued) : nullptr;
                for (int u = 0; u < blocks; ++u) {
                    const T *sum = sums_ + (m * blocks + u) * L;
                    keep(row, panel + u, load(sum),
                         cell_.back(row, b, panel + u, h_before, c_before, goes_on, sum));
                }
            }
        });
    }

    // What comes to h of step s from outside of the recurrence.
    Vector<T> arrived(int64_t s, int64_t b, int64_t unit_block, bool goes_on) const {
        const int lanes = run_.lanes(unit_block);
        const int64_t unit = unit_block * L;
        Vector<T> v = all<T>(0);
        if (run_.d_output) v = get(run_.d_output + run_.row(s, b) * run_.hidden + unit, lanes);
        if (!goes_on && run_.d_h_end) v = v + get(run_.d_h_end + b * run_.hidden + unit, lanes);
        return v;
    }

    void keep(int64_t row, int64_t unit_block, Vector<T> d_h, Vector<T> d_c) {
        const int lanes = run_.lanes(unit_block);
        const int64_t at = row * run_.hidden + unit_block * L;
        if (run_.d_h) put(run_.d_h + at, d_h, lanes);
        if (run_.d_c) put(run_.d_c + at, d_c, lanes);
        if (!norms_) return;
        double *norm = norms_ + (row * run_.blocks() + unit_block) * 2;
        norm[0] = sum_of_squares<T>(within(d_h, lanes));
        norm[1] = sum_of_squares<T>(within(d_c, lanes));
    }

    // The gradient on the initial states of some sequences, whose first step is s.
    void begin(int64_t s, int64_t panel, int blocks, int64_t begin, int64_t end) {
        each_group(begin, end, [&](int64_t first, int rows) {
            for (int k = 0; k < rows * blocks; ++k) store(sums_ + k * L, all<T>(0));
            send_back(s, panel, blocks, first, rows);
            for (int m = 0; m < rows; ++m)
                for (int u = 0; u < blocks; ++u) {
                    const int64_t at = split_.sequence(first + m) * run_.hidden + (panel + u) * L;
                    put(run_.d_h_start + at, load(sums_ + (m * blocks + u) * L),
                        run_.lanes(panel + u));
                }
        });
    }

    static Vector<T> get(const T *from, int lanes) {
        return lanes == L ? load(from) : load<false>(from, lanes);
    }
    // v with 0 beyond the last unit, where anything may stand.
    static Vector<T> within(Vector<T> v, int lanes) {
        if (lanes == L) return v;
        alignas(kBytes) T part[L];
        store(part, v);
        return load<false>(part, lanes);
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
    alignas(kBytes) T sums_[kGroup * kMaxVectors * L];
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

// What a run backward borrows from the scratch of the caller, in this order.
template <class T>
struct BackwardSpace {
    T *packed;         // W_hh
    double *partial;   // [R][unit block][2] for the norms, NULL: not kept
    const T **states;  // [R] the h that each row started from, NULL: not needed
    T *products;       // for one product after the other
    int64_t bytes;

    BackwardSpace(const Run<T> &run, int64_t gates) {
        const int64_t K = gates * run.hidden, rows = rows_of(run);
        char *at = static_cast<char *>(run.plain.scratch), *const begin = at;
        const auto take = [&](int64_t size) {
            char *here = at;
            at += (size + 63) / 64 * 64;
            return here;
        };
        packed = reinterpret_cast<T *>(take(run.blocks() * kLanes<T> * K * sizeof(T)));
        partial = nullptr;
        if (run.plain.norms)
            partial = reinterpret_cast<double *>(take(rows * run.blocks() * 2 * sizeof(double)));
        states = nullptr;
        if (run.d_w_hh) states = reinterpret_cast<const T **>(take(rows * sizeof(T *)));
        int64_t most = 0;
        const auto at_least = [&](int64_t numbers) { most = numbers > most ? numbers : most; };
        if (run.d_x) at_least(RowsByWeights<T>::scratch(K, run.inputs, run.plain.threads));
        if (run.d_w_ih || run.d_w_hh || run.d_b_ih || run.d_b_hh)
            at_least(
                SumOfRows<T>::scratch(K, run.d_w_ih ? run.inputs : 0, run.d_w_hh ? run.hidden : 0));
        products = reinterpret_cast<T *>(take(most * sizeof(T)));
        bytes = at - begin;
    }
};

// The gradients that are products over all rows, one after the other by all threads.
template <class T>
void products(const Run<T> &run, const BackwardSpace<T> &space, int64_t gates, int thread,
              int threads, Barrier &barrier) {
    const int64_t rows = rows_of(run);
    const Rows<T> at_input{run.d_a, gates * run.hidden}, x{run.x, run.inputs};
    const Rows<T> at_state{run.d_q ? run.d_q : run.d_a, gates * run.hidden};
    if (run.d_x) {
        barrier.wait(threads);
        RowsByWeights<T>(at_input, rows, run.w_ih, false, run.inputs, run.d_x)
            .work(thread, threads, barrier, space.products);
    }
    if (run.d_w_hh)
        for (int64_t s = thread; s < run.steps; s += threads)
            for (int64_t b = 0; b < run.sequences(s); ++b)
                space.states[run.row(s, b)] =
                    run.before(run.h, run.h_start, s, b, b < run.continued(s));
    barrier.wait(threads);
    SumOfRows<T> to_input(at_input, rows), to_state(at_state, rows);
    SumOfRows<T> &recurrent = run.d_q ? to_state : to_input;  // in one go where it is one factor
    if (run.d_w_ih) to_input.add(x, run.d_w_ih);
    if (run.d_w_hh) recurrent.add({nullptr, run.hidden, space.states}, run.d_w_hh);
    if (run.d_b_ih) to_input.add_bias(run.d_b_ih);
    if (run.d_b_hh) recurrent.add_bias(run.d_b_hh);
    if (!to_input.empty()) to_input.work(thread, threads, barrier, space.products);
    if (to_state.empty()) return;
    barrier.wait(threads);
    to_state.work(thread, threads, barrier, space.products);
}

template <class T, class Cell>
int64_t backward_scratch(const Run<T> &run) {
    return BackwardSpace<T>(run, Cell::gates).bytes;
}

template <class T, class Cell>
void backward(const Run<T> &run) {
    const Cell cell(run);
    const int64_t K = Cell::gates * run.hidden;
    const BackwardSpace<T> space(run, Cell::gates);
    Barrier barrier;
    in_parallel(run.plain.threads, [&](int thread, int threads) {
        const Split split(run, Cell::gates, thread, threads);
        const bool shared = split.team == 1;
        const int64_t blocks = run.blocks();
        int64_t first = split.first_unit_block, last = split.last_unit_block;
        if (shared) {
            const int64_t panels = (blocks + kMaxVectors - 1) / kMaxVectors;
            first = panels * thread / threads * kMaxVectors;
            last = panels * (thread + 1) / threads * kMaxVectors;
            last = last < blocks ? last : blocks;
        }
        if (!(run.cell & CAROUSEL_TRUNCATED)) pack_backward(run, K, first, last, space.packed);
        if (shared) barrier.wait(threads);
        Backward<T, Cell>(run, cell, split, space.packed, space.partial).go(barrier);
        products(run, space, Cell::gates, thread, threads, barrier);
        if (!space.partial) return;
        barrier.wait(threads);
        double *norms = static_cast<double *>(run.plain.norms);
        const int64_t rows = rows_of(run);
        for (int64_t row = rows * thread / threads; row < rows * (thread + 1) / threads; ++row)
            for (int quantity = 0; quantity < 2; ++quantity) {
                double sum = 0;
                for (int64_t block = 0; block < blocks; ++block)
                    sum += space.partial[(row * blocks + block) * 2 + quantity];
                norms[row * 2 + quantity] = sum;
            }
    });
}

}  // namespace carousel::CAROUSEL_TARGET
