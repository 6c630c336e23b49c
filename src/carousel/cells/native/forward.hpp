// Forward in time: the products of a step, and the gates, c and h of each block finished at once.
#pragma once

#include "pack.hpp"
#include "parallel.hpp"
#include "split.hpp"

namespace carousel::CAROUSEL_TARGET {

// Rows of the input part that are computed at once: the more, the seldomer W_ih comes from afar.
constexpr int kAhead = 64, kAheadMost = 256;
constexpr int64_t kNearWeights = 2 << 20;  // bytes of W_ih that come quickly

// Rows of weights [G*H, K] side by side by unit: [unit block][k][unit block in panel][gate]
// vectors. A panel holds `width` unit blocks; those beyond the last unit are 0.
template <class T>
void pack_forward(const Run<T> &run, const T *weights, int64_t K, int gates, int width,
                  int64_t first, int64_t last, T *packed) {
    constexpr int L = kLanes<T>;
    for (int64_t panel = first; panel < last; panel += width) {
        const int blocks = static_cast<int>(last - panel < width ? last - panel : width);
        const int64_t stride = int64_t(blocks) * gates * L;
        for (int u = 0; u < blocks; ++u)
            for (int g = 0; g < gates; ++g)
                pack_block(weights + (g * run.hidden + (panel + u) * L) * K, K, K,
                           run.lanes(panel + u),
                           packed + panel * gates * L * K + (u * gates + g) * L, stride);
    }
}

// What a run forward borrows from the scratch of the caller.
template <class T>
struct Workspace {
    T *w_hh, *w_ih;           // packed
    T *part;                  // of each thread [unit blocks][ahead][gate] vectors
    int ahead;                // rows of the input part at once
    int64_t part_size, size;  // numbers; of everything

    Workspace(const Run<T> &run, int gates, int width) {
        const int64_t panels = (run.blocks() + width - 1) / width;
        const int64_t rows = panels * width * kLanes<T> * gates;
        w_hh = static_cast<T *>(run.plain.scratch);
        w_ih = w_hh + rows * run.hidden;  // rows is a multiple of a vector, and so are these
        part = w_ih + (run.x ? rows * run.inputs : 0);
        ahead = rows * run.inputs * int64_t(sizeof(T)) > kNearWeights ? kAheadMost : kAhead;
        part_size = rows * ahead;
        size = part - w_hh + (run.x ? run.plain.threads * part_size : 0);
    }
};

// One thread's way through all steps.
//
// The input part of the pre-activations, W_ih x + biases, is computed as it is needed, in a place
// of its own that stays near: for several steps at once where a step has few rows, else for one
// panel of weights at a time.
template <class T, class Cell>
class Forward {
   public:
    Forward(const Run<T> &run, const Cell &cell, const Split &split, const Workspace<T> &work,
            int thread)
        : run_(run),
          cell_(cell),
          split_(split),
          w_hh_(work.w_hh),
          w_ih_(work.w_ih),
          ahead_rows_(work.ahead),
          part_(work.part + thread * work.part_size) {}

    void go(Barrier &barrier) {
        const int64_t first = split_.first_unit_block, last = split_.last_unit_block;
        const int64_t panels = (last - first + width - 1) / width;
        for (int64_t s = 0; s < run_.steps; ++s) {
            if (run_.x && s == ahead_until_) compute_ahead(s);
            // To and fro: what the end of one step has left in the cache the next one begins with.
            for (int64_t p = 0; p < panels; ++p)
                step(s, first + (s % 2 ? panels - 1 - p : p) * width);
            barrier.wait(split_.team);
        }
        if (run_.past_caches) fence();
    }

   private:
    static constexpr int L = kLanes<T>, G = Cell::gates, width = Cell::width;

    int blocks_of(int64_t panel) const {
        const int64_t left = split_.last_unit_block - panel;
        return left < width ? static_cast<int>(left) : width;
    }

    // Where the input part of a panel stands, [row][unit block in panel][gate] vectors.
    T *part_of(int64_t panel) const {
        return part_ + (panel - split_.first_unit_block) * ahead_rows_ * G * L;
    }

    // The input part of the steps from s on, as many as fit; of a larger step nothing yet.
    void compute_ahead(int64_t s) {
        ahead_from_ = s;
        int64_t rows = 0, more = split_.among(run_.sequences(s));
        const T *x[kAheadMost];
        do {
            ahead_[ahead_until_ - s] = static_cast<int>(rows);
            if (more <= ahead_rows_)
                for (int64_t j = 0; j < more; ++j)
                    x[rows + j] = run_.x + run_.row(ahead_until_, split_.sequence(j)) * run_.inputs;
            rows += more;
            ++ahead_until_;
            more = ahead_until_ < run_.steps ? split_.among(run_.sequences(ahead_until_)) : 0;
        } while (ahead_until_ < run_.steps && rows + more <= ahead_rows_ &&
                 ahead_until_ - s < kAheadMost);
        if (rows > ahead_rows_) return;
        for (int64_t panel = split_.first_unit_block; panel < split_.last_unit_block;
             panel += width)
            input_part(panel, x, static_cast<int>(rows));
    }

    void input_part(int64_t panel, const T *const *x, int rows) {
        const int blocks = blocks_of(panel), vectors = blocks * G;
        alignas(kBytes) T bias[width * G * L];
        for (int u = 0; u < blocks; ++u) cell_.bias(panel + u, bias + u * G * L);
        T *part = part_of(panel);
        for (int m = 0; m < rows; ++m)
            for (int k = 0; k < vectors; ++k)
                store(part + (m * vectors + k) * L, load(bias + k * L));
        for (int first = 0; first < rows; first += kGroup)
            multiply_group(x + first, rows - first < kGroup ? rows - first : kGroup,
                           w_ih_ + panel * G * L * run_.inputs, vectors, run_.inputs,
                           part + first * vectors * L);
    }

