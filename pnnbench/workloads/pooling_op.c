/* Batch norm with the statistics of the batch, an affine map, ReLU and 2 x 2 maximum pooling, in one
 * pass over the images after the statistics, and its derivative.
 *
 * Sums run over a plane in single precision and over planes in double. What is not a number stays
 * so. The last row or column of an odd length is in no block. */
#include <stdint.h>
#include <string.h>

#define LANES 16
#define NONE 4 /* no pixel of a block is let through: the largest is not above 0 */

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t whole __attribute__((vector_size(4 * LANES)));

#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define FIRST 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define SECOND 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (whole){__VA_ARGS__})
#endif

/* One value of a where the mask is set, of b elsewhere. */
static inline lanes chosen(whole mask, lanes a, lanes b) {
    return (lanes)((mask & (whole)a) | (~mask & (whole)b));
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Mean and biased variance of each channel of x (images, channels, pixels). */
void norm_pool_statistics(const float *restrict x, double *restrict mean, double *restrict variance,
                          int64_t images, int64_t channels, int64_t pixels) {
    const double count = (double)images * (double)pixels;
    for (int64_t c = 0; c < channels; c++) {
        double total = 0.0, square = 0.0;
        for (int64_t b = 0; b < images; b++) {
            const float *p = x + (b * channels + c) * pixels;
            float sum = 0.0f;
            for (int64_t i = 0; i < pixels; i++) sum += p[i];
            total += sum;
        }
        /* Squares around a number near the mean, so that nothing cancels. */
        const float middle = (float)(total / count);
        total = 0.0;
        for (int64_t b = 0; b < images; b++) {
            const float *p = x + (b * channels + c) * pixels;
            float sum = 0.0f, squares = 0.0f;
            for (int64_t i = 0; i < pixels; i++) {
                const float d = p[i] - middle;
                sum += d;
                squares += d * d;
            }
            total += sum;
            square += squares;
        }
        const double off = total / count;
        mean[c] = middle + off;
        variance[c] = square / count - off * off;
    }
}

/* The larger of two and which: not a number is larger than all, the first of equal ones is taken. */
#define OTHER(a, b) ((b) > (a) || (b) != (b))

/* x: (images, channels, height, width). scale, shift: (channels), the affine map of what comes in.
 * y: (images, channels, height / 2, width / 2), the pooled result; at: of the same shape, which pixel
 * of its block it came from, row by row, or NONE. room: height * width floats. */
void norm_pool_forward(const float *restrict x, const float *restrict scale,
                       const float *restrict shift, float *restrict y, int32_t *restrict at,
                       float *restrict room, int64_t images, int64_t channels, int64_t height,
                       int64_t width) {
    const int64_t down = height / 2, across = width / 2 * 2, blocks = down * (across / 2);
    int32_t *restrict lower = (int32_t *)(room + down * across);
    for (int64_t plane = 0; plane < images * channels; plane++) {
        const float a = scale[plane % channels], s = shift[plane % channels];
        const float *restrict from = x + plane * height * width;
        for (int64_t r = 0; r < down; r++) {
            const float *restrict top = from + 2 * r * width, *restrict bottom = top + width;
            float *restrict best = room + r * across;
            int32_t *restrict second = lower + r * across;
            for (int64_t j = 0; j < across; j++) {
                const float p = top[j] * a + s, q = bottom[j] * a + s;
                const int32_t other = OTHER(p, q);
                best[j] = other ? q : p;
                second[j] = other ? 2 : 0;
            }
        }
        float *to = y + plane * blocks;
        int32_t *which = at + plane * blocks;
        for (int64_t j = 0; j < blocks; j += LANES) {
            const size_t size = 4 * (size_t)least(LANES, blocks - j);
            lanes v[2] = {{0}, {0}};
            whole i[2] = {{0}, {0}};
            if (size == sizeof *v) {
                memcpy(v, room + 2 * j, sizeof v);
                memcpy(i, lower + 2 * j, sizeof i);
            } else {
                memcpy(v, room + 2 * j, 2 * size);
                memcpy(i, lower + 2 * j, 2 * size);
            }
            const lanes p = PICK(v[0], v[1], EVEN), q = PICK(v[0], v[1], ODD), zero = {0};
            const whole other = (q > p) | (q != q), left = PICK(i[0], i[1], EVEN);
            const whole next = PICK(i[0], i[1], ODD) + 1;
            const lanes best = chosen(other, q, p);
            const whole dark = best <= zero, none = (whole){0} + NONE;
            const lanes result = chosen(dark, zero, best);
            const whole found = (dark & none) | (~dark & ((other & next) | (~other & left)));
            if (size == sizeof result) {
                memcpy(to + j, &result, sizeof result);
                memcpy(which + j, &found, sizeof found);
            } else {
                memcpy(to + j, &result, size);
                memcpy(which + j, &found, size);
            }
        }
    }
}

/* Spreads the gradient dy of the pooled result over the pixels: upper and lower rows of blocks. */
static inline void spread(const float *dy, const int32_t *at, int64_t blocks, float *upper,
                          float *lower) {
    for (int64_t j = 0; j < blocks; j += LANES) {
        const size_t size = 4 * (size_t)least(LANES, blocks - j);
        lanes d = {0};
        whole i = {0};
        if (size == sizeof d) {
            memcpy(&d, dy + j, sizeof d);
            memcpy(&i, at + j, sizeof i);
        } else {
            memcpy(&d, dy + j, size);
            memcpy(&i, at + j, size);
        }
        const lanes zero = {0};
        const lanes p = chosen(i == 0, d, zero), q = chosen(i == 1, d, zero);
        const lanes u = chosen(i == 2, d, zero), v = chosen(i == 3, d, zero);
        const lanes high[2] = {PICK(p, q, FIRST), PICK(p, q, SECOND)};
        const lanes low[2] = {PICK(u, v, FIRST), PICK(u, v, SECOND)};
        if (size == sizeof d) {
            memcpy(upper + 2 * j, high, sizeof high);
            memcpy(lower + 2 * j, low, sizeof low);
        } else {
            memcpy(upper + 2 * j, high, 2 * size);
            memcpy(lower + 2 * j, low, 2 * size);
        }
    }
}

/* dy, at: as y. sums: (2, channels), of the gradient after the affine map and of it times (x - mean). */
void norm_pool_sums(const float *restrict x, const float *restrict mean, const float *restrict dy,
                    const int32_t *restrict at, double *restrict sums, float *restrict room,
                    int64_t images, int64_t channels, int64_t height, int64_t width) {
    const int64_t down = height / 2, across = width / 2 * 2, blocks = down * (across / 2);
    for (int64_t c = 0; c < 2 * channels; c++) sums[c] = 0.0;
    for (int64_t plane = 0; plane < images * channels; plane++) {
        const int64_t c = plane % channels;
        const float m = mean[c];
        const float *restrict from = x + plane * height * width;
        const float *restrict g = dy + plane * blocks;
        const int32_t *restrict which = at + plane * blocks;
        float *restrict lower = room + down * across;
        float all = 0.0f, times = 0.0f;
        for (int64_t j = 0; j < blocks; j++) all += which[j] == NONE ? 0.0f : g[j];
        spread(g, which, blocks, room, lower);
        for (int64_t r = 0; r < down; r++) {
            const float *restrict top = from + 2 * r * width, *restrict bottom = top + width;
            const float *restrict p = room + r * across, *restrict q = lower + r * across;
            for (int64_t j = 0; j < across; j++)
                times += p[j] * (top[j] - m) + q[j] * (bottom[j] - m);
        }
        sums[c] += all;
        sums[channels + c] += times;
    }
}

/* dx = factor * (gradient after the affine map) - slope * (x - mean) - offset, each per channel. */
void norm_pool_backward(const float *restrict x, const float *restrict mean,
                        const float *restrict dy, const int32_t *restrict at,
                        const float *restrict factor, const float *restrict slope,
                        const float *restrict offset, float *restrict dx, float *restrict room,
                        int64_t images, int64_t channels, int64_t height, int64_t width) {
    const int64_t down = height / 2, across = width / 2 * 2, blocks = down * (across / 2);
    for (int64_t plane = 0; plane < images * channels; plane++) {
        const int64_t c = plane % channels;
        const float k = factor[c], b = slope[c], o = offset[c] - slope[c] * mean[c];
        const float *restrict from = x + plane * height * width;
        float *restrict to = dx + plane * height * width;
        float *restrict lower = room + down * across;
        for (int64_t p = 0; p < height * width; p++) to[p] = -b * from[p] - o;
        spread(dy + plane * blocks, at + plane * blocks, blocks, room, lower);
        for (int64_t r = 0; r < down; r++) {
            float *restrict high = to + 2 * r * width, *restrict low = high + width;
            const float *restrict p = room + r * across, *restrict q = lower + r * across;
            for (int64_t j = 0; j < across; j++) high[j] += k * p[j];
            for (int64_t j = 0; j < across; j++) low[j] += k * q[j];
        }
    }
}
