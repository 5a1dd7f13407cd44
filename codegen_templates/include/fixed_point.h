/* Fixed-point primitives; twin of rnnpool_mcu/numerics/fixed_point.py (same names, same order). */
#ifndef FIXED_POINT_H
#define FIXED_POINT_H

#include <stdint.h>
#include <string.h>

/* Kernels ask for their own optimization and for every register, whatever the rest of the program is built with:
   a debug build is not 50 times slower, and their assembly finds its registers. */
#if defined(__OPTIMIZE__) && defined(__GNUC__) && !defined(__clang__)
#define FIXED_POINT_OWN_REGISTERS 1
#else
#define FIXED_POINT_OWN_REGISTERS 0
#endif
#if defined(__GNUC__) && !defined(__clang__)
#ifdef __OPTIMIZE_SIZE__
#pragma GCC optimize("omit-frame-pointer")
#else
#pragma GCC optimize("O2", "omit-frame-pointer")
#endif
#endif

/* Whether kernels use the DSP instructions of the Cortex-M4 and its like; -DFIXED_POINT_M4=0 takes plain C. */
#ifndef FIXED_POINT_M4
#if defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1) && defined(__OPTIMIZE__)
#define FIXED_POINT_M4 1
#else
#define FIXED_POINT_M4 0
#endif
#endif

/* Whether long blocks of assembly may be used as well, which need all registers but one; clang keeps more, and so
   does GCC without optimization. */
#if FIXED_POINT_M4 && FIXED_POINT_OWN_REGISTERS
#define FIXED_POINT_M4_ASSEMBLY 1
#else
#define FIXED_POINT_M4_ASSEMBLY 0
#endif
#if FIXED_POINT_M4 && !FIXED_POINT_M4_ASSEMBLY
#pragma message("some kernels are built from plain C; GCC with optimization takes their assembly")
#endif

#if FIXED_POINT_M4
#include <arm_acle.h>
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

#if FIXED_POINT_M4
/* Word-wise building blocks of the Cortex-M4 kernels. */

/* Four bytes at any address; one LDR. */
static inline uint32_t load_s8x4(const int8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* The last 1..3 bytes of a row, without touching what follows; the rest is 0. */
static inline uint32_t load_s8x4_tail(const int8_t *bytes, int32_t count)
{
    uint32_t word = (uint8_t)bytes[0];
    if (count > 1) {
        word |= (uint32_t)(uint8_t)bytes[1] << 8;
    }
    if (count > 2) {
        word |= (uint32_t)(uint8_t)bytes[2] << 16;
    }
    return word;
}

/* Bytes 0 and 2 as two int16. */
static inline uint32_t widen_even(uint32_t word)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
}

/* Bytes 1 and 3 as two int16; compilers do not fold the rotation by themselves. */
static inline uint32_t widen_odd(uint32_t word)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}

/* Zero point and half an output step at the scale of requantize's high word. */
static inline int32_t requantize_offset(int32_t shift, int32_t zero_point)
{
    return (2 * zero_point + 1) * (int32_t)(1u << (uint32_t)(shift - 33));
}

/* requantize with the clamp -128..127, in three instructions: high_shift = shift - 32. */
static inline int8_t requantize_full_range(int32_t acc, int32_t multiplier, int32_t offset, int32_t high_shift)
{
    int32_t high;
    __asm__("smmla %0, %1, %2, %3" : "=r"(high) : "r"(acc), "r"(multiplier), "r"(offset));
    high >>= high_shift;
    __asm__("ssat %0, #8, %0" : "+r"(high));
    return (int8_t)high;
}

/* Bytes limited to low..high; four at a time, bytes in no particular alignment. */
static inline void clamp_row_s8(int8_t *row, int32_t bytes, int32_t low, int32_t high)
{
    const int8x4_t lows = (int8x4_t)((uint32_t)(uint8_t)low * 0x01010101u);
    const int8x4_t highs = (int8x4_t)((uint32_t)(uint8_t)high * 0x01010101u);
    if (low == -128 && high == 127) {
        return;
    }
    for (; bytes >= 4; bytes -= 4) {
        int8x4_t word = (int8x4_t)load_s8x4(row);
        (void)__ssub8(word, lows);
        word = (int8x4_t)__sel((uint8x4_t)word, (uint8x4_t)lows);
        (void)__ssub8(highs, word);
        word = (int8x4_t)__sel((uint8x4_t)word, (uint8x4_t)highs);
        memcpy(row, &word, sizeof word);
        row += 4;
    }
    for (; bytes > 0; --bytes, ++row) {
        *row = (int8_t)clamp_s32(*row, low, high);
    }
}
#endif

#endif
