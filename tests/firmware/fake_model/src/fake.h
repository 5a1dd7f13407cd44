/* A stand-in for a generated model: sums each row, and can misbehave on request (FAKE_FAULT). */
#ifndef FAKE_H
#define FAKE_H

#include <stdint.h>

#define FAKE_INPUT_HEIGHT 24
#define FAKE_INPUT_WIDTH 32
#define FAKE_INPUT_CHANNELS 1
#define FAKE_ARENA_BYTES 1024

typedef const uint8_t *(*fake_row_source)(void *user, int32_t y);
typedef enum { FAKE_OK = 0, FAKE_NO_ROW = 1 } fake_status;
typedef struct {
    int8_t logits[24];
} fake_output;

fake_status fake_run(uint8_t *arena, fake_row_source rows, void *user, fake_output *out);

#ifdef FAKE_TRACE
void fake_trace(int32_t layer, int32_t row, const int8_t *data, int32_t bytes);
#endif

#endif
