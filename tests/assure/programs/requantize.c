/* requantize: no step overflows, and the result is within its clamp, for all accumulators and factors. */
#include "assure.h"
#include "fixed_point.h"

int main(void)
{
    const int32_t acc = nondet_int(), multiplier = any_between(0, INT32_MAX), shift = any_between(33, 55);
    const int32_t zero_point = any_between(-128, 127), low = any_between(-128, 127), high = any_between(low, 127);
    const int8_t result = requantize(acc, multiplier, shift, zero_point, low, high);
    ASSERT(result >= low && result <= high);
    return 0;
}
