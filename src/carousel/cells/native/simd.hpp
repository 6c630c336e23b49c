// Vectors of the widest kind that this translation unit may use, and the functions on them.
//
// Everything lives in a namespace of the instruction set that it was compiled for, so that the same
// source, compiled several times, makes several libraries in one.
#pragma once

#include <cstdint>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "carousel.h"

#define CAROUSEL_INLINE inline __attribute__((always_inline))

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define CAROUSEL_HAS_SHUFFLE 1
#endif
#endif

namespace carousel::CAROUSEL_TARGET {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
constexpr int kRegisters = 32;
#elif defined(__AVX__)
constexpr int kBytes = 32;
constexpr int kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kBytes = 16;
constexpr int kRegisters = 32;
#else
constexpr int kBytes = 16;
constexpr int kRegisters = 16;
#endif

template <class T>
struct Simd;

template <>
struct Simd<float> {
    typedef float Vector __attribute__((vector_size(kBytes)));
    typedef int32_t Whole;
    typedef Whole Bits __attribute__((vector_size(kBytes)));
    static constexpr int mantissa_bits = 23, bias = 127;
    static constexpr float rounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    // Where exp is finite. Of the last unit or so below it 1 / exp is no normal number, and
    // flushed.
    static constexpr float exp_range = 88.3f;
    static constexpr float tanh_range = 9.25f;  // beyond it tanh rounds to +-1
    static constexpr int terms = 7;             // of the series of expm1 for |r| <= ln(2) / 2
};

template <>
struct Simd<double> {
    typedef double Vector __attribute__((vector_size(kBytes)));
    typedef int64_t Whole;
    typedef Whole Bits __attribute__((vector_size(kBytes)));
    static constexpr int mantissa_bits = 52, bias = 1023;
    static constexpr double rounder = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double ln2_high = 6.93147180369123816490e-01;
    static constexpr double ln2_low = 1.90821492927058770002e-10;
    static constexpr double exp_range = 709.4;
    static constexpr double tanh_range = 19.25;
    static constexpr int terms = 13;
};

template <class T>
using Vector = typename Simd<T>::Vector;

template <class T>
constexpr int kLanes = kBytes / static_cast<int>(sizeof(T));

template <class T>
CAROUSEL_INLINE Vector<T> all(T value) {
    return value - Vector<T>{};  // x - 0 is x, also for -0 and NaN
}

// A vector anywhere in memory. Through memcpy the compiler would take some by way of the stack.
template <class T>
struct Anywhere {
    typedef T Vector __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
};

template <class T>
CAROUSEL_INLINE Vector<T> load(const T *from) {
    return *reinterpret_cast<const typename Anywhere<T>::Vector *>(from);
}

template <class T>
CAROUSEL_INLINE void store(T *to, Vector<T> v) {
    *reinterpret_cast<typename Anywhere<T>::Vector *>(to) = v;
}

// To memory without a place in the caches, where there is an instruction for a whole line of them;
// `to` must be aligned. Other threads see it after a fence.
template <class T>
CAROUSEL_INLINE void store_past_caches(T *to, Vector<T> v) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i *>(to), reinterpret_cast<__m512i>(v));
#else
    store(to, v);
#endif
}

CAROUSEL_INLINE void fence() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

// The first `lanes` elements; the others are 0. `Full` says that it is all of them.
template <bool Full, class T>
CAROUSEL_INLINE Vector<T> load(const T *from, int lanes) {
    if (Full) return load(from);
    alignas(kBytes) T part[kLanes<T>] = {};
    for (int k = 0; k < lanes; ++k) part[k] = from[k];
    return load(part);
}

template <bool Full, class T>
CAROUSEL_INLINE void store(T *to, Vector<T> v, int lanes) {
    if (Full) {
        store(to, v);
        return;
    }
    alignas(kBytes) T part[kLanes<T>];
    store(part, v);
    for (int k = 0; k < lanes; ++k) to[k] = part[k];
}

// The lanes of a and b in the places of a matrix's two rows that are S apart, after the step of its
// transposition that exchanges blocks of S by S.
template <int S, class V, int... lane>
CAROUSEL_INLINE void exchange(V &a, V &b, std::integer_sequence<int, lane...>) {
    constexpr int L = sizeof...(lane);
#if CAROUSEL_HAS_SHUFFLE
    const V upper = __builtin_shufflevector(a, b, (lane & S ? L + lane - S : lane)...);
    b = __builtin_shufflevector(a, b, (lane & S ? L + lane : lane + S)...);
    a = upper;
#else
    const V upper = {(lane & S ? b[(lane - S) & (L - 1)] : a[lane])...};
    b = V{(lane & S ? b[lane] : a[(lane + S) & (L - 1)])...};
    a = upper;
#endif
}

