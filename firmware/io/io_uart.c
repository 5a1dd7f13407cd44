/* Everything over the console in frames: the host gives the bytes of the input that it is asked for, and takes
 * text and outputs. Nothing is sent that nobody waits for. */
#include "io.h"

#include "frames.h"
#include "model_config.h"

#define SCB_AIRCR (*(volatile uint32_t *)0xE000ED0Cu)
#define AIRCR_SYSTEM_RESET 0x05FA0004u

#define LINE_BYTES 96
#define NAME_BYTES ((int32_t)sizeof MODEL_NAME - 1)
#ifdef MODEL_TRACED
#define FLAGS 1u
#else
#define FLAGS 0u
#endif

const port_region io_region = {0, 0, 0, 0};

static struct {
    int32_t images;     /* -1: the host has not answered yet */
    uint32_t position;  /* in the input, of the byte that is read next */
    uint32_t waited;    /* ticks of the counter, since the program began */
    int32_t line_bytes; /* of a line that is not sent yet */
    uint8_t line[LINE_BYTES];
} host = {.images = -1};

static void put_word(uint8_t *to, uint32_t value)
{
    for (int32_t i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> 8 * i);
    }
}

/* Who is here? The host answers with the number of images. */
static void say_hello(void)
{
    static const uint8_t hello[] = {
        FRAME_VERSION, FLAGS, (uint8_t)MODEL_HASH, (uint8_t)(MODEL_HASH >> 8), (uint8_t)(MODEL_HASH >> 16),
        (uint8_t)(MODEL_HASH >> 24)};
    uint8_t *const line = host.line; /* nothing is printed yet */
    int32_t bytes = 0;
    for (; bytes < (int32_t)sizeof hello; bytes++) {
        line[bytes] = hello[bytes];
    }
    for (int32_t i = 0; i < NAME_BYTES && bytes < LINE_BYTES; i++) {
        line[bytes++] = (uint8_t)MODEL_NAME[i];
    }
    uint8_t answer[4];
    frame_exchange(FRAME_HELLO, line, bytes, answer, 4);
    host.images = (int32_t)(answer[0] | (uint32_t)answer[1] << 8 | (uint32_t)answer[2] << 16);
}

static void ask(uint8_t type, const uint8_t *from, int32_t from_bytes, uint8_t *to, int32_t to_bytes)
{
    if (host.images < 0) {
        say_hello();
    }
    frame_exchange(type, from, from_bytes, to, to_bytes);
}

int32_t io_open(int32_t image_bytes)
{
    (void)image_bytes;
    return host.images; /* the harness has printed a line before */
}

int32_t io_read(uint8_t *to, int32_t bytes)
{
    const uint32_t begin = port_count_ticks();
    while (bytes > 0) {
        const int32_t part = bytes < FRAME_PAYLOAD_BYTES ? bytes : FRAME_PAYLOAD_BYTES;
        uint8_t wanted[6];
        put_word(wanted, host.position);
        wanted[4] = (uint8_t)(part & 0xFF);
        wanted[5] = (uint8_t)(part >> 8);
        ask(FRAME_READ, wanted, 6, to, part);
        host.position += (uint32_t)part;
        to += part;
        bytes -= part;
    }
    host.waited += port_count_ticks() - begin;
    return 0;
}

int32_t io_seek(int32_t byte)
{
    host.position = (uint32_t)byte;
    return 0;
}

uint32_t io_waited_ticks(void)
{
    return host.waited;
}

int32_t io_write_output(const uint8_t *from, int32_t bytes)
{
    while (bytes > 0) {
        const int32_t part = bytes < FRAME_PAYLOAD_BYTES ? bytes : FRAME_PAYLOAD_BYTES;
        ask(FRAME_OUTPUT, from, part, 0, 0);
        from += part;
        bytes -= part;
    }
    return 0;
}

void io_print(const char *text)
{
    for (; *text != '\0'; text++) {
        if (host.images < 0) {
            say_hello(); /* which uses the line */
        }
        host.line[host.line_bytes++] = (uint8_t)*text;
        if (*text == '\n' || host.line_bytes == LINE_BYTES) {
            ask(FRAME_TEXT, host.line, host.line_bytes, 0, 0);
            host.line_bytes = 0;
        }
    }
}

void frame_restart(void)
{
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = AIRCR_SYSTEM_RESET;
    for (;;) {
    }
}

/* The next host finds the program as it was at first. */
void io_exit(int32_t code)
{
    const uint8_t end[1] = {(uint8_t)code};
    ask(FRAME_END, end, 1, 0, 0);
    frame_restart();
}
