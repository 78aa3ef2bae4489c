/* A convolution of stride 1 with its read-out noise, an affine map of each channel, ReLU and 2 x 2
 * maximum pooling, in one pass over the image.
 *
 * Outputs are computed 16 channels at a time, the lanes of a vector, for a tile of pooled pixels
 * that stays in registers. Every output is the sum over input channels, kernel rows and kernel
 * columns in this order, whatever else is computed beside it. What is not a number stays so. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#ifdef __AVX512F__
#define TILE 5
#else
#define TILE 1
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t bits __attribute__((vector_size(4 * LANES)));

static inline lanes load(const float *from) {
    lanes value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* The larger of both; not a number where either is not. */
static inline lanes larger(lanes a, lanes b) {
    const bits mine = (a > b) | (a != a);
    return (lanes)((mine & (bits)a) | (~mine & (bits)b));
}

struct block {
    int64_t channels, kernel, width, plane; /* of the padded input */
    int64_t across;                         /* lanes of a group, a multiple of LANES */
    int64_t period, noise_width;            /* of the packed noise; period 0 for none */
};

static inline __attribute__((always_inline)) void tile(const int columns, const struct block *s,
                                                       const float *x, const float *w,
                                                       lanes scale, lanes shift,
                                                       const float *noise, lanes *pooled) {
    lanes sum[2][2 * TILE];
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
#pragma GCC unroll 10
        for (int j = 0; j < 2 * columns; j++) sum[i][j] = (lanes){0};
    for (int64_t c = 0; c < s->channels; c++)
        for (int64_t ky = 0; ky < s->kernel; ky++)
            for (int64_t kx = 0; kx < s->kernel; kx++) {
                const float *p = x + c * s->plane + ky * s->width + kx;
                const lanes weight = load(w);
                w += s->across;
#pragma GCC unroll 2
                for (int i = 0; i < 2; i++)
#pragma GCC unroll 10
                    for (int j = 0; j < 2 * columns; j++)
                        sum[i][j] += weight * p[i * s->width + j];
            }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
#pragma GCC unroll 10
        for (int j = 0; j < 2 * columns; j++) {
            if (s->period) sum[i][j] += load(noise + (i * s->noise_width + j) * s->period);
            sum[i][j] = sum[i][j] * scale + shift;
        }
    const lanes zero = {0};
#pragma GCC unroll 5
    for (int j = 0; j < columns; j++) {
        const lanes top = larger(sum[0][2 * j], sum[0][2 * j + 1]);
        const lanes bottom = larger(sum[1][2 * j], sum[1][2 * j + 1]);
        pooled[j] = larger(larger(top, bottom), zero);
    }
}

/* One image's noise (outputs, height, width) as (height, width, period), the outputs repeated, so
 * that any 16 lanes in a row are read at once. */
static void pack(const float *noise, float gain, int64_t outputs, int64_t pixels, int64_t period,
                 float *to) {
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t p = 0; p < pixels; p++) to[p * period + o] = gain * noise[o * pixels + p];
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t l = outputs; l < period; l++) to[p * period + l] = to[p * period + l - outputs];
}

/* x: (x_groups, images, channels, height, width), padded; x_groups is groups or 1.
 * w: (groups, channels, kernel, kernel, across); scale, shift: (groups, across). A group is some
 * conditions, one after another: used = conditions in it * outputs of its lanes have a meaning.
 * noise: (noise_groups, images, outputs, height', width') or null; noise_groups is groups or 1.
 * out: (groups * conditions in each, images, outputs, height' / 2, width' / 2).
 * Returns 1 if there is no memory. */
int conv_block(const float *x, int64_t x_groups, const float *w, const float *scale,
               const float *shift, const float *noise, int64_t noise_groups, float gain, float *out,
               int64_t groups, int64_t images, int64_t channels, int64_t height, int64_t width,
               int64_t kernel, int64_t across, int64_t used, int64_t outputs) {
    const int64_t rows = height - kernel + 1, columns = width - kernel + 1;
    const int64_t down = rows / 2, right = columns / 2, pixels = rows * columns;
    const int64_t period = noise ? outputs + LANES - 1 : 0;
    const struct block s = {channels, kernel, width, height * width, across, period, columns};
    float *packed = noise ? malloc(sizeof(float) * (size_t)(pixels * period)) : NULL;
    if (noise && !packed) return 1;
    for (int64_t b = 0; b < images; b++)
        for (int64_t g = 0; g < groups; g++) {
            if (noise && (g == 0 || noise_groups > 1))
                pack(noise + (g % noise_groups * images + b) * outputs * pixels, gain, outputs,
                     pixels, period, packed);
            const float *image = x + (g % x_groups * images + b) * channels * s.plane;
            const float *mine = w + g * channels * kernel * kernel * across;
            for (int64_t first = 0; first < used; first += LANES) {
                const lanes a = load(scale + g * across + first), z = load(shift + g * across + first);
                const float *drawn = noise ? packed + first % outputs : NULL;
                for (int64_t r = 0; r < down; r++)
                    for (int64_t c = 0; c < right;) {
                        lanes pooled[TILE];
                        const float *p = image + 2 * r * width + 2 * c;
                        const float *n = noise ? drawn + (2 * r * columns + 2 * c) * period : NULL;
                        const int64_t left = right - c;
                        int64_t done = left < TILE ? left : TILE;
                        switch (done) {
#if TILE > 1
                        case 5: tile(5, &s, p, mine + first, a, z, n, pooled); break;
                        case 4: tile(4, &s, p, mine + first, a, z, n, pooled); break;
                        case 3: tile(3, &s, p, mine + first, a, z, n, pooled); break;
                        case 2: tile(2, &s, p, mine + first, a, z, n, pooled); break;
#endif
                        default: tile(1, &s, p, mine + first, a, z, n, pooled); done = 1;
                        }
                        const int64_t lane_end = used - first < LANES ? used - first : LANES;
                        for (int64_t l = 0; l < lane_end; l++) {
                            const int64_t lane = g * used + first + l;
                            float *to = out + ((lane / outputs * images + b) * outputs +
                                               lane % outputs) * down * right + r * right + c;
                            for (int64_t j = 0; j < done; j++) to[j] = pooled[j][l];
                        }
                        c += done;
                    }
            }
        }
    free(packed);
    return 0;
}
