// Who does what: how the threads of a run share its sequences or its units.
#pragma once

#include "gemm.hpp"
#include "run.hpp"

namespace carousel::CAROUSEL_TARGET {

// A thread goes through all steps either with some of the sequences, where nobody waits for anybody
// but each needs all weights, or with some of the units of all sequences, where every thread keeps
// its part of the weights in its own cache and all wait for each other once a step.
struct Split {
    int64_t first_unit_block, last_unit_block;  // of this thread
    int64_t row_blocks, first_row_block, row_block_step;
    int team;  // how many wait for each other

    template <class T>
    Split(const Run<T> &run, int gates, int rows, int thread, int threads) {
        const int64_t weights = gates * run.hidden * run.hidden;
        const int64_t cached = 640 * 1024 / static_cast<int64_t>(sizeof(T));
        const int64_t worth_waiting = 40000;  // multiply-adds of a step, of all threads together
        const bool elementwise = run.w_hh == nullptr && run.d_a == nullptr;
        const bool by_rows =
            run.batch >= 4 * threads && (weights <= cached || run.batch >= 32 * threads);
        const bool by_units =
            run.blocks() >= threads && (elementwise || run.batch * weights >= worth_waiting);
        first_unit_block = 0;
        last_unit_block = run.blocks();
        first_row_block = 0;
        row_block_step = 1;
        team = 1;
        row_blocks = (run.batch + rows - 1) / rows;
        if (threads == 1) return;
        if (by_rows) {
            row_blocks = (row_blocks + threads - 1) / threads * threads;
            first_row_block = thread;
            row_block_step = threads;
        } else if (by_units) {
            first_unit_block = run.blocks() * thread / threads;
            last_unit_block = run.blocks() * (thread + 1) / threads;
            team = elementwise ? 1 : threads;
        } else if (thread > 0) {
            last_unit_block = 0;  // too little for more than one
        }
    }

    // The sequences of a block, [first, last), before those that have ended are left out.
    int64_t row(int64_t row_block, int64_t batch) const { return row_block * batch / row_blocks; }
};

}  // namespace carousel::CAROUSEL_TARGET
