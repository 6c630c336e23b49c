// A carousel_run with the types put back, and where its rows are.
#pragma once

#include "simd.hpp"

namespace carousel::CAROUSEL_TARGET {

constexpr int64_t kFarBytes = 4 << 20;  // of one gate: from here on, measurement says, not to cache

// W_ih x + biases of one unit block: gate g stands at at + g * stride, so many of its units.
template <class T>
struct Part {
    const T *at;
    int64_t stride;
    int lanes;

    Vector<T> gate(int g) const {
        return lanes == kLanes<T> ? load(at + g * stride) : load<false>(at + g * stride, lanes);
    }
};

template <class T>
struct Run {
    explicit Run(const carousel_run &r)
        : plain(r),
          steps(r.steps),
          batch(r.batch),
          hidden(r.hidden),
          inputs(r.inputs),
          cell(r.cell),
          past_caches(r.x && r.gates && r.hidden % kLanes<T> == 0 &&
                      reinterpret_cast<uintptr_t>(r.gates) % kBytes == 0 &&
                      r.steps * r.batch * r.hidden * int64_t(sizeof(T)) > kFarBytes),
          w_hh(static_cast<const T *>(r.w_hh)),
          w_ih(static_cast<const T *>(r.w_ih)),
          peephole(static_cast<const T *>(r.peephole)),
          b_ih(static_cast<const T *>(r.b_ih)),
          b_hh(static_cast<const T *>(r.b_hh)),
          h_start(static_cast<const T *>(r.h_start)),
          c_start(static_cast<const T *>(r.c_start)),
          x(static_cast<const T *>(r.x)),
          gates(static_cast<T *>(r.gates)),
          q(static_cast<T *>(r.q)),
          h(static_cast<T *>(r.h)),
          c(static_cast<T *>(r.c)),
          h_in(static_cast<const T *>(r.h_in)),
          d_output(static_cast<const T *>(r.d_output)),
          d_cell(static_cast<const T *>(r.d_cell)),
          d_h_end(static_cast<const T *>(r.d_h_end)),
          d_c_end(static_cast<const T *>(r.d_c_end)),
          d_a(static_cast<T *>(r.d_a)),
          d_q(static_cast<T *>(r.d_q)),
          d_h_start(static_cast<T *>(r.d_h_start)),
          d_c_start(static_cast<T *>(r.d_c_start)),
          d_h(static_cast<T *>(r.d_h)),
          d_c(static_cast<T *>(r.d_c)),
          d_x(static_cast<T *>(r.d_x)),
          d_w_ih(static_cast<T *>(r.d_w_ih)),
          d_w_hh(static_cast<T *>(r.d_w_hh)),
          d_b_ih(static_cast<T *>(r.d_b_ih)),
          d_b_hh(static_cast<T *>(r.d_b_hh)) {}

    // A value for the run backward, to where no step of the run forward looks.
    template <bool Full>
    CAROUSEL_INLINE void keep(T *to, Vector<T> v, int lanes) const {
        if (Full && past_caches)
            store_past_caches(to, v);
        else
            store<Full>(to, v, lanes);
    }

    const carousel_run &plain;
    const int64_t steps, batch, hidden, inputs;
    const int32_t cell;
    const bool past_caches;  // the gates are more than caches hold, and in whole vectors
    const T *const w_hh, *const w_ih, *const peephole, *const b_ih, *const b_hh;
    const T *const h_start, *const c_start, *const x;
    T *const gates, *const q, *const h, *const c;
    const T *const h_in, *const d_output, *const d_cell, *const d_h_end, *const d_c_end;
    T *const d_a, *const d_q, *const d_h_start, *const d_c_start, *const d_h, *const d_c;
    T *const d_x, *const d_w_ih, *const d_w_hh, *const d_b_ih, *const d_b_hh;

    // The step of time that comes s-th when the run goes forward.
    int64_t step(int64_t s) const { return plain.reverse ? steps - 1 - s : s; }
    int64_t sequences(int64_t s) const { return plain.sequences[step(s)]; }
    int64_t row(int64_t s, int64_t b) const {
        return plain.first_row[step(s)] + b * plain.row_stride;
    }

    // How many sequences of step s were there at the step before it too: the first ones.
    int64_t continued(int64_t s) const {
        if (s == 0) return 0;
        const int64_t before = sequences(s - 1), now = sequences(s);
        return before < now ? before : now;
    }

    // The state that sequence b enters step s with, `continues` if it had the step before.
    const T *before(const T *states, const T *start, int64_t s, int64_t b, bool continues) const {
        return continues ? states + row(s - 1, b) * hidden : start + b * hidden;
    }

    // Where c of a row goes, and where it was a step before: in c, or, if that is not kept, in
    // c_end.
    T *c_at(int64_t r, int64_t b) const {
        if (!c) return static_cast<T *>(plain.c_end) + b * hidden;
        return c + r * hidden;
    }
    const T *c_before(int64_t s, int64_t b, bool continues) const {
        if (!continues) return c_start + b * hidden;
        return c_at(row(s - 1, b), b);
    }

    // b_ih + b_hh of one gate of one unit block, those that are there.
    Vector<T> bias(int gate, int64_t block) const {
        const int64_t at = gate * hidden + block * kLanes<T>;
        Vector<T> sum = all<T>(0);
        if (b_ih) sum = load<false>(b_ih + at, lanes(block));
        if (b_hh) sum = sum + load<false>(b_hh + at, lanes(block));
        return sum;
    }

    int64_t blocks() const { return (hidden + kLanes<T> - 1) / kLanes<T>; }  // of units
    int lanes(int64_t block) const {                                         // of a block of units
        const int64_t left = hidden - block * kLanes<T>;
        return left < kLanes<T> ? static_cast<int>(left) : kLanes<T>;
    }
};

}  // namespace carousel::CAROUSEL_TARGET
