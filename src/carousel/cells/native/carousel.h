/* The native core's interface: one run of one recurrence through time, forward or backward.
 *
 * Plain C, no torch and no Python. Every function is stateless; all memory belongs to the caller.
 * Unless a field says otherwise arrays are dense, row-major, of the type of the function (_f32,
 * _f64), and do not overlap. B sequences, T steps, H units, I inputs, G rows of weights (gates), R
 * rows of sequence data: row (t, b) stands at first_row[t] + b * row_stride, which describes
 * time-first, batch-first and packed layouts alike.
 */
#ifndef CAROUSEL_ABI_H
#define CAROUSEL_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CAROUSEL_ABI 2

/* What recurs. Bits of carousel_run.cell: one family, and for the LSTM what its variant is. */
enum {
    CAROUSEL_RNN = 0,  /* h = phi(a) */
    CAROUSEL_GRU = 1,  /* gates r, z, n */
    CAROUSEL_LSTM = 2, /* gates i, f, g, o, less those that a variant lacks */
    CAROUSEL_FAMILY_MASK = 3,

    CAROUSEL_TANH = 0 << 4, /* phi of the RNN */
    CAROUSEL_RELU = 1 << 4,
    CAROUSEL_SIGMOID = 2 << 4,
    CAROUSEL_IDENTITY = 3 << 4,
    CAROUSEL_PHI_MASK = 3 << 4,

    CAROUSEL_NO_I = 1 << 8,  /* i = 1 */
    CAROUSEL_NO_F = 1 << 9,  /* f = 1, or 1 - i where coupled */
    CAROUSEL_NO_O = 1 << 10, /* o = 1 */
    CAROUSEL_COUPLED = 1 << 11,
    CAROUSEL_PEEPHOLE = 1 << 12, /* i, f see c_{t-1}, o sees c_t */

    CAROUSEL_G_TANH = 0 << 16,     /* squashing of the cell's input */
    CAROUSEL_G_LOGISTIC = 1 << 16, /* 4 sigmoid - 2 */
    CAROUSEL_G_IDENTITY = 2 << 16,
    CAROUSEL_G_MASK = 3 << 16,

    CAROUSEL_H_TANH = 0 << 18,     /* squashing of the cell's output */
    CAROUSEL_H_LOGISTIC = 1 << 18, /* 2 sigmoid - 1 */
    CAROUSEL_H_IDENTITY = 2 << 18,
    CAROUSEL_H_MASK = 3 << 18,

    CAROUSEL_TRUNCATED = 1 << 24 /* backward: nothing returns through W_hh or the peepholes */
};

