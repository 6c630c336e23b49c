// Products over all steps: of rows with weights, and sums over rows.
//
// Each number is summed in the order of the inner index, or of the rows, in pieces whose ends do
// not depend on the number of threads, so that this number changes no bit.
#pragma once

#include "gemm.hpp"
#include "pack.hpp"
#include "parallel.hpp"

namespace carousel::CAROUSEL_TARGET {

constexpr int64_t kInnerAtOnce = 512;         // of the inner index, for each panel of weights
constexpr int64_t kNearBytes = 512 * 1024;    // of sums that a thread keeps near
constexpr int64_t kLargeBytes = 4096 * 1024;  // of sums that are fetched seldom

constexpr int64_t rows_at_once(int64_t bytes_of_sums) {
    return bytes_of_sums > kLargeBytes ? 512 : 256;
}

// Rows of a matrix, one below the other or wherever a table says.
template <class T>
struct Rows {
    const T *first;
    int64_t size;
    const T *const *table = nullptr;

    const T *operator()(int64_t row) const { return table ? table[row] : first + row * size; }
};

// A matrix cut into panels of columns, each packed [row][vectors] for the product in gemm.hpp.
template <class T>
struct Panels {
    static constexpr int L = kLanes<T>;
    static constexpr int64_t width = kMaxVectors * L;

    int64_t columns;
    int64_t count() const { return (columns + width - 1) / width; }
    int64_t filled(int64_t panel) const {  // columns of a panel that are there
        const int64_t left = columns - panel * width;
        return left < width ? left : width;
    }
    int vectors(int64_t panel) const { return static_cast<int>((filled(panel) + L - 1) / L); }

    // One row of a panel, with zeros up to a whole vector.
    void pack(const T *row, int64_t panel, T *to) const {
        const T *from = row + panel * width;
        const int64_t there = filled(panel), size = vectors(panel) * L;
        int64_t n = 0;
        for (; n + L <= there; n += L) store(to + n, load(from + n));
        for (; n < there; ++n) to[n] = from[n];
        for (; n < size; ++n) to[n] = T(0);
    }

    void unpack(const T *sums, int64_t panel, T *row, bool add) const {
        T *to = row + panel * width;
        const int64_t there = filled(panel);
        int64_t n = 0;
        for (; n + L <= there; n += L)
            store(to + n, add ? load(to + n) + load(sums + n) : load(sums + n));
        for (; n < there; ++n) to[n] = add ? to[n] + sums[n] : sums[n];
    }
};

// out [rows, columns] = a [rows, inner] @ b [inner, columns], or b [columns, inner] transposed, +
// bias
//
// Each thread takes some of the rows. The sums of a block of them and of some panels stay near,
// [panel][row][vectors], while they go through these panels piece by piece.
template <class T>
class RowsByWeights {
   public:
    RowsByWeights(Rows<T> a, int64_t rows, const T *b, bool transposed, int64_t columns, T *out,
                  const T *bias = nullptr)
        : a_(a),
          rows_(rows),
          b_(b),
          transposed_(transposed),
          columns_{columns},
          out_(out),
          bias_(bias) {}

    static int64_t scratch(int64_t inner, int64_t columns, int threads) {  // numbers
        return Panels<T>{columns}.count() * width * inner + threads * kPanels * width * kRows;
    }

    void work(int thread, int team, Barrier &barrier, T *packed) const {
        const int64_t panels = columns_.count();
        for (int64_t panel = thread; panel < panels; panel += team)
            pack(panel, packed + panel * width * a_.size);
        barrier.wait(team);
        T *sums = packed + panels * width * a_.size + thread * kPanels * width * kRows;
        const int64_t last = rows_ * (thread + 1) / team;
        for (int64_t row = rows_ * thread / team; row < last; row += kRows)
            for (int64_t panel = 0; panel < panels; panel += kPanels)
                multiply_block(row, static_cast<int>(last - row < kRows ? last - row : kRows),
                               panel, panel + kPanels < panels ? panel + kPanels : panels, packed,
                               sums);
    }

   private:
    static constexpr int L = kLanes<T>;
    static constexpr int64_t width = Panels<T>::width;
    static constexpr int64_t kRows = 4 * kGroup;
    static constexpr int64_t kPanels = kNearBytes / (kRows * width * sizeof(T));

    void pack(int64_t panel, T *to) const {
        const int64_t inner = a_.size;
        const int vectors = columns_.vectors(panel);
        if (!transposed_) {
            for (int64_t k = 0; k < inner; ++k, to += vectors * L)
                columns_.pack(b_ + k * columns_.columns, panel, to);
            return;
        }
        for (int v = 0; v < vectors; ++v) {
            const int64_t first = panel * width + v * L, left = columns_.columns - first;
            pack_block(b_ + first * inner, inner, inner, left < L ? static_cast<int>(left) : L,
                       to + v * L, vectors * L);
        }
    }

