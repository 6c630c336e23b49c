// Threads of one run: one parallel region a sequence, and a barrier of spinning threads inside.
#pragma once

#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <sched.h>
#endif

namespace carousel::CAROUSEL_TARGET {

// Numbers too small for their type count as zero inside a run: vanishing gradients make so many of
// them that a step would take twenty times as long. The state from before comes back at the end.
class FlushDenormals {
   public:
#if defined(__SSE2__)
    FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(before_); }

   private:
    unsigned before_;
#elif defined(__aarch64__)
    FlushDenormals() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
        __asm__ volatile("msr fpcr, %0" : : "r"(before_ | (uint64_t(1) << 24)));
    }
    ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before_)); }

   private:
    uint64_t before_;
#endif
   public:
    FlushDenormals(const FlushDenormals &) = delete;
    FlushDenormals &operator=(const FlushDenormals &) = delete;
};

// All threads wait until each has arrived. A thread that waits long lets others run, so that more
// threads than cores only make it slow.
class Barrier {
   public:
    void wait(int threads) {
        if (threads == 1) return;
        const int64_t arrived = __atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL);
        const int64_t needed = (arrived + threads - 1) / threads * threads;
        for (int spins = 0; __atomic_load_n(&arrived_, __ATOMIC_ACQUIRE) < needed; ++spins) {
            if (spins < 20000) {
#if defined(__SSE2__)
                _mm_pause();
#elif defined(__aarch64__)
                __asm__ volatile("yield");
#endif
            } else {
#if defined(__unix__) || defined(__APPLE__)
                sched_yield();
#endif
            }
        }
    }

   private:
    alignas(64) int64_t arrived_ = 0;
};

// body(thread, threads) on each thread, denormals flushed. The team may be smaller than asked for.
template <class Body>
void in_parallel(int threads, Body body) {
#if defined(_OPENMP)
    if (threads > 1 && !omp_in_parallel()) {
#pragma omp parallel num_threads(threads)
        {
            const FlushDenormals flushed;
            body(omp_get_thread_num(), omp_get_num_threads());
        }
        return;
    }
#endif
    (void)threads;
    const FlushDenormals flushed;
    body(0, 1);
}

}  // namespace carousel::CAROUSEL_TARGET
