// The functions of carousel.h: checks, and the choice of the instruction set.
#include <chrono>
#include <cstddef>
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

// How a field is named to the caller: one more than where it stands, for 0 says that all is well.
#define CAROUSEL_FIELD(structure, field) static_cast<int32_t>(offsetof(structure, field) + 1)

int32_t wrong(const carousel_run *run, bool backward) {
    const int32_t family = run->cell & CAROUSEL_FAMILY_MASK;
    const bool has_c = family == CAROUSEL_LSTM, is_gru = family == CAROUSEL_GRU;
    const bool has_gates = family != CAROUSEL_RNN;
    if (run->steps < 1) return CAROUSEL_FIELD(carousel_run, steps);
    if (run->batch < 1) return CAROUSEL_FIELD(carousel_run, batch);
    if (run->hidden < 1) return CAROUSEL_FIELD(carousel_run, hidden);
    if (!run->first_row || !run->sequences) return CAROUSEL_FIELD(carousel_run, first_row);
    for (int64_t t = 0; t < run->steps; ++t)
        if (run->sequences[t] < 1 || run->sequences[t] > run->batch ||
            (t > 0 && run->sequences[t] > run->sequences[t - 1]))
            return CAROUSEL_FIELD(carousel_run, sequences);
    if (family > CAROUSEL_LSTM || gates_of(*run) < (has_c ? 3 : 1))
        return CAROUSEL_FIELD(carousel_run, cell);
    if (run->threads < 1) return CAROUSEL_FIELD(carousel_run, threads);
    if (has_c && (run->cell & CAROUSEL_PEEPHOLE) && !run->peephole)
        return CAROUSEL_FIELD(carousel_run, peephole);
    if (!run->h_start) return CAROUSEL_FIELD(carousel_run, h_start);
    if (has_c && !run->c_start) return CAROUSEL_FIELD(carousel_run, c_start);
    if (!run->h) return CAROUSEL_FIELD(carousel_run, h);
    if (!run->scratch) return CAROUSEL_FIELD(carousel_run, scratch);
    if (!backward && run->x) {
        if (run->inputs < 1) return CAROUSEL_FIELD(carousel_run, inputs);
        if (!run->w_hh) return CAROUSEL_FIELD(carousel_run, w_hh);
        if (!run->w_ih) return CAROUSEL_FIELD(carousel_run, w_ih);
        if (has_c && !run->c && !run->c_end) return CAROUSEL_FIELD(carousel_run, c);
        return 0;
    }
    if (!run->w_hh && (backward ? !(run->cell & CAROUSEL_TRUNCATED) : !run->h_in))
        return CAROUSEL_FIELD(carousel_run, w_hh);
    if (!run->gates && (!backward || has_gates)) return CAROUSEL_FIELD(carousel_run, gates);
    if (is_gru && !run->q) return CAROUSEL_FIELD(carousel_run, q);
    if (has_c && !run->c) return CAROUSEL_FIELD(carousel_run, c);
    if (!backward) return 0;
    if (!run->d_a) return CAROUSEL_FIELD(carousel_run, d_a);
    if (is_gru && !run->d_q) return CAROUSEL_FIELD(carousel_run, d_q);
    if (!run->d_h_start) return CAROUSEL_FIELD(carousel_run, d_h_start);
    if (has_c && !run->d_c_start) return CAROUSEL_FIELD(carousel_run, d_c_start);
    if (run->d_x || run->d_w_ih) {
        if (run->inputs < 1) return CAROUSEL_FIELD(carousel_run, inputs);
        if (run->d_x && !run->w_ih) return CAROUSEL_FIELD(carousel_run, w_ih);
        if (run->d_w_ih && !run->x) return CAROUSEL_FIELD(carousel_run, x);
    }
    return 0;
}

int32_t guarded(const carousel_run *run, bool backward, void (*go)(const carousel_run *)) {
    const int32_t field = wrong(run, backward);
    if (!field) go(run);
    return field;
}

int32_t guarded(const carousel_product *product, void (*go)(const carousel_product *)) {
    if (product->rows < 1) return CAROUSEL_FIELD(carousel_product, rows);
    if (product->left < 1) return CAROUSEL_FIELD(carousel_product, left);
    if (product->right < 1) return CAROUSEL_FIELD(carousel_product, right);
    if (!product->a) return CAROUSEL_FIELD(carousel_product, a);
    if (!product->b) return CAROUSEL_FIELD(carousel_product, b);
    if (!product->out) return CAROUSEL_FIELD(carousel_product, out);
    if (product->kind < 0 || product->kind > CAROUSEL_SUM_OF_ROWS)
        return CAROUSEL_FIELD(carousel_product, kind);
    if (product->threads < 1) return CAROUSEL_FIELD(carousel_product, threads);
    if (!product->scratch) return CAROUSEL_FIELD(carousel_product, scratch);
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
