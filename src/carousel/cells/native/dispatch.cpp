// The functions of carousel.h: checks, and the choice of the instruction set.
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "targets.hpp"

namespace carousel {
namespace {

struct Named {
    const char *name;
    const Target *target;
};

Named best() {
#if defined(CAROUSEL_HAVE_AVX512) || defined(CAROUSEL_HAVE_AVX2)
    const char *wanted = std::getenv("CAROUSEL_TARGET");
    const bool any = !wanted || !*wanted;
#if defined(CAROUSEL_HAVE_AVX512)
    if (any || !std::strcmp(wanted, "avx512"))
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
            return {"avx512", &avx512::target};
#endif
#if defined(CAROUSEL_HAVE_AVX2)
    if (any || std::strcmp(wanted, "baseline"))
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
            return {"avx2", &avx2::target};
#endif
#endif
    return {"baseline", &baseline::target};
}

const Named &chosen() {
    static const Named named = best();
    return named;
}

double seconds() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(now).count();
}

int gates_of(const carousel_run &run) {
    switch (run.cell & CAROUSEL_FAMILY_MASK) {
        case CAROUSEL_RNN: return 1;
        case CAROUSEL_GRU: return 3;
        default: break;
    }
    return 4 - !!(run.cell & CAROUSEL_NO_I) - !!(run.cell & CAROUSEL_NO_F) -
           !!(run.cell & CAROUSEL_NO_O);
}

// The widest vector of any target: scratch is the same whichever runs.
constexpr int64_t kWidest = 64;

int64_t padded_units(const carousel_run &run, int32_t size) {
    const int64_t lanes = kWidest / size;
    return (run.hidden + lanes - 1) / lanes * lanes;
}

int32_t wrong(const carousel_run *run, bool backward) {
    const int32_t family = run->cell & CAROUSEL_FAMILY_MASK;
    const bool has_c = family == CAROUSEL_LSTM;
    if (run->steps < 1) return 1;
    if (run->batch < 1) return 2;
    if (run->hidden < 1) return 3;
    if (!run->first_row || !run->sequences) return 5;
    for (int64_t t = 0; t < run->steps; ++t)
        if (run->sequences[t] < 1 || run->sequences[t] > run->batch ||
            (t > 0 && run->sequences[t] > run->sequences[t - 1]))
            return 6;
    if (family > CAROUSEL_LSTM || gates_of(*run) < (has_c ? 3 : 1)) return 8;
    if (run->threads < 1) return 9;
    if (!run->w_hh && (backward ? !(run->cell & CAROUSEL_TRUNCATED) : !run->h_in)) return 11;
    if (has_c && (run->cell & CAROUSEL_PEEPHOLE) && !run->peephole) return 12;
    if (!run->h_start) return 14;
    if (has_c && !run->c_start) return 15;
    if (!run->gates && (!backward || family != CAROUSEL_RNN)) return 16;
    if (family == CAROUSEL_GRU && !run->q) return 17;
    if (!run->h) return 18;
    if (has_c && !run->c) return 19;
    if (backward && !run->d_a) return 27;
    if (backward && family == CAROUSEL_GRU && !run->d_q) return 28;
    if (backward && !run->d_h_start) return 29;
    if (backward && has_c && !run->d_c_start) return 30;
    if (!run->scratch) return 34;
    return 0;
}

int32_t guarded(const carousel_run *run, bool backward, void (*go)(const carousel_run *)) {
    const int32_t field = wrong(run, backward);
    if (!field) go(run);
    return field;
}

}  // namespace
}  // namespace carousel

using namespace carousel;

#define CAROUSEL_EXPORT extern "C" __attribute__((visibility("default")))

CAROUSEL_EXPORT int64_t carousel_scratch_bytes(const carousel_run *run, int32_t backward,
                                               int32_t size) {
    const int64_t units = padded_units(*run, size);
    const int64_t weights = units * gates_of(*run) * run->hidden * size + 64;
    if (!backward || !run->norms) return weights;
    int64_t rows = 0;
    for (int64_t t = 0; t < run->steps; ++t) {
        const int64_t last = run->first_row[t] + (run->sequences[t] - 1) * run->row_stride + 1;
        rows = last > rows ? last : rows;
    }
    const int64_t narrowest = 16 / size;  // the narrowest vectors make the most blocks
    const int64_t blocks = (run->hidden + narrowest - 1) / narrowest;
    return weights + rows * blocks * 2 * static_cast<int64_t>(sizeof(double)) + 64;
}

CAROUSEL_EXPORT int32_t carousel_forward_f32(const carousel_run *run) {
    return guarded(run, false, chosen().target->forward_f32);
}

CAROUSEL_EXPORT int32_t carousel_forward_f64(const carousel_run *run) {
    return guarded(run, false, chosen().target->forward_f64);
}

CAROUSEL_EXPORT int32_t carousel_backward_f32(const carousel_run *run) {
    return guarded(run, true, chosen().target->backward_f32);
}

CAROUSEL_EXPORT int32_t carousel_backward_f64(const carousel_run *run) {
    return guarded(run, true, chosen().target->backward_f64);
}

CAROUSEL_EXPORT int32_t carousel_abi(void) { return CAROUSEL_ABI; }

CAROUSEL_EXPORT const char *carousel_target(void) { return chosen().name; }

CAROUSEL_EXPORT int32_t carousel_openmp(void) {
#if defined(_OPENMP)
    return 1;
#else
    return 0;
#endif
}

CAROUSEL_EXPORT double carousel_fma_peak_f32(int32_t threads) {
    return chosen().target->fma_peak_f32(threads, seconds);
}

CAROUSEL_EXPORT double carousel_fma_peak_f64(int32_t threads) {
    return chosen().target->fma_peak_f64(threads, seconds);
}
