// Products over all steps: of rows with weights, and sums over rows.
#pragma once

#include "gemm.hpp"
#include "pack.hpp"
#include "parallel.hpp"

namespace carousel::CAROUSEL_TARGET {

constexpr int64_t kRowsAtOnce = 256;  // of the data, for each block of the other factor
constexpr int64_t kInnerAtOnce = 512;
constexpr int64_t kNearBytes = 512 * 1024;       // of sums that a thread keeps near
constexpr int64_t kWorthThreads = 200 * 1000;    // multiply-adds, of all threads together

template <class T>
class Product {
   public:
    explicit Product(const carousel_product &p)
        : p_(p),
          a_(static_cast<const T *>(p.a)),
          b_(static_cast<const T *>(p.b)),
          out_(static_cast<T *>(p.out)),
          panels_((p.right + width - 1) / width) {}

    void run() {
        const int threads = p_.rows * p_.left * p_.right < kWorthThreads ? 1 : p_.threads;
        if (p_.kind == CAROUSEL_SUM_OF_ROWS)
            sum_of_rows(threads);
        else
            rows_by_weights(threads);
    }

   private:
    static constexpr int L = kLanes<T>;
    static constexpr int64_t width = kMaxVectors * L;  // numbers in a row of a panel

    int vectors_of(int64_t panel) const {
        const int64_t left = (p_.right - panel * width + L - 1) / L;
        return left < kMaxVectors ? static_cast<int>(left) : kMaxVectors;
    }
    int64_t filled(int64_t panel) const {  // numbers of a row of a panel that are there
        const int64_t left = p_.right - panel * width;
        return left < width ? left : width;
    }

    // out [rows, right] = a [rows, left] @ b [left, right], or b [right, left] transposed.
    //
    // Each thread takes some of the rows. b is packed once, [panel][left][vectors]; the sums of a
    // block of rows stay near, [panel][row][vectors], while it meets all of b piece by piece.
    void rows_by_weights(int threads) {
        T *packed = static_cast<T *>(p_.scratch);
        T *all_sums = packed + panels_ * width * p_.left;
        const int64_t block = block_rows();
        Barrier barrier;
        in_parallel(threads, [&](int thread, int team) {
            for (int64_t panel = panels_ * thread / team; panel < panels_ * (thread + 1) / team;
                 ++panel)
                pack_weights(panel, packed + panel * width * p_.left);
            barrier.wait(team);
            T *sums = all_sums + thread * panels_ * width * block;
            const int64_t last = p_.rows * (thread + 1) / team;
            for (int64_t row = p_.rows * thread / team; row < last; row += block) {
                const int count = static_cast<int>(last - row < block ? last - row : block);
                block_by_weights(row, count, packed, sums, block);
            }
        });
    }

    int64_t block_rows() const {
        const int64_t rows = kNearBytes / (panels_ * width * int64_t(sizeof(T))) / kGroup * kGroup;
        return rows < kGroup ? kGroup : (rows > kRowsAtOnce ? kRowsAtOnce : rows);
    }

    void pack_weights(int64_t panel, T *to) const {
        const int vectors = vectors_of(panel);
        if (p_.kind == CAROUSEL_ROWS_BY_TRANSPOSED) {
            for (int v = 0; v < vectors; ++v) {
                const int64_t first = panel * width + v * L, left = p_.right - first;
                pack_block(b_ + first * p_.left, p_.left, p_.left,
                           left < L ? static_cast<int>(left) : L, to + v * L, vectors * L);
            }
            return;
        }
        for (int64_t k = 0; k < p_.left; ++k, to += vectors * L)
            copy_row(b_ + k * p_.right + panel * width, filled(panel), to, vectors * L);
    }

    void block_by_weights(int64_t row, int count, const T *packed, T *sums, int64_t block) const {
        for (int64_t k = 0; k < panels_ * width * block; ++k) sums[k] = T(0);
        for (int64_t inner = 0; inner < p_.left; inner += kInnerAtOnce) {
            const int64_t depth = p_.left - inner < kInnerAtOnce ? p_.left - inner : kInnerAtOnce;
            for (int64_t panel = 0; panel < panels_; ++panel) {
                const int vectors = vectors_of(panel);
                for (int first = 0; first < count; first += kGroup) {
                    const int rows = count - first < kGroup ? count - first : kGroup;
                    const T *from[kGroup];
                    for (int m = 0; m < rows; ++m)
                        from[m] = a_ + (row + first + m) * p_.left + inner;
                    multiply_group(from, rows,
                                   packed + panel * width * p_.left + inner * vectors * L, vectors,
                                   depth, sums + panel * width * block + first * vectors * L);
                }
            }
        }
        for (int64_t panel = 0; panel < panels_; ++panel)
            for (int m = 0; m < count; ++m)
                put(sums + panel * width * block + m * vectors_of(panel) * L, panel,
                    (row + m) * p_.right, false);
    }

