// What each compilation of kernels.cpp offers to dispatch.cpp.
#pragma once

#include "carousel.h"

namespace carousel {

struct Target {
    void (*forward_f32)(const carousel_run *);
    void (*forward_f64)(const carousel_run *);
    void (*backward_f32)(const carousel_run *);
    void (*backward_f64)(const carousel_run *);
    int64_t (*scratch_f32)(const carousel_run *, bool backward);  // bytes
    int64_t (*scratch_f64)(const carousel_run *, bool backward);
    void (*product_f32)(const carousel_product *);
    void (*product_f64)(const carousel_product *);
    int64_t (*product_scratch_f32)(const carousel_product *);  // bytes
    int64_t (*product_scratch_f64)(const carousel_product *);
    double (*fma_peak_f32)(int32_t threads, double (*seconds)());
    double (*fma_peak_f64)(int32_t threads, double (*seconds)());
};

#if defined(CAROUSEL_HAVE_AVX512) || defined(CAROUSEL_COMPILES_avx512)
namespace avx512 {
extern const Target target;
}
#endif
#if defined(CAROUSEL_HAVE_AVX2) || defined(CAROUSEL_COMPILES_avx2)
namespace avx2 {
extern const Target target;
}
#endif
namespace baseline {
extern const Target target;
}

}  // namespace carousel
