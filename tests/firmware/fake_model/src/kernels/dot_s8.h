#include <stdint.h>

int64_t dot_s8(const int8_t *row, const int8_t *weights, int32_t width);
int32_t use_stack(int32_t bytes_used);