    // out [left, right] = sum over rows of a [row, left] b [row, right], added to out if wished.
    //
    // Each thread takes some of out's rows. Some of the rows at a time, a is turned to
    // [left][rows] and b packed to [panel][row][vectors]; the sums grow in [panel][left][vectors].
    void sum_of_rows(int threads) {
        const int64_t packed_size = panels_ * width * kRowsAtOnce;
        T *packed = static_cast<T *>(p_.scratch);  // twice: one is filled while one is read
        T *turned = packed + 2 * packed_size, *sums = turned + p_.left * kRowsAtOnce;
        Barrier barrier;
        in_parallel(threads, [&](int thread, int team) {
            const int64_t first = p_.left * thread / team, last = p_.left * (thread + 1) / team;
            for (int64_t panel = 0; panel < panels_; ++panel)
                for (int64_t k = first * width; k < last * width; ++k)
                    sums[panel * width * p_.left + k] = T(0);
            for (int64_t row = 0, turn = 0; row < p_.rows; row += kRowsAtOnce, ++turn) {
                const int64_t count = p_.rows - row < kRowsAtOnce ? p_.rows - row : kRowsAtOnce;
                T *here = packed + turn % 2 * packed_size;
                for (int64_t panel = thread; panel < panels_; panel += team)
                    pack_rows(row, count, panel, here + panel * width * kRowsAtOnce);
                for (int64_t r = 0; r < count; r += L)
                    pack_block(a_ + (row + r) * p_.left + first, p_.left, last - first,
                               count - r < L ? static_cast<int>(count - r) : L,
                               turned + first * kRowsAtOnce + r, kRowsAtOnce);
                barrier.wait(team);
                add_products(first, last, count, turned, here, sums);
            }
            for (int64_t panel = 0; panel < panels_; ++panel)
                for (int64_t m = first; m < last; ++m)
                    put(sums_at(sums, panel, first, m), panel, m * p_.right, p_.accumulate);
        });
    }

    void pack_rows(int64_t row, int64_t count, int64_t panel, T *to) const {
        const int64_t size = vectors_of(panel) * L;
        for (int64_t r = 0; r < count; ++r, to += size)
            copy_row(b_ + (row + r) * p_.right + panel * width, filled(panel), to, size);
    }

    // Of a panel the rows of one thread stand together: its vectors may be fewer than `width` holds.
    T *sums_at(T *sums, int64_t panel, int64_t first, int64_t m) const {
        return sums + panel * width * p_.left + first * width + (m - first) * vectors_of(panel) * L;
    }

    void add_products(int64_t first, int64_t last, int64_t count, const T *turned, const T *packed,
                      T *sums) const {
        for (int64_t panel = 0; panel < panels_; ++panel)
            for (int64_t m = first; m < last; m += kGroup) {
                const int rows = static_cast<int>(last - m < kGroup ? last - m : kGroup);
                const T *from[kGroup];
                for (int j = 0; j < rows; ++j) from[j] = turned + (m + j) * kRowsAtOnce;
                multiply_group(from, rows, packed + panel * width * kRowsAtOnce, vectors_of(panel),
                               count, sums_at(sums, panel, first, m));
            }
    }

    static void copy_row(const T *from, int64_t filled, T *to, int64_t size) {
        int64_t n = 0;
        for (; n + L <= filled; n += L) store(to + n, load(from + n));
        for (; n < filled; ++n) to[n] = from[n];
        for (; n < size; ++n) to[n] = T(0);
    }

    // A row of a panel's sums to its place in out.
    void put(const T *sums, int64_t panel, int64_t row_start, bool add) const {
        T *to = out_ + row_start + panel * width;
        const int64_t count = filled(panel);
        int64_t n = 0;
        for (; n + L <= count; n += L)
            store(to + n, add ? load(to + n) + load(sums + n) : load(sums + n));
        for (; n < count; ++n) to[n] = add ? to[n] + sums[n] : sums[n];
    }

    const carousel_product &p_;
    const T *const a_, *const b_;
    T *const out_;
    const int64_t panels_;
};

}  // namespace carousel::CAROUSEL_TARGET
