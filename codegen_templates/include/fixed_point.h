/* Fixed-point primitives; twin of rnnpool_mcu/numerics/fixed_point.py (same names, same order). */
#ifndef FIXED_POINT_H
#define FIXED_POINT_H

#include <stdint.h>

#if defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1)
#include <arm_acle.h>
#define FIXED_POINT_M4 1
#else
#define FIXED_POINT_M4 0
#endif

/* value limited to low..high */
static inline int32_t clamp_s32(int32_t value, int32_t low, int32_t high)
{
    const int32_t at_least = value < low ? low : value;
    return at_least > high ? high : at_least;
}

/* clamp(floor((acc * multiplier + 2^(shift - 1)) / 2^shift) + zero_point, low, high): rounds half up.
   multiplier in [0, 2^31), shift in 33..55. */
static inline int8_t requantize(int32_t acc, int32_t multiplier, int32_t shift, int32_t zero_point,
                                int32_t low, int32_t high)
{
#if FIXED_POINT_M4
    /* The high word of (acc * multiplier + offset << 32): one SMMLA, then one shift. */
    int32_t sum = (2 * zero_point + 1) * (int32_t)(1u << (uint32_t)(shift - 33));
    __asm__("smmla %0, %1, %2, %0" : "+r"(sum) : "r"(acc), "r"(multiplier));
    return (int8_t)clamp_s32(sum >> (shift - 32), low, high);
#else
    const int64_t product = (int64_t)acc * multiplier;
    const int64_t rounded = (product + ((int64_t)1 << (shift - 1))) >> shift;
    return (int8_t)clamp_s32((int32_t)rounded + zero_point, low, high);
#endif
}

#endif
