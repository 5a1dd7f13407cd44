/* Runs the model on the host over the images of input.bin; same files and report lines as the firmware.
 *
 *     host_main input.bin output.bin
 *
 * The arena and the row buffer are blocks of exactly their size from malloc, so that a sanitizer sees
 * any access beyond them, and every row comes in a buffer overwritten by the next; but an image that the
 * model has in its arena is written there. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_config.h"
#ifdef MODEL_TRACED
#include "trace.h"
#endif

#define ROW_BYTES ((size_t)MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS)
#define IMAGE_BYTES (MODEL_INPUT_HEIGHT * ROW_BYTES)
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
    FILE *file;
    uint8_t *row;
    uint8_t *arena;
    int32_t next_y;
} image_stream;

/* 0 when the image ends early. */
static int load_image(const image_stream *stream)
{
#ifdef MODEL_IMAGE_OFFSET
    return fread(stream->arena + MODEL_IMAGE_OFFSET, 1, IMAGE_BYTES, stream->file) == IMAGE_BYTES;
#else
    return stream->file != NULL;
#endif
}

static const uint8_t *next_row(void *user, int32_t y)
{
    image_stream *stream = user;
    if (y != stream->next_y || y >= MODEL_INPUT_HEIGHT) {
        return NULL;
    }
    stream->next_y++;
#ifdef MODEL_IMAGE_OFFSET
    return MODEL_IMAGE_ROW(stream->arena, y);
#else
    return fread(stream->row, 1, ROW_BYTES, stream->file) == ROW_BYTES ? stream->row : NULL;
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

/* 0 when the model ran and touched nothing but its arena, 1 when not, 2 when a file failed. */
static int run_image(long image, FILE *input, FILE *output, uint8_t *block, uint8_t *row)
{
    image_stream stream = {input, row, block + CANARIES, 0};
    model_output result;
    memset(block, CANARY, MODEL_ARENA_BYTES + 2u * CANARIES);
    memset(block + CANARIES, ARENA_FILL, MODEL_ARENA_BYTES);
    memset(&result, OUTPUT_FILL, sizeof result);
#ifdef MODEL_TRACED
    trace_reset();
#endif
    if (!load_image(&stream)) {
        return 2;
    }
    const model_status status = MODEL_RUN(stream.arena, next_row, &stream, &result);
    const int intact = canaries_intact(block);
    printf("image index %ld status %d canaries_ok %d\n", image, (int)status, intact);
    print_trace(image);
    if (fseek(input, (image + 1) * (long)IMAGE_BYTES, SEEK_SET) != 0
        || fwrite(&result, sizeof result, 1, output) != 1) {
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
    return bytes < 0 || bytes % (long)IMAGE_BYTES != 0 ? -1 : bytes / (long)IMAGE_BYTES;
}

static long run_all(FILE *input, FILE *output, long images)
{
    uint8_t *block = malloc(MODEL_ARENA_BYTES + 2u * CANARIES);
    uint8_t *row = malloc(ROW_BYTES);
    long failures = block == NULL || row == NULL ? -1 : 0;
    for (long image = 0; image < images && failures >= 0; image++) {
        const int failed = run_image(image, input, output, block, row);
        failures = failed == 2 ? -1 : failures + failed;
    }
    free(row);
    free(block);
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