    void multiply_block(int64_t row, int count, int64_t first_panel, int64_t last_panel,
                        const T *packed, T *sums) const {
        const int64_t inner = a_.size;
        const auto sums_of = [&](int64_t panel) {
            return sums + (panel - first_panel) * width * kRows;
        };
        for (int64_t panel = first_panel; panel < last_panel; ++panel)
            begin(panel, count, sums_of(panel));
        for (int64_t start = 0; start < inner; start += kInnerAtOnce) {
            const int64_t depth = inner - start < kInnerAtOnce ? inner - start : kInnerAtOnce;
            for (int64_t panel = first_panel; panel < last_panel; ++panel) {
                const int vectors = columns_.vectors(panel);
                const T *weights = packed + panel * width * inner + start * vectors * L;
                for (int first = 0; first < count; first += kGroup) {
                    const int rows = count - first < kGroup ? count - first : kGroup;
                    const T *from[kGroup];
                    for (int m = 0; m < rows; ++m) from[m] = a_(row + first + m) + start;
                    multiply_group(from, rows, weights, vectors, depth,
                                   sums_of(panel) + first * vectors * L);
                }
            }
        }
        for (int m = 0; m < count; ++m)
            for (int64_t panel = first_panel; panel < last_panel; ++panel)
                columns_.unpack(sums_of(panel) + m * columns_.vectors(panel) * L, panel,
                                out_ + (row + m) * columns_.columns, false);
    }

    // The sums of a panel begin with the bias.
    void begin(int64_t panel, int count, T *sums) const {
        const int64_t size = columns_.vectors(panel) * L;
        for (int64_t n = 0; n < size; ++n)
            sums[n] = bias_ && n < columns_.filled(panel) ? bias_[panel * width + n] : T(0);
        for (int64_t n = size; n < count * size; n += L) store(sums + n, load(sums + n - size));
    }

    const Rows<T> a_;
    const int64_t rows_;
    const T *const b_;
    const bool transposed_;
    const Panels<T> columns_;
    T *const out_;
    const T *const bias_;
};

// out [left, right] = sum over rows of a [row, left] b [row, right], for up to two b at once, and
// the sums of a [left] alone.
//
// Each thread takes some of out's rows. Some of the rows at a time, a is turned to [left][rows] and
// each b packed to [panel][row][vectors]; the sums grow in [panel][left][vectors].
template <class T>
class SumOfRows {
   public:
    SumOfRows(Rows<T> a, int64_t rows) : a_(a), rows_(rows) {}

    void add(Rows<T> b, T *out, bool accumulate = false) {
        parts_[count_++] = {b, out, accumulate, {b.size}};
    }
    void add_bias(T *out) { biases_[bias_count_++] = out; }
    bool empty() const { return !count_ && !bias_count_; }

    static int64_t scratch(int64_t left, int64_t right, int64_t other) {  // numbers
        const int64_t padded = (Panels<T>{right}.count() + Panels<T>{other}.count()) * width;
        const int64_t depth = at_once(left, padded);
        return 2 * padded * depth + left * stride(depth) + left * (padded + 1);
    }

    void work(int thread, int team, Barrier &barrier, T *memory) const {
        int64_t panels = 0;
        for (int k = 0; k < count_; ++k) panels += parts_[k].columns.count();
        const int64_t left = a_.size, padded = panels * width, depth = at_once(left, padded);
        T *packed = memory, *turned = packed + 2 * padded * depth;  // packed twice: one is filled
        T *sums = turned + left * stride(depth), *bias = sums + left * padded;  // while one is read
        const int64_t first = left * thread / team, last = left * (thread + 1) / team;
        for (int64_t panel = 0; panel < panels; ++panel)
            for (int64_t k = first * width; k < last * width; ++k)
                sums[panel * width * left + k] = T(0);
        for (int64_t m = first; m < last; ++m) bias[m] = T(0);
        for (int64_t row = 0, turn = 0; row < rows_; row += depth, ++turn) {
            const int64_t count = rows_ - row < depth ? rows_ - row : depth;
            T *here = packed + turn % 2 * padded * depth;
            each_panel([&](const Part &part, int64_t panel, int64_t number) {
                if (number % team != thread) return;
                T *to = here + number * width * depth;
                for (int64_t r = 0; r < count; ++r, to += part.columns.vectors(panel) * L)
                    part.columns.pack(part.b(row + r), panel, to);
            });
            turn_rows(row, count, first, last, turned, depth);
            barrier.wait(team);
            if (bias_count_) add_up(first, last, count, turned, depth, bias);
            for (int64_t block = first; block < last; block += kBlock) {
                const int64_t end = block + kBlock < last ? block + kBlock : last;
                each_panel([&](const Part &part, int64_t panel, int64_t number) {
                    const int vectors = part.columns.vectors(panel);
                    for (int64_t m = block; m < end; m += kGroup) {
                        const int rows = static_cast<int>(end - m < kGroup ? end - m : kGroup);
                        const T *from[kGroup];
                        for (int j = 0; j < rows; ++j) from[j] = turned + (m + j) * stride(depth);
                        multiply_group(from, rows, here + number * width * depth, vectors, count,
                                       at(sums, number, first, m, vectors));
                    }
                });
            }
        }
        each_panel([&](const Part &part, int64_t panel, int64_t number) {
            for (int64_t m = first; m < last; ++m)
                part.columns.unpack(at(sums, number, first, m, part.columns.vectors(panel)), panel,
                                    part.out + m * part.columns.columns, part.accumulate);
        });
        for (int k = 0; k < bias_count_; ++k)
            for (int64_t m = first; m < last; ++m) biases_[k][m] = bias[m];
    }

