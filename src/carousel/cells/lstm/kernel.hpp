// LSTM and its family: what happens at one block of units of one sequence at one step.
//
//     i, f, o = sigmoid(a_i, a_f, a_o);   g = phi_g(a_g)          (peepholes: see README.md)
//     c_t = f * c_{t-1} + i * g;          h_t = o * phi_h(c_t)
#pragma once

#include "../native/run.hpp"

namespace carousel::CAROUSEL_TARGET {

// G rows of weights for each unit; `Plain` is torch's LSTM: all four gates, tanh, no peepholes.
template <class T, int G, bool Plain>
class Lstm {
   public:
    static constexpr int gates = G;
    static constexpr int width = 1;
    static constexpr bool carries = false;  // nothing goes from h_t to h_{t-1} but through W_hh

    explicit Lstm(const Run<T> &run) : run_(run) {
        const int32_t cell = run.cell;
        int slot = 0, peep = 0;
        at_i_ = cell & CAROUSEL_NO_I ? -1 : slot++;
        at_f_ = cell & CAROUSEL_NO_F ? -1 : slot++;
        at_g_ = slot++;
        at_o_ = cell & CAROUSEL_NO_O ? -1 : slot++;
        coupled_ = cell & CAROUSEL_COUPLED;
        if (!(cell & CAROUSEL_PEEPHOLE)) return;
        p_i_ = at_i_ < 0 ? nullptr : run.peephole + peep++ * run.hidden;
        p_f_ = at_f_ < 0 ? nullptr : run.peephole + peep++ * run.hidden;
        p_o_ = at_o_ < 0 ? nullptr : run.peephole + peep++ * run.hidden;
    }

    void bias(int64_t block, T *part) const {
        for (int g = 0; g < G; ++g) store(part + g * L, run_.bias(g, block));
    }

    void start(int64_t, int64_t, const Part<T> &input, T *sums) const {
        for (int g = 0; g < G; ++g) store(sums + g * L, input.gate(g));
    }

    void finish(int64_t row, int64_t block, const T *, const T *c_before, T *c, const Part<T> &,
                const T *sums) const {
        const int lanes = run_.lanes(block);
        if (lanes == L)
            finish<true>(row, block, c_before, c, sums, lanes);
        else
            finish<false>(row, block, c_before, c, sums, lanes);
    }

    // From v_h = dL/dh_t; returns dL/dc_t.
    Vector<T> back(int64_t row, int64_t b, int64_t block, const T *, const T *c_before,
                   bool goes_on, const T *v_h) const {
        const int lanes = run_.lanes(block);
        return lanes == L ? back<true>(row, b, block, c_before, goes_on, load(v_h), lanes)
                          : back<false>(row, b, block, c_before, goes_on, load(v_h), lanes);
    }

   private:
    typedef Vector<T> V;
    static constexpr int L = kLanes<T>;

    template <bool Full>
    CAROUSEL_INLINE void finish(int64_t row, int64_t block, const T *c_before, T *c_after,
                                const T *sums, int lanes) const {
        const int64_t H = run_.hidden, unit = block * L;
        const V c_prev = load<Full>(c_before + unit, lanes), one = all<T>(1);
        V i, f, g, o, c;
        if (Plain) {
            i = sigmoid<T>(load(sums));
            f = sigmoid<T>(load(sums + L));
            g = tanh<T>(load(sums + 2 * L));
            o = sigmoid<T>(load(sums + 3 * L));
            c = f * c_prev + i * g;
            store<Full>(run_.h + row * H + unit, o * tanh<T>(c), lanes);
        } else {
            i = one;
            if (at_i_ >= 0) i = sigmoid<T>(seen<Full>(sums, at_i_, p_i_, c_prev, unit, lanes));
            f = coupled_ ? one - i : one;
            if (at_f_ >= 0) f = sigmoid<T>(seen<Full>(sums, at_f_, p_f_, c_prev, unit, lanes));
            g = squashed_g(load(sums + at_g_ * L));
            c = f * c_prev + i * g;
            o = one;
            if (at_o_ >= 0) o = sigmoid<T>(seen<Full>(sums, at_o_, p_o_, c, unit, lanes));
            store<Full>(run_.h + row * H + unit, o * squashed_h(c), lanes);
        }
        store<Full>(c_after + unit, c, lanes);
        if (!run_.gates) return;
        T *gates = run_.gates + row * G * H + unit;
        if (Plain || at_i_ >= 0)
            run_.template keep<Full>(gates + (Plain ? 0 : at_i_) * H, i, lanes);
        if (Plain || at_f_ >= 0)
            run_.template keep<Full>(gates + (Plain ? 1 : at_f_) * H, f, lanes);
        run_.template keep<Full>(gates + (Plain ? 2 : at_g_) * H, g, lanes);
        if (Plain || at_o_ >= 0)
            run_.template keep<Full>(gates + (Plain ? 3 : at_o_) * H, o, lanes);
    }

