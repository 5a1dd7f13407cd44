/* Runs the model on the host over the images of input.bin; same files and report lines as the firmware.
 *
 *     host_main input.bin output.bin
 *
 * The arena, the rows and the state are blocks of exactly their size from malloc, so that a sanitizer sees
 * any access beyond them, and every row comes in a buffer overwritten by the input's next; but an image that
 * the model has in its arena is written there. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_config.h"
#ifdef MODEL_TRACED
#include "trace.h"
#endif

#ifndef MODEL_INPUTS
#define MODEL_INPUTS 1
#define MODEL_INPUT_TABLE {{MODEL_INPUT_HEIGHT, MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS, 0, 0}}
#define MODEL_ROW_BYTES (MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS)
#define MODEL_IMAGE_BYTES (MODEL_INPUT_HEIGHT * MODEL_ROW_BYTES)
#ifdef MODEL_IMAGE_OFFSET
#define MODEL_ARENA_OFFSETS {MODEL_IMAGE_OFFSET}
#endif
#define ONE_INPUT
#endif
#ifdef MODEL_STATEFUL
#define STATE_MARK_BYTES 4 /* before the inputs of a record: 1 to reset the state */
#else
#define STATE_MARK_BYTES 0
#endif
#define RECORD_BYTES ((long)MODEL_IMAGE_BYTES + STATE_MARK_BYTES)
#define ARENA_FILL 0x5A /* not the firmware's value: a read of unset memory shows */
#define OUTPUT_FILL 0xEE
#define CANARY_BYTES 16
#define CANARY 0xC7

#if defined(__SANITIZE_ADDRESS__)
#define CANARIES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CANARIES 0
#endif
#endif
#ifndef CANARIES
#define CANARIES CANARY_BYTES
#endif

typedef char output_size_matches[sizeof(model_output) == MODEL_OUTPUT_BYTES ? 1 : -1];

typedef struct {
    int32_t rows;
    int32_t row_bytes;
    int32_t record_offset; /* of the input in the record */
    int32_t row_offset;    /* of its row in a buffer of one row of each */
} input_shape;

static const input_shape input_shapes[MODEL_INPUTS] = MODEL_INPUT_TABLE;

/* What runs need: memory, and where the inputs come from. */
typedef struct {
    FILE *file;
    uint8_t *block; /* the arena between canaries */
    uint8_t *rows[MODEL_INPUTS];
#ifdef MODEL_STATEFUL
    model_state *state;
#endif
} runner;

typedef struct {
    const runner *with;
    const input_shape *shape;
    uint8_t *row;
    long first_byte; /* of the input in the file */
    int32_t next_y;
#ifdef MODEL_ARENA_OFFSETS
    uint8_t *resident;
#endif
} image_stream;

/* 0 when the image ends early. */
static int load_image(const image_stream *stream)
{
#ifdef MODEL_ARENA_OFFSETS
    const size_t bytes = (size_t)stream->shape->rows * (size_t)stream->shape->row_bytes;
    return fseek(stream->with->file, stream->first_byte, SEEK_SET) == 0
        && fread(stream->resident, 1, bytes, stream->with->file) == bytes;
#else
    return stream->with->file != NULL;
#endif
}

static const uint8_t *next_row(void *user, int32_t y)
{
    image_stream *stream = user;
    const long row_bytes = stream->shape->row_bytes;
    if (y != stream->next_y || y >= stream->shape->rows) {
        return NULL;
    }
    stream->next_y++;
#ifdef MODEL_ARENA_OFFSETS
    return stream->resident + y * row_bytes;
#else
    const int found = fseek(stream->with->file, stream->first_byte + y * row_bytes, SEEK_SET) == 0;
    return found && fread(stream->row, 1, (size_t)row_bytes, stream->with->file) == (size_t)row_bytes ? stream->row : NULL;
#endif
}

static int canaries_intact(const uint8_t *block)
{
    for (int i = 0; i < CANARIES; i++) {
        if (block[i] != CANARY || block[CANARIES + MODEL_ARENA_BYTES + i] != CANARY) {
            return 0;
        }
    }
    return 1;
}

static void print_trace(long image)
{
#ifdef MODEL_TRACED
    for (int layer = 0; layer < TRACE_MAX_LAYERS; layer++) {
        if (trace_layers[layer].rows != 0) {
            printf("trace image %ld layer %d rows %u hash 0x%08x\n", image, layer,
                   (unsigned)trace_layers[layer].rows, (unsigned)trace_layers[layer].hash);
        }
    }
#else
    (void)image;
#endif
}

