// GRU: what happens at one block of units of one sequence at one step.
//
//     r, z = sigmoid(a_r, a_z);   q = W_hn h_{t-1} + b_hn;   n = tanh(a_n + r * q)
//     h_t = (1 - z) * n + z * h_{t-1}
#pragma once

#include "../native/run.hpp"

namespace carousel::CAROUSEL_TARGET {

template <class T>
class Gru {
   public:
    static constexpr int gates = 3;
    static constexpr int width = 1;
    static constexpr bool carries = true;  // h_{t-1} reaches h_t through z alone too

    explicit Gru(const Run<T> &run) : run_(run) {}

    // Of the candidate's biases only b_in: b_hn is multiplied by r.
    void bias(int64_t block, T *part) const {
        for (int g = 0; g < 2; ++g) store(part + g * L, run_.bias(g, block));
        const int64_t at = 2 * run_.hidden + block * L;
        store(part + 2 * L, run_.b_ih ? load<false>(run_.b_ih + at, run_.lanes(block)) : all<T>(0));
    }

    // r and z from the input's part on; the candidate's recurrent product q for itself.
    void start(int64_t row, int64_t block, const Part<T> &input, T *sums) const {
        const int64_t unit = block * L;
        const int lanes = run_.lanes(block);
        store(sums, input.gate(0));
        store(sums + L, input.gate(1));
        V q = all<T>(0);
        if (!run_.w_hh)
            q = load<false>(run_.q + row * run_.hidden + unit, lanes);
        else if (run_.b_hh)
            q = load<false>(run_.b_hh + 2 * run_.hidden + unit, lanes);
        store(sums + 2 * L, q);
    }

    void finish(int64_t row, int64_t block, const T *h_before, const T *, T *, const Part<T> &input,
                const T *sums) const {
        const int lanes = run_.lanes(block);
        if (lanes == L)
            finish<true>(row, block, h_before, input, sums, lanes);
        else
            finish<false>(row, block, h_before, input, sums, lanes);
    }

    Vector<T> back(int64_t row, int64_t b, int64_t block, const T *h_before, const T *, bool,
                   const T *v_h) const {
        const int lanes = run_.lanes(block);
        if (lanes == L)
            back<true>(row, b, block, h_before, load(v_h), lanes);
        else
            back<false>(row, b, block, h_before, load(v_h), lanes);
        return all<T>(0);
    }

   private:
    typedef Vector<T> V;
    static constexpr int L = kLanes<T>;

    template <bool Full>
    CAROUSEL_INLINE void finish(int64_t row, int64_t block, const T *h_before, const Part<T> &input,
                                const T *sums, int lanes) const {
        const int64_t H = run_.hidden, unit = block * L;
        const V q = load(sums + 2 * L), h_prev = load<Full>(h_before + unit, lanes);
        const V r = sigmoid<T>(load(sums)), z = sigmoid<T>(load(sums + L));
        const V n = tanh<T>(input.gate(2) + r * q);
        store<Full>(run_.h + row * H + unit, (all<T>(1) - z) * n + z * h_prev, lanes);
        if (run_.gates) {
            T *gates = run_.gates + row * 3 * H + unit;
            run_.template keep<Full>(gates, r, lanes);
            run_.template keep<Full>(gates + H, z, lanes);
            run_.template keep<Full>(gates + 2 * H, n, lanes);
        }
        if (run_.q) store<Full>(run_.q + row * H + unit, q, lanes);
    }

    // In the reverse order of `finish`.
    template <bool Full>
    CAROUSEL_INLINE void back(int64_t row, int64_t b, int64_t block, const T *h_before, V v_h,
                              int lanes) const {
        const int64_t H = run_.hidden, unit = block * L;
        const T *gates = run_.gates + row * 3 * H + unit;
        T *d_a = run_.d_a + row * 3 * H + unit, *d_q = run_.d_q + row * 3 * H + unit;
        const V r = load<Full>(gates, lanes), z = load<Full>(gates + H, lanes);
        const V n = load<Full>(gates + 2 * H, lanes), h_prev = load<Full>(h_before + unit, lanes);
        const V q = load<Full>(run_.q + row * H + unit, lanes);

        // h_t = (1 - z) * n + z * h_{t-1}
        const V d_a_n = v_h * (all<T>(1) - z) * d_tanh<T>(n);
        const V d_a_z = v_h * (h_prev - n) * d_sigmoid<T>(z);
        store<Full>(run_.d_h_start + b * H + unit, v_h * z, lanes);
        // a_n = .. + r * q
        const V d_a_r = d_a_n * q * d_sigmoid<T>(r);
        store<Full>(d_a, d_a_r, lanes);
        store<Full>(d_a + H, d_a_z, lanes);
        store<Full>(d_a + 2 * H, d_a_n, lanes);
        store<Full>(d_q, d_a_r, lanes);
        store<Full>(d_q + H, d_a_z, lanes);
        store<Full>(d_q + 2 * H, d_a_n * r, lanes);
    }

    const Run<T> &run_;
};

}  // namespace carousel::CAROUSEL_TARGET
