// The simple recurrence: what happens at one block of units of one sequence at one step.
//
//     h_t = phi(a);   phi: tanh, relu, sigmoid or the identity
#pragma once

#include "../native/run.hpp"

namespace carousel::CAROUSEL_TARGET {

template <class T>
class Rnn {
   public:
    static constexpr int gates = 1;
    static constexpr int width = 4;
    static constexpr bool carries = false;

    explicit Rnn(const Run<T> &run) : run_(run) {}

    void bias(int64_t block, T *part) const { store(part, run_.bias(0, block)); }

    void start(int64_t, int64_t, const Part<T> &input, T *sums) const {
        store(sums, input.gate(0));
    }

    void finish(int64_t row, int64_t block, const T *, const T *, T *, const Part<T> &,
                const T *sums) const {
        const int lanes = run_.lanes(block);
        const V h = activated(load(sums));
        T *to = run_.h + row * run_.hidden + block * L;
        if (lanes == L)
            store(to, h);
        else
            store<false>(to, h, lanes);
    }

    Vector<T> back(int64_t row, int64_t, int64_t block, const T *, const T *, bool,
                   const T *v_h) const {
        const int lanes = run_.lanes(block);
        const int64_t at = row * run_.hidden + block * L;
        if (lanes == L)
            store(run_.d_a + at, load(v_h) * d_activated(load(run_.h + at)));
        else
            store<false>(run_.d_a + at, load(v_h) * d_activated(load<false>(run_.h + at, lanes)),
                         lanes);
        return all<T>(0);
    }

   private:
    typedef Vector<T> V;
    static constexpr int L = kLanes<T>;

    CAROUSEL_INLINE V activated(V a) const {
        switch (run_.cell & CAROUSEL_PHI_MASK) {
            case CAROUSEL_RELU: return a <= all<T>(0) ? all<T>(0) : a;  // NaN stays NaN
            case CAROUSEL_SIGMOID: return sigmoid<T>(a);
            case CAROUSEL_IDENTITY: return a;
            default: return tanh<T>(a);
        }
    }

    CAROUSEL_INLINE V d_activated(V h) const {  // from its output; 1 at NaN for relu, as torch
        switch (run_.cell & CAROUSEL_PHI_MASK) {
            case CAROUSEL_RELU: return h <= all<T>(0) ? all<T>(0) : all<T>(1);
            case CAROUSEL_SIGMOID: return d_sigmoid<T>(h);
            case CAROUSEL_IDENTITY: return all<T>(1);
            default: return d_tanh<T>(h);
        }
    }

    const Run<T> &run_;
};

}  // namespace carousel::CAROUSEL_TARGET