// rows[i][k] and rows[k][i] change places.
template <class T, int S = 1>
CAROUSEL_INLINE void transpose(Vector<T> *rows) {
    constexpr int L = kLanes<T>;
    if constexpr (S < L) {
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i)
            if (!(i & S)) exchange<S>(rows[i], rows[i + S], std::make_integer_sequence<int, L>());
        transpose<T, 2 * S>(rows);
    }
}

// x within [-range, range]; NaN stays NaN.
template <class T>
CAROUSEL_INLINE Vector<T> clamped(Vector<T> x, T range) {
    const Vector<T> high = all<T>(range), low = all<T>(-range);
    x = x > high ? high : x;
    return x < low ? low : x;
}

// exp(x) = scale * (1 + rest), from x = n ln 2 + r: scale = 2^n, rest = exp(r) - 1 by its series.
template <class T>
struct Exponential {
    Vector<T> scale, rest;
};

template <class T>
CAROUSEL_INLINE Exponential<T> exponential(Vector<T> x) {
    using S = Simd<T>;
    const Vector<T> shifted = x * all<T>(T(1.4426950408889634074)) + all<T>(S::rounder);
    const Vector<T> n = shifted - all<T>(S::rounder);
    const Vector<T> r = (x - n * all<T>(S::ln2_high)) - n * all<T>(S::ln2_low);
    // The lowest bits of `shifted` hold n as a whole number, ready for the place of an exponent.
    typename S::Bits bits;
    __builtin_memcpy(&bits, &shifted, sizeof bits);
    const int64_t one = int64_t(S::bias) << S::mantissa_bits;
    bits = (bits << S::mantissa_bits) + static_cast<typename S::Whole>(one);
    Exponential<T> e;
    __builtin_memcpy(&e.scale, &bits, sizeof bits);
    constexpr T factorial[] = {1.,
                               1.,
                               1. / 2,
                               1. / 6,
                               1. / 24,
                               1. / 120,
                               1. / 720,
                               1. / 5040,
                               1. / 40320,
                               1. / 362880,
                               1. / 3628800,
                               1. / 39916800,
                               1. / 479001600,
                               1. / 6227020800.};
    Vector<T> series = all<T>(factorial[S::terms]);
    for (int k = S::terms - 1; k >= 2; --k) series = series * r + all<T>(factorial[k]);
    e.rest = series * (r * r) + r;
    return e;
}

template <class T>
CAROUSEL_INLINE Vector<T> sigmoid(Vector<T> x) {
    const Exponential<T> e = exponential<T>(clamped<T>(-x, Simd<T>::exp_range));
    const Vector<T> one = all<T>(1);
    return one / (e.scale * e.rest + (e.scale + one));
}

// tanh(x) = e / (e + 2) with e = exp(2x) - 1, which is exact to rounding near 0 too.
template <class T>
CAROUSEL_INLINE Vector<T> tanh(Vector<T> x) {
    const Vector<T> limited = clamped<T>(x, Simd<T>::tanh_range);
    const Exponential<T> e = exponential<T>(limited + limited);
    const Vector<T> minus_one = e.scale * e.rest + (e.scale - all<T>(1));
    return minus_one / (minus_one + all<T>(2));
}

template <class T>
CAROUSEL_INLINE Vector<T> d_sigmoid(Vector<T> sigmoid_output) {
    return sigmoid_output * (all<T>(1) - sigmoid_output);
}

template <class T>
CAROUSEL_INLINE Vector<T> d_tanh(Vector<T> tanh_output) {
    return all<T>(1) - tanh_output * tanh_output;
}

// The sum of the squares of the lanes in double precision, always in the same order.
template <class T>
CAROUSEL_INLINE double sum_of_squares(Vector<T> v) {
    typedef double Wide __attribute__((vector_size(kLanes<T> * sizeof(double))));
    const Wide wide = __builtin_convertvector(v, Wide);
    const Wide product = wide * wide;
    double squares[kLanes<T>], sum = 0;
    __builtin_memcpy(squares, &product, sizeof squares);
    for (int k = 0; k < kLanes<T>; ++k) sum += squares[k];
    return sum;
}

}  // namespace carousel::CAROUSEL_TARGET
