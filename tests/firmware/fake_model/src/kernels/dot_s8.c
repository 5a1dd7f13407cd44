#include "dot_s8.h"

int64_t dot_s8(const int8_t *row, const int8_t *weights, int32_t width)
{
    int64_t sum = 0;
    for (int32_t x = 0; x < width; x++) {
        sum += row[x] * weights[x];
    }
    return sum;
}

/* A frame of 600 bytes, all of them touched. */
__attribute__((noinline)) int32_t use_stack(int32_t value)
{
    volatile uint8_t block[600];
    for (int32_t i = 0; i < 600; i++) {
        block[i] = (uint8_t)(value + i);
    }
    return block[value & 511];
}
