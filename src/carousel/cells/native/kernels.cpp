// Every kernel for one instruction set; compiled once for each.
#include "../gru/kernel.hpp"
#include "../lstm/kernel.hpp"
#include "../rnn/kernel.hpp"
#include "backward.hpp"
#include "forward.hpp"
#include "product.hpp"
#include "targets.hpp"

namespace carousel::CAROUSEL_TARGET {

namespace {

struct Forwards {
    template <class T, class Cell>
    static void go(const Run<T> &run) {
        forward<T, Cell>(run);
    }
};

struct Backwards {
    template <class T, class Cell>
    static void go(const Run<T> &run) {
        backward<T, Cell>(run);
    }
};

struct ForwardScratch {
    template <class T, class Cell>
    static int64_t go(const Run<T> &run) {
        return forward_scratch<T, Cell>(run);
    }
};

struct BackwardScratch {
    template <class T, class Cell>
    static int64_t go(const Run<T> &run) {
        return backward_scratch<T, Cell>(run);
    }
};

template <class T, class Direction>
auto dispatch(const carousel_run *plain) {
    const Run<T> run(*plain);
    const int32_t cell = plain->cell;
    switch (cell & CAROUSEL_FAMILY_MASK) {
        case CAROUSEL_RNN: return Direction::template go<T, Rnn<T>>(run);
        case CAROUSEL_GRU: return Direction::template go<T, Gru<T>>(run);
        default: break;
    }
    const int absent =
        !!(cell & CAROUSEL_NO_I) + !!(cell & CAROUSEL_NO_F) + !!(cell & CAROUSEL_NO_O);
    if (absent == 1) return Direction::template go<T, Lstm<T, 3, false>>(run);
    const int32_t beside = CAROUSEL_PEEPHOLE | CAROUSEL_G_MASK | CAROUSEL_H_MASK;
    if (cell & beside) return Direction::template go<T, Lstm<T, 4, false>>(run);
    return Direction::template go<T, Lstm<T, 4, true>>(run);
}

template <class T>
int64_t scratch(const carousel_run *run, bool backward) {
    return backward ? dispatch<T, BackwardScratch>(run) : dispatch<T, ForwardScratch>(run);
}

// Multiply-adds that need nothing but registers.
template <class T>
double fma_peak(int32_t threads, double (*seconds)()) {
    constexpr int sums = 16;
    constexpr int64_t rounds = 200000;
    double best = 0;
    for (int repeat = 0; repeat < 20; ++repeat) {
        int64_t done = 0;
        T seen = 0;
        const double start = seconds();
        in_parallel(threads, [&](int, int team) {
            Vector<T> sum[sums];
            Vector<T> factor = all<T>(T(0.5)), term = all<T>(T(0.25));
            __asm__ volatile("" : "+m"(factor), "+m"(term));
            for (int k = 0; k < sums; ++k) sum[k] = all<T>(T(k));
            for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
                for (int k = 0; k < sums; ++k) sum[k] = sum[k] * factor + term;
            }
            Vector<T> total = all<T>(0);
            for (int k = 0; k < sums; ++k) total = total + sum[k];
            T used = total[0];
            __asm__ volatile("" : "+m"(used));
            __atomic_store_n(&done, team, __ATOMIC_RELAXED);
        });
        const double elapsed = seconds() - start;
        (void)seen;
        const double rate = 1e-9 * done * rounds * sums * kLanes<T> / elapsed;
        if (rate > best) best = rate;
    }
    return best;
}

}  // namespace

const Target target = {
    dispatch<float, Forwards>,
    dispatch<double, Forwards>,
    dispatch<float, Backwards>,
    dispatch<double, Backwards>,
    scratch<float>,
    scratch<double>,
    product<float>,
    product<double>,
    product_scratch<float>,
    product_scratch<double>,
    fma_peak<float>,
    fma_peak<double>,
};

}  // namespace carousel::CAROUSEL_TARGET