    void step(int64_t s, int64_t panel) {
        const int64_t present = split_.among(run_.sequences(s));
        const int64_t groups = (present + kGroup - 1) / kGroup;
        for (int64_t group = 0; group < groups; ++group) {
            const int64_t first = group * present / groups;
            const int rows = static_cast<int>((group + 1) * present / groups - first);
            const T *part = nullptr;
            if (run_.x && present <= ahead_rows_) {
                part =
                    part_of(panel) + (ahead_[s - ahead_from_] + first) * blocks_of(panel) * G * L;
            } else if (run_.x) {
                const T *x[kGroup];
                for (int m = 0; m < rows; ++m)
                    x[m] = run_.x + run_.row(s, split_.sequence(first + m)) * run_.inputs;
                input_part(panel, x, rows);
                part = part_of(panel);
            }
            finish(s, panel, first, rows, part);
        }
    }

    // Add the recurrent part, and finish the units of a panel.
    void finish(int64_t s, int64_t panel, int64_t first, int rows, const T *part) {
        const int blocks = blocks_of(panel), vectors = blocks * G;
        const int64_t continued = run_.continued(s);
        const T *const states = run_.w_hh ? run_.h : run_.h_in;
        const T *h_before[kGroup];
        for (int m = 0; m < rows; ++m) {
            const int64_t b = split_.sequence(first + m), row = run_.row(s, b);
            h_before[m] = run_.before(states, run_.h_start, s, b, b < continued);
            for (int u = 0; u < blocks; ++u)
                cell_.start(row, panel + u, input(part, m, vectors, u, row, panel),
                            sums_ + (m * vectors + u * G) * L);
        }
        if (run_.w_hh)
            multiply_group(h_before, rows, w_hh_ + panel * G * L * run_.hidden, vectors,
                           run_.hidden, sums_);
        for (int m = 0; m < rows; ++m) {
            const int64_t b = split_.sequence(first + m), row = run_.row(s, b);
            const T *c_before = run_.c_before(s, b, b < continued);
            T *c = run_.c_at(row, b);
            for (int u = 0; u < blocks; ++u)
                cell_.finish(row, panel + u, h_before[m], c_before, c,
                             input(part, m, vectors, u, row, panel),
                             sums_ + (m * vectors + u * G) * L);
        }
    }

    // The input part of one unit block: as computed here, or as the caller has left it in gates.
    Part<T> input(const T *part, int m, int vectors, int u, int64_t row, int64_t panel) const {
        if (part) return {part + (m * vectors + u * G) * L, L, L};
        const int64_t block = panel + u;
        return {run_.gates + row * G * run_.hidden + block * L, run_.hidden, run_.lanes(block)};
    }

    const Run<T> &run_;
    const Cell &cell_;
    const Split &split_;
    const T *const w_hh_, *const w_ih_;
    const int ahead_rows_;
    T *const part_;
    int64_t ahead_from_ = 0, ahead_until_ = 0;  // the steps whose input part is there
    int ahead_[kAheadMost];                     // its rows before each of them
    alignas(kBytes) T sums_[kGroup * kMaxVectors * L];
};

template <class T>
void copy_ends(const Run<T> &run, const T *states, void *ends) {
    if (!ends) return;
    for (int64_t s = 0; s < run.steps; ++s) {
        // Those that have no further step: the run goes on with fewer, or it is over.
        const int64_t on = s + 1 < run.steps ? run.sequences(s + 1) : 0;
        for (int64_t b = on; b < run.sequences(s); ++b)
            __builtin_memcpy(static_cast<T *>(ends) + b * run.hidden,
                             states + run.row(s, b) * run.hidden, run.hidden * sizeof(T));
    }
}

template <class T, class Cell>
int64_t forward_scratch(const Run<T> &run) {  // bytes
    return Workspace<T>(run, Cell::gates, Cell::width).size * int64_t(sizeof(T));
}

template <class T, class Cell>
void forward(const Run<T> &run) {
    const Cell cell(run);
    const Workspace<T> work(run, Cell::gates, Cell::width);
    Barrier barrier;
    in_parallel(run.plain.threads, [&](int thread, int threads) {
        const Split split(run, Cell::gates, thread, threads);
        if (run.w_hh) {
            const bool shared = split.team == 1;
            const int64_t blocks = run.blocks(), panels = (blocks + Cell::width - 1) / Cell::width;
            int64_t first = split.first_unit_block, last = split.last_unit_block;
            if (shared) {  // whole panels to each thread
                first = panels * thread / threads * Cell::width;
                last = panels * (thread + 1) / threads * Cell::width;
                last = last < blocks ? last : blocks;
            }
            pack_forward(run, run.w_hh, run.hidden, Cell::gates, Cell::width, first, last,
                         work.w_hh);
            if (run.x)
                pack_forward(run, run.w_ih, run.inputs, Cell::gates, Cell::width, first, last,
                             work.w_ih);
            if (shared) barrier.wait(threads);
        }
        Forward<T, Cell>(run, cell, split, work, thread).go(barrier);
    });
    copy_ends(run, run.h, run.plain.h_end);
    if (run.c) copy_ends(run, static_cast<const T *>(run.c), run.plain.c_end);
}

}  // namespace carousel::CAROUSEL_TARGET
