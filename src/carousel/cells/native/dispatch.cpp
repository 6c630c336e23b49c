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

// The number of a field, counted from 1, in the order of the struct.
enum Field : int32_t {
    kSteps = 1,
    kBatch,
    kHidden,
    kInputs,
    kRowStride,
    kFirstRow,
    kSequences,
    kReverse,
    kCell,
    kThreads,
    kWhh,
    kWih,
    kPeephole,
    kBih,
    kBhh,
    kHStart,
    kCStart,
    kX,
    kGates,
    kQ,
    kH,
    kC,
    kHIn,
    kHEnd,
    kCEnd,
    kDOutput,
    kDCell,
    kDHEnd,
    kDCEnd,
    kDA,
    kDQ,
    kDHStart,
    kDCStart,
    kDH,
    kDC,
    kNorms,
    kScratch
};

int32_t wrong(const carousel_run *run, bool backward) {
    const int32_t family = run->cell & CAROUSEL_FAMILY_MASK;
    const bool has_c = family == CAROUSEL_LSTM, is_gru = family == CAROUSEL_GRU;
    const bool has_gates = family != CAROUSEL_RNN;
    if (run->steps < 1) return kSteps;
    if (run->batch < 1) return kBatch;
    if (run->hidden < 1) return kHidden;
    if (!run->first_row || !run->sequences) return kFirstRow;
    for (int64_t t = 0; t < run->steps; ++t)
        if (run->sequences[t] < 1 || run->sequences[t] > run->batch ||
            (t > 0 && run->sequences[t] > run->sequences[t - 1]))
            return kSequences;
    if (family > CAROUSEL_LSTM || gates_of(*run) < (has_c ? 3 : 1)) return kCell;
    if (run->threads < 1) return kThreads;
    if (has_c && (run->cell & CAROUSEL_PEEPHOLE) && !run->peephole) return kPeephole;
    if (!run->h_start) return kHStart;
    if (has_c && !run->c_start) return kCStart;
    if (!run->h) return kH;
    if (!run->scratch) return kScratch;
    if (!backward && run->x) {
        if (run->inputs < 1) return kInputs;
        if (!run->w_hh) return kWhh;
        if (!run->w_ih) return kWih;
        if (has_c && !run->c && !run->c_end) return kC;
        return 0;
    }
    if (!run->w_hh && (backward ? !(run->cell & CAROUSEL_TRUNCATED) : !run->h_in)) return kWhh;
    if (!run->gates && (!backward || has_gates)) return kGates;
    if (is_gru && !run->q) return kQ;
    if (has_c && !run->c) return kC;
    if (!backward) return 0;
    if (!run->d_a) return kDA;
    if (is_gru && !run->d_q) return kDQ;
    if (!run->d_h_start) return kDHStart;
    if (has_c && !run->d_c_start) return kDCStart;
    if (run->d_x || run->d_w_ih) {
        if (run->inputs < 1) return kInputs;
        if (run->d_x && !run->w_ih) return kWih;
        if (run->d_w_ih && !run->x) return kX;
    }
    return 0;
}

int32_t guarded(const carousel_run *run, bool backward, void (*go)(const carousel_run *)) {
    const int32_t field = wrong(run, backward);
    if (!field) go(run);
    return field;
}

int32_t guarded(const carousel_product *product, void (*go)(const carousel_product *)) {
    if (product->rows < 1) return 1;
    if (product->left < 1) return 2;
    if (product->right < 1) return 3;
    if (!product->a) return 4;
    if (!product->b) return 5;
    if (!product->out) return 7;
    if (product->kind < 0 || product->kind > CAROUSEL_SUM_OF_ROWS) return 8;
    if (product->threads < 1) return 10;
    if (!product->scratch) return 11;
    go(product);
    return 0;
}

}  // namespace
}  // namespace carousel

using namespace carousel;

#define CAROUSEL_EXPORT extern "C" __attribute__((visibility("default")))

CAROUSEL_EXPORT int64_t carousel_scratch_bytes(const carousel_run *run, int32_t backward,
                                               int32_t size) {
    const Target &target = *chosen().target;
    return (size == 4 ? target.scratch_f32 : target.scratch_f64)(run, backward);
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

CAROUSEL_EXPORT int64_t carousel_product_bytes(const carousel_product *product, int32_t size) {
    const Target &target = *chosen().target;
    return (size == 4 ? target.product_scratch_f32 : target.product_scratch_f64)(product);
}

CAROUSEL_EXPORT int32_t carousel_product_f32(const carousel_product *product) {
    return guarded(product, chosen().target->product_f32);
}

CAROUSEL_EXPORT int32_t carousel_product_f64(const carousel_product *product) {
    return guarded(product, chosen().target->product_f64);
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
