/* firmware/io/frames.c on this computer, against noise: its answer is found, and no other byte is written.
 *
 * Arguments: seed, exchanges. Prints "N questions". */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "frames.h"
#include "port.h"

#define GUARD 64
#define LINE (1 << 16)
#define CORE ((void *)0xE000E000u)

static uint8_t line[LINE], sent[LINE]; /* to the board, from it */
static int32_t line_bytes, line_at, sent_bytes;
static uint8_t payload[FRAME_PAYLOAD_BYTES];
static int32_t payload_bytes, questions;
static jmp_buf restarted;

static int32_t random_below(int32_t bound)
{
    return (int32_t)(rand() % bound);
}

static void put(uint8_t byte)
{
    if (line_bytes < LINE) {
        line[line_bytes++] = byte;
    }
}

static uint32_t crc(uint32_t check, uint8_t byte)
{
    check ^= byte;
    for (int32_t bit = 0; bit < 8; bit++) {
        check = check >> 1 ^ ((check & 1u) != 0u ? 0xEDB88320u : 0u);
    }
    return check;
}

static void put_frame(uint8_t type, uint8_t sequence, const uint8_t *from, int32_t bytes)
{
    uint8_t body[FRAME_PAYLOAD_BYTES + 8] = {type, sequence, (uint8_t)(bytes & 0xFF), (uint8_t)(bytes >> 8)};
    uint32_t check = 0xFFFFFFFFu;
    memcpy(body + 4, from, (size_t)bytes);
    for (int32_t i = 0; i < bytes + 4; i++) {
        check = crc(check, body[i]);
    }
    for (int32_t i = 0; i < 4; i++) {
        body[bytes + 4 + i] = (uint8_t)(~check >> 8 * i);
    }
    put(0x7E);
    for (int32_t i = 0; i < bytes + 8; i++) {
        if (body[i] == 0x7E || body[i] == 0x7D) {
            put(0x7D);
            put(body[i] ^ 0x20);
        } else {
            put(body[i]);
        }
    }
    put(0x7E);
}

/* Noise, whole frames that are no answer, broken answers, and at last the answer, or silence. */
static void answer(uint8_t type, uint8_t sequence)
{
    line_bytes = line_at = 0;
    for (int32_t junk = random_below(5); junk > 0; junk--) {
        const int32_t kind = random_below(5);
        if (kind == 0) {
            for (int32_t i = random_below(2000); i > 0; i--) {
                put((uint8_t)random_below(256));
            }
        } else if (kind == 1) {
            put_frame(type, (uint8_t)(sequence + 1 + random_below(250)), payload, payload_bytes);
        } else if (kind == 2) {
            put_frame((uint8_t)(0x80 + random_below(100)), sequence, payload, random_below(FRAME_PAYLOAD_BYTES + 1));
        } else if (kind == 3) {
            const int32_t begin = line_bytes;
            put_frame(type, sequence, payload, payload_bytes);
            line[begin + 1 + random_below(line_bytes - begin - 2)] ^= (uint8_t)(1 << random_below(8));
        } else {
            const int32_t begin = line_bytes;
            put_frame(type, sequence, payload, payload_bytes);
            line_bytes -= random_below(line_bytes - begin) + 1;
        }
    }
    if (random_below(4) != 0) {
        put(0x7E); /* ends what the noise began */
        put_frame(type, sequence, payload, payload_bytes);
    }
}

int32_t port_getc(void)
{
    *(volatile uint32_t *)0xE000E010u = 1u << 16; /* a millisecond passes at each look */
    return line_at < line_bytes ? line[line_at++] : -1;
}

/* A whole question gets its answer, whatever the type was. */
void port_putc(char c)
{
    sent[sent_bytes++] = (uint8_t)c;
    if ((uint8_t)c != 0x7E || sent_bytes == 1) {
        return;
    }
    const int32_t flipped = sent[2] == 0x7D;
    const uint8_t sequence = flipped ? (uint8_t)(sent[3] ^ 0x20) : sent[2];
    answer((uint8_t)(sent[1] | FRAME_ANSWER), sequence);
    sent_bytes = 0;
    questions++;
}

void frame_restart(void)
{
    longjmp(restarted, 1);
}

int main(int count, char **arguments)
{
    if (count != 3 || mmap(CORE, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != CORE) {
        return 2;
    }
    srand((unsigned)atoi(arguments[1]));
    static uint8_t room[FRAME_PAYLOAD_BYTES + 2 * GUARD];
    volatile int32_t exchanges = 0;
    while (exchanges < atoi(arguments[2])) {
        payload_bytes = random_below(8) == 0 ? 0 : random_below(FRAME_PAYLOAD_BYTES + 1);
        for (int32_t i = 0; i < payload_bytes; i++) {
            payload[i] = (uint8_t)random_below(random_below(2) == 0 ? 256 : 0x80);
        }
        memset(room, 0xA5, sizeof room);
        sent_bytes = 0;
        if (setjmp(restarted) != 0) {
            continue;
        }
        frame_exchange((uint8_t)(1 + random_below(5)), payload, payload_bytes, room + GUARD, payload_bytes);
        for (int32_t i = 0; i < (int32_t)sizeof room; i++) {
            const int32_t at = i - GUARD, inside = at >= 0 && at < payload_bytes;
            if (room[i] != (inside ? payload[at] : 0xA5)) {
                (void)printf("exchange %d: byte %d is %02x\n", (int)exchanges, (int)at, room[i]);
                return 1;
            }
        }
        exchanges++;
    }
    (void)printf("%d questions\n", (int)questions);
    return 0;
}
