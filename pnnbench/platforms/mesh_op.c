/* Product of the columns of a rectangular mesh of 2 x 2 unitary couplers, and its gradient.
 *
 * entries: (devices, 4, M) complex, m11 m12 m21 m22 of the couplers in column order; M = n (n-1) / 2.
 * product: (devices, n, n) complex, row-major. Gradients in the convention of PyTorch:
 * dL/dRe + i dL/dIm. A panel of input waveguides at a time stays in the cache, real and imaginary
 * parts apart. Light that enters in a panel has reached c + 1 waveguides beyond it after column c:
 * couplers outside of that cone are left out. The way back undoes the columns by unitarity, which
 * mesh_unitary tells for the entries of each coupler. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PANEL 64

#define DEFINE(REAL)                                                                              \
    static inline void sweep_##REAL(const REAL *m[4], int64_t k, REAL *restrict ar,               \
                                    REAL *restrict ai, REAL *restrict br, REAL *restrict bi) {    \
        const REAL ur = m[0][2 * k], ui = m[0][2 * k + 1], vr = m[1][2 * k],                      \
                   vi = m[1][2 * k + 1], wr = m[2][2 * k], wi = m[2][2 * k + 1],                  \
                   zr = m[3][2 * k], zi = m[3][2 * k + 1];                                        \
        for (int j = 0; j < PANEL; j++) {                                                         \
            const REAL a = ar[j], b = ai[j], c = br[j], d = bi[j];                                \
            ar[j] = ur * a - ui * b + vr * c - vi * d;                                            \
            ai[j] = ur * b + ui * a + vr * d + vi * c;                                            \
            br[j] = wr * a - wi * b + zr * c - zi * d;                                            \
            bi[j] = wr * b + wi * a + zr * d + zi * c;                                            \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    static inline void undo_##REAL(const REAL *m[4], int64_t k, REAL *restrict ar,                \
                                   REAL *restrict ai, REAL *restrict br, REAL *restrict bi,       \
                                   REAL *restrict gr, REAL *restrict gi, REAL *restrict hr,       \
                                   REAL *restrict hi, REAL *out[4]) {                             \
        const REAL ur = m[0][2 * k], ui = m[0][2 * k + 1], vr = m[1][2 * k],                      \
                   vi = m[1][2 * k + 1], wr = m[2][2 * k], wi = m[2][2 * k + 1],                  \
                   zr = m[3][2 * k], zi = m[3][2 * k + 1];                                        \
        REAL s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;                      \
        for (int j = 0; j < PANEL; j++) {                                                         \
            const REAL a = ar[j], b = ai[j], c = br[j], d = bi[j];                                \
            const REAL p = gr[j], q = gi[j], r = hr[j], s = hi[j];                                \
            const REAL xr = ur * a + ui * b + wr * c + wi * d;                                    \
            const REAL xi = ur * b - ui * a + wr * d - wi * c;                                    \
            const REAL yr = vr * a + vi * b + zr * c + zi * d;                                    \
            const REAL yi = vr * b - vi * a + zr * d - zi * c;                                    \
            s0 += p * xr + q * xi;                                                                \
            s1 += q * xr - p * xi;                                                                \
            s2 += p * yr + q * yi;                                                                \
            s3 += q * yr - p * yi;                                                                \
            s4 += r * xr + s * xi;                                                                \
            s5 += s * xr - r * xi;                                                                \
            s6 += r * yr + s * yi;                                                                \
            s7 += s * yr - r * yi;                                                                \
            ar[j] = xr;                                                                           \
            ai[j] = xi;                                                                           \
            br[j] = yr;                                                                           \
            bi[j] = yi;                                                                           \
            gr[j] = ur * p + ui * q + wr * r + wi * s;                                            \
            gi[j] = ur * q - ui * p + wr * s - wi * r;                                            \
            hr[j] = vr * p + vi * q + zr * r + zi * s;                                            \
            hi[j] = vr * q - vi * p + zr * s - zi * r;                                            \
        }                                                                                         \
        out[0][2 * k] += s0;                                                                      \
        out[0][2 * k + 1] += s1;                                                                  \
        out[1][2 * k] += s2;                                                                      \
        out[1][2 * k + 1] += s3;                                                                  \
        out[2][2 * k] += s4;                                                                      \
        out[2][2 * k + 1] += s5;                                                                  \
        out[3][2 * k] += s6;                                                                      \
        out[3][2 * k + 1] += s7;                                                                  \
    }                                                                                             \
                                                                                                  \
    static void load_##REAL(const REAL *from, int64_t n, int64_t first, int64_t width, REAL *re,  \
                            REAL *im) {                                                           \
        for (int64_t i = 0; i < n; i++)                                                           \
            for (int64_t j = 0; j < PANEL; j++) {                                                 \
                re[i * PANEL + j] = j < width ? from[2 * (i * n + first + j)] : 0;                \
                im[i * PANEL + j] = j < width ? from[2 * (i * n + first + j) + 1] : 0;            \
            }                                                                                     \
    }                                                                                             \
                                                                                                  \
    int mesh_forward_##REAL(const REAL *entries, REAL *product, int64_t devices, int64_t n) {     \
        const int64_t count = n * (n - 1) / 2;                                                    \
        REAL *re = aligned_alloc(64, sizeof(REAL) * PANEL * n * 2), *im = re + PANEL * n;         \
        if (!re) return 1;                                                                        \
        for (int64_t c = 0; c < devices; c++) {                                                   \
            const REAL *m[4];                                                                     \
            for (int e = 0; e < 4; e++) m[e] = entries + 2 * count * (4 * c + e);                 \
            REAL *u = product + 2 * n * n * c;                                                    \
            for (int64_t first = 0; first < n; first += PANEL) {                                  \
                const int64_t width = n - first < PANEL ? n - first : PANEL;                      \
                memset(re, 0, sizeof(REAL) * PANEL * n * 2);                                      \
                for (int64_t j = 0; j < width; j++) re[(first + j) * PANEL + j] = 1;              \
                for (int64_t k = 0, column = 0; column < n; column++)                             \
                    for (int64_t top = column % 2; top < n - 1; top += 2, k++) {                  \
                        if (top + 1 < first - column || top > first + width + column) continue;   \
                        REAL *a = re + top * PANEL, *b = im + top * PANEL;                        \
                        sweep_##REAL(m, k, a, b, a + PANEL, b + PANEL);                           \
                    }                                                                             \
                for (int64_t i = 0; i < n; i++)                                                   \
                    for (int64_t j = 0; j < width; j++) {                                         \
                        u[2 * (i * n + first + j)] = re[i * PANEL + j];                           \
                        u[2 * (i * n + first + j) + 1] = im[i * PANEL + j];                       \
                    }                                                                             \
            }                                                                                     \
        }                                                                                         \
        free(re);                                                                                 \
        return 0;                                                                                 \
    }                                                                                             \
                                                                                                  \
    int mesh_backward_##REAL(const REAL *entries, const REAL *product, const REAL *grad,          \
                             REAL *out, int64_t devices, int64_t n) {                             \
        const int64_t count = n * (n - 1) / 2;                                                    \
        REAL *re = aligned_alloc(64, sizeof(REAL) * PANEL * n * 4), *im = re + PANEL * n,         \
             *gr = im + PANEL * n, *gi = gr + PANEL * n;                                          \
        if (!re) return 1;                                                                        \
        memset(out, 0, sizeof(REAL) * 8 * count * devices);                                       \
        for (int64_t c = 0; c < devices; c++) {                                                   \
            const REAL *m[4];                                                                     \
            REAL *o[4];                                                                           \
            for (int e = 0; e < 4; e++) {                                                         \
                m[e] = entries + 2 * count * (4 * c + e);                                         \
                o[e] = out + 2 * count * (4 * c + e);                                             \
            }                                                                                     \
            for (int64_t first = 0; first < n; first += PANEL) {                                  \
                const int64_t width = n - first < PANEL ? n - first : PANEL;                      \
                load_##REAL(product + 2 * n * n * c, n, first, width, re, im);                    \
                load_##REAL(grad + 2 * n * n * c, n, first, width, gr, gi);                       \
                int64_t k = count;                                                                \
                for (int64_t column = n - 1; column >= 0; column--) {                             \
                    const int64_t last = column % 2 + 2 * ((n - column % 2) / 2) - 2;             \
                    for (int64_t top = last; top >= column % 2; top -= 2) {                       \
                        k--;                                                                      \
                        if (top + 1 < first - column || top > first + width + column) continue;   \
                        const int64_t at = top * PANEL;                                           \
                        undo_##REAL(m, k, re + at, im + at, re + at + PANEL, im + at + PANEL,     \
                                    gr + at, gi + at, gr + at + PANEL, gi + at + PANEL, o);       \
                    }                                                                             \
                }                                                                                 \
            }                                                                                     \
        }                                                                                         \
        free(re);                                                                                 \
        return 0;                                                                                 \
    }                                                                                             \
                                                                                                  \
    int mesh_unitary_##REAL(const REAL *entries, int64_t devices, int64_t count, double bound) {  \
        for (int64_t c = 0; c < devices; c++) {                                                   \
            const REAL *u = entries + 8 * count * c, *v = u + 2 * count, *w = v + 2 * count,      \
                       *z = w + 2 * count;                                                        \
            REAL worst = 0;                                                                       \
            int numbers = 1;                                                                      \
            for (int64_t k = 0; k < 2 * count; k += 2) {                                          \
                const REAL p = u[k] * u[k] + u[k + 1] * u[k + 1] - 1 + w[k] * w[k] +              \
                               w[k + 1] * w[k + 1];                                               \
                const REAL q = v[k] * v[k] + v[k + 1] * v[k + 1] - 1 + z[k] * z[k] +              \
                               z[k + 1] * z[k + 1];                                               \
                const REAL r = u[k] * v[k] + u[k + 1] * v[k + 1] + w[k] * z[k] +                  \
                               w[k + 1] * z[k + 1];                                               \
                const REAL s = u[k] * v[k + 1] - u[k + 1] * v[k] + w[k] * z[k + 1] -              \
                               w[k + 1] * z[k];                                                   \
                const REAL a = p < 0 ? -p : p, b = q < 0 ? -q : q, d = r < 0 ? -r : r,            \
                           e = s < 0 ? -s : s;                                                    \
                const REAL ab = a > b ? a : b, de = d > e ? d : e, one = ab > de ? ab : de;       \
                worst = worst > one ? worst : one;                                                \
                numbers &= (p + q) + (r + s) == (p + q) + (r + s);                                \
            }                                                                                     \
            if (!(worst <= bound) || !numbers) return 0;                                          \
        }                                                                                         \
        return 1;                                                                                 \
    }

DEFINE(float)
DEFINE(double)
