/* Runs many models one after another on port.h; what each made is written as one record. */
#ifndef SOAK_H
#define SOAK_H

#include <stddef.h>
#include <stdint.h>

#define SOAK_MOST_LAYERS 256
#define SOAK_MOST_INPUTS 8

/* The rows of an input over all runs, one run after another. */
typedef struct {
    const uint8_t *data;
    int32_t rows;
    int32_t row_bytes;
    int32_t arena_offset; /* where the input stands when a run begins; -1: rows come one by one */
} soak_input;

/* An input as a model asks for it: each row once and in order, in a buffer that the next one overwrites. */
typedef struct {
    const soak_input *input;
    const uint8_t *next;
    int32_t next_y;
    uint8_t *row;
    uint8_t *arena;
} soak_stream;

typedef struct {
    uint32_t arena_bytes;
    uint32_t output_bytes;
    uint32_t state_bytes;
    uint32_t layers;
    uint32_t runs;
    uint32_t inputs;
    const soak_input *input;
    const uint8_t *starts; /* per run: 1 where the state is reset before it */
    int (*run)(uint8_t *arena, void *state, soak_stream *streams, void *out);
    void (*reset)(void *state);
} soak_model;

const uint8_t *soak_row(void *stream, int32_t y);
void soak_trace(int32_t layer, int32_t row, const int8_t *data, int32_t bytes);
void soak_run(const soak_model *model);

#endif
