// Rows side by side, so that one vector holds the same element of several.
#pragma once

#include "simd.hpp"

namespace carousel::CAROUSEL_TARGET {

// A vector for each of `count` elements of so many rows, the other lanes 0. In memory the rows are
// `row_stride` numbers apart and the vectors `stride`.
template <class T>
void pack_block(const T *rows, int64_t row_stride, int64_t count, int lanes, T *to,
                int64_t stride) {
    constexpr int L = kLanes<T>;
    int64_t k = 0;
    for (; k + L <= count; k += L) {
        Vector<T> block[L];
#pragma GCC unroll 16
        for (int lane = 0; lane < L; ++lane)
            block[lane] = lane < lanes ? load(rows + lane * row_stride + k) : all<T>(0);
        transpose<T>(block);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) store(to + (k + i) * stride, block[i]);
    }
    for (; k < count; ++k)
        for (int lane = 0; lane < L; ++lane)
            to[k * stride + lane] = lane < lanes ? rows[lane * row_stride + k] : T(0);
}

}  // namespace carousel::CAROUSEL_TARGET
