/* requantize at both ends of the accumulator: zero stays the zero point, and signs stay signs. */
#include "assure.h"
#include "fixed_point.h"

int main(void)
{
    const int32_t acc = nondet_int(), multiplier = any_between(0, INT32_MAX), shift = any_between(33, 55);
    const int32_t zero_point = any_between(-128, 127);
    const int8_t result = requantize(acc, multiplier, shift, zero_point, -128, 127);
    ASSERT(acc != 0 || result == zero_point);
    ASSERT(acc <= 0 || result >= zero_point);
    ASSERT(acc >= 0 || result <= zero_point);
    return 0;
}
