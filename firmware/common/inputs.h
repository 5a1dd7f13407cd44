/* Several inputs of the runner: a part of harness.c, which has the arena and the buffers.
 *
 * Each input asks the same row source with a counter of its own. Resident inputs are read in one go; streamed ones
 * row by row as they are asked for. */
#ifndef INPUTS_H
#define INPUTS_H

typedef struct {
    int32_t rows;
    int32_t row_bytes;
    int32_t record_offset; /* of the input in the record */
    int32_t row_offset;    /* of its row in a buffer of one row of each */
} input_shape;

static const input_shape input_shapes[MODEL_INPUTS] = MODEL_INPUT_TABLE;
static int32_t next_rows[MODEL_INPUTS];

static const uint8_t *harness_row(void *user, int32_t y);

static const model_inputs sources = MODEL_SOURCES(harness_row, next_rows);

#if MODEL_IMAGE_RESIDENT
static uint8_t *resident(int32_t input)
{
#ifdef MODEL_ARENA_OFFSETS
    static const int32_t offsets[MODEL_INPUTS] = MODEL_ARENA_OFFSETS;
    return arena.bytes + offsets[input];
#else
    return buffers.pixels + input_shapes[input].record_offset;
#endif
}

static int32_t load_image(int32_t image)
{
    (void)image;
    for (int32_t input = 0; input < MODEL_INPUTS; input++) {
        next_rows[input] = 0;
        if (io_read(resident(input), input_shapes[input].rows * input_shapes[input].row_bytes) != 0) {
            return -1;
        }
    }
    return 0;
}

static const uint8_t *row_of(int32_t input, int32_t y)
{
    return resident(input) + y * input_shapes[input].row_bytes;
}

static void skip_rest_of_image(void)
{
}
#else
static int32_t first_byte; /* of the inputs in the record */

static int32_t load_image(int32_t image)
{
    first_byte = image * RECORD_BYTES + RECORD_BYTES - IMAGE_BYTES;
    memset(next_rows, 0, sizeof next_rows);
    return io_seek(first_byte);
}

static const uint8_t *row_of(int32_t input, int32_t y)
{
    const input_shape *shape = &input_shapes[input];
    uint8_t *row = buffers.pixels + shape->row_offset;
    const int32_t at = first_byte + shape->record_offset + y * shape->row_bytes;
    return io_seek(at) == 0 && io_read(row, shape->row_bytes) == 0 ? row : NULL;
}

static void skip_rest_of_image(void)
{
    (void)io_seek(first_byte + IMAGE_BYTES);
}
#endif

/* Each row once and in order. */
static const uint8_t *harness_row(void *user, int32_t y)
{
    int32_t *next = user;
    const int32_t input = (int32_t)(next - next_rows);
    if (y != *next || y >= input_shapes[input].rows) {
        return NULL;
    }
    *next = y + 1;
    return row_of(input, y);
}

#endif
