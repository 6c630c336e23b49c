// The product inside a step: a few rows of the state times a panel of packed weights.
#pragma once

#include "simd.hpp"

namespace carousel::CAROUSEL_TARGET {

constexpr int kMaxRows = 8;     // in registers at once
constexpr int kMaxVectors = 4;  // side by side in a panel
constexpr int kGroup = 64;      // rows that go through a panel together
constexpr int64_t kDepth = 64;  // rows of a panel that stay in the nearest cache meanwhile

// How many rows can have all their sums in registers beside a row of the panel.
constexpr int rows_for(int vectors) {
    const int rows = (kRegisters - vectors - (kRegisters > 16 ? 1 : 0)) / vectors;
    return rows > kMaxRows ? kMaxRows : (rows < 1 ? 1 : rows);
}

// sums[m][n] += sum over k of a[m][k] * w[k][n], in the order of k for each number alone, so that
// neither the size of a block nor the number of threads changes a bit.
//
// a: M rows of K numbers; w: [K][N] vectors; sums: [M][N] vectors in memory of the caller.
template <class T, int M, int N>
void multiply(const T *const *a, const T *w, int64_t K, T *sums) {
    Vector<T> sum[M][N];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[m][n] = load(sums + (m * N + n) * kLanes<T>);
    }
    const T *row[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) row[m] = a[m];
    for (int64_t k = 0; k < K; ++k, w += N * kLanes<T>) {
        Vector<T> weights[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) weights[n] = load(w + n * kLanes<T>);
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
            const Vector<T> state = all<T>(row[m][k]);
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) sum[m][n] += state * weights[n];
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) store(sums + (m * N + n) * kLanes<T>, sum[m][n]);
    }
}

template <class T>
using Multiply = void (*)(const T *const *a, const T *w, int64_t K, T *sums);

template <class T, int N, int... M>
constexpr Multiply<T> multiply_of(int rows) {
    constexpr Multiply<T> table[] = {multiply<T, M, N>...};
    return table[rows - 1];
}

template <class T>
Multiply<T> multiply_for(int rows, int vectors) {
    switch (vectors) {
        case 1: return multiply_of<T, 1, 1, 2, 3, 4, 5, 6, 7, 8>(rows);
        case 2: return multiply_of<T, 2, 1, 2, 3, 4, 5, 6, 7, 8>(rows);
        case 3: return multiply_of<T, 3, 1, 2, 3, 4, 5, 6, 7, 8>(rows);
        default: return multiply_of<T, 4, 1, 2, 3, 4, 5, 6, 7, 8>(rows);
    }
}

struct Nothing {
    void operator()(int64_t, int64_t) const {}
};

// The same for a group of up to kGroup rows and any K. The panel comes from a far cache once for
// the group, not once for each block of rows.
//
// meanwhile(part, parts) is called `parts` times, evenly spread: there is time to fetch what comes
// after the product.
template <class T, class Meanwhile = Nothing>
void multiply_group(const T *const *a, int rows, const T *w, int vectors, int64_t K, T *sums,
                    Meanwhile meanwhile = {}) {
    if (rows == 0) return;
    const int most = rows_for(vectors), blocks = (rows + most - 1) / most;
    const int fewer = rows / blocks;  // the first blocks have so many rows, the others one more
    const int small_ones = blocks - rows % blocks;
    const Multiply<T> small = multiply_for<T>(fewer, vectors);
    const Multiply<T> large = small_ones < blocks ? multiply_for<T>(fewer + 1, vectors) : small;
    const int64_t parts = (K + kDepth - 1) / kDepth * blocks;
    int64_t part = 0;
    for (int64_t k = 0; k < K; k += kDepth) {
        const int64_t depth = k + kDepth < K ? kDepth : K - k;
        const T *panel = w + k * vectors * kLanes<T>;
        for (int block = 0, first = 0; block < blocks; ++block) {
            const int count = block < small_ones ? fewer : fewer + 1;
            const T *from[kMaxRows];
            for (int m = 0; m < count; ++m) from[m] = a[first + m] + k;
            (block < small_ones ? small : large)(from, panel, depth,
                                                 sums + first * vectors * kLanes<T>);
            first += count;
            meanwhile(part++, parts);
        }
    }
}

}  // namespace carousel::CAROUSEL_TARGET
