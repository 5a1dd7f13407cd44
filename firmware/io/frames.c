#include "frames.h"

#include "port.h"

#define FLAG 0x7Eu   /* before and behind a frame */
#define ESCAPE 0x7Du /* before a byte that is one of the two, sent with bit 5 the other way round */
#define FLIPPED 0x20u
#define HEAD_BYTES 4
#define CHECK_BYTES 4
#define CHECK_BEGIN 0xFFFFFFFFu
#define CHECK_WHOLE 0xDEBB20E3u /* of any frame with its check behind it */

#define SILENT_MS 150   /* then a request is sent again */
#define LONGEST_MS 4000 /* the same where noise never ends */
#define TRIES 100

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018u)
#define SYSTICK_CORE_CLOCK_ON 5u
#define SYSTICK_PASSED_ZERO (1u << 16) /* since the last reading */

typedef struct {
    uint32_t check;
    int32_t bytes; /* taken since the last flag */
    uint32_t flip; /* FLIPPED behind an escape */
    uint8_t head[HEAD_BYTES];
} reader;

static uint8_t sequence; /* 0: not yet answered since reset; later 1 to 255, again and again */

/* CRC-32 as in Ethernet (reflected 0x04C11DB7). */
static uint32_t checked(uint32_t check, uint8_t byte)
{
    check ^= byte;
    for (int32_t bit = 0; bit < 8; bit++) {
        check = check >> 1 ^ ((check & 1u) != 0u ? 0xEDB88320u : 0u);
    }
    return check;
}

static void put_escaped(uint8_t byte)
{
    if (byte == FLAG || byte == ESCAPE) {
        port_putc((char)ESCAPE);
        byte ^= FLIPPED;
    }
    port_putc((char)byte);
}

static uint32_t put_checked(const uint8_t *from, int32_t bytes, uint32_t check)
{
    for (int32_t i = 0; i < bytes; i++) {
        check = checked(check, from[i]);
        put_escaped(from[i]);
    }
    return check;
}

static void send(uint8_t type, const uint8_t *from, int32_t bytes)
{
    const uint8_t head[HEAD_BYTES] = {type, sequence, (uint8_t)(bytes & 0xFF), (uint8_t)(bytes >> 8)};
    port_putc((char)FLAG);
    const uint32_t check = ~put_checked(from, bytes, put_checked(head, HEAD_BYTES, CHECK_BEGIN));
    for (uint32_t shift = 0; shift < 32u; shift += 8u) {
        put_escaped((uint8_t)(check >> shift));
    }
    port_putc((char)FLAG);
}

static void begin(reader *in)
{
    in->check = CHECK_BEGIN;
    in->bytes = 0;
    in->flip = 0;
}

static int32_t is_answer(const reader *in, uint8_t type, int32_t bytes)
{
    const uint8_t *head = in->head;
    return head[0] == type && head[1] == sequence && (head[2] | head[3] << 8) == bytes;
}

/* Takes one byte off the line; 1 when it ends the answer that is waited for. */
static int32_t take(reader *in, uint8_t byte, uint8_t type, uint8_t *to, int32_t bytes)
{
    if (byte == FLAG) {
        const int32_t whole = in->check == CHECK_WHOLE;
        if (whole && in->head[0] == FRAME_STOP) {
            frame_restart();
        }
        const int32_t done = whole && in->bytes == HEAD_BYTES + bytes + CHECK_BYTES && is_answer(in, type, bytes);
        begin(in);
        return done;
    }
    if (byte == ESCAPE) {
        in->flip = FLIPPED;
        return 0;
    }
    const uint8_t value = (uint8_t)(byte ^ in->flip);
    const int32_t at = in->bytes - HEAD_BYTES;
    in->flip = 0;
    in->check = checked(in->check, value);
    in->bytes = in->bytes < HEAD_BYTES + FRAME_PAYLOAD_BYTES + CHECK_BYTES ? in->bytes + 1 : in->bytes;
    if (at < 0) {
        in->head[in->bytes - 1] = value;
    } else if (at < bytes && is_answer(in, type, bytes)) {
        to[at] = value; /* wrong perhaps, until the check has come: then the next answer lies over it */
    }
    return 0;
}

/* 0 when the answer came; -1 where the line has been silent, or noisy, for long. */
static int32_t receive(uint8_t type, uint8_t *to, int32_t bytes)
{
    reader in;
    begin(&in);
    for (int32_t silent_ms = 0, ms = 0; silent_ms < SILENT_MS && ms < LONGEST_MS;) {
        const int32_t byte = port_getc();
        const int32_t passed = (SYSTICK_CONTROL & SYSTICK_PASSED_ZERO) != 0u;
        ms += passed;
        silent_ms = byte < 0 ? silent_ms + passed : 0;
        if (byte >= 0 && take(&in, (uint8_t)byte, type, to, bytes)) {
            return 0;
        }
    }
    return -1;
}

void frame_exchange(uint8_t type, const uint8_t *from, int32_t from_bytes, uint8_t *to, int32_t to_bytes)
{
    SYSTICK_RELOAD = PORT_CLOCK_HZ / 1000u - 1u;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = SYSTICK_CORE_CLOCK_ON;
    int32_t tries = 0;
    do {
        if (tries == TRIES) {
            frame_restart();
        }
        tries += type == FRAME_HELLO ? 0 : 1;
        send(type, from, from_bytes);
    } while (receive((uint8_t)(type | FRAME_ANSWER), to, to_bytes) != 0);
    sequence = sequence == 255u ? 1u : (uint8_t)(sequence + 1u);
}
