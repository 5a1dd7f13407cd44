/* The two instructions that fixed_point.h takes from the compiler, in C: for model checkers on any computer. */
#ifndef ARM_ACLE_H
#define ARM_ACLE_H

#include <stdint.h>

typedef uint32_t int8x4_t;
typedef uint32_t uint8x4_t;

static uint32_t greater_or_equal; /* a bit of each byte, as the program status register has them */

static inline int8x4_t __ssub8(int8x4_t a, int8x4_t b)
{
    uint32_t result = 0;
    greater_or_equal = 0;
    for (int i = 0; i < 4; ++i) {
        const int32_t difference = (int8_t)(uint8_t)(a >> (8 * i)) - (int8_t)(uint8_t)(b >> (8 * i));
        result |= ((uint32_t)difference & 255u) << (8 * i);
        greater_or_equal |= difference >= 0 ? 1u << i : 0u;
    }
    return result;
}

static inline uint8x4_t __sel(uint8x4_t a, uint8x4_t b)
{
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
        const uint32_t mask = 255u << (8 * i);
        result |= ((greater_or_equal >> i) & 1u) != 0 ? a & mask : b & mask;
    }
    return result;
}

#endif
