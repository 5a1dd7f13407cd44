/* clamp_s32: within its bounds, and nothing else changed, for all values. */
#include "assure.h"
#include "fixed_point.h"

int main(void)
{
    const int32_t value = nondet_int(), low = nondet_int(), high = nondet_int();
    ASSUME(low <= high);
    const int32_t clamped = clamp_s32(value, low, high);
    ASSERT(clamped >= low && clamped <= high);
    ASSERT(value < low || value > high || clamped == value);
    ASSERT(value >= low || clamped == low);
    ASSERT(value <= high || clamped == high);
    return 0;
}
