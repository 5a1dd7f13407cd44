#include <stdint.h>

extern const int8_t fake_weights_row[32];