typedef struct carousel_run {
    /* Shape. */
    int64_t steps;            /* T */
    int64_t batch;            /* B */
    int64_t hidden;           /* H */
    int64_t inputs;           /* I; read where x, d_x or d_w_ih is there */
    int64_t row_stride;       /* rows between one sequence and the next */
    const int64_t *first_row; /* [T] */
    const int64_t *sequences; /* [T] the first so many sequences have step t; never increasing */
    int32_t reverse;          /* 1: from step T-1 to step 0 */
    int32_t cell;             /* bits above */
    int32_t threads;          /* at most so many */

    /* Parameters. */
    const void *w_hh;     /* [G*H, H]; NULL: gates hold the recurrent products already */
    const void *w_ih;     /* [G*H, I] read where x is there forward, or d_x backward */
    const void *peephole; /* [K, H] the gates among i, f, o that exist; NULL without */
    const void *b_ih;     /* [G*H] forward; NULL without; not read where x is NULL */
    const void *b_hh;     /* [G*H] likewise, but the part of the GRU's n is always read: it stands
                             inside the product that r multiplies */
    const void *h_start;  /* [B, H] */
    const void *c_start;  /* [B, H]; NULL for cells without c */

    /* The run. Written by forward, read by backward. Where x is given, forward keeps of gates, q
       and c what is not NULL. */
    const void *x;    /* [R, I] NULL: gates hold W_ih x + biases already; backward: for d_w_ih */
    void *gates;      /* [R, G, H] activations (RNN: not used, see h) */
    void *q;          /* [R, H] GRU: W_hn h + b_hn; in where w_hh is NULL */
    void *h;          /* [R, H] */
    void *c;          /* [R, H]; NULL for cells without c. Not kept: c_end must be there */
    const void *h_in; /* [R, H] forward without w_hh: the states that each step starts from are
                         taken from here; may not alias h */
    void *h_end;      /* [B, H] forward: the last state of each sequence; may be NULL */
    void *c_end;      /* [B, H]; may be NULL */

    /* Backward: what arrives. Each may be NULL, which is zero. */
    const void *d_output; /* [R, H] at h_t from outside */
    const void *d_cell;   /* [R, H] at c_t from outside */
    const void *d_h_end;  /* [B, H] at the last h of each sequence */
    const void *d_c_end;  /* [B, H] */

    /* Backward: what is computed. */
    void *d_a;       /* [R, G, H] on the pre-activations, where the input meets them */
    void *d_q;       /* [R, G, H] GRU: the same where the state meets them; NULL for others */
    void *d_h_start; /* [B, H] */
    void *d_c_start; /* [B, H]; NULL for cells without c */
    void *d_h;       /* [R, H] the total dL/dh_t; NULL: not kept */
    void *d_c;       /* [R, H] the total dL/dc_t; NULL: not kept */
    void *norms;     /* [R, 2] squared norms of d_h, d_c over the units; NULL: not kept */

    /* Backward: products over all rows. Each may be NULL, which leaves it out; all rows up to the
       last of the run are then part of it. */
    void *d_x;    /* [R, I] needs w_ih */
    void *d_w_ih; /* [G*H, I] needs x */
    void *d_w_hh; /* [G*H, H] */
    void *d_b_ih; /* [G*H] */
    void *d_b_hh; /* [G*H] */

    void *scratch; /* carousel_scratch_bytes(run), aligned to 64 bytes; content does not matter */
} carousel_run;

/* Bytes of scratch that this run needs, forward or backward, for elements of `size` bytes. All
   fields but those that are to be written must be there, with NULL or not where it will be. */
int64_t carousel_scratch_bytes(const carousel_run *run, int32_t backward, int32_t size);

/* 0, or one more than the offset in its struct of a field that cannot be: then nothing was done. */
int32_t carousel_forward_f32(const carousel_run *run);
int32_t carousel_forward_f64(const carousel_run *run);
int32_t carousel_backward_f32(const carousel_run *run);
int32_t carousel_backward_f64(const carousel_run *run);

/* A product over all rows; left and right are the other two sizes. */
enum {
    CAROUSEL_ROWS_BY_WEIGHTS = 0,    /* out [rows, right] = a [rows, left] @ b [left, right] */
    CAROUSEL_ROWS_BY_TRANSPOSED = 1, /* the same with b [right, left], transposed */
    CAROUSEL_SUM_OF_ROWS = 2         /* out [left, right] = sum of a [row, left] b [row, right] */
};

typedef struct carousel_product {
    int64_t rows, left, right;
    const void *a;
    const void *b;
    const void *bias; /* [right] added to each row by weights; NULL without */
    void *out;
    int32_t kind;       /* one of the above */
    int32_t accumulate; /* 1: a sum of rows is added to what out holds */
    int32_t threads;    /* at most so many */
    void *scratch;      /* carousel_product_bytes(product, size), aligned to 64 bytes */
} carousel_product;

/* Each number is summed in the order of the rows or of the inner index, whatever the threads. */
int64_t carousel_product_bytes(const carousel_product *product, int32_t size);
int32_t carousel_product_f32(const carousel_product *product);
int32_t carousel_product_f64(const carousel_product *product);

int32_t carousel_abi(void);        /* CAROUSEL_ABI of the library */
const char *carousel_target(void); /* "avx512", "avx2", "baseline": what this machine runs */
int32_t carousel_openmp(void);     /* 1: built with OpenMP */

/* Billions of multiply-adds a second that `threads` threads reach in registers alone. */
double carousel_fma_peak_f32(int32_t threads);
double carousel_fma_peak_f64(int32_t threads);

#ifdef __cplusplus
}
#endif
#endif
