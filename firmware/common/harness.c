#include "harness.h"

#include <string.h>

#include "board.h"
#include "io.h"
#include "model_config.h"
#include "port.h"
#include "print.h"
#ifdef MODEL_TRACED
#include "trace.h"
#endif

#ifdef MODEL_INPUTS
#define ROW_BYTES MODEL_ROW_BYTES
#define IMAGE_BYTES MODEL_IMAGE_BYTES
#else
#define ROW_BYTES (MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS)
#define IMAGE_BYTES (MODEL_INPUT_HEIGHT * ROW_BYTES)
#endif
#ifdef MODEL_STATEFUL
#define RECORD_BYTES (IMAGE_BYTES + 4) /* 32 bits before the inputs: 1 to reset the state */
#else
#define RECORD_BYTES IMAGE_BYTES
#endif
#define STACK_PAINT 0xA5A5A5A5u
#define CANARY 0xC0DEFACEu
#define CANARY_WORDS 2
#define ARENA_FILL 0xA5 /* the host runner fills with another value: a read of unset memory shows */
#define OUTPUT_FILL 0xEE

extern uint32_t __stack_bottom, __stack_top;
extern uint32_t __data_start, __data_end, __bss_start, __bss_end;
extern uint8_t __ram_start, __ram_end, __ram_used_end, __arena_region_start, __arena_region_end;

typedef char output_size_matches[sizeof(model_output) == MODEL_OUTPUT_BYTES ? 1 : -1];

#if MODEL_IMAGE_RESIDENT && (defined(MODEL_IMAGE_OFFSET) || defined(MODEL_ARENA_OFFSETS))
#define PIXEL_BUFFER_BYTES 0 /* the image stands in the arena */
#elif MODEL_IMAGE_RESIDENT
#define PIXEL_BUFFER_BYTES IMAGE_BYTES
#else
#define PIXEL_BUFFER_BYTES ROW_BYTES
#endif

__attribute__((section(".buffers"), aligned(8))) static struct {
#if PIXEL_BUFFER_BYTES
    uint8_t pixels[PIXEL_BUFFER_BYTES];
#endif
    model_output output;
#ifdef MODEL_STATEFUL
    model_state state;
#endif
} buffers;

__attribute__((section(".arena"), aligned(8))) static struct {
    uint32_t before[CANARY_WORDS];
    uint8_t bytes[MODEL_ARENA_BYTES] __attribute__((aligned(8)));
    uint32_t after[CANARY_WORDS];
} arena;

#ifdef MODEL_INPUTS
#include "inputs.h"
#elif MODEL_IMAGE_RESIDENT
static int32_t load_image(int32_t image)
{
    (void)image;
#ifdef MODEL_IMAGE_OFFSET
    return io_read(arena.bytes + MODEL_IMAGE_OFFSET, IMAGE_BYTES);
#else
    return io_read(buffers.pixels, IMAGE_BYTES);
#endif
}

static const uint8_t *harness_row(void *user, int32_t y)
{
    (void)user;
    if (y < 0 || y >= MODEL_INPUT_HEIGHT) {
        return NULL;
    }
#ifdef MODEL_IMAGE_OFFSET
    return MODEL_IMAGE_ROW(arena.bytes, y);
#else
    return &buffers.pixels[y * ROW_BYTES];
#endif
}

static void skip_rest_of_image(void)
{
}
#else
static int32_t next_row;

static int32_t load_image(int32_t image)
{
    (void)image;
    next_row = 0;
    return 0;
}

/* A camera gives each row once and in order. */
static const uint8_t *harness_row(void *user, int32_t y)
{
    (void)user;
    if (y != next_row || y >= MODEL_INPUT_HEIGHT) {
        return NULL;
    }
    next_row++;
    return io_read(buffers.pixels, ROW_BYTES) == 0 ? buffers.pixels : NULL;
}

static void skip_rest_of_image(void)
{
    while (next_row < MODEL_INPUT_HEIGHT && io_read(buffers.pixels, ROW_BYTES) == 0) {
        next_row++;
    }
}
#endif

static inline __attribute__((always_inline)) uint32_t *stack_pointer(void)
{
    uint32_t *pointer;
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
    return pointer;
}

static inline __attribute__((always_inline)) void paint_stack(void)
{
    uint32_t *const end = stack_pointer();
    for (volatile uint32_t *word = &__stack_bottom; word < end; word++) {
        *word = STACK_PAINT;
    }
}

static uint32_t stack_high_water_bytes(void)
{
    const volatile uint32_t *word = &__stack_bottom;
    while (word < &__stack_top && *word == STACK_PAINT) {
        word++;
    }
    return (uint32_t)((const volatile uint8_t *)&__stack_top - (const volatile uint8_t *)word);
}

static void set_canaries(void)
{
    for (int32_t i = 0; i < CANARY_WORDS; i++) {
        arena.before[i] = CANARY;
        arena.after[i] = CANARY;
    }
}

static int32_t canaries_intact(void)
{
    for (int32_t i = 0; i < CANARY_WORDS; i++) {
        if (arena.before[i] != CANARY || arena.after[i] != CANARY) {
            return 0;
        }
    }
    return 1;
}