/* 0 when the record ends early. */
static int load(const runner *with, image_stream *streams, long image)
{
#ifdef MODEL_ARENA_OFFSETS
    static const int32_t offsets[MODEL_INPUTS] = MODEL_ARENA_OFFSETS;
#endif
#ifdef MODEL_STATEFUL
    uint8_t mark[STATE_MARK_BYTES];
    if (fseek(with->file, image * RECORD_BYTES, SEEK_SET) != 0 || fread(mark, sizeof mark, 1, with->file) != 1) {
        return 0;
    }
    if (mark[0] != 0 || image == 0) {
        MODEL_RESET(with->state);
    }
#endif
    for (int i = 0; i < MODEL_INPUTS; i++) {
        streams[i].with = with;
        streams[i].shape = &input_shapes[i];
        streams[i].row = with->rows[i];
        streams[i].first_byte = image * RECORD_BYTES + STATE_MARK_BYTES + input_shapes[i].record_offset;
        streams[i].next_y = 0;
#ifdef MODEL_ARENA_OFFSETS
        streams[i].resident = with->block + CANARIES + offsets[i];
#endif
        if (!load_image(&streams[i])) {
            return 0;
        }
    }
    return 1;
}

static model_status run_model(const runner *with, image_stream *streams, model_output *result)
{
#ifdef MODEL_STATEFUL
#define STATE with->state,
#else
#define STATE
#endif
#ifdef ONE_INPUT
    return MODEL_RUN(with->block + CANARIES, STATE next_row, streams, result);
#else
    const model_inputs inputs = MODEL_SOURCES(next_row, streams);
    return MODEL_RUN(with->block + CANARIES, STATE & inputs, result);
#endif
}

/* 0 when the model ran and touched nothing but its arena, 1 when not, 2 when a file failed. */
static int run_image(const runner *with, long image, FILE *output)
{
    image_stream streams[MODEL_INPUTS];
    model_output result;
    memset(with->block, CANARY, MODEL_ARENA_BYTES + 2u * CANARIES);
    memset(with->block + CANARIES, ARENA_FILL, MODEL_ARENA_BYTES);
    memset(&result, OUTPUT_FILL, sizeof result);
#ifdef MODEL_TRACED
    trace_reset();
#endif
    if (!load(with, streams, image)) {
        return 2;
    }
    const model_status status = run_model(with, streams, &result);
    const int intact = canaries_intact(with->block);
    printf("image index %ld status %d canaries_ok %d\n", image, (int)status, intact);
    print_trace(image);
    if (fwrite(&result, sizeof result, 1, output) != 1) {
        return 2;
    }
    return status == MODEL_OK && intact ? 0 : 1;
}

static long count_images(FILE *input)
{
    if (fseek(input, 0, SEEK_END) != 0) {
        return -1;
    }
    const long bytes = ftell(input);
    rewind(input);
    return bytes < 0 || bytes % RECORD_BYTES != 0 ? -1 : bytes / RECORD_BYTES;
}

static long run_all(FILE *input, FILE *output, long images)
{
    runner with = {.file = input, .block = malloc(MODEL_ARENA_BYTES + 2u * CANARIES)};
    int whole = with.block != NULL;
    for (int i = 0; i < MODEL_INPUTS; i++) {
        with.rows[i] = malloc((size_t)input_shapes[i].row_bytes);
        whole = whole && with.rows[i] != NULL;
    }
#ifdef MODEL_STATEFUL
    with.state = malloc(sizeof *with.state);
    whole = whole && with.state != NULL;
#endif
    long failures = whole ? 0 : -1;
    for (long image = 0; image < images && failures >= 0; image++) {
        const int failed = run_image(&with, image, output);
        failures = failed == 2 ? -1 : failures + failed;
    }
#ifdef MODEL_STATEFUL
    free(with.state);
#endif
    for (int i = 0; i < MODEL_INPUTS; i++) {
        free(with.rows[i]);
    }
    free(with.block);
    return failures;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s input.bin output.bin\n", argv[0]);
        return 2;
    }
    FILE *input = fopen(argv[1], "rb");
    FILE *output = fopen(argv[2], "wb");
    const long images = input == NULL || output == NULL ? -1 : count_images(input);
    if (images < 0) {
        printf("error %s cannot be read or holds no whole number of images\n", argv[1]);
        return 2;
    }
    printf("runner 1\n");
    const long failures = run_all(input, output, images);
    fclose(input);
    if (fclose(output) != 0 || failures < 0) {
        printf("error %s cannot be written\n", argv[2]);
        return 2;
    }
    printf("done images %ld failures %ld\n", images, failures);
    return failures == 0 ? 0 : 1;
}
