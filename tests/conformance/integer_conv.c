/* Convolution of int8 or int16 images over exported golden vectors, with the two roundings of a fixed-point multiplier.
 *
 * Compile with -DCASE_HEADER='"integer_conv_i8/1.h"' -DCASE=integer_conv_i8_1; with -DSINGLE it rounds once, as a port
 * does that was built with single rounding. Prints the outputs, one a line; exits with 1 if one is not the expected.
 */
#include <stdint.h>
#include <stdio.h>
#include CASE_HEADER

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define OF(name) JOIN(CASE, name)

#ifndef SINGLE
static int32_t high_multiply(int32_t a, int32_t b) {
    int64_t product = (int64_t)a * b;
    return (int32_t)((product + (INT64_C(1) << 30)) >> 31);
}

static int32_t divide_by_power(int32_t x, int bits) {
    int32_t mask = (int32_t)((INT64_C(1) << bits) - 1), rest = x & mask, half = (mask >> 1) + (x < 0);
    return (x >> bits) + (rest > half);
}
#endif

static int32_t rescale(int32_t x, int32_t multiplier, int32_t shift) {
#ifdef SINGLE
    int bits = 31 - shift;
    return (int32_t)(((int64_t)x * multiplier + (INT64_C(1) << (bits - 1))) >> bits);
#else
    int left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
    return divide_by_power(high_multiply((int32_t)((uint32_t)x << left), multiplier), right);
#endif
}

int main(void) {
    const int *x = OF(_x_shape), *w = OF(_weight_shape), *y = OF(_expected_y_shape);
    int wrong = 0, at = 0;
    for (int n = 0; n < y[0]; n++)
    for (int r = 0; r < y[1]; r++)
    for (int c = 0; c < y[2]; c++)
    for (int o = 0; o < y[3]; o++, at++) {
        uint32_t sum = (uint32_t)OF(_bias)[o];
        for (int i = 0; i < w[1]; i++)
        for (int j = 0; j < w[2]; j++)
        for (int d = 0; d < w[3]; d++) {
            int row = r * OF(_strides)[0] + i * OF(_dilations)[0] - OF(_pads)[0];
            int col = c * OF(_strides)[1] + j * OF(_dilations)[1] - OF(_pads)[1];
            if (row < 0 || row >= x[1] || col < 0 || col >= x[2]) continue;
            int32_t pixel = OF(_x)[((n * x[1] + row) * x[2] + col) * x[3] + d] - OF(_x_zero_point);
            sum += (uint32_t)(pixel * OF(_weight)[((o * w[1] + i) * w[2] + j) * w[3] + d]);
        }
        int32_t value = rescale((int32_t)sum, OF(_multiplier)[o], OF(_shift)[o]) + OF(_y_zero_point);
        if (value < OF(_clamp)[0]) value = OF(_clamp)[0];
        if (value > OF(_clamp)[1]) value = OF(_clamp)[1];
        wrong += value != OF(_expected_y)[at];
        printf("%d\n", (int)value);
    }
    return wrong > 0;
}