static uint32_t bytes_between(const void *start, const void *end)
{
    return (uint32_t)((const uint8_t *)end - (const uint8_t *)start);
}

static void print_memory(void)
{
    io_print("memory");
    const uint32_t beside = bytes_between(&__arena_region_start, &__arena_region_end); /* a memory for the arena */
    print_field("ram", bytes_between(&__ram_start, &__ram_end) + beside);
    print_field("stack", bytes_between(&__stack_bottom, &__stack_top));
    print_field("data", bytes_between(&__data_start, &__data_end));
    print_field("bss", bytes_between(&__bss_start, &__bss_end));
    print_field("pixels", PIXEL_BUFFER_BYTES);
    print_field("output", sizeof buffers.output);
#ifdef MODEL_STATEFUL
    print_field("state", sizeof buffers.state);
#endif
    print_field("arena", MODEL_ARENA_BYTES);
    print_field("canaries", sizeof arena - MODEL_ARENA_BYTES);
    const uint32_t rest = beside > 0u ? beside - (uint32_t)sizeof arena : 0u;
    print_field("free", bytes_between(&__ram_used_end, &__ram_end) + rest);
    io_print("\n");
}

static void print_trace(int32_t image)
{
#ifdef MODEL_TRACED
    for (int32_t layer = 0; layer < TRACE_MAX_LAYERS; layer++) {
        if (trace_layers[layer].rows != 0u) {
            io_print("trace");
            print_field("image", (uint32_t)image);
            print_field("layer", (uint32_t)layer);
            print_field("rows", trace_layers[layer].rows);
            print_hex_field("hash", trace_layers[layer].hash);
            io_print("\n");
        }
    }
#else
    (void)image;
#endif
}

static void print_image(int32_t image, model_status status, uint32_t ticks)
{
    io_print("image");
    print_field("index", (uint32_t)image);
    print_field("status", (uint32_t)status);
    print_field("ticks", ticks);
    print_field("per_tick", PORT_COUNT_PER_TICK);
    io_print(" unit " PORT_COUNT_UNIT);
    print_field("stack_high_water", stack_high_water_bytes());
    print_field("canaries_ok", (uint32_t)canaries_intact());
    io_print("\n");
    print_trace(image);
}

static uint32_t counting_overhead_ticks(void)
{
    port_count_start();
    return port_count_ticks();
}

/* -1 when the input ends early. */
static int32_t load_state(int32_t image)
{
#ifdef MODEL_STATEFUL
    uint8_t reset[4];
    if (io_read(reset, 4) != 0) {
        return -1;
    }
    if (reset[0] != 0u || image == 0) {
        MODEL_RESET(&buffers.state);
    }
#else
    (void)image;
#endif
    return 0;
}

static inline __attribute__((always_inline)) model_status run_model(void)
{
#ifdef MODEL_STATEFUL
#define STATE &buffers.state,
#else
#define STATE
#endif
#ifdef MODEL_INPUTS
    return MODEL_RUN(arena.bytes, STATE & sources, &buffers.output);
#else
    return MODEL_RUN(arena.bytes, STATE harness_row, NULL, &buffers.output);
#endif
}

/* 0 when the model ran and touched nothing but its arena. */
static int32_t run_image(int32_t image, uint32_t overhead_ticks)
{
    memset(arena.bytes, ARENA_FILL, sizeof arena.bytes);
    memset(&buffers.output, OUTPUT_FILL, sizeof buffers.output);
    set_canaries();
#ifdef MODEL_TRACED
    trace_reset();
#endif
    if (load_state(image) != 0 || load_image(image) != 0) {
        io_print("error input ends early\n");
        return 1;
    }
    paint_stack();
    const uint32_t waited_before = io_waited_ticks();
    port_count_start();
    const model_status status = run_model();
    uint32_t ticks = port_count_ticks();
    ticks -= io_waited_ticks() - waited_before; /* modulo 2^32, however long the waiting was */
    print_image(image, status, ticks > overhead_ticks ? ticks - overhead_ticks : 0u);
    skip_rest_of_image();
    if (io_write_output((const uint8_t *)&buffers.output, (int32_t)sizeof buffers.output) != 0) {
        io_print("error output cannot be written\n");
        return 1;
    }
    return status == MODEL_OK && canaries_intact() ? 0 : 1;
}

int32_t harness_main(void)
{
    io_print("runner 1\n");
    print_memory();
    const int32_t images = io_open(RECORD_BYTES);
    if (images < 0) {
        io_print("error input.bin cannot be read or holds no whole number of images\n");
        return 2;
    }
    const uint32_t overhead_ticks = counting_overhead_ticks();
    int32_t failures = 0;
    for (int32_t image = 0; image < images; image++) {
        failures += run_image(image, overhead_ticks);
    }
    io_print("done");
    print_field("images", (uint32_t)images);
    print_field("failures", (uint32_t)failures);
    io_print("\n");
    return failures == 0 ? 0 : 1;
}
