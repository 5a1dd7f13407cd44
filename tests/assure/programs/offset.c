/* requantize_offset: what it adds fits a word, for every shift and zero point. */
#include "assure.h"
#include "fixed_point.h"

int main(void)
{
    const int32_t shift = any_between(33, 55), zero_point = any_between(-128, 127);
    const int32_t offset = requantize_offset(shift, zero_point);
    ASSERT(offset % (int32_t)(1u << (uint32_t)(shift - 33)) == 0);
    return 0;
}