   private:
    static constexpr int L = kLanes<T>;
    static constexpr int64_t width = Panels<T>::width;

    static constexpr int64_t kBlock = 4 * kGroup;  // of out's rows, whose part of a stays near

    struct Part {
        Rows<T> b;
        T *out;
        bool accumulate;
        Panels<T> columns;
    };

    static int64_t at_once(int64_t left, int64_t padded) {
        return rows_at_once(left * padded * int64_t(sizeof(T)));
    }

    // Not a power of two, which would bring all rows to the same places of a cache.
    static int64_t stride(int64_t depth) { return depth + L; }

    // body(part, panel of the part, number among all panels)
    template <class Body>
    void each_panel(Body body) const {
        int64_t number = 0;
        for (int k = 0; k < count_; ++k)
            for (int64_t panel = 0; panel < parts_[k].columns.count(); ++panel)
                body(parts_[k], panel, number++);
    }

    // The rows of one thread stand together: a panel's vectors may be fewer than `width` holds.
    T *at(T *sums, int64_t number, int64_t first, int64_t m, int vectors) const {
        return sums + number * width * a_.size + first * width + (m - first) * vectors * L;
    }

    void turn_rows(int64_t row, int64_t count, int64_t first, int64_t last, T *turned,
                   int64_t depth) const {
        for (int64_t r = 0; r < count; r += L)
            pack_block(a_(row + r) + first, a_.size, last - first,
                       count - r < L ? static_cast<int>(count - r) : L,
                       turned + first * stride(depth) + r, stride(depth));
    }

    static void add_up(int64_t first, int64_t last, int64_t count, const T *turned, int64_t depth,
                       T *bias) {
        for (int64_t m = first; m < last; ++m) {
            const T *row = turned + m * stride(depth);
            Vector<T> sum = all<T>(0);
            for (int64_t r = 0; r < count; r += L)  // beyond the last row they are zero
                sum = sum + load(row + r);
            for (int k = 0; k < L; ++k) bias[m] += sum[k];
        }
    }

    const Rows<T> a_;  // without a table: its rows are turned as a block
    const int64_t rows_;
    Part parts_[2];
    T *biases_[2];
    int count_ = 0, bias_count_ = 0;
};

template <class T>
void product(const carousel_product *plain) {
    const carousel_product &p = *plain;
    const Rows<T> a{static_cast<const T *>(p.a), p.left};
    const T *b = static_cast<const T *>(p.b);
    T *out = static_cast<T *>(p.out), *scratch = static_cast<T *>(p.scratch);
    Barrier barrier;
    if (p.kind == CAROUSEL_SUM_OF_ROWS) {
        SumOfRows<T> sum(a, p.rows);
        sum.add({b, p.right}, out, p.accumulate);
        in_parallel(p.threads,
                    [&](int thread, int team) { sum.work(thread, team, barrier, scratch); });
        return;
    }
    const RowsByWeights<T> by_weights(a, p.rows, b, p.kind == CAROUSEL_ROWS_BY_TRANSPOSED, p.right,
                                      out, static_cast<const T *>(p.bias));
    in_parallel(p.threads,
                [&](int thread, int team) { by_weights.work(thread, team, barrier, scratch); });
}

template <class T>
int64_t product_scratch(const carousel_product *p) {  // bytes
    const int64_t numbers = p->kind == CAROUSEL_SUM_OF_ROWS
                                ? SumOfRows<T>::scratch(p->left, p->right, 0)
                                : RowsByWeights<T>::scratch(p->left, p->right, p->threads);
    return numbers * int64_t(sizeof(T));
}

}  // namespace carousel::CAROUSEL_TARGET
