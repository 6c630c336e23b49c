// A carousel_run with the types put back, and where its rows are.
#pragma once

#include "simd.hpp"

namespace carousel::CAROUSEL_TARGET {

template <class T>
struct Run {
    explicit Run(const carousel_run &r)
        : plain(r),
          steps(r.steps),
          batch(r.batch),
          hidden(r.hidden),
          cell(r.cell),
          w_hh(static_cast<const T *>(r.w_hh)),
          peephole(static_cast<const T *>(r.peephole)),
          b_hn(static_cast<const T *>(r.b_hn)),
          h_start(static_cast<const T *>(r.h_start)),
          c_start(static_cast<const T *>(r.c_start)),
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
          d_c(static_cast<T *>(r.d_c)) {}

    const carousel_run &plain;
    const int64_t steps, batch, hidden;
    const int32_t cell;
    const T *const w_hh, *const peephole, *const b_hn, *const h_start, *const c_start;
    T *const gates, *const q, *const h, *const c;
    const T *const h_in, *const d_output, *const d_cell, *const d_h_end, *const d_c_end;
    T *const d_a, *const d_q, *const d_h_start, *const d_c_start, *const d_h, *const d_c;

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

    int64_t blocks() const { return (hidden + kLanes<T> - 1) / kLanes<T>; }  // of units
    int lanes(int64_t block) const {                                         // of a block of units
        const int64_t left = hidden - block * kLanes<T>;
        return left < kLanes<T> ? static_cast<int>(left) : kLanes<T>;
    }
};

}  // namespace carousel::CAROUSEL_TARGET
