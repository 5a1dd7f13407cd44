/* Word-wise helpers of the Cortex-M4 kernels: they read and write only what they may. */
#include "assure.h"
#include "fixed_point.h"

#define MOST 6

int main(void)
{
    int8_t row[MOST], before[MOST];
    const int32_t bytes = any_between(0, MOST), low = any_between(-128, 127), high = any_between(low, 127);
    for (int32_t i = 0; i < MOST; ++i) {
        row[i] = (int8_t)any_between(-128, 127);
        before[i] = row[i];
    }
    clamp_row_s8(row, bytes, low, high);
    for (int32_t i = 0; i < MOST; ++i) {
        ASSERT(row[i] == (i < bytes ? clamp_s32(before[i], low, high) : before[i]));
    }
    const int32_t count = any_between(1, 3);
    const uint32_t tail = load_s8x4_tail(before + MOST - count, count); /* the last bytes there are */
    for (int32_t i = 0; i < 4; ++i) {
        const uint32_t expected = i < count ? (uint8_t)before[MOST - count + i] : 0u;
        ASSERT(((tail >> (8 * i)) & 255u) == expected);
    }
    return 0;
}
