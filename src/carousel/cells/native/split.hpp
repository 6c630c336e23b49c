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
    int64_t first_sequence, sequence_step;      // of this thread: every so many, so that those of a
                                                // ragged batch end evenly
    int team;                                   // how many threads wait for each other

    template <class T>
    Split(const Run<T> &run, int gates, int thread, int threads)
        : first_unit_block(0),
          last_unit_block(run.blocks()),
          first_sequence(0),
          sequence_step(1),
          team(1) {
        if (threads == 1) return;
        const int64_t weights = gates * run.hidden * run.hidden;
        const int64_t cached = 640 * 1024 / static_cast<int64_t>(sizeof(T));
        const int64_t worth_waiting = 40000;  // multiply-adds of a step, of all threads together
        const bool elementwise = run.w_hh == nullptr && run.d_a == nullptr;
        if (run.batch >= 4 * threads && (weights <= cached || elementwise)) {
            first_sequence = thread;
            sequence_step = threads;
        } else if (run.blocks() >= threads &&
                   (elementwise || run.batch * weights >= worth_waiting)) {
            first_unit_block = run.blocks() * thread / threads;
            last_unit_block = run.blocks() * (thread + 1) / threads;
            team = elementwise ? 1 : threads;
        } else if (thread > 0) {
            last_unit_block = 0;  // too little for more than one
        }
    }

    // The j-th sequence of this thread, and how many of the first `sequences` are its own.
    int64_t sequence(int64_t j) const { return first_sequence + j * sequence_step; }
    int64_t among(int64_t sequences) const {
        return (sequences - first_sequence + sequence_step - 1) / sequence_step;
    }
};

}  // namespace carousel::CAROUSEL_TARGET