    // In the reverse order of `finish`.
    template <bool Full>
    CAROUSEL_INLINE V back(int64_t row, int64_t b, int64_t block, const T *c_before, bool goes_on,
                           V v_h, int lanes) const {
        const int64_t H = run_.hidden, unit = block * L;
        const T *gates = run_.gates + row * G * H + unit;
        T *d_a = run_.d_a + row * G * H + unit;
        T *carry = run_.d_c_start + b * H + unit;
        const V one = all<T>(1), c_prev = load<Full>(c_before + unit, lanes);
        const V c = load<Full>(run_.c + row * H + unit, lanes);
        const bool through_peepholes = !Plain && !(run_.cell & CAROUSEL_TRUNCATED);

        V d_c = all<T>(0);  // what arrives at c_t without what it receives through h_t
        if (goes_on)
            d_c = load<Full>(carry, lanes);
        else if (run_.d_c_end)
            d_c = load<Full>(run_.d_c_end + b * H + unit, lanes);
        if (run_.d_cell) d_c = d_c + load<Full>(run_.d_cell + row * H + unit, lanes);

        // h_t = o * phi_h(c_t)
        const V out = Plain ? tanh<T>(c) : squashed_h(c);
        V o = one;
        if (Plain || at_o_ >= 0) {
            o = load<Full>(gates + (Plain ? 3 : at_o_) * H, lanes);
            const V d_a_o = v_h * out * d_sigmoid<T>(o);
            store<Full>(d_a + (Plain ? 3 : at_o_) * H, d_a_o, lanes);
            if (through_peepholes && p_o_) d_c = d_c + load<Full>(p_o_ + unit, lanes) * d_a_o;
        }
        d_c = d_c + v_h * o * (Plain ? d_tanh<T>(out) : d_squashed_h(out));

        // c_t = f * c_{t-1} + i * g
        const V g = load<Full>(gates + (Plain ? 2 : at_g_) * H, lanes);
        V i = one, f = one, back_to_c;
        if (Plain || at_i_ >= 0) i = load<Full>(gates + (Plain ? 0 : at_i_) * H, lanes);
        if (Plain || at_f_ >= 0)
            f = load<Full>(gates + (Plain ? 1 : at_f_) * H, lanes);
        else if (coupled_)
            f = one - i;
        back_to_c = d_c * f;
        store<Full>(d_a + (Plain ? 2 : at_g_) * H,
                    d_c * i * (Plain ? d_tanh<T>(g) : d_squashed_g(g)), lanes);
        if (Plain || at_i_ >= 0) {
            const V d_a_i = d_c * (!Plain && coupled_ ? g - c_prev : g) * d_sigmoid<T>(i);
            store<Full>(d_a + (Plain ? 0 : at_i_) * H, d_a_i, lanes);
            if (through_peepholes && p_i_)
                back_to_c = back_to_c + load<Full>(p_i_ + unit, lanes) * d_a_i;
        }
        if (Plain || at_f_ >= 0) {
            const V d_a_f = d_c * c_prev * d_sigmoid<T>(f);
            store<Full>(d_a + (Plain ? 1 : at_f_) * H, d_a_f, lanes);
            if (through_peepholes && p_f_)
                back_to_c = back_to_c + load<Full>(p_f_ + unit, lanes) * d_a_f;
        }
        store<Full>(carry, back_to_c, lanes);
        return d_c;
    }

    // A gate's pre-activation with what it sees of the cell.
    template <bool Full>
    CAROUSEL_INLINE V seen(const T *sums, int slot, const T *peephole, V c, int64_t unit,
                           int lanes) const {
        const V a = load(sums + slot * L);
        return peephole ? a + load<Full>(peephole + unit, lanes) * c : a;
    }

    CAROUSEL_INLINE V squashed_g(V a) const {
        switch (run_.cell & CAROUSEL_G_MASK) {
            case CAROUSEL_G_LOGISTIC: return tanh<T>(a * all<T>(T(0.5))) * all<T>(2);
            case CAROUSEL_G_IDENTITY: return a;
            default: return tanh<T>(a);
        }
    }

    CAROUSEL_INLINE V d_squashed_g(V g) const {  // from its output
        switch (run_.cell & CAROUSEL_G_MASK) {
            case CAROUSEL_G_LOGISTIC: return all<T>(1) - g * g * all<T>(T(0.25));
            case CAROUSEL_G_IDENTITY: return all<T>(1);
            default: return d_tanh<T>(g);
        }
    }

    CAROUSEL_INLINE V squashed_h(V c) const {
        switch (run_.cell & CAROUSEL_H_MASK) {
            case CAROUSEL_H_LOGISTIC: return tanh<T>(c * all<T>(T(0.5)));
            case CAROUSEL_H_IDENTITY: return c;
            default: return tanh<T>(c);
        }
    }

    CAROUSEL_INLINE V d_squashed_h(V out) const {  // from its output
        switch (run_.cell & CAROUSEL_H_MASK) {
            case CAROUSEL_H_LOGISTIC: return d_tanh<T>(out) * all<T>(T(0.5));
            case CAROUSEL_H_IDENTITY: return all<T>(1);
            default: return d_tanh<T>(out);
        }
    }

    const Run<T> &run_;
    int at_i_, at_f_, at_g_, at_o_;  // place among the gates, -1 without
    const T *p_i_ = nullptr, *p_f_ = nullptr, *p_o_ = nullptr;
    bool coupled_;
};

}  // namespace carousel::CAROUSEL_TARGET
