/* A record: per run its status, whether the guards are whole, rows and CRC-32 of each layer, the outputs. */
#include "soak.h"

#include <string.h>

#include "port.h"

#define GUARD_BYTES 32u
#define GUARD 0x5a
#define POLYNOMIAL 0xedb88320u

typedef struct {
    uint32_t rows;
    uint32_t crc;
} layer_trace;

static layer_trace traces[SOAK_MOST_LAYERS];
static uint32_t crc_table[256];
static uint32_t junk = 1;

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; ++i) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) {
            value = (value & 1u) != 0 ? value >> 1 ^ POLYNOMIAL : value >> 1;
        }
        crc_table[i] = value;
    }
}

/* The rows of a layer come in order; one out of turn spoils the hash. */
void soak_trace(int32_t layer, int32_t row, const int8_t *data, int32_t bytes)
{
    layer_trace *trace = &traces[layer - 1];
    uint32_t crc = ~trace->crc;
    for (int32_t i = 0; i < bytes; ++i) {
        crc = crc >> 8 ^ crc_table[(crc ^ (uint8_t)data[i]) & 0xffu];
    }
    trace->crc = (uint32_t)row == trace->rows ? ~crc : crc + 1u;
    trace->rows += 1;
}

const uint8_t *soak_row(void *user, int32_t y)
{
    soak_stream *stream = user;
    const soak_input *input = stream->input;
    if (y != stream->next_y || y >= input->rows) {
        return NULL;
    }
    stream->next_y += 1;
    if (input->arena_offset >= 0) {
        return stream->arena + input->arena_offset + y * input->row_bytes;
    }
    memcpy(stream->row, stream->next, (size_t)input->row_bytes);
    stream->next += input->row_bytes;
    return stream->row;
}

/* What a block holds before a run is never the same. */
static void spoil(uint8_t *block, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; ++i) {
        junk = junk * 1664525u + 1013904223u;
        block[i] = (uint8_t)(junk >> 24);
    }
}

#ifdef __SANITIZE_ADDRESS__ /* which guards every block itself */
static uint8_t *guarded(uint32_t bytes)
{
    return port_alloc(bytes);
}

static uint32_t is_whole(const uint8_t *block, uint32_t bytes)
{
    (void)block;
    (void)bytes;
    return 1;
}
#else
static uint8_t *guarded(uint32_t bytes)
{
    uint8_t *block = port_alloc(bytes + GUARD_BYTES);
    memset(block + bytes, GUARD, GUARD_BYTES);
    return block;
}

static uint32_t is_whole(const uint8_t *block, uint32_t bytes)
{
    for (uint32_t i = 0; i < GUARD_BYTES; ++i) {
        if (block[bytes + i] != GUARD) {
            return 0;
        }
    }
    return 1;
}
#endif

/* The streams at the beginning of a run; inputs that stand in the arena are written there. */
static void begin(const soak_model *model, soak_stream *streams, uint8_t *arena, uint32_t run)
{
    for (uint32_t i = 0; i < model->inputs; ++i) {
        const soak_input *input = streams[i].input;
        const uint32_t bytes = (uint32_t)(input->rows * input->row_bytes);
        streams[i].next = input->data + run * bytes;
        streams[i].next_y = 0;
        streams[i].arena = arena;
        if (input->arena_offset >= 0) {
            memcpy(arena + input->arena_offset, streams[i].next, bytes);
        }
    }
}

void soak_run(const soak_model *model)
{
    const uint32_t traced = model->layers * (uint32_t)sizeof *traces;
    const uint32_t each = 8u + traced + model->output_bytes;
    uint8_t *record = port_alloc(model->runs * each), *at = record;
    uint8_t *arena = guarded(model->arena_bytes), *out = guarded(model->output_bytes);
    uint8_t *state = guarded(model->state_bytes);
    soak_stream streams[SOAK_MOST_INPUTS];
    if (crc_table[1] == 0) {
        make_crc_table();
    }
    for (uint32_t i = 0; i < model->inputs; ++i) {
        streams[i].input = &model->input[i];
        streams[i].row = port_alloc((size_t)model->input[i].row_bytes);
    }
    for (uint32_t run = 0; run < model->runs; ++run) {
        spoil(arena, model->arena_bytes);
        spoil(out, model->output_bytes);
        memset(traces, 0, sizeof traces);
        begin(model, streams, arena, run);
        if (model->reset != NULL && model->starts[run] != 0) {
            spoil(state, model->state_bytes);
            model->reset(state);
        }
        const uint32_t status = (uint32_t)model->run(arena, state, streams, out);
        const uint32_t whole = is_whole(arena, model->arena_bytes) & is_whole(out, model->output_bytes)
                             & is_whole(state, model->state_bytes);
        memcpy(at, &status, 4);
        memcpy(at + 4, &whole, 4);
        memcpy(at + 8, traces, traced);
        memcpy(at + 8 + traced, out, model->output_bytes);
        at += each;
    }
    port_write(record, model->runs * each);
    port_release();
}
